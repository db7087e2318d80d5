#include "services/storage/partition.h"

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::storage {
namespace {

absl::Status NotLeader(const PartitionState& state, LeaderEpoch epoch) {
  return MakeError(Reason::kNotLeader,
                   absl::StrCat("this node does not lead the partition at epoch ", epoch),
                   {{"leader", absl::StrCat(state.leader.value())},
                    {"leader_epoch", absl::StrCat(state.epoch.value())}});
}

}  // namespace

PartitionState Partition::state() const {
  MutexLock lock(&mu_);
  return state_;
}

absl::Status Partition::CheckReadable(const PartitionState& state, LeaderEpoch epoch) {
  if (state.gone) {
    return MakeError(Reason::kPartitionNotFound, "the partition is no longer on this node");
  }
  if (state.readable && state.epoch == epoch) return absl::OkStatus();
  return NotLeader(state, epoch);
}

absl::Status Partition::CheckServing(const PartitionState& state, LeaderEpoch epoch) {
  FALAJ_RETURN_IF_ERROR(CheckReadable(state, epoch));
  return state.serving ? absl::OkStatus() : NotLeader(state, epoch);
}

absl::Status Partition::CheckAppend(const PartitionState& state, LeaderEpoch epoch,
                                    replica::Acks acks) {
  FALAJ_RETURN_IF_ERROR(CheckReadable(state, epoch));
  // It cannot serve for want of replicas. It is not asked: what it would say of a producer's
  // sequences proves nothing, as somebody who holds more may lead next.
  if (!state.serving && acks == replica::Acks::kAll) {
    return replica::NotEnoughReplicas(state.in_sync_replicas, state.required_in_sync);
  }
  return CheckServing(state, epoch);
}

bool Partition::Await(LeaderEpoch epoch, Offset offset, std::shared_ptr<Waiter> waiter) {
  MutexLock lock(&mu_);
  if (state_.gone || !state_.readable || state_.epoch != epoch) return false;
  if (state_.high_watermark > offset) return false;
  const WaiterKey key{offset, waiter.get()};
  waiters_.emplace(key, std::move(waiter));
  return true;
}

void Partition::Forget(Offset offset, const Waiter* waiter) {
  MutexLock lock(&mu_);
  waiters_.erase({offset, waiter});
}

void Partition::Listen(std::shared_ptr<Listener> listener) {
  MutexLock lock(&mu_);
  listeners_.push_back(std::move(listener));
}

void Partition::StopListening(const Listener* listener) {
  std::shared_ptr<Listener> gone;  // Destroyed after the lock: declared before it.
  MutexLock lock(&mu_);
  for (auto it = listeners_.begin(); it != listeners_.end(); ++it) {
    if (it->get() != listener) continue;
    gone = std::move(*it);
    listeners_.erase(it);
    return;
  }
}

absl::Status Partition::CheckHolds(LeaderEpoch epoch, LeaderEpoch last_epoch, Offset offset) const {
  MutexLock lock(&mu_);
  if (state_.epoch != epoch) return NotLeader(state_, epoch);
  const std::optional<replica::EpochEntry> latest = epochs_.Latest();
  if (!latest.has_value() || latest->epoch < last_epoch) return NotLeader(state_, last_epoch);
  const auto parts = epochs_.PartsAt(last_epoch, offset, state_.log_end);
  if (!parts.has_value()) return absl::OkStatus();
  return MakeError(Reason::kOffsetOutOfRange,
                   absl::StrCat("the record before offset ", offset, ", of leader epoch ",
                                last_epoch, ", has been lost with an unclean election"),
                   {{"offset", absl::StrCat(offset.value())},
                    {"diverging_offset", absl::StrCat(parts->end.value())},
                    {"log_start_offset", absl::StrCat(state_.log_start.value())},
                    {"high_watermark", absl::StrCat(state_.high_watermark.value())}});
}

std::vector<std::shared_ptr<Partition::Waiter>> Partition::Publish(
    const PartitionState& state, const replica::EpochCache& epochs) {
  std::vector<std::shared_ptr<Waiter>> woken;
  std::vector<std::shared_ptr<Listener>> listeners;
  {
    MutexLock lock(&mu_);
    const bool all = state.gone || !state.readable || state.epoch != state_.epoch;
    state_ = state;
    if (epochs_.entries() != epochs.entries()) epochs_ = epochs;
    auto it = waiters_.begin();
    for (; it != waiters_.end() && (all || it->first.first < state.high_watermark); ++it) {
      woken.push_back(std::move(it->second));
    }
    waiters_.erase(waiters_.begin(), it);
    listeners = listeners_;
  }
  for (const std::shared_ptr<Listener>& listener : listeners) listener->OnPublished();
  return woken;
}

}  // namespace falaj::storage
