// The commands that move ISRs and leaders by somebody's wish: a leader's, a storage node's that is
// about to stop, an operator's.

#include <set>
#include <string>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/cluster/cluster_state.h"
#include "libs/cluster/election.h"
#include "libs/cluster/reassignment.h"
#include "libs/cluster/request_checks.h"
#include "libs/cluster/topic_rules.h"

namespace falaj::cluster {
namespace {

namespace pb = ::falaj::internal::v1;
using NodeList = google::protobuf::RepeatedField<int32_t>;

// What can be said of a command's items without the state: how many there are, and that each names
// a topic.
template <typename Items>
absl::Status ValidateItems(const char* field, const Items& items, int32_t items_max) {
  if (items.empty() || items.size() > items_max) {
    return InvalidField(field, absl::StrCat("must be 1 to ", items_max));
  }
  for (const auto& item : items) {
    FALAJ_RETURN_IF_ERROR(CheckUuid("topic_id", item.topic_id(), false));
  }
  return absl::OkStatus();
}

// The members that are replicas, each once, in the order of the replicas: the same ISR has the same
// bytes whoever asks for it.
NodeList InOrder(const NodeList& replicas, const pb::IsrChange& change) {
  std::set<int32_t> members;
  for (const pb::IsrMember& member : change.isr()) members.insert(member.node_id());
  NodeList isr;
  for (int32_t node : replicas) {
    if (members.count(node) != 0) isr.Add(node);
  }
  return isr;
}

// Whether every member is a replica, none is there twice, and the leader is among them.
bool IsWellFormed(const NodeList& isr, const pb::IsrChange& change, int32_t leader) {
  return isr.size() == change.isr_size() && Contains(isr, leader);
}

// Who is in the ISR already needs no check. It is alive and of the epoch it joined with, for else
// it would have left, and the partition epoch would tell; and it may be stopping: a leader that
// lets somebody else in must not be made to throw it out (Relieve says why it is still there).
bool MayJoin(const NodeTable& nodes, const pb::IsrMember& member) {
  return IsStaying(nodes, member.node_id()) &&
         nodes.at(member.node_id()).node_epoch() == member.node_epoch();
}

// kNone: the ISR may become `isr`, the members of the change in order.
Reason JudgeIsrChange(const NodeTable& nodes, int32_t sender, const pb::IsrChange& change,
                      const NodeList& isr, const pb::PartitionState& partition) {
  if (partition.leader() != sender) return Reason::kNotLeader;
  if (change.leader_epoch() < partition.leader_epoch()) return Reason::kEpochFenced;
  // The sender knows epochs from here, so there are none of the future.
  if (change.leader_epoch() > partition.leader_epoch()) return Reason::kInvalidRequest;
  if (change.partition_epoch() != partition.partition_epoch()) return Reason::kPartitionChanged;
  if (!IsWellFormed(isr, change, sender)) return Reason::kInvalidRequest;
  for (const pb::IsrMember& member : change.isr()) {
    if (Contains(partition.isr(), member.node_id())) continue;
    if (!MayJoin(nodes, member)) return Reason::kIneligibleReplica;
  }
  return Reason::kNone;
}

// kNone: the node may give up its copy, if somebody else can lead.
Reason JudgeDamage(int32_t node_id, const pb::DamagedReplica& damaged,
                   const pb::PartitionState& partition) {
  if (!Contains(partition.replicas(), node_id)) return Reason::kIneligibleReplica;
  // A command that comes late must not depose a copy that has been fetched anew since.
  if (damaged.leader_epoch() < partition.leader_epoch()) return Reason::kEpochFenced;
  if (damaged.leader_epoch() > partition.leader_epoch()) return Reason::kInvalidRequest;
  if (damaged.partition_epoch() != partition.partition_epoch()) return Reason::kPartitionChanged;
  return Reason::kNone;
}

// How far one command has relieved a node that is about to stop.
struct Portion {
  int32_t leads_max = 0;  // 0: all.
  int32_t leads_moved = 0;
  int32_t led_still = 0;
};

// Relieves the node of one partition, as far as the portion goes. True if something has changed.
bool RelieveOf(const NodeTable& nodes, int32_t node_id, int32_t min_in_sync, Portion* portion,
               pb::PartitionState* partition) {
  const bool led = partition->leader() == node_id;
  const bool full = portion->leads_max != 0 && portion->leads_moved == portion->leads_max;
  const bool changed = !(led && full) && Relieve(nodes, node_id, min_in_sync, partition);
  const bool leads = partition->leader() == node_id;
  if (leads) ++portion->led_still;
  if (led && !leads) ++portion->leads_moved;
  return changed;
}

pb::IsrResult Refusal(Reason reason) {
  pb::IsrResult result;
  result.set_error_reason(std::string(ReasonName(reason)));
  return result;
}

}  // namespace

absl::Status ClusterState::CheckSender(int32_t node_id, int64_t node_epoch) const {
  const auto node = nodes_.find(node_id);
  if (node == nodes_.end()) return NodeNotFound(node_id);
  const int64_t registered = node->second.node_epoch();
  if (node_epoch != registered) {
    return MakeError(
        Reason::kEpochFenced,
        absl::StrCat("storage node ", node_id, " is at epoch ", registered, ", not ", node_epoch),
        {{"node", absl::StrCat(node_id)}, {"node_epoch", absl::StrCat(registered)}});
  }
  if (node->second.session_id() != 0) return absl::OkStatus();
  return MakeError(Reason::kSessionExpired,
                   absl::StrCat("the session of storage node ", node_id, " has ended"),
                   {{"node", absl::StrCat(node_id)}});
}

absl::Status ClusterState::AlterIsr(const pb::AlterIsrCommand& command, ExecuteResponse* response,
                                    ClusterDelta* delta) {
  FALAJ_RETURN_IF_ERROR(ValidateItems("changes", command.changes(), kIsrChangesPerCommandMax));
  FALAJ_RETURN_IF_ERROR(CheckSender(command.node_id(), command.node_epoch()));
  Touched touched;
  for (const pb::IsrChange& change : command.changes()) {
    *response->add_isr_results() = ChangeIsr(command.node_id(), change, &touched);
  }
  ListChanges(touched, delta);
  return absl::OkStatus();
}

Reason ClusterState::FindPartition(const std::string& topic_id, int32_t partition,
                                   TopicState** topic) {
  const auto name = topic_names_.find(topic_id);
  if (name == topic_names_.end()) return Reason::kTopicNotFound;
  *topic = &topics_.at(name->second);
  const bool exists = partition >= 0 && partition < (*topic)->partitions_size();
  return exists ? Reason::kNone : Reason::kPartitionNotFound;
}

pb::IsrResult ClusterState::ChangeIsr(int32_t sender, const pb::IsrChange& change,
                                      Touched* touched) {
  TopicState* found = nullptr;
  const Reason missing = FindPartition(change.topic_id(), change.partition(), &found);
  if (missing != Reason::kNone) return Refusal(missing);
  TopicState& topic = *found;
  pb::PartitionState& partition = *topic.mutable_partitions(change.partition());
  const NodeList isr = InOrder(partition.replicas(), change);
  const Reason reason = JudgeIsrChange(nodes_, sender, change, isr, partition);
  const int32_t min_in_sync = topic.settings().min_in_sync_replicas();
  pb::IsrResult result;
  bool changed = false;
  if (reason != Reason::kNone) {
    result = Refusal(reason);
  } else {
    changed = SetIsr(isr, min_in_sync, &partition);
  }
  result.set_partition_epoch(partition.partition_epoch());
  *result.mutable_isr() = partition.isr();
  result.set_leader_epoch(partition.leader_epoch());
  if (!changed) return result;
  (*touched)[topic.name()].insert(partition.partition());
  // After the answer: it is about the change that was asked for, and what follows from that is told
  // by the watch.
  Settle(nodes_, min_in_sync, &partition);
  return result;
}

absl::Status ClusterState::ReportDamage(const pb::ReportDamageCommand& command,
                                        ExecuteResponse* response, ClusterDelta* delta) {
  FALAJ_RETURN_IF_ERROR(ValidateItems("replicas", command.replicas(), kIsrChangesPerCommandMax));
  FALAJ_RETURN_IF_ERROR(CheckSender(command.node_id(), command.node_epoch()));
  Touched touched;
  for (const pb::DamagedReplica& damaged : command.replicas()) {
    *response->add_damage_results() = DropCopy(command.node_id(), damaged, &touched);
  }
  ListChanges(touched, delta);
  return absl::OkStatus();
}

pb::IsrResult ClusterState::DropCopy(int32_t node_id, const pb::DamagedReplica& damaged,
                                     Touched* touched) {
  TopicState* topic = nullptr;
  Reason reason = FindPartition(damaged.topic_id(), damaged.partition(), &topic);
  if (reason != Reason::kNone) return Refusal(reason);
  pb::PartitionState& partition = *topic->mutable_partitions(damaged.partition());
  const int32_t min_in_sync = topic->settings().min_in_sync_replicas();
  reason = JudgeDamage(node_id, damaged, partition);
  const bool deposed = reason == Reason::kNone && Depose(nodes_, node_id, min_in_sync, &partition);
  pb::IsrResult result;
  if (!deposed) result = Refusal(reason == Reason::kNone ? Reason::kNotEnoughReplicas : reason);
  result.set_partition_epoch(partition.partition_epoch());
  *result.mutable_isr() = partition.isr();
  result.set_leader_epoch(partition.leader_epoch());
  if (!deposed) return result;
  (*touched)[topic->name()].insert(partition.partition());
  Settle(nodes_, min_in_sync, &partition);
  return result;
}

absl::Status ClusterState::PrepareStop(const pb::PrepareStopCommand& command,
                                       ExecuteResponse* response, ClusterDelta* delta) {
  if (command.leads_max() < 0) return InvalidField("leads_max", "must not be negative");
  FALAJ_RETURN_IF_ERROR(CheckSender(command.node_id(), command.node_epoch()));
  NodeState& node = nodes_.at(command.node_id());
  if (!node.stopping()) {
    node.set_stopping(true);
    *delta->add_nodes() = node;
  }
  Touched touched;
  Portion portion{.leads_max = command.leads_max()};
  for (auto& [name, topic] : topics_) {
    const int32_t min_in_sync = topic.settings().min_in_sync_replicas();
    for (pb::PartitionState& partition : *topic.mutable_partitions()) {
      if (RelieveOf(nodes_, node.node_id(), min_in_sync, &portion, &partition)) {
        touched[name].insert(partition.partition());
      }
    }
  }
  response->set_partitions_led(portion.led_still);
  ListChanges(touched, delta);
  return absl::OkStatus();
}

absl::Status ClusterState::ElectLeaders(const pb::ElectLeadersCommand& command,
                                        ExecuteResponse* response, ClusterDelta* delta) {
  FALAJ_ASSIGN_OR_RETURN(TopicState* const topic, FindTopic(command.topic()));
  if (command.node_id() != 0 && nodes_.count(command.node_id()) == 0) {
    return NodeNotFound(command.node_id());
  }
  FALAJ_ASSIGN_OR_RETURN(const std::set<int32_t> chosen,
                         ChoosePartitions(*topic, command.partitions()));
  Touched touched;
  for (int32_t index : chosen) {
    pb::PartitionState* const partition = topic->mutable_partitions(index);
    const int32_t node = command.node_id() != 0 ? command.node_id() : partition->replicas(0);
    if (MoveLead(nodes_, node, partition)) touched[topic->name()].insert(index);
  }
  *response->mutable_topic() = *topic;
  ListChanges(touched, delta);
  return absl::OkStatus();
}

absl::Status ClusterState::ElectUncleanly(const pb::ElectUncleanlyCommand& command,
                                          ClusterDelta* delta) {
  FALAJ_RETURN_IF_ERROR(
      ValidateItems("elections", command.elections(), kUncleanElectionsPerCommandMax));
  Touched touched;
  for (const pb::UncleanElection& election : command.elections()) {
    TopicState* topic = nullptr;
    const Reason missing = FindPartition(election.topic_id(), election.partition(), &topic);
    if (missing != Reason::kNone || topic->settings().unclean_election_after_ms() == 0) continue;
    pb::PartitionState* const partition = topic->mutable_partitions(election.partition());
    if (partition->partition_epoch() != election.partition_epoch()) continue;
    if (!cluster::ElectUncleanly(nodes_, partition)) continue;
    Settle(nodes_, topic->settings().min_in_sync_replicas(), partition);
    touched[topic->name()].insert(partition->partition());
  }
  ListChanges(touched, delta);
  return absl::OkStatus();
}

}  // namespace falaj::cluster
