#include "libs/client/partition_queue.h"

#include <algorithm>
#include <utility>

#include "libs/base/status.h"

namespace falaj::client {

bool IsRetryable(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable ||
         status.code() == absl::StatusCode::kResourceExhausted ||
         status.code() == absl::StatusCode::kDeadlineExceeded ||
         ReasonOf(status) == Reason::kNotLeader;
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

MonotonicTime PartitionQueue::ReadyAt(bool flushing) const {
  if (waiting_.empty() || !failed_.empty()) return kNever;
  if (attempts_ > 0) return in_flight_.empty() ? retry_at_ : kNever;
  const PendingBatch& head = *waiting_.front();
  if (head.sealed || flushing || waiting_.size() > 1) return head.created;
  if (options_->linger > absl::ZeroDuration()) return head.created + options_->linger;
  return in_flight_.empty() ? head.created : kNever;
}

BatchPtr PartitionQueue::Head() {
  if (waiting_.empty()) return nullptr;
  waiting_.front()->sealed = true;
  return waiting_.front();
}

void PartitionQueue::DropHead(const absl::Status& status, std::vector<Finished>* finished) {
  finished->push_back({std::move(waiting_.front()), status, Offset(-1)});
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

void PartitionQueue::OnAck(uint64_t id, const absl::Status& status, Offset base_offset,
                           MonotonicTime now, std::vector<Finished>* finished) {
  BatchPtr batch = RemoveInFlight(id);
  if (batch == nullptr) return;
  const bool definite = status.ok() || IsDefinite(ReasonOf(status));
  const bool again = IsRetryable(status) && (definite || options_->retry_uncertain);
  if (again) {
    failed_.push_back({std::move(batch), status, Offset(-1)});
  } else {
    if (status.ok() || !definite) GiveUpFailed(finished);
    if (failed_.empty()) attempts_ = 0;
    finished->push_back({std::move(batch), status, base_offset});
  }
  if (in_flight_.empty() && !failed_.empty()) RequeueFailed(now);
}

void PartitionQueue::OnBroken(const absl::Status& uncertain, MonotonicTime now,
                              std::vector<Finished>* finished) {
  if (!in_flight_.empty() && !options_->retry_uncertain) GiveUpFailed(finished);
  for (BatchPtr& batch : in_flight_) {
    if (options_->retry_uncertain) {
      failed_.push_back({std::move(batch), uncertain, Offset(-1)});
    } else {
      finished->push_back({std::move(batch), uncertain, Offset(-1)});
    }
  }
  in_flight_.clear();
  if (!failed_.empty()) RequeueFailed(now);
}

void PartitionQueue::Expire(MonotonicTime created_max, const PendingBatch* busy,
                            const absl::Status& status, std::vector<Finished>* finished) {
  while (!waiting_.empty() && waiting_.front()->created <= created_max &&
         waiting_.front().get() != busy) {
    const bool tried = waiting_.front()->id != 0 && !last_error_.ok();
    finished->push_back({std::move(waiting_.front()), tried ? last_error_ : status, Offset(-1)});
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
  while (!failed_.empty()) {
    waiting_.push_front(std::move(failed_.back().batch));
    failed_.pop_back();
  }
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
