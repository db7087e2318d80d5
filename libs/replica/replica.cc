#include "libs/replica/replica.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::replica {
namespace {

std::string Text(int64_t number) { return absl::StrCat(number); }

}  // namespace

Replica::Replica(NodeId self, const Stored& stored, const Settings& settings)
    : self_(self),
      settings_(settings),
      log_start_(stored.log_start),
      written_log_start_(stored.log_start),
      hw_(std::max(stored.high_watermark, stored.log_start)),
      flushed_end_(stored.log_end),
      written_end_(stored.log_end),
      log_end_(stored.log_end) {
  for (const EpochEntry& entry : stored.epochs) epochs_.Assign(entry);
}

absl::Status Replica::Step(const Input& input, Effects* effects) {
  return std::visit([this, effects](const auto& one) { return Take(one, effects); }, input);
}

absl::Status Replica::Take(const BecomeLeader& input, Effects* effects) {
  FALAJ_RETURN_IF_ERROR(CheckNewer(input.epoch, input.partition_epoch));
  const std::optional<EpochEntry> latest = epochs_.Latest();
  if (latest.has_value() && latest->epoch > input.epoch) {
    return MakeError(Reason::kEpochFenced,
                     absl::StrCat("the log holds epoch ", latest->epoch, ", after ", input.epoch),
                     {{"leader_epoch", Text(latest->epoch.value())}});
  }
  const bool new_reign = role_ != Role::kLeader || epoch_ != input.epoch;
  role_ = Role::kLeader;
  leader_ = self_;
  epoch_ = input.epoch;
  partition_epoch_ = input.partition_epoch;
  isr_ = input.isr;
  replication_factor_ = input.replication_factor;
  if (new_reign) {
    followers_.clear();
    epoch_written_ = latest.has_value() && latest->epoch == input.epoch;
    epoch_start_ = epoch_written_ ? latest->start : log_end_;
    if (!epoch_written_) {
      epochs_before_ = epochs_;
      epochs_.Assign({epoch_, log_end_});
      effects->epochs.push_back({epoch_, log_end_});
    }
  }
  AdvanceHighWatermark();
  Release(effects);
  return absl::OkStatus();
}

absl::Status Replica::Take(const BecomeFollower& input, Effects* effects) {
  FALAJ_RETURN_IF_ERROR(CheckNewer(input.epoch, input.partition_epoch));
  FailWaiters(MakeError(Reason::kAppendUncertain,
                        "the leadership moved before the batch was held "
                        "by every in-sync replica"),
              effects);
  role_ = Role::kFollower;
  leader_ = input.leader;
  epoch_ = input.epoch;
  partition_epoch_ = input.partition_epoch;
  epoch_written_ = false;
  isr_.clear();
  followers_.clear();
  return absl::OkStatus();
}

absl::Status Replica::Take(const GoOffline& /*input*/, Effects* effects) {
  FailWaiters(MakeError(Reason::kAppendUncertain, "the partition went offline"), effects);
  role_ = Role::kOffline;
  leader_ = NodeId{0};
  epoch_written_ = false;
  isr_.clear();
  followers_.clear();
  return absl::OkStatus();
}

absl::Status Replica::Take(const ChangeSettings& input, Effects* effects) {
  settings_ = input.settings;
  AdvanceHighWatermark();  // fsync off, or fewer replicas asked for, may commit what was waiting.
  Release(effects);
  return absl::OkStatus();
}

absl::Status Replica::Take(const Append& input, Effects* effects) {
  FALAJ_RETURN_IF_ERROR(CheckAppend(input));
  const Placement placement{.token = input.token,
                            .base = log_end_,
                            .last = log_end_ + (input.batch.record_count - 1),
                            .epoch = epoch_};
  log_end_ = placement.last + 1;
  effects->placements.push_back(placement);
  if (input.acks == Acks::kNone) {
    effects->replies.push_back(
        {.token = input.token,
         .status = absl::OkStatus(),
         .outcome = {.record_count = input.batch.record_count,
                     .in_sync_replicas = static_cast<int32_t>(isr_.size())}});
  } else {
    waiters_.push_back({input.token, input.acks, placement.base, input.batch.record_count});
  }
  return absl::OkStatus();
}

absl::Status Replica::Take(const TruncatePrefix& input, Effects* effects) {
  FALAJ_RETURN_IF_ERROR(CheckLeader(input.epoch));
  if (input.before < log_start_ || input.before > hw_) {
    return MakeError(
        Reason::kOffsetOutOfRange,
        absl::StrCat("offset ", input.before, " is not between the log start ", log_start_,
                     " and the high watermark ", hw_),
        {{"log_start_offset", Text(log_start_.value())}, {"high_watermark", Text(hw_.value())}});
  }
  MoveLogStart(input.before, effects);
  return absl::OkStatus();
}

absl::Status Replica::Take(const Retain& input, Effects* effects) {
  MoveLogStart(std::min(input.before, hw_), effects);
  return absl::OkStatus();
}

absl::Status Replica::Take(const Written& input, Effects* effects) {
  written_end_ = std::max(written_end_, std::min(input.end, log_end_));
  if (input.synced) flushed_end_ = written_end_;
  written_log_start_ = log_start_;
  if (epochs_before_.has_value()) {
    epochs_before_.reset();
    epoch_written_ = role_ == Role::kLeader;
  }
  AdvanceHighWatermark();
  Release(effects);
  return absl::OkStatus();
}

absl::Status Replica::Take(const WriteFailed& input, Effects* effects) {
  if (epochs_before_.has_value()) {
    // The reign has not begun; the shell asks again when the disk takes writes.
    epochs_ = *std::move(epochs_before_);
    epochs_before_.reset();
    role_ = Role::kOffline;
    leader_ = NodeId{0};
  }
  log_start_ = written_log_start_;
  const auto first_lost =
      std::find_if(waiters_.begin(), waiters_.end(),
                   [this](const Waiter& waiter) { return waiter.base >= written_end_; });
  for (auto it = first_lost; it != waiters_.end(); ++it) {
    effects->replies.push_back({.token = it->token, .status = input.status, .outcome = {}});
  }
  waiters_.erase(first_lost, waiters_.end());
  log_end_ = written_end_;
  return absl::OkStatus();
}

absl::Status Replica::Take(const FollowerProgress& input, Effects* effects) {
  // An acknowledgement of another epoch says nothing about this log (KIP-320).
  if (role_ != Role::kLeader || input.epoch != epoch_ || input.node == self_) return NotLeader();
  auto it = std::find_if(followers_.begin(), followers_.end(),
                         [&](const Progress& one) { return one.node == input.node; });
  if (it == followers_.end()) {
    followers_.push_back({input.node, input.durable_end});
  } else {
    it->durable_end = std::max(it->durable_end, input.durable_end);
  }
  AdvanceHighWatermark();
  Release(effects);
  return absl::OkStatus();
}

absl::Status Replica::CheckNewer(LeaderEpoch epoch, PartitionEpoch partition_epoch) const {
  if (epoch >= epoch_ && partition_epoch >= partition_epoch_) return absl::OkStatus();
  return MakeError(Reason::kEpochFenced,
                   absl::StrCat("epoch ", epoch, "/", partition_epoch, " is older than ", epoch_,
                                "/", partition_epoch_),
                   {{"leader_epoch", Text(epoch_.value())},
                    {"partition_epoch", Text(partition_epoch_.value())}});
}

absl::Status Replica::NotLeader() const {
  return MakeError(
      Reason::kNotLeader,
      absl::StrCat("node ", self_, " does not lead the partition at the epoch asked for"),
      {{"leader", Text(leader_.value())}, {"leader_epoch", Text(epoch_.value())}});
}

absl::Status Replica::CheckLeader(LeaderEpoch epoch) const {
  if (role_ != Role::kLeader || !epoch_written_ || epoch != epoch_) return NotLeader();
  return absl::OkStatus();
}

absl::Status Replica::CheckAppend(const Append& input) const {
  FALAJ_RETURN_IF_ERROR(CheckLeader(input.epoch));
  const BatchInfo& batch = input.batch;
  if (batch.record_count <= 0 ||
      log_end_.value() > std::numeric_limits<int64_t>::max() - batch.record_count) {
    return MakeError(Reason::kInvalidBatch,
                     absl::StrCat("a batch of ", batch.record_count, " records"));
  }
  if (batch.size_bytes > settings_.batch_bytes_max) {
    return MakeError(
        Reason::kRecordTooLarge,
        absl::StrCat("the batch has ", batch.size_bytes, " bytes, the topic allows ",
                     settings_.batch_bytes_max),
        {{"size_bytes", Text(batch.size_bytes)}, {"limit_bytes", Text(settings_.batch_bytes_max)}});
  }
  const int64_t ahead_ms = absl::ToInt64Milliseconds(kTimestampAheadMax);
  if (!settings_.append_time && batch.max_timestamp_ms > input.now_ms &&
      batch.max_timestamp_ms - input.now_ms > ahead_ms) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("timestamp ", batch.max_timestamp_ms, " lies more than ",
                                  absl::FormatDuration(kTimestampAheadMax), " ahead"),
                     {{"field", "timestamp"}, {"timestamp_ms", Text(batch.max_timestamp_ms)}});
  }
  if (input.acks == Acks::kAll && static_cast<int32_t>(isr_.size()) < RequiredInSync()) {
    return MakeError(
        Reason::kNotEnoughReplicas,
        absl::StrCat(isr_.size(), " replicas are in sync, the topic asks for ", RequiredInSync()),
        {{"in_sync", Text(static_cast<int64_t>(isr_.size()))},
         {"required", Text(RequiredInSync())}});
  }
  return absl::OkStatus();
}

int32_t Replica::RequiredInSync() const {
  return std::min(settings_.min_in_sync_replicas, replication_factor_);
}

void Replica::AdvanceHighWatermark() {
  if (role_ != Role::kLeader || !epoch_written_) return;
  if (static_cast<int32_t>(isr_.size()) < RequiredInSync()) return;
  Offset held = DurableEnd();
  for (const NodeId node : isr_) {
    if (node == self_) continue;
    const auto it = std::find_if(followers_.begin(), followers_.end(),
                                 [node](const Progress& one) { return one.node == node; });
    if (it == followers_.end()) return;
    held = std::min(held, it->durable_end);
  }
  hw_ = std::max(hw_, held);
}

void Replica::Release(Effects* effects) {
  const auto waits = [this](const Waiter& waiter) {
    const Offset end = waiter.base + waiter.record_count;
    return waiter.acks == Acks::kAll ? hw_ < end : written_end_ < end;
  };
  size_t kept = 0;
  for (const Waiter& waiter : waiters_) {
    if (waits(waiter)) {
      waiters_[kept++] = waiter;
      continue;
    }
    effects->replies.push_back(
        {.token = waiter.token,
         .status = absl::OkStatus(),
         .outcome = {.base = waiter.base,
                     .record_count = waiter.record_count,
                     .in_sync_replicas = static_cast<int32_t>(isr_.size()),
                     .durable = flushed_end_ >= waiter.base + waiter.record_count}});
  }
  waiters_.erase(waiters_.begin() + static_cast<std::ptrdiff_t>(kept), waiters_.end());
}

void Replica::FailWaiters(const absl::Status& status, Effects* effects) {
  for (const Waiter& waiter : waiters_) {
    effects->replies.push_back({.token = waiter.token, .status = status, .outcome = {}});
  }
  waiters_.clear();
}

void Replica::MoveLogStart(Offset before, Effects* effects) {
  if (before <= log_start_) return;
  log_start_ = before;
  effects->log_start = before;
}

}  // namespace falaj::replica
