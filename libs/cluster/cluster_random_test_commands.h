// Random commands for cluster_random_test.
#ifndef LIBS_CLUSTER_CLUSTER_RANDOM_TEST_COMMANDS_H_
#define LIBS_CLUSTER_CLUSTER_RANDOM_TEST_COMMANDS_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "falaj/internal/v1/cluster.pb.h"

#include "libs/base/random.h"
#include "libs/cluster/cluster_state.h"
#include "libs/cluster/cluster_test_support.h"

namespace falaj::cluster::testing {

// CommandSource draws commands, some of them senseless. In every other life the quorum is recovered
// now and then from the loss of its majority.
class CommandSource {
 public:
  explicit CommandSource(uint64_t seed) : random_(seed), recovers_(seed % 2 == 0) {}

  pb::ClusterCommand Next(const ClusterState& state) {
    switch (random_.Below(22)) {
      case 0:
      case 1:
      case 2:
        return Register(state);
      case 3:
      case 4:
        return End(state);
      case 5:
        return Create();
      case 6:
        return OfTopic();
      case 7:
        return Stop(state);
      case 8:
      case 9:
        return Elect(state);
      case 10:
      case 11:
        return Move(state);
      case 12:
        return Rarely() ? DrainCommand(Int(0, 6)) : DrainCommand(Int(1, 5), random_.Below(3) == 0);
      case 13:
        return Damage(state);
      case 14:
        return ElectUncleanly(state);
      case 15:
        return recovers_ && Rarely() ? BeginHistory(state) : Alter(state);
      default:
        return Alter(state);
    }
  }

 private:
  int32_t Int(int64_t low, int64_t high) {
    return static_cast<int32_t>(random_.Between(low, high));
  }
  bool Rarely() { return random_.Below(12) == 0; }
  std::string Name() { return absl::StrCat("t", random_.Below(6)); }

  // Every other topic waits for ever for those who hold everything.
  pb::ClusterCommand Create() {
    pb::ClusterCommand command = CreateCommand(Name(), Int(0, 5), Int(0, 4), Int(0, 3));
    command.mutable_create_topic()->mutable_settings()->set_unclean_election_after_ms(1000 *
                                                                                      Int(0, 1));
    return command;
  }

  // Of every partition, whether it may or not.
  pb::ClusterCommand ElectUncleanly(const ClusterState& state) {
    pb::ClusterCommand command;
    for (const auto& [name, topic] : state.topics()) {
      for (const pb::PartitionState& partition : topic.partitions()) {
        const auto one = ElectUncleanlyCommand(state, name, partition.partition());
        command.mutable_elect_uncleanly()->MergeFrom(one.elect_uncleanly());
      }
    }
    return command;
  }

  // Mostly to a target that can be, of a partition that there is.
  pb::ClusterCommand Move(const ClusterState& state) {
    const auto topic = state.topics().find(Name());
    if (topic == state.topics().end() || Rarely()) {
      return ReassignCommand(Name(), Int(-1, 3), {Int(0, 6)});
    }
    const int32_t index = Int(0, topic->second.partitions_size() - 1);
    if (random_.Below(3) == 0) return CancelCommand(topic->first);
    if (random_.Below(6) == 0) return CancelCommand(topic->first, {index});
    std::vector<int32_t> target;
    while (static_cast<int32_t>(target.size()) < topic->second.replication_factor()) {
      const int32_t node = Int(1, 5);
      const bool there = std::find(target.begin(), target.end(), node) != target.end();
      if (!there || Rarely()) target.push_back(node);
    }
    return ReassignCommand(topic->first, index, target);
  }

  pb::ClusterCommand OfTopic() {
    pb::ClusterCommand command;
    switch (random_.Below(5)) {
      case 3:
      case 4:
        return ResizeCommand(Name(), Int(0, 4));
      case 0:
        command.mutable_delete_topic()->set_name(Name());
        return command;
      case 1:
        command.mutable_add_partitions()->set_name(Name());
        command.mutable_add_partitions()->set_partition_count(Int(0, 8));
        return command;
      default: {
        pb::UpdateTopicCommand* const update = command.mutable_update_topic();
        update->set_name(Name());
        update->mutable_settings()->set_min_in_sync_replicas(Int(0, 4));
        update->add_fields("min_in_sync_replicas");
        return command;
      }
    }
  }

  pb::ClusterCommand Register(const ClusterState& state) {
    const int32_t id = Int(1, 5);
    // Mostly the node's own directory, sometimes a fresh one, sometimes somebody else's.
    const auto directory = static_cast<uint64_t>(random_.Below(10) == 0 ? Int(1, 10) : id);
    const auto node = state.nodes().find(id);
    const bool clean = node != state.nodes().end() && random_.Below(2) == 0;
    pb::ClusterCommand command =
        RegisterCommand(id, directory, random_.Below(3), clean ? node->second.node_epoch() : 0);
    if (recovers_ && random_.Below(4) != 0) ReportStored(state, command.mutable_register_node());
    return command;
  }

  // Mostly in this history and of logs of before, of which some are empty and some forgotten.
  void ReportStored(const ClusterState& state, pb::RegisterNodeCommand* node) {
    node->set_recoveries(state.recoveries() - (Rarely() && state.recoveries() > 0 ? 1 : 0));
    for (const auto& [name, topic] : state.topics()) {
      for (const pb::PartitionState& partition : topic.partitions()) {
        if (Rarely()) continue;
        pb::StoredReplica* const stored = node->add_replicas();
        stored->set_topic_id(topic.topic_id());
        stored->set_partition(partition.partition());
        const bool later = Rarely() && Rarely();  // Than anybody can explain.
        stored->set_last_epoch(later ? partition.leader_epoch() + Int(0, 2) : Int(0, 3));
        stored->set_log_end(stored->last_epoch() + Int(0, 3));
      }
    }
  }

  // Now and then one that has begun already.
  pb::ClusterCommand BeginHistory(const ClusterState& state) {
    pb::ClusterCommand command;
    command.mutable_begin_history()->set_recoveries(state.recoveries() + (Rarely() ? 0 : 1));
    return command;
  }

  pb::ClusterCommand End(const ClusterState& state) {
    const auto node = state.nodes().find(Int(1, 5));
    if (node == state.nodes().end() || Rarely()) return EndCommand(random_.Between(0, 40));
    return EndCommand(node->second.session_id());
  }

  pb::ClusterCommand Stop(const ClusterState& state) {
    pb::ClusterCommand command;
    const int32_t id = Int(1, 6);
    const auto node = state.nodes().find(id);
    const int64_t epoch = node == state.nodes().end() ? 1 : node->second.node_epoch();
    command.mutable_prepare_stop()->set_node_id(id);
    command.mutable_prepare_stop()->set_node_epoch(Rarely() ? epoch - 1 : epoch);
    return command;
  }

  // Mostly by one of the replicas.
  pb::ClusterCommand Damage(const ClusterState& state) {
    const auto topic = state.topics().find(Name());
    if (topic == state.topics().end()) return End(state);
    const int32_t index = Int(0, topic->second.partitions_size() - 1);
    const auto& replicas = topic->second.partitions(index).replicas();
    const int32_t node = Rarely() ? Int(0, 6) : replicas[Int(0, replicas.size() - 1)];
    pb::ClusterCommand command = DamageCommand(state, topic->first, index, node);
    if (Rarely()) {
      pb::DamagedReplica* const damaged = command.mutable_report_damage()->mutable_replicas(0);
      damaged->set_partition_epoch(damaged->partition_epoch() - 1);
    }
    return command;
  }

  // Mostly of a partition that there is, to one of its replicas.
  pb::ClusterCommand Elect(const ClusterState& state) {
    const auto topic = state.topics().find(Name());
    if (topic == state.topics().end() || Rarely()) return ElectCommand(Name(), Int(-1, 6));
    const int32_t index = Int(0, topic->second.partitions_size() - 1);
    const auto& replicas = topic->second.partitions(index).replicas();
    const int32_t node = replicas[Int(0, replicas.size() - 1)];
    if (random_.Below(2) == 0) return ElectCommand(topic->first, Rarely() ? 0 : node);
    return ElectCommand(topic->first, node, {index, Rarely() ? Int(-1, 5) : index});
  }

  // Of all the partitions that a node leads.
  pb::ClusterCommand Alter(const ClusterState& state) {
    pb::ClusterCommand command;
    pb::AlterIsrCommand* const alter = command.mutable_alter_isr();
    const int32_t sender = Int(1, 5);
    const auto node = state.nodes().find(sender);
    alter->set_node_id(sender);
    if (node != state.nodes().end()) alter->set_node_epoch(node->second.node_epoch());
    if (Rarely()) alter->set_node_epoch(Int(0, 300));
    for (const auto& [name, topic] : state.topics()) {
      for (const pb::PartitionState& partition : topic.partitions()) {
        if (partition.leader() != sender && !Rarely()) continue;
        pb::IsrChange* const change = alter->add_changes();
        change->set_topic_id(topic.topic_id());
        FillChange(state, partition, change);
      }
    }
    return command;
  }

  void FillChange(const ClusterState& state, const pb::PartitionState& partition,
                  pb::IsrChange* change) {
    change->set_partition(partition.partition());
    change->set_leader_epoch(partition.leader_epoch() + (Rarely() ? Int(-1, 1) : 0));
    change->set_partition_epoch(partition.partition_epoch() + (Rarely() ? Int(-1, 1) : 0));
    for (int32_t replica : partition.replicas()) {
      const bool chosen = random_.Below(2) == 0;
      if (replica == partition.leader() ? Rarely() : !chosen) continue;
      pb::IsrMember* const member = change->add_isr();
      member->set_node_id(Rarely() ? Int(1, 5) : replica);
      member->set_node_epoch(state.nodes().at(replica).node_epoch() - (Rarely() ? 1 : 0));
    }
  }

  Random random_;
  const bool recovers_;
};

}  // namespace falaj::cluster::testing

#endif  // LIBS_CLUSTER_CLUSTER_RANDOM_TEST_COMMANDS_H_
