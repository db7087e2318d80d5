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
  {
    MutexLock lock(&mu_);
    if (pumping_) return;  // That thread looks again before it leaves.
    pumping_ = true;
  }
  while (true) {
    std::vector<Launch> launches;
    std::vector<Finished> finished;
    {
      MutexLock lock(&mu_);
      while (TakeNext(&launches)) {
      }
      finished = TakeFinished();
      if (launches.empty() && finished.empty()) {
        pumping_ = false;
        return;
      }
    }
    for (Launch& launch : launches) {
      const Bytes bytes = launch.batch.bytes;
      const LeaderEpoch epoch = launch.target.epoch;
      parts_->links->Get(launch.address)
          ->Append(launch.target, bytes,
                   [self = shared_from_this(), batch = std::move(launch.batch),
                    epoch](Outcome outcome) mutable {
                     self->OnOutcome(std::move(batch), epoch, std::move(outcome));
                   });
    }
    for (auto& [done, outcome] : finished) done(std::move(outcome));
  }
}

bool PartitionAppender::TakeNext(std::vector<Launch>* launches) {
  if (queue_.empty() || draining_) return false;
  const MonotonicTime now = parts_->clock->MonotonicNow();
  absl::StatusOr<Route> route = parts_->routes->Find(topic_, partition_);
  if (!route.ok()) {
    const bool wait = ReasonOf(route.status()) == Reason::kLeaderUnavailable;
    if (wait && now < queue_.front().deadline && PumpLater()) return false;
    Batch batch = std::move(queue_.front());
    queue_.pop_front();
    Finish(std::move(batch), route.status());
    return true;
  }
  if (confirmed_ != route->epoch && in_flight_ > 0) {
    return false;  // One at a time until it is confirmed.
  }
  Batch batch = std::move(queue_.front());
  queue_.pop_front();
  ++in_flight_;
  const AppendTarget target{topic_, partition_, route->epoch, acks_,
                            std::max(batch.deadline - now, absl::Milliseconds(1))};
  launches->push_back({std::move(batch), target, std::move(route->address)});
  return true;
}

void PartitionAppender::Finish(Batch batch, Outcome outcome) {
  finished_.emplace(batch.number, Finished(std::move(batch.done), std::move(outcome)));
}

std::vector<PartitionAppender::Finished> PartitionAppender::TakeFinished() {
  std::vector<Finished> due;
  while (!finished_.empty() && finished_.begin()->first == next_finished_) {
    due.push_back(std::move(finished_.begin()->second));
    finished_.erase(finished_.begin());
    ++next_finished_;
  }
  return due;
}

void PartitionAppender::OnOutcome(Batch batch, LeaderEpoch epoch, Outcome outcome) {
  const absl::Status error = ErrorOf(outcome);
  const bool retryable = !error.ok() && MayRetry(ReasonOf(error));
  {
    MutexLock lock(&mu_);
    --in_flight_;
    if (error.ok()) confirmed_ = epoch;
    if (retryable || (!error.ok() && !outcome.ok())) {
      confirmed_.reset();
      draining_ = true;
    }
    if (retryable && parts_->clock->MonotonicNow() + kRetryDelay < batch.deadline &&
        !parts_->timers->closed()) {
      parts_->metrics->retries->Add();
      const auto place = std::find_if(queue_.begin(), queue_.end(),
                                      [&](const Batch& b) { return b.number > batch.number; });
      queue_.insert(place, std::move(batch));
    } else if (error.ok()) {
      Finish(std::move(batch), std::move(outcome));
    } else {
      Finish(std::move(batch), error);
    }
    // The pause keeps a node that refuses from being asked over and over.
    if (draining_ && in_flight_ == 0 && !PumpLater()) draining_ = false;
  }
  Pump();
}

bool PartitionAppender::PumpLater() {
  if (pump_due_) return true;
  pump_due_ = parts_->timers->RunAfter(kRetryDelay, [self = shared_from_this()] {
    {
      MutexLock lock(&self->mu_);
      self->pump_due_ = false;
      if (self->in_flight_ == 0) self->draining_ = false;
    }
    self->Pump();
  });
  return pump_due_;
}

}  // namespace falaj::gateway
