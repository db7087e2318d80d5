// ClusterState to and from its snapshot.

#include <set>
#include <string>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/cluster/cluster_state.h"
#include "libs/cluster/election.h"
#include "libs/cluster/topic_rules.h"

namespace falaj::cluster {
namespace {

namespace pb = ::falaj::internal::v1;

absl::Status Damaged(absl::string_view what) {
  return MakeError(Reason::kCorruptRecord, absl::StrCat("the cluster snapshot is damaged: ", what));
}

// Whether no node is named twice.
bool AreDistinct(const google::protobuf::RepeatedField<int32_t>& list) {
  return std::set<int32_t>(list.begin(), list.end()).size() == static_cast<size_t>(list.size());
}

absl::Status CheckReplicas(const pb::PartitionState& partition) {
  if (partition.replicas().empty() || !AreDistinct(partition.replicas())) {
    return Damaged("replicas are not distinct");
  }
  if (!AreDistinct(partition.isr()) || !AreDistinct(partition.elr())) {
    return Damaged("a replica is in sync or eligible twice");
  }
  for (int32_t node : partition.isr()) {
    if (!Contains(partition.replicas(), node)) return Damaged("the ISR holds a stranger");
    if (Contains(partition.elr(), node)) return Damaged("ISR and ELR overlap");
  }
  for (int32_t node : partition.elr()) {
    if (!Contains(partition.replicas(), node)) return Damaged("the ELR holds a stranger");
  }
  return absl::OkStatus();
}

absl::Status CheckTarget(const pb::PartitionState& partition) {
  if (!AreDistinct(partition.target_replicas()) || !AreDistinct(partition.adding_replicas())) {
    return Damaged("a replica is reassigned twice");
  }
  for (int32_t node : partition.target_replicas()) {
    if (!Contains(partition.replicas(), node)) return Damaged("the target holds a stranger");
  }
  for (int32_t node : partition.adding_replicas()) {
    if (!Contains(partition.target_replicas(), node)) return Damaged("nobody asked for a replica");
  }
  return absl::OkStatus();
}

absl::Status CheckPartition(const NodeTable& nodes, const pb::PartitionState& partition) {
  FALAJ_RETURN_IF_ERROR(CheckReplicas(partition));
  FALAJ_RETURN_IF_ERROR(CheckTarget(partition));
  if (partition.unclean_epoch() > partition.leader_epoch()) {
    return Damaged("an unclean epoch is still to come");
  }
  if (partition.recovering() && (partition.leader() != 0 || !partition.elr().empty())) {
    return Damaged("who is in sync is known and not known");
  }
  for (const pb::ReplicaReport& report : partition.reports()) {
    if (!partition.recovering()) return Damaged("a replica was asked for nothing");
    if (!Contains(partition.replicas(), report.node_id())) return Damaged("a stranger was asked");
  }
  if (partition.leader() == 0) {
    return partition.isr().empty() ? absl::OkStatus() : Damaged("nobody in sync leads");
  }
  if (!Contains(partition.isr(), partition.leader())) return Damaged("the leader is not in sync");
  if (!IsAlive(nodes, partition.leader())) return Damaged("the leader has no session");
  return absl::OkStatus();
}

absl::Status CheckTopic(const NodeTable& nodes, const pb::TopicState& topic) {
  if (!ValidateTopicName(topic.name()).ok()) return Damaged("a topic has an impossible name");
  if (topic.topic_id().size() != Uuid::kSize) return Damaged("a topic has no id");
  for (int i = 0; i < topic.partitions_size(); ++i) {
    if (topic.partitions(i).partition() != i) return Damaged("partitions leave a gap");
    FALAJ_RETURN_IF_ERROR(CheckPartition(nodes, topic.partitions(i)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ClusterState> ClusterState::FromSnapshot(const pb::ClusterState& snapshot) {
  ClusterState state;
  state.index_ = LogIndex(snapshot.index());
  if (!snapshot.cluster_id().empty()) {
    const absl::StatusOr<Uuid> id = Uuid::FromBytes(snapshot.cluster_id());
    if (!id.ok()) return Damaged("the cluster id is malformed");
    state.cluster_id_ = *id;
  }
  for (const pb::NodeState& node : snapshot.nodes()) {
    if (node.node_id() < 1 || !state.nodes_.emplace(node.node_id(), node).second) {
      return Damaged("a storage node is there twice");
    }
    if (node.session_id() > static_cast<int64_t>(snapshot.index())) {
      return Damaged("a session is of the future");
    }
  }
  for (const pb::TopicState& topic : snapshot.topics()) {
    FALAJ_RETURN_IF_ERROR(CheckTopic(state.nodes_, topic));
    if (!state.topics_.emplace(topic.name(), topic).second ||
        !state.topic_names_.emplace(topic.topic_id(), topic.name()).second) {
      return Damaged("a topic is there twice");
    }
    state.CountLoad(topic, 0, 1);
  }
  if (snapshot.next_producer_id() < 1) return Damaged("a counter is missing");
  state.next_producer_id_ = snapshot.next_producer_id();
  state.recoveries_ = snapshot.recoveries();
  return state;
}

pb::ClusterState ClusterState::Snapshot() const {
  pb::ClusterState snapshot;
  if (!cluster_id_.is_nil()) snapshot.set_cluster_id(std::string(cluster_id_.bytes()));
  snapshot.set_index(index_.value());
  for (const auto& [id, node] : nodes_) *snapshot.add_nodes() = node;
  for (const auto& [name, topic] : topics_) *snapshot.add_topics() = topic;
  snapshot.set_next_producer_id(next_producer_id_);
  snapshot.set_recoveries(recoveries_);
  return snapshot;
}

}  // namespace falaj::cluster
