#include "services/gateway/partition_appender.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "libs/base/status.h"
#include "libs/record/batch_header.h"
#include "libs/record/out_of_order.h"
#include "libs/record/producer_window.h"
#include "services/gateway/producer_ids.h"
#include "services/gateway/retry_timer.h"
#include "services/gateway/route_table.h"

namespace falaj::gateway {
namespace {

// How soon a batch that found no leader is tried again. Route changes arrive by watch within
// milliseconds, so this only bounds the wait where the gateway is ahead of the storage node.
constexpr absl::Duration kRetryDelay = absl::Milliseconds(20);

// The error inside an answer, if any: answers carry refusals in-band.
absl::Status ErrorOf(const absl::StatusOr<internal::v1::AppendOutcome>& outcome) {
  if (!outcome.ok()) return outcome.status();
  return outcome->has_error() ? ErrorOfNode(outcome->error()) : absl::OkStatus();
}

// It was not appended, and may be by another node or a little later.
bool IsElsewhere(Reason reason) {
  return reason == Reason::kNotLeader || reason == Reason::kLeaderUnavailable ||
         reason == Reason::kShuttingDown;
}

// What the ack of a batch without its outcome says.
bool IsUncertain(Reason reason) {
  return reason == Reason::kAppendUncertain || reason == Reason::kStorageFailed;
}

}  // namespace

PartitionAppender::PartitionAppender(const GatewayParts* parts, TopicId topic,
                                     PartitionIndex partition, v1::Acks acks)
    : parts_(parts), topic_(topic), partition_(partition), acks_(acks) {}

void PartitionAppender::Append(Bytes batch, MonotonicTime deadline, AppendCallback done,
                               std::shared_ptr<ProducerLane> lane) {
  const absl::StatusOr<record::BatchHeader> header = record::ParseBatchHeader(batch);
  {
    MutexLock lock(&mu_);
    Batch& added = queue_.emplace_back();
    added.number = next_number_++;
    added.bytes = std::move(batch);
    added.deadline = deadline;
    added.done = std::move(done);
    if (header.ok()) {  // Else the leader will say what is wrong with it.
      added.record_count = header->record_count;
      added.by_lane = lane != nullptr;
      added.sequenced = added.by_lane || record::IsSequenced(*header);
    }
    if (lane_ == nullptr && added.by_lane) {
      lane_ = std::move(lane);
      numbering_ = lane_->Of(topic_, partition_);
    }
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
      const Batch& next = launch.batch;
      const Bytes bytes =
          next.stamp.has_value() ? record::StampProducer(next.bytes, *next.stamp) : next.bytes;
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
    FailBatch(std::move(batch), route.status());
    return true;
  }
  if (confirmed_ != route->epoch && in_flight_ > 0) {
    return false;  // One at a time until it is confirmed.
  }
  constexpr int kLaneMax = record::kProducerWindowBatches;
  if (queue_.front().by_lane && in_flight_ >= kLaneMax) return false;
  Batch batch = std::move(queue_.front());
  queue_.pop_front();
  Number(&batch);
  ++in_flight_;
  const AppendTarget target{topic_, partition_, route->epoch, acks_,
                            std::max(batch.deadline - now, absl::Milliseconds(1))};
  launches->push_back({std::move(batch), target, std::move(route->address)});
  return true;
}

void PartitionAppender::Number(Batch* batch) {
  if (!batch->by_lane || batch->stamp.has_value()) return;
  batch->stamp = {numbering_->producer, numbering_->epoch, numbering_->next};
  numbering_->next = record::SequenceAfter(numbering_->next, batch->record_count);
}

// None of what waits is in the log, and what could still arrive of it will be fenced.
void PartitionAppender::NumberAnew() {
  if (numbering_->epoch.value() < std::numeric_limits<int16_t>::max()) {
    ++numbering_->epoch;
  } else if (const std::optional<ProducerId> id = parts_->producer_ids->TryTake()) {
    *numbering_ = Numbering{.producer = *id};
  } else {
    return;  // They are refused again, and ids may be there by then.
  }
  numbering_->next = Sequence(0);
  for (Batch& batch : queue_) {
    if (!batch.by_lane) continue;
    batch.stamp.reset();
    batch.missing = false;
    batch.uncertain = absl::OkStatus();
  }
}

bool PartitionAppender::MayRepeat(const Batch& batch, const absl::Status& error) const {
  if (error.ok()) return false;
  const Reason reason = ReasonOf(error);
  if (IsElsewhere(reason)) return true;
  if (!batch.sequenced) return false;
  if (IsUncertain(reason)) return true;
  const record::OutOfOrder order = record::ReadOutOfOrder(error);
  if (order == record::OutOfOrder::kMissing) {
    // Of the client's batches only behind one that will be repeated; else the client has to act.
    const bool behind = !queue_.empty() && queue_.front().number < batch.number;
    return behind || batch.by_lane;
  }
  // A lane that was silent for so long that it was forgotten begins anew.
  return order == record::OutOfOrder::kUnknownProducer && batch.by_lane && batch.uncertain.ok();
}

void PartitionAppender::FailBatch(Batch batch, const absl::Status& error) {
  const record::OutOfOrder order = record::ReadOutOfOrder(error);
  absl::Status result = error;
  if (!batch.uncertain.ok() && order != record::OutOfOrder::kMissing) {
    result = batch.uncertain;
  } else if (batch.by_lane && order != record::OutOfOrder::kNo) {
    // The client knows nothing of these sequences.
    result = order == record::OutOfOrder::kPassed
                 ? MakeError(Reason::kAppendUncertain, "the place of the records is not known")
                 : MakeError(Reason::kTimedOut, "records before these were not appended in time",
                             {{"appended", "false"}});
  }
  Finish(std::move(batch), std::move(result));
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
  {
    MutexLock lock(&mu_);
    --in_flight_;
    const bool retryable = MayRepeat(batch, error);
    if (error.ok()) confirmed_ = epoch;
    if (IsUncertain(ReasonOf(error))) batch.uncertain = error;
    batch.missing = record::ReadOutOfOrder(error) != record::OutOfOrder::kNo;
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
      FailBatch(std::move(batch), error);
    }
    const bool all_back = in_flight_ == 0 && !queue_.empty();
    if (all_back && queue_.front().missing && queue_.front().by_lane) NumberAnew();
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
