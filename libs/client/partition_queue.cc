#include "libs/client/partition_queue.h"

#include <algorithm>
#include <utility>

#include "libs/base/status.h"
#include "libs/record/out_of_order.h"
#include "libs/record/producer_window.h"

namespace falaj::client {

using record::OutOfOrder;

bool IsRetryable(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable ||
         status.code() == absl::StatusCode::kResourceExhausted ||
         status.code() == absl::StatusCode::kDeadlineExceeded ||
         status.code() == absl::StatusCode::kCancelled || ReasonOf(status) == Reason::kNotLeader;
}

bool PartitionQueue::Append(const record::Record& record, int64_t size_bytes, DeliveryCallback done,
                            MonotonicTime now) {
  const int64_t limit = options_->batch_bytes;
  bool changed = false;
  if (HasOpenBatch()) {
    PendingBatch& open = *waiting_.back();
    open.sealed = static_cast<int64_t>(open.builder.size_bytes()) + size_bytes > limit;
    changed = open.sealed;
  }
  if (!HasOpenBatch()) {
    auto batch = std::make_shared<PendingBatch>(last_size_bytes_);
    batch->partition = partition_;
    batch->created = now;
    waiting_.push_back(std::move(batch));
    changed = true;
  }
  PendingBatch& open = *waiting_.back();
  open.builder.Add(record);
  open.callbacks.push_back(std::move(done));
  open.charged_bytes += size_bytes;
  // Full as soon as a record like this one would no longer fit.
  open.sealed = static_cast<int64_t>(open.builder.size_bytes()) + size_bytes > limit;
  if (open.sealed) last_size_bytes_ = open.builder.size_bytes();
  return changed || open.sealed;
}

MonotonicTime PartitionQueue::ReadyAt(const Traffic& traffic) const {
  if (waiting_.empty() || !failed_.empty() || NeedsProducer()) return kNever;
  if (options_->idempotent && in_flight_.size() >= record::kProducerWindowBatches) return kNever;
  if (attempts_ > 0) return in_flight_.empty() ? retry_at_ : kNever;
  const PendingBatch& head = *waiting_.front();
  if (head.sealed || traffic.flushing || waiting_.size() > 1) return head.created;
  if (options_->linger > absl::ZeroDuration()) return head.created + options_->linger;
  if (!in_flight_.empty()) return kNever;
  return traffic.quiet ? head.created : head.created + kGatherMax;
}

BatchPtr PartitionQueue::Head() {
  if (waiting_.empty()) return nullptr;
  PendingBatch& head = *waiting_.front();
  head.sealed = true;
  if (options_->idempotent && !head.stamp.has_value()) {
    head.stamp = {producer_, epoch_, next_sequence_};
    const auto count = static_cast<int32_t>(head.callbacks.size());
    next_sequence_ = record::SequenceAfter(next_sequence_, count);
  }
  return waiting_.front();
}

size_t PartitionQueue::WaitingBytes(size_t enough) const {
  size_t bytes = 0;
  for (auto it = waiting_.begin(); it != waiting_.end() && bytes < enough; ++it) {
    const PendingBatch& batch = **it;
    bytes += batch.encoded.empty() ? batch.builder.size_bytes() : batch.encoded.size();
  }
  return bytes;
}

void PartitionQueue::DropHead(const absl::Status& status, std::vector<Finished>* finished) {
  finished->push_back({std::move(waiting_.front()), status});
  waiting_.pop_front();
}

void PartitionQueue::MarkSent(uint64_t id) {
  waiting_.front()->id = id;
  in_flight_.push_back(std::move(waiting_.front()));
  waiting_.pop_front();
}

BatchPtr PartitionQueue::RemoveInFlight(uint64_t id) {
  auto it = std::find_if(in_flight_.begin(), in_flight_.end(),
                         [id](const BatchPtr& batch) { return batch->id == id; });
  if (it == in_flight_.end()) return nullptr;
  BatchPtr batch = std::move(*it);
  in_flight_.erase(it);
  return batch;
}

void PartitionQueue::OnAck(uint64_t id, const Answer& answer, MonotonicTime now,
                           std::vector<Finished>* finished) {
  BatchPtr batch = RemoveInFlight(id);
  if (batch == nullptr) return;
  const absl::Status& status = answer.status;
  if (options_->idempotent) {
    if (MustRepeat(batch.get(), status)) {
      failed_.push_back({std::move(batch), status});
    } else {
      if (failed_.empty()) attempts_ = 0;
      FinishNumbered(std::move(batch), answer, finished);
    }
  } else {
    const bool definite = status.ok() || IsDefinite(ReasonOf(status));
    if (IsRetryable(status) && (definite || options_->retry_uncertain)) {
      failed_.push_back({std::move(batch), status});
    } else {
      if (status.ok() || !definite) GiveUpFailed(finished);
      if (failed_.empty()) attempts_ = 0;
      finished->push_back({std::move(batch), status, answer.base_offset, answer.duplicate});
    }
  }
  if (in_flight_.empty() && !failed_.empty()) RequeueFailed(now);
}

bool PartitionQueue::MustRepeat(PendingBatch* batch, const absl::Status& status) const {
  batch->missing = false;
  if (status.ok()) return false;
  const OutOfOrder order = record::ReadOutOfOrder(status);
  if (order == OutOfOrder::kNo) {
    const bool definite = IsDefinite(ReasonOf(status));
    if (!definite) batch->uncertain = status;
    return IsRetryable(status) || (!definite && ReasonOf(status) != Reason::kInternal);
  }
  // Whether a leader that has forgotten the producer has the batch, nobody can say.
  batch->missing = order == OutOfOrder::kMissing ||
                   (order == OutOfOrder::kUnknownProducer && batch->uncertain.ok());
  return batch->missing;
}

void PartitionQueue::FinishNumbered(BatchPtr batch, const Answer& answer,
                                    std::vector<Finished>* finished) {
  if (answer.status.ok()) {
    finished->push_back({std::move(batch), answer.status, answer.base_offset, answer.duplicate});
    return;
  }
  const bool repeated = !batch->uncertain.ok();
  if (repeated && record::ReadOutOfOrder(answer.status) == OutOfOrder::kPassed) {
    finished->push_back({std::move(batch), absl::OkStatus(), Offset(-1), /*duplicate=*/true});
    return;
  }
  const absl::Status error = repeated ? batch->uncertain : answer.status;
  finished->push_back({std::move(batch), error});
}

void PartitionQueue::OnBroken(const absl::Status& uncertain, MonotonicTime now,
                              std::vector<Finished>* finished) {
  const bool repeat = options_->idempotent || options_->retry_uncertain;
  if (!in_flight_.empty() && !repeat) GiveUpFailed(finished);
  for (BatchPtr& batch : in_flight_) {
    batch->uncertain = uncertain;
    batch->missing = false;
    if (repeat) {
      failed_.push_back({std::move(batch), uncertain});
    } else {
      finished->push_back({std::move(batch), uncertain});
    }
  }
  in_flight_.clear();
  if (!failed_.empty()) RequeueFailed(now);
}

void PartitionQueue::SetProducer(ProducerId producer) {
  producer_ = producer;
  epoch_ = ProducerEpoch(0);
  next_sequence_ = Sequence(0);
}

void PartitionQueue::NumberAnew() {
  if (epoch_.value() < std::numeric_limits<int16_t>::max()) {
    ++epoch_;
    next_sequence_ = Sequence(0);
  } else {
    producer_ = ProducerId(-1);  // The owner gets another one.
  }
  for (const BatchPtr& batch : waiting_) {
    batch->stamp.reset();
    batch->missing = false;
    batch->uncertain = absl::OkStatus();
  }
}

void PartitionQueue::Expire(MonotonicTime created_max, const PendingBatch* busy,
                            const absl::Status& status, std::vector<Finished>* finished) {
  while (!waiting_.empty() && waiting_.front()->created <= created_max &&
         waiting_.front().get() != busy) {
    const bool tried = waiting_.front()->id != 0 && !last_error_.ok();
    const absl::Status& last = tried ? last_error_ : status;
    const absl::Status& uncertain = waiting_.front()->uncertain;
    const absl::Status error = options_->idempotent && !uncertain.ok() ? uncertain : last;
    finished->push_back({std::move(waiting_.front()), error});
    waiting_.pop_front();
  }
  if (idle()) attempts_ = 0;
}

void PartitionQueue::GiveUpFailed(std::vector<Finished>* finished) {
  for (Finished& failure : failed_) finished->push_back(std::move(failure));
  failed_.clear();
}

void PartitionQueue::RequeueFailed(MonotonicTime now) {
  last_error_ = failed_.back().status;
  // In the order they were sent, in whatever order they came back.
  std::sort(failed_.begin(), failed_.end(),
            [](const Finished& a, const Finished& b) { return a.batch->id < b.batch->id; });
  while (!failed_.empty()) {
    waiting_.push_front(std::move(failed_.back().batch));
    failed_.pop_back();
  }
  if (waiting_.front()->missing) NumberAnew();
  const absl::Duration backoff = options_->retry_base * (1 << std::min(attempts_, 10));
  retry_at_ = now + std::min(backoff, options_->retry_max);
  ++attempts_;
}

MonotonicTime PartitionQueue::Oldest() const {
  MonotonicTime oldest = OldestInFlight();
  if (!failed_.empty()) oldest = std::min(oldest, failed_.front().batch->created);
  if (!waiting_.empty()) oldest = std::min(oldest, waiting_.front()->created);
  return oldest;
}

MonotonicTime PartitionQueue::OldestInFlight() const {
  return in_flight_.empty() ? kNever : in_flight_.front()->created;
}

}  // namespace falaj::client
