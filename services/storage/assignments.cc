#include "services/storage/assignments.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"

#include "libs/base/clock.h"
#include "libs/base/status.h"

namespace falaj::storage {
namespace {

log::RetentionPolicy ToRetention(const internal::v1::TopicSettings& settings) {
  log::RetentionPolicy policy;
  if (settings.retention_ms() > 0) policy.age = absl::Milliseconds(settings.retention_ms());
  policy.size_bytes = settings.retention_bytes();
  return policy;
}

replica::Settings ToSettings(const internal::v1::TopicSettings& settings,
                             absl::Duration replica_lag_max) {
  return {.fsync = settings.fsync(),
          .batch_bytes_max = settings.batch_bytes_max(),
          .min_in_sync_replicas = settings.min_in_sync_replicas(),
          .append_time = settings.append_time(),
          .replica_lag_max = replica_lag_max};
}

Assignment ToAssignment(const cluster::TopicInfo& topic, const cluster::PartitionInfo& partition,
                        absl::Duration replica_lag_max) {
  return {.key = {topic.id, partition.index},
          .topic = topic.name,
          .retention = ToRetention(topic.settings),
          .settings = ToSettings(topic.settings, replica_lag_max),
          .leader = partition.leader,
          .epoch = partition.leader_epoch,
          .partition_epoch = partition.partition_epoch,
          .unclean_epoch = partition.unclean_epoch,
          .isr = partition.isr,
          .elr = partition.elr,
          .replicas = partition.replicas};
}

}  // namespace

absl::Status Assignments::OnEvent(const internal::v1::WatchClusterResponse& event) {
  MutexLock lock(&mu_);
  FALAJ_ASSIGN_OR_RETURN(view_, cluster::ClusterView::Advance(view_, event));
  advanced_.NotifyAll();  // They see it once the lock is released: after what follows.
  if (!cluster_.is_nil() && view_->recoveries() > std::max(recoveries_, told_recoveries_)) {
    told_recoveries_ = view_->recoveries();
    if (on_history_) on_history_(told_recoveries_);
  }
  if (!Counts()) return absl::OkStatus();
  if (!applied_ || event.has_snapshot()) {
    ApplyAll();
  } else if (event.has_delta()) {
    ApplyDelta(event.delta());
  }
  return absl::OkStatus();
}

void Assignments::Allow(const Uuid& cluster, LogIndex index, uint64_t recoveries) {
  MutexLock lock(&mu_);
  cluster_ = cluster;
  SetHistory(recoveries);
  if (applied_) return;  // Registered again: what counted goes on counting.
  allowed_from_ = index;
  if (Counts()) ApplyAll();
}

void Assignments::BeginHistory(uint64_t recoveries) {
  MutexLock lock(&mu_);
  SetHistory(recoveries);
}

void Assignments::SetHistory(uint64_t recoveries) {
  if (recoveries <= recoveries_) return;
  // What was asked of the shard in another history says nothing of what this one has changed.
  recoveries_ = recoveries;
  allowed_from_ = LogIndex(std::numeric_limits<uint64_t>::max());
  applied_ = false;
  asked_.clear();
}

cluster::ClusterView::Ptr Assignments::view() const {
  MutexLock lock(&mu_);
  return view_;
}

bool Assignments::WaitForView(LogIndex index, absl::Duration patience) const {
  MutexLock lock(&mu_);
  const MonotonicTime until = Clock::Real()->MonotonicNow() + patience;
  while (view_->index() < index) {
    const absl::Duration left = until - Clock::Real()->MonotonicNow();
    if (left <= absl::ZeroDuration()) return false;
    advanced_.WaitFor(&mu_, left);
  }
  return true;
}

bool Assignments::LeadsWhereOthersMay() const {
  const cluster::ClusterView::Ptr view = this->view();
  const auto may_lead = [&](NodeId id) {
    const cluster::NodeInfo* const node = view->FindNode(id);
    return id != self_ && node != nullptr && node->online() && !node->stopping;
  };
  for (const auto& [name, topic] : view->topics()) {
    for (const cluster::PartitionInfo& partition : topic->partitions) {
      if (partition.leader != self_) continue;
      if (absl::c_any_of(partition.replicas, may_lead)) return true;
    }
  }
  return false;
}

std::vector<Assignments::Lead> Assignments::Leads() const {
  const cluster::ClusterView::Ptr view = this->view();
  std::vector<Lead> leads;
  for (const auto& [name, topic] : view->topics()) {
    for (const cluster::PartitionInfo& partition : topic->partitions) {
      if (partition.leader != self_) continue;
      Lead& lead = leads.emplace_back(Lead{name, partition.index, partition.leader_epoch});
      for (const NodeId id : partition.isr) {
        const cluster::NodeInfo* const node = view->FindNode(id);
        if (id == self_ || node == nullptr || !node->online() || node->stopping) continue;
        lead.successor = id;
        break;
      }
    }
  }
  return leads;
}

bool Assignments::SharesPartitions() const {
  const cluster::ClusterView::Ptr view = this->view();
  for (const auto& [name, topic] : view->topics()) {
    for (const cluster::PartitionInfo& partition : topic->partitions) {
      if (partition.HasReplica(self_) && partition.replicas.size() > 1) return true;
    }
  }
  return false;
}

bool Assignments::Counts() const {
  return !cluster_.is_nil() && view_->cluster_id() == cluster_ &&
         view_->recoveries() == recoveries_ && view_->index() >= allowed_from_;
}

void Assignments::ApplyAll() {
  absl::flat_hash_set<TopicId> live;
  absl::flat_hash_set<log::PartitionKey> assigned;
  for (const auto& [name, topic] : view_->topics()) {
    live.insert(topic->id);
    ApplyTopic(*topic);
    for (const cluster::PartitionInfo& partition : topic->partitions) {
      if (partition.HasReplica(self_)) assigned.insert({topic->id, partition.index});
    }
  }
  absl::erase_if(asked_, [&](const auto& entry) { return !live.contains(entry.first); });
  shard_->DropExcept(std::move(assigned), view_->recoveries());
  if (applied_) return;
  applied_ = true;
  shard_->Post([opened = opened_] { opened->store(true); });
}

void Assignments::ApplyDelta(const internal::v1::ClusterDelta& delta) {
  for (const std::string& id : delta.deleted_topics()) {
    const absl::StatusOr<Uuid> topic = Uuid::FromBytes(id);
    if (topic.ok()) Delete(*topic);
  }
  for (const internal::v1::TopicDelta& change : delta.topics()) {
    const absl::StatusOr<Uuid> id = Uuid::FromBytes(change.topic().topic_id());
    if (!id.ok()) continue;
    if (const cluster::TopicInfo* topic = view_->FindTopic(*id)) ApplyTopic(*topic);
  }
}

void Assignments::ApplyTopic(const cluster::TopicInfo& topic) {
  Asked& asked = asked_[topic.id];
  std::string settings = topic.settings.SerializeAsString();
  const bool new_settings = settings != asked.settings;
  asked.settings = std::move(settings);
  for (const cluster::PartitionInfo& partition : topic.partitions) {
    const auto it = asked.partitions.find(partition.index);
    if (!partition.HasReplica(self_)) {
      if (it == asked.partitions.end()) continue;
      asked.partitions.erase(it);
      shard_->Unassign({topic.id, partition.index});
      continue;
    }
    if (it != asked.partitions.end() && it->second == partition.partition_epoch && !new_settings) {
      continue;
    }
    asked.partitions[partition.index] = partition.partition_epoch;
    shard_->Assign(ToAssignment(topic, partition, replica_lag_max_));
  }
  if (asked.partitions.empty()) asked_.erase(topic.id);
}

void Assignments::Delete(const TopicId& topic) {
  asked_.erase(topic);
  shard_->DropTopic(topic);
}

}  // namespace falaj::storage
