// How partitions leave a store shard.
#include <algorithm>
#include <utility>
#include <vector>

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "services/storage/hosted_partition.h"
#include "services/storage/shard_core.h"

namespace falaj::storage {

void ShardCore::Unassign(const log::PartitionKey& key) {
  Commit();
  unapplied_.erase(key);
  if (FindHosted(key) == nullptr) return;
  log::Info("dropping a partition that is on other nodes now",
            {{"topic", hosted_.at(key)->shared->topic()}, {"partition", key.partition}});
  DropHosted(key);
}

void ShardCore::DropTopic(const TopicId& topic) {
  Commit();
  std::vector<log::PartitionKey> keys;
  for (const auto& [key, hosted] : hosted_) {
    if (key.topic == topic) keys.push_back(key);
  }
  for (const log::PartitionKey& key : keys) DropHosted(key);
  absl::erase_if(unapplied_, [&](const auto& entry) { return entry.first.topic == topic; });
}

bool ShardCore::IsNews(uint64_t recoveries) const {
  return history_ != nullptr && recoveries > history_->recoveries();
}

bool ShardCore::IsQuarantined(const log::PartitionKey& key) const {
  return history_ != nullptr && history_->IsQuarantined(key);
}

void ShardCore::Quarantine(const absl::flat_hash_set<log::PartitionKey>& assigned,
                           uint64_t recoveries) {
  std::vector<log::PartitionKey> unknown;
  for (const log::StoredPartition& stored : store_->ListPartitions()) {
    if (assigned.contains(stored.key)) continue;
    unknown.push_back(stored.key);
    Unhost(stored.key);
    log::Error(
        "the recovered quorum does not give this node a partition that it holds: quarantined",
        {{"topic_id", stored.key.topic.ToString()},
         {"partition", stored.key.partition},
         {"log_start_offset", stored.log_start},
         {"log_end_offset", stored.log_end}});
  }
  const absl::Status adopted = history_->Adopt(recoveries, unknown);
  // Nothing is dropped in this case either, and the next snapshot or start tries again.
  if (!adopted.ok()) log::Error("the quarantine cannot be written", {{"error", adopted}});
}

void ShardCore::TellStored(uint64_t recoveries, const StoredCallback& done) {
  Commit();
  if (IsNews(recoveries)) {
    unapplied_.clear();
    for (const auto& [key, hosted] : hosted_) LetGo(hosted.get(), hosted->shared->state());
    Commit();
  }
  done(store_->ListPartitions());
}

void ShardCore::DropExcept(const absl::flat_hash_set<log::PartitionKey>& assigned,
                           uint64_t recoveries) {
  Commit();
  if (IsNews(recoveries)) return Quarantine(assigned, recoveries);
  if (history_ != nullptr && recoveries < history_->recoveries()) return;  // Of the past.
  for (const log::StoredPartition& stored : store_->ListPartitions()) {
    if (assigned.contains(stored.key) || IsQuarantined(stored.key)) continue;
    log::Info("dropping a partition that is deleted or on other nodes now",
              {{"topic_id", stored.key.topic.ToString()},
               {"partition", stored.key.partition},
               {"log_end_offset", stored.log_end}});
    Unhost(stored.key);
    if (const absl::Status dropped = store_->DropPartition(stored.id); !dropped.ok()) {
      log::Warning("cannot drop a partition", {{"error", dropped}});
    }
  }
}

void ShardCore::Unhost(const log::PartitionKey& key) {
  unapplied_.erase(key);
  const auto it = hosted_.find(key);
  if (it == hosted_.end()) return;
  Hosted* hosted = it->second.get();
  PartitionState state = hosted->shared->state();
  state.gone = true;
  LetGo(hosted, state);
  attach_id_ = std::max(attach_id_, hosted->core.attach_id());
  front_->partitions.Remove(key);
  hosted_.erase(it);
}

void ShardCore::LetGo(Hosted* hosted, const PartitionState& last) {
  IgnoreError(hosted->core.Step(replica::GoOffline{}, &hosted->effects), "never refuses");
  for (const replica::Reply& reply : std::exchange(hosted->effects.replies, {})) Answer(reply);
  tail_cache_->Drop(hosted->shared->tail_key());
  PartitionState state = last;
  state.readable = state.serving = state.leads = false;
  Publish(hosted, state);
}

void ShardCore::DropHosted(const log::PartitionKey& key) {
  const LocalPartitionId id = hosted_.at(key)->shared->id();
  Unhost(key);
  if (const absl::Status dropped = store_->DropPartition(id); !dropped.ok()) {
    log::Warning("cannot drop a partition", {{"error", dropped}});
  }
}

}  // namespace falaj::storage
