// The commands that move replicas from node to node: by an operator's list, to empty a node, to
// have more or fewer of them.
//
// Each makes its whole plan in one entry of the log, so that it either happens or does not, and
// nobody has to see it through: from there on every partition settles by itself, when its leader
// reports that the new replicas are in sync.

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

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

std::vector<int32_t> ToVector(const NodeList& list) { return {list.begin(), list.end()}; }

std::string NameOf(const std::string& topic, int32_t partition) {
  return absl::StrCat(topic, "/", partition);
}

// Of the replicas that were asked for.
absl::Status BadReplicas(const pb::PartitionTarget& wish, absl::string_view rule,
                         absl::string_view limit) {
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("replicas of ", NameOf(wish.topic(), wish.partition()), " are ",
                                absl::StrJoin(wish.replicas(), ","), "; ", rule),
                   {{"field", "replicas"},
                    {"topic", wish.topic()},
                    {"partition", absl::StrCat(wish.partition())},
                    {"value", absl::StrJoin(wish.replicas(), ",")},
                    {"limit", std::string(limit)}});
}

absl::Status TooFewInSync(const std::string& topic, const pb::PartitionState& partition) {
  return MakeError(
      Reason::kNotEnoughReplicas,
      absl::StrCat("too few of the replicas that ", NameOf(topic, partition.partition()),
                   " would keep at once are known to hold every committed record"),
      {{"topic", topic},
       {"partition", absl::StrCat(partition.partition())},
       {"in_sync", absl::StrJoin(partition.isr(), ",")}});
}

absl::Status TooFewLeft(int32_t node_id, int32_t left, const pb::TopicState& topic) {
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("without storage node ", node_id, " there are ", left,
                                ", but topic '", topic.name(), "' has ", topic.replication_factor(),
                                " replicas of each partition"),
                   {{"field", "node_id"},
                    {"value", absl::StrCat(node_id)},
                    {"topic", topic.name()},
                    {"limit", absl::StrCat(left)}});
}

absl::Status CheckDistinct(const pb::PartitionTarget& wish) {
  for (int i = 0; i < wish.replicas_size(); ++i) {
    for (int j = 0; j < i; ++j) {
      if (wish.replicas(i) != wish.replicas(j)) continue;
      return BadReplicas(wish, absl::StrCat("node ", wish.replicas(i), " is there twice"),
                         "distinct");
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool ClusterState::Receives(int32_t node_id) const {
  return IsStaying(nodes_, node_id) && !nodes_.at(node_id).draining();
}

int32_t ClusterState::CountKeptNodes() const {
  int32_t count = 0;
  for (const auto& [id, node] : nodes_) count += node.draining() ? 0 : 1;
  return count;
}

absl::Status ClusterState::CheckNodesFor(int32_t replication_factor) const {
  const int32_t kept = CountKeptNodes();
  if (replication_factor <= kept) return absl::OkStatus();
  // One replica waits for the first node; more nodes than have ever been there may never come.
  if (replication_factor == 1 && nodes_.empty()) return absl::OkStatus();
  const auto draining = static_cast<int32_t>(nodes_.size()) - kept;
  return MakeError(
      Reason::kInvalidRequest,
      absl::StrCat("replication_factor is ", replication_factor, ", but there are only ", kept,
                   " storage nodes",
                   draining == 0 ? "" : absl::StrCat(" besides ", draining, " draining")),
      {{"field", "replication_factor"},
       {"value", absl::StrCat(replication_factor)},
       {"limit", absl::StrCat(kept)}});
}

ReplicaMover ClusterState::MakeMover(int32_t leaving) const {
  std::vector<ReplicaMover::Node> nodes;
  for (const auto& [id, node] : nodes_) {
    ReplicaMover::Node& one = nodes.emplace_back();
    const auto load = loads_.find(id);
    if (load != loads_.end()) one.load = load->second;
    one.load.node_id = id;
    one.load.zone = node.zone();
    one.receives = id != leaving && Receives(id);
  }
  return ReplicaMover(nodes);
}

absl::Status ClusterState::AddToPlan(const TopicState& topic, const pb::PartitionState& partition,
                                     const std::optional<std::vector<int32_t>>& target,
                                     Plan* plan) const {
  if (!target.has_value()) {
    return MakeError(Reason::kNotEnoughReplicas,
                     absl::StrCat("no storage node is there now that could take a replica of ",
                                  NameOf(topic.name(), partition.partition())),
                     {{"topic", topic.name()}, {"partition", absl::StrCat(partition.partition())}});
  }
  const NodeList replicas(target->begin(), target->end());
  if (!KeepsCommitted(partition, topic.settings().min_in_sync_replicas(), replicas)) {
    return TooFewInSync(topic.name(), partition);
  }
  (*plan)[{topic.name(), partition.partition()}] = replicas;
  return absl::OkStatus();
}

void ClusterState::Follow(const Plan& plan, ExecuteResponse* response, Touched* touched) {
  int32_t changed = 0;
  for (const auto& [id, target] : plan) {
    TopicState& topic = topics_.at(id.first);
    pb::PartitionState* const partition = topic.mutable_partitions(id.second);
    CountLoad(*partition, -1);
    if (SetTarget(nodes_, topic.settings().min_in_sync_replicas(), target, partition)) {
      (*touched)[id.first].insert(id.second);
      ++changed;
    }
    CountLoad(*partition, 1);
  }
  response->set_partitions_reassigned(changed);
}

absl::Status ClusterState::CheckTarget(const pb::PartitionTarget& wish) {
  FALAJ_ASSIGN_OR_RETURN(const TopicState* const topic, FindTopic(wish.topic()));
  if (wish.partition() < 0 || wish.partition() >= topic->partitions_size()) {
    return PartitionNotFound(*topic, wish.partition());
  }
  if (wish.replicas_size() != topic->replication_factor()) {
    const std::string factor = absl::StrCat(topic->replication_factor());
    return BadReplicas(wish, absl::StrCat("the topic has ", factor, " of each partition"), factor);
  }
  FALAJ_RETURN_IF_ERROR(CheckDistinct(wish));
  const pb::PartitionState& partition = topic->partitions(wish.partition());
  for (int32_t id : wish.replicas()) {
    const auto node = nodes_.find(id);
    if (node == nodes_.end()) return NodeNotFound(id);
    if (!node->second.draining() || Contains(partition.replicas(), id)) continue;
    return BadReplicas(wish, absl::StrCat("node ", id, " is being drained"), "not draining");
  }
  const bool keeps =
      KeepsCommitted(partition, topic->settings().min_in_sync_replicas(), wish.replicas());
  return keeps ? absl::OkStatus() : TooFewInSync(topic->name(), partition);
}

absl::Status ClusterState::ReassignPartitions(const pb::ReassignPartitionsCommand& command,
                                              ExecuteResponse* response, ClusterDelta* delta) {
  if (command.partitions().empty() || command.partitions_size() > kReassignmentsPerCommandMax) {
    return InvalidField("partitions", absl::StrCat("must be 1 to ", kReassignmentsPerCommandMax));
  }
  Plan plan;
  for (const pb::PartitionTarget& wish : command.partitions()) {
    FALAJ_RETURN_IF_ERROR(CheckTarget(wish));
    if (plan.emplace(std::make_pair(wish.topic(), wish.partition()), wish.replicas()).second)
      continue;
    return InvalidField("partitions",
                        absl::StrCat("name ", NameOf(wish.topic(), wish.partition()), " twice"));
  }
  Touched touched;
  Follow(plan, response, &touched);
  ListChanges(touched, delta);
  return absl::OkStatus();
}

absl::Status ClusterState::CancelReassignments(const pb::CancelReassignmentsCommand& command,
                                               ExecuteResponse* response, ClusterDelta* delta) {
  FALAJ_ASSIGN_OR_RETURN(const TopicState* const topic, FindTopic(command.topic()));
  FALAJ_ASSIGN_OR_RETURN(const std::set<int32_t> chosen,
                         ChoosePartitions(*topic, command.partitions()));
  Plan plan;
  for (int32_t index : chosen) {
    const pb::PartitionState& partition = topic->partitions(index);
    if (!IsReassigning(partition)) continue;
    FALAJ_RETURN_IF_ERROR(
        AddToPlan(*topic, partition, ToVector(SettledReplicas(partition)), &plan));
  }
  Touched touched;
  Follow(plan, response, &touched);
  ListChanges(touched, delta);
  return absl::OkStatus();
}

absl::StatusOr<ClusterState::Plan> ClusterState::PlanReplicationFactor(const TopicState& topic,
                                                                       int32_t factor) const {
  FALAJ_RETURN_IF_ERROR(CheckNodesFor(factor));
  ReplicaMover mover = MakeMover(0);
  Plan plan;
  for (const pb::PartitionState& partition : topic.partitions()) {
    const std::vector<int32_t> wanted = ToVector(WantedReplicas(partition));
    const auto have = static_cast<int32_t>(wanted.size());
    if (have == factor) continue;
    std::optional<std::vector<int32_t>> target;
    if (have < factor) {
      target = mover.Grow(wanted, factor);
    } else {
      target = mover.Shrink(wanted, ToVector(partition.isr()), partition.leader(), factor);
    }
    FALAJ_RETURN_IF_ERROR(AddToPlan(topic, partition, target, &plan));
  }
  return plan;
}

absl::StatusOr<ClusterState::Plan> ClusterState::PlanDrain(int32_t node_id) const {
  const int32_t left = CountKeptNodes() - (nodes_.at(node_id).draining() ? 0 : 1);
  ReplicaMover mover = MakeMover(node_id);
  Plan plan;
  for (const auto& [name, topic] : topics_) {
    if (topic.replication_factor() > left) return TooFewLeft(node_id, left, topic);
    FALAJ_RETURN_IF_ERROR(PlanDrainOfTopic(topic, node_id, &mover, &plan));
  }
  return plan;
}

absl::Status ClusterState::PlanDrainOfTopic(const TopicState& topic, int32_t node_id,
                                            ReplicaMover* mover, Plan* plan) const {
  for (const pb::PartitionState& partition : topic.partitions()) {
    const NodeList& wanted = WantedReplicas(partition);
    if (!Contains(wanted, node_id)) continue;
    FALAJ_RETURN_IF_ERROR(
        AddToPlan(topic, partition, mover->Replace(ToVector(wanted), node_id), plan));
  }
  return absl::OkStatus();
}

absl::Status ClusterState::SetNodeDraining(const pb::SetNodeDrainingCommand& command,
                                           ExecuteResponse* response, ClusterDelta* delta) {
  const auto found = nodes_.find(command.node_id());
  if (found == nodes_.end()) return NodeNotFound(command.node_id());
  Plan plan;
  if (command.draining()) {
    FALAJ_ASSIGN_OR_RETURN(plan, PlanDrain(command.node_id()));
  }
  NodeState& node = found->second;
  if (node.draining() != command.draining()) {
    node.set_draining(command.draining());
    *delta->add_nodes() = node;
  }
  Touched touched;
  Follow(plan, response, &touched);
  ListChanges(touched, delta);
  *response->mutable_node() = node;
  return absl::OkStatus();
}

}  // namespace falaj::cluster
