#include "libs/cluster/cluster_view.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::cluster {
namespace {

namespace pb = ::falaj::internal::v1;

absl::Status DoesNotFit(absl::string_view what) {
  return MakeError(Reason::kCorruptRecord, absl::StrCat("a change does not fit the view: ", what));
}

NodeInfo ToNodeInfo(const pb::NodeState& node) {
  return {.id = NodeId(node.node_id()),
          .address = node.address(),
          .zone = node.zone(),
          .epoch = NodeEpoch(node.node_epoch()),
          .session = SessionId(node.session_id()),
          .draining = node.draining(),
          .stopping = node.stopping()};
}

PartitionInfo ToPartitionInfo(const pb::PartitionState& state) {
  PartitionInfo info;
  info.index = PartitionIndex(state.partition());
  info.leader = NodeId(state.leader());
  info.leader_epoch = LeaderEpoch(state.leader_epoch());
  info.partition_epoch = PartitionEpoch(state.partition_epoch());
  info.unclean_epoch = LeaderEpoch(state.unclean_epoch());
  info.last_leader = NodeId(state.last_leader());
  for (int32_t node : state.replicas()) info.replicas.emplace_back(node);
  for (int32_t node : state.isr()) info.isr.emplace_back(node);
  for (int32_t node : state.elr()) info.elr.emplace_back(node);
  for (int32_t node : state.target_replicas()) info.target.emplace_back(node);
  for (int32_t node : state.adding_replicas()) info.adding.emplace_back(node);
  return info;
}

// Puts a changed or new partition in its place. Returns CORRUPT_RECORD if it leaves a gap.
absl::Status PutPartition(PartitionInfo info, std::vector<PartitionInfo>* partitions) {
  const int32_t index = info.index.value();
  const auto size = static_cast<int32_t>(partitions->size());
  if (index < 0 || index > size) return DoesNotFit("its partitions leave a gap");
  if (index == size) {
    partitions->push_back(std::move(info));
  } else {
    (*partitions)[static_cast<size_t>(index)] = std::move(info);
  }
  return absl::OkStatus();
}

}  // namespace

bool PartitionInfo::HasReplica(NodeId node) const {
  return std::find(replicas.begin(), replicas.end(), node) != replicas.end();
}

ClusterView::Ptr ClusterView::Empty() {
  static const Ptr* const empty = new Ptr(std::make_shared<ClusterView>());
  return *empty;
}

absl::StatusOr<ClusterView::Ptr> ClusterView::FromSnapshot(const pb::ClusterState& snapshot) {
  auto view = std::make_shared<ClusterView>();
  FALAJ_ASSIGN_OR_RETURN(view->cluster_id_, Uuid::FromBytes(snapshot.cluster_id()));
  view->index_ = LogIndex(snapshot.index());
  view->recoveries_ = snapshot.recoveries();
  for (const pb::NodeState& node : snapshot.nodes()) {
    view->nodes_[NodeId(node.node_id())] = ToNodeInfo(node);
  }
  for (const pb::TopicState& topic : snapshot.topics()) {
    FALAJ_RETURN_IF_ERROR(view->ApplyTopic(topic));
  }
  return Ptr(std::move(view));
}

absl::StatusOr<ClusterView::Ptr> ClusterView::Advance(const Ptr& base,
                                                      const pb::WatchClusterResponse& event) {
  if (event.event_case() == pb::WatchClusterResponse::kSnapshot) {
    FALAJ_ASSIGN_OR_RETURN(Ptr next, FromSnapshot(event.snapshot()));
    if (base != nullptr && next->cluster_id() == base->cluster_id() &&
        std::pair(next->recoveries(), next->index()) <
            std::pair(base->recoveries(), base->index())) {
      return DoesNotFit(absl::StrCat("it is a snapshot of index ", next->index(),
                                     ", older than what is known, ", base->index()));
    }
    return next;
  }
  if (base == nullptr || base->cluster_id().is_nil()) {
    return DoesNotFit("no snapshot has come before it");
  }
  if (event.index() <= base->index().value()) return base;  // Seen already.
  auto next = std::make_shared<ClusterView>(*base);
  if (event.event_case() == pb::WatchClusterResponse::kDelta) {
    FALAJ_RETURN_IF_ERROR(next->Apply(event.delta()));
  }
  next->index_ = LogIndex(event.index());
  return Ptr(std::move(next));
}

absl::Status ClusterView::Apply(const pb::ClusterDelta& delta) {
  if (delta.recoveries() != 0) recoveries_ = delta.recoveries();
  for (const pb::NodeState& node : delta.nodes()) {
    nodes_[NodeId(node.node_id())] = ToNodeInfo(node);
  }
  // Deletions first: a name that is deleted and taken again is another topic.
  for (const std::string& bytes : delta.deleted_topics()) {
    FALAJ_ASSIGN_OR_RETURN(const TopicId id, Uuid::FromBytes(bytes));
    const auto topic = topics_by_id_.find(id);
    if (topic == topics_by_id_.end()) return DoesNotFit("it deletes an unknown topic");
    topics_.erase(topic->second->name);
    topics_by_id_.erase(topic);
  }
  for (const pb::TopicDelta& change : delta.topics()) {
    FALAJ_RETURN_IF_ERROR(ApplyTopic(change.topic()));
  }
  return absl::OkStatus();
}

absl::Status ClusterView::ApplyTopic(const pb::TopicState& change) {
  FALAJ_ASSIGN_OR_RETURN(const TopicId id, Uuid::FromBytes(change.topic_id()));
  const auto known = topics_by_id_.find(id);
  auto topic = known == topics_by_id_.end() ? std::make_shared<TopicInfo>()
                                            : std::make_shared<TopicInfo>(*known->second);
  topic->id = id;
  topic->name = change.name();
  topic->create_time_ms = change.create_time_ms();
  topic->replication_factor = change.replication_factor();
  topic->settings = change.settings();
  topic->partitions.reserve(static_cast<size_t>(change.partitions_size()));
  for (const pb::PartitionState& partition : change.partitions()) {
    FALAJ_RETURN_IF_ERROR(PutPartition(ToPartitionInfo(partition), &topic->partitions));
  }
  if (topic->partitions.empty()) return DoesNotFit("a topic has no partitions");
  topics_[topic->name] = topic;
  topics_by_id_[id] = std::move(topic);
  return absl::OkStatus();
}

const TopicInfo* ClusterView::FindTopic(absl::string_view name) const {
  const auto topic = topics_.find(std::string(name));
  return topic == topics_.end() ? nullptr : topic->second.get();
}

const TopicInfo* ClusterView::FindTopic(const TopicId& id) const {
  const auto topic = topics_by_id_.find(id);
  return topic == topics_by_id_.end() ? nullptr : topic->second.get();
}

const PartitionInfo* ClusterView::FindPartition(const TopicId& topic,
                                                PartitionIndex partition) const {
  const TopicInfo* const found = FindTopic(topic);
  const auto index = static_cast<size_t>(partition.value());
  if (found == nullptr || partition.value() < 0 || index >= found->partitions.size()) {
    return nullptr;
  }
  return &found->partitions[index];
}

const NodeInfo* ClusterView::FindNode(NodeId id) const {
  const auto node = nodes_.find(id);
  return node == nodes_.end() ? nullptr : &node->second;
}

const NodeInfo* ClusterView::FindLeader(const PartitionInfo& partition) const {
  const NodeInfo* const node = FindNode(partition.leader);
  return node != nullptr && node->online() ? node : nullptr;
}

}  // namespace falaj::cluster
