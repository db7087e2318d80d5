// Commands and identifiers for the tests of this folder.
#ifndef LIBS_CLUSTER_CLUSTER_TEST_SUPPORT_H_
#define LIBS_CLUSTER_CLUSTER_TEST_SUPPORT_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "falaj/internal/v1/cluster.pb.h"

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/cluster/cluster_state.h"
#include "libs/cluster/topic_rules.h"

namespace falaj::cluster::testing {

namespace pb = ::falaj::internal::v1;

inline std::string IdBytes(uint64_t n) { return std::string(Uuid::FromRandomBits(n, n).bytes()); }

inline pb::ClusterCommand InitCommand() {
  pb::ClusterCommand command;
  command.mutable_init_cluster()->set_cluster_id(IdBytes(77));
  return command;
}

// Node `id` on the directory and in the process called `directory` and `incarnation`.
inline pb::ClusterCommand RegisterCommand(int32_t id, uint64_t directory, uint64_t incarnation,
                                          int64_t clean_epoch = 0) {
  pb::ClusterCommand command;
  pb::RegisterNodeCommand* const node = command.mutable_register_node();
  node->set_node_id(id);
  node->set_directory_id(IdBytes(directory));
  node->set_address("127.0.0.1:" + std::to_string(7'000 + id));
  node->set_session_timeout_ms(10'000);
  node->set_clean_node_epoch(clean_epoch);
  node->set_incarnation_id(IdBytes(incarnation));
  return command;
}

inline pb::ClusterCommand EndCommand(int64_t session) {
  pb::ClusterCommand command;
  command.mutable_end_session()->set_session_id(session);
  return command;
}

inline pb::ClusterCommand CreateCommand(const std::string& name, int32_t partitions,
                                        int32_t factor = 1, int32_t min_in_sync = 1) {
  static uint64_t next_topic = 1'000;
  pb::ClusterCommand command;
  command.set_time_ms(1'700'000'000'000);
  pb::CreateTopicCommand* const topic = command.mutable_create_topic();
  topic->set_topic_id(IdBytes(++next_topic));
  topic->set_name(name);
  topic->set_partition_count(partitions);
  topic->set_replication_factor(factor);
  *topic->mutable_settings() = DefaultTopicSettings();
  topic->mutable_settings()->set_min_in_sync_replicas(min_in_sync);
  return command;
}

// What the leader of a partition sends to have this ISR, with every epoch as it is now. Requires a
// leader.
inline pb::ClusterCommand AlterCommand(const ClusterState& state, const std::string& topic,
                                       int index, const std::vector<int32_t>& isr) {
  const pb::TopicState& found = state.topics().at(topic);
  const pb::PartitionState& partition = found.partitions(index);
  pb::ClusterCommand command;
  pb::AlterIsrCommand* const alter = command.mutable_alter_isr();
  alter->set_node_id(partition.leader());
  alter->set_node_epoch(state.nodes().at(partition.leader()).node_epoch());
  pb::IsrChange* const change = alter->add_changes();
  change->set_topic_id(found.topic_id());
  change->set_partition(index);
  change->set_leader_epoch(partition.leader_epoch());
  change->set_partition_epoch(partition.partition_epoch());
  for (int32_t node : isr) {
    pb::IsrMember* const member = change->add_isr();
    member->set_node_id(node);
    const auto known = state.nodes().find(node);
    if (known != state.nodes().end()) member->set_node_epoch(known->second.node_epoch());
  }
  return command;
}

inline pb::ClusterCommand StopCommand(const ClusterState& state, int32_t node) {
  pb::ClusterCommand command;
  command.mutable_prepare_stop()->set_node_id(node);
  command.mutable_prepare_stop()->set_node_epoch(state.nodes().at(node).node_epoch());
  return command;
}

// What a node sends that has met damage in a partition, with every epoch as it is now.
inline pb::ClusterCommand DamageCommand(const ClusterState& state, const std::string& topic,
                                        int index, int32_t node) {
  const pb::TopicState& found = state.topics().at(topic);
  const pb::PartitionState& partition = found.partitions(index);
  pb::ClusterCommand command;
  pb::ReportDamageCommand* const report = command.mutable_report_damage();
  report->set_node_id(node);
  const auto known = state.nodes().find(node);
  if (known != state.nodes().end()) report->set_node_epoch(known->second.node_epoch());
  pb::DamagedReplica* const damaged = report->add_replicas();
  damaged->set_topic_id(found.topic_id());
  damaged->set_partition(index);
  damaged->set_leader_epoch(partition.leader_epoch());
  damaged->set_partition_epoch(partition.partition_epoch());
  return command;
}

// What the metadata leader proposes for partitions that have waited for too long.
inline pb::ClusterCommand ElectUncleanlyCommand(const ClusterState& state, const std::string& topic,
                                                int index) {
  const pb::TopicState& found = state.topics().at(topic);
  pb::ClusterCommand command;
  pb::UncleanElection* const election = command.mutable_elect_uncleanly()->add_elections();
  election->set_topic_id(found.topic_id());
  election->set_partition(index);
  election->set_partition_epoch(found.partitions(index).partition_epoch());
  return command;
}

// `node` 0: the preferred leaders.
inline pb::ClusterCommand ElectCommand(const std::string& topic, int32_t node = 0,
                                       const std::vector<int32_t>& partitions = {}) {
  pb::ClusterCommand command;
  command.mutable_elect_leaders()->set_topic(topic);
  command.mutable_elect_leaders()->set_node_id(node);
  for (int32_t index : partitions) command.mutable_elect_leaders()->add_partitions(index);
  return command;
}

inline pb::ClusterCommand ReassignCommand(const std::string& topic, int32_t partition,
                                          const std::vector<int32_t>& replicas) {
  pb::ClusterCommand command;
  pb::PartitionTarget* const target = command.mutable_reassign_partitions()->add_partitions();
  target->set_topic(topic);
  target->set_partition(partition);
  for (int32_t node : replicas) target->add_replicas(node);
  return command;
}

inline pb::ClusterCommand CancelCommand(const std::string& topic,
                                        const std::vector<int32_t>& partitions = {}) {
  pb::ClusterCommand command;
  command.mutable_cancel_reassignments()->set_topic(topic);
  for (int32_t index : partitions) command.mutable_cancel_reassignments()->add_partitions(index);
  return command;
}

inline pb::ClusterCommand DrainCommand(int32_t node, bool draining = true) {
  pb::ClusterCommand command;
  command.mutable_set_node_draining()->set_node_id(node);
  command.mutable_set_node_draining()->set_draining(draining);
  return command;
}

inline pb::ClusterCommand ResizeCommand(const std::string& topic, int32_t replication_factor) {
  pb::ClusterCommand command;
  command.mutable_update_topic()->set_name(topic);
  command.mutable_update_topic()->set_replication_factor(replication_factor);
  return command;
}

// A ClusterState that numbers its entries by itself.
class TestCluster {
 public:
  TestCluster() { Apply(InitCommand()); }

  ClusterState::Applied Apply(const pb::ClusterCommand& command) {
    return state_.Apply(state_.index() + 1, command);
  }
  // The node's session.
  int64_t Register(int32_t id, uint64_t directory, uint64_t incarnation, int64_t clean_epoch = 0) {
    return Apply(RegisterCommand(id, directory, incarnation, clean_epoch))
        .response->node()
        .session_id();
  }
  // Nodes 1 to `count`, node i on directory i in process i.
  void RegisterNodes(int32_t count) {
    for (int32_t id = 1; id <= count; ++id) {
      Register(id, static_cast<uint64_t>(id), static_cast<uint64_t>(id));
    }
  }
  // A node whose session ended comes back in the same process, having lost nothing.
  void Return(int32_t id) { Register(id, static_cast<uint64_t>(id), static_cast<uint64_t>(id)); }
  void Kill(int32_t id) { Apply(EndCommand(state_.nodes().at(id).session_id())); }
  const pb::PartitionState& Partition(const std::string& topic, int index) const {
    return state_.topics().at(topic).partitions(index);
  }

  ClusterState& state() { return state_; }

 private:
  ClusterState state_;
};

// Some storage nodes, and a topic "t" of one partition that has a replica on each of them.
class OnePartitionTest : public ::testing::Test {
 protected:
  void Start(int32_t nodes, int32_t min_in_sync) {
    cluster_.RegisterNodes(nodes);
    const auto created = cluster_.Apply(CreateCommand("t", 1, nodes, min_in_sync));
    ASSERT_TRUE(created.response.ok()) << created.response.status();
    const auto& replicas = created.response->topic().partitions(0).replicas();
    replicas_.assign(replicas.begin(), replicas.end());
  }
  void SetIsr(const std::vector<int32_t>& isr) {
    const auto applied = cluster_.Apply(AlterCommand(cluster_.state(), "t", 0, isr));
    ASSERT_TRUE(applied.response.ok()) << applied.response.status();
    ASSERT_EQ("", applied.response->isr_results(0).error_reason());
  }
  const pb::PartitionState& partition() const { return cluster_.Partition("t", 0); }

  TestCluster cluster_;
  std::vector<int32_t> replicas_;  // In order of preference.
};

// Applies a command that must change nothing but the index, and checks that. Returns why it was
// refused; kNone if it succeeded.
inline Reason RefusalOf(TestCluster* cluster, const pb::ClusterCommand& command,
                        std::string* field = nullptr) {
  pb::ClusterState before = cluster->state().Snapshot();
  const ClusterState::Applied applied = cluster->Apply(command);
  pb::ClusterState after = cluster->state().Snapshot();
  EXPECT_EQ(before.index() + 1, after.index());
  before.clear_index();
  after.clear_index();
  EXPECT_EQ(before.SerializeAsString(), after.SerializeAsString());
  EXPECT_EQ(0, applied.delta.nodes_size() + applied.delta.topics_size() +
                   applied.delta.deleted_topics_size());
  if (field != nullptr) *field = MetadataOf(applied.response.status())["field"];
  return ReasonOf(applied.response.status());
}

}  // namespace falaj::cluster::testing

#endif  // LIBS_CLUSTER_CLUSTER_TEST_SUPPORT_H_
