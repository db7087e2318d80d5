#include "services/gateway/partition_appender.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "libs/base/status.h"
#include "libs/rpc/status_grpc.h"
#include "services/gateway/retry_timer.h"

namespace falaj::gateway {
namespace {

// How soon a batch that found no leader is tried again. Route changes arrive by watch within
// milliseconds, so this only bounds the wait where the gateway is ahead of the storage node.
constexpr absl::Duration kRetryDelay = absl::Milliseconds(20);

// The error inside an answer, if any: answers carry refusals in-band.
absl::Status ErrorOf(const absl::StatusOr<internal::v1::AppendResponse>& outcome) {
  if (!outcome.ok()) return outcome.status();
  return outcome->has_error() ? rpc::FromProto(outcome->error()) : absl::OkStatus();
}

bool MayRetry(Reason reason) {
  return reason == Reason::kNotLeader || reason == Reason::kLeaderUnavailable ||
         reason == Reason::kShuttingDown || reason == Reason::kPartitionNotFound;
}

}  // namespace

PartitionAppender::PartitionAppender(const GatewayParts* parts, TopicId topic,
                                     PartitionIndex partition, v1::Acks acks)
    : parts_(parts), topic_(topic), partition_(partition), acks_(acks) {}

void PartitionAppender::Append(Bytes batch, MonotonicTime deadline, AppendCallback done) {
  {
    MutexLock lock(&mu_);
    queue_.push_back({next_number_++, std::move(batch), deadline, std::move(done)});
  }
  Pump();
}

void PartitionAppender::Pump() {
  std::vector<std::pair<Batch, absl::Status>> failures;
  {
    MutexLock send_lock(&send_mu_);
    std::vector<Launch> launches;
    {
      MutexLock lock(&mu_);
      while (TakeNext(&launches, &failures)) {
      }
    }
    for (Launch& launch : launches) {
      const Bytes bytes = launch.batch.bytes;
      const LeaderEpoch epoch = launch.target.epoch;
      parts_->links->Get(launch.address)
          ->Append(launch.target, bytes,
                   [self = shared_from_this(), batch = std::move(launch.batch),
                    epoch](absl::StatusOr<internal::v1::AppendResponse> outcome) mutable {
                     self->OnOutcome(std::move(batch), epoch, std::move(outcome));
                   });
    }
  }
  for (auto& [batch, status] : failures) batch.done(status);
}

bool PartitionAppender::TakeNext(std::vector<Launch>* launches,
                                 std::vector<std::pair<Batch, absl::Status>>* failures) {
  if (queue_.empty() || draining_) return false;
  const MonotonicTime now = parts_->clock->MonotonicNow();
  absl::StatusOr<Route> route = parts_->routes->Find(topic_, partition_);
  if (!route.ok()) {
    const bool wait = ReasonOf(route.status()) == Reason::kLeaderUnavailable;
    if (wait && now < queue_.front().deadline) {
      PumpLater(kRetryDelay);
      return false;
    }
    failures->emplace_back(std::move(queue_.front()), route.status());
    queue_.pop_front();
    return true;
  }
  if (confirmed_ != route->epoch && in_flight_ > 0)
    return false;  // One at a time until it is confirmed.
  Batch batch = std::move(queue_.front());
  queue_.pop_front();
  ++in_flight_;
  const AppendTarget target{topic_, partition_, route->epoch, acks_,
                            std::max(batch.deadline - now, absl::Milliseconds(1))};
  launches->push_back({std::move(batch), target, std::move(route->address)});
  return true;
}

void PartitionAppender::OnOutcome(Batch batch, LeaderEpoch epoch,
                                  absl::StatusOr<internal::v1::AppendResponse> outcome) {
  const absl::Status error = ErrorOf(outcome);
  const bool retryable = !error.ok() && MayRetry(ReasonOf(error));
  bool finished = true;
  {
    MutexLock lock(&mu_);
    --in_flight_;
    if (error.ok()) confirmed_ = epoch;
    if (retryable || (!error.ok() && !outcome.ok())) {
      confirmed_.reset();
      draining_ = true;
    }
    if (retryable && parts_->clock->MonotonicNow() + kRetryDelay < batch.deadline) {
      finished = false;
      const auto place = std::find_if(queue_.begin(), queue_.end(),
                                      [&](const Batch& b) { return b.number > batch.number; });
      queue_.insert(place, std::move(batch));
    }
    if (draining_ && in_flight_ == 0) {
      draining_ = false;
      PumpLater(kRetryDelay);
    }
  }
  if (finished) {
    if (error.ok()) {
      batch.done(std::move(outcome));
    } else {
      batch.done(error);
    }
  }
  Pump();
}

void PartitionAppender::PumpLater(absl::Duration delay) {
  if (std::exchange(pump_due_, true)) return;
  RunAfter(delay, [self = shared_from_this()] {
    {
      MutexLock lock(&self->mu_);
      self->pump_due_ = false;
    }
    self->Pump();
  });
}

}  // namespace falaj::gateway
