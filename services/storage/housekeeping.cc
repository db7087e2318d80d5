#include "services/storage/housekeeping.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "libs/base/log.h"
#include "libs/base/status.h"

namespace falaj::storage {
namespace {

constexpr absl::Duration kPulse = absl::Milliseconds(250);

// What goes with the records from `from` to `before`, as a share of the partition's size.
int64_t EstimateBytes(const log::StoredPartition& stored, Offset from, Offset before) {
  const double records = static_cast<double>(stored.log_end - stored.log_start);
  if (records <= 0) return 0;
  const double share = static_cast<double>(before - from) / records;
  return static_cast<int64_t>(static_cast<double>(stored.size_bytes) * std::clamp(share, 0.0, 1.0));
}

}  // namespace

Housekeeping::Housekeeping(Options options, log::RocksLogStore* store, StoreShard* shard,
                           log::DiskWatch* disk, Clock* clock)
    : options_(std::move(options)),
      store_(store),
      shard_(shard),
      disk_(disk),
      clock_(clock),
      maintenance_(options_.maintain_interval, [this] { Maintain(); }),
      pulse_(kPulse, [this] { Pulse(); }) {}

bool Housekeeping::Due(MonotonicTime now, absl::Duration interval, MonotonicTime* last) {
  if (now - *last < interval) return false;
  *last = now;
  return true;
}

void Housekeeping::Maintain() {
  const absl::Status status = store_->Maintain(clock_->Now());
  if (!status.ok() && !maintain_failed_) {
    log::Warning("maintenance of the store fails", {{"error", status}});
  }
  maintain_failed_ = !status.ok();
  TellOfDamage();
  if (options_.on_maintained != nullptr) options_.on_maintained();
  if (Due(clock_->MonotonicNow(), options_.retention_interval, &retained_)) Retain();
}

// The store says it once, perhaps before the shard hosts the partition: it is kept until it does,
// or the store has it no more.
void Housekeeping::TellOfDamage() {
  for (const LocalPartitionId id : store_->TakeDamaged()) damaged_.insert(id);
  if (damaged_.empty()) return;
  for (const std::shared_ptr<Partition>& partition : shard_->List()) {
    if (damaged_.erase(partition->id()) > 0) shard_->Damaged(partition);
  }
  std::erase_if(damaged_, [this](LocalPartitionId id) { return !store_->GetPartition(id).ok(); });
}

void Housekeeping::Retain() {
  std::map<LocalPartitionId, Offset> planned_before;
  planned_before.swap(planned_starts_);
  for (const std::shared_ptr<Partition>& partition : shard_->List()) {
    const PartitionState state = partition->state();
    const auto planned =
        store_->PlanRetention(partition->id(), clock_->Now(), state.high_watermark);
    if (!planned.ok() || !planned->has_value() || **planned <= state.log_start) continue;
    const auto stored = store_->GetPartition(partition->id());
    const auto before = planned_before.find(partition->id());
    const Offset from = before == planned_before.end() ? state.log_start
                                                       : std::max(state.log_start, before->second);
    if (stored.ok() && from < **planned) {
      partition->counters()->retention_deleted_bytes.Add(EstimateBytes(*stored, from, **planned));
    }
    planned_starts_[partition->id()] = **planned;
    shard_->Retain(partition, **planned);
  }
}

void Housekeeping::Pulse() {
  const MonotonicTime now = clock_->MonotonicNow();
  if (Due(now, options_.disk_interval, &polled_)) {
    const absl::Status status = disk_->Poll();
    if (!status.ok()) log::Warning("cannot ask the disk for its space", {{"error", status}});
    shard_->RetryAssignments();
  }
  if (Due(now, options_.checkpoint_interval, &checkpointed_)) shard_->CheckpointHighWatermarks();
  if (Due(now, options_.producer_interval, &producers_expired_)) shard_->ExpireProducers();
  options_.on_pulse();
}

}  // namespace falaj::storage
