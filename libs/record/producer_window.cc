#include "libs/record/producer_window.h"

#include <algorithm>

namespace falaj::record {

bool IsSequenced(const BatchHeader& header) {
  return header.producer_id.value() >= 0 && header.base_sequence.value() >= 0 && !header.control();
}

ProducedBatch ToProducedBatch(const BatchHeader& header, int64_t append_time_ms) {
  return {.base = header.base_offset,
          .append_time_ms = append_time_ms,
          .base_sequence = header.base_sequence,
          .record_count = header.last_offset_delta + 1};
}

const ProducedBatch* ProducerWindow::Find(ProducerEpoch epoch, Sequence base_sequence,
                                          int32_t record_count) const {
  if (epoch != epoch_) return nullptr;
  const auto* const found = std::find_if(begin(), end(), [&](const ProducedBatch& batch) {
    return batch.base_sequence == base_sequence && batch.record_count == record_count;
  });
  return found == end() ? nullptr : found;
}

void ProducerWindow::Push(ProducerEpoch epoch, const ProducedBatch& batch) {
  // What does not continue the window would make its older batches look like repetitions of later
  // ones with the same sequences.
  if (!empty() && (epoch != epoch_ || batch.base_sequence != next_sequence())) size_ = 0;
  epoch_ = epoch;
  if (size_ == kProducerWindowBatches) {
    std::move(batches_.begin() + 1, batches_.end(), batches_.begin());
    --size_;
  }
  batches_[size_++] = batch;
}

bool operator==(const ProducerWindow& a, const ProducerWindow& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end()) && (a.empty() || a.epoch_ == b.epoch_);
}

void ProducerHistory::Append(ProducerEpoch epoch, const ProducedBatch& batch,
                             Offset high_watermark) {
  if (window_.end_offset() <= high_watermark) {
    settled_ = window_;
    settled_end_ = batch.base;
    candidate_.reset();
  } else if (!candidate_.has_value()) {
    candidate_ = {.window = window_, .end = batch.base};
  } else if (candidate_->window.end_offset() <= high_watermark) {
    settled_ = candidate_->window;
    settled_end_ = candidate_->end;
    candidate_ = {.window = window_, .end = batch.base};
  }
  window_.Push(epoch, batch);
}

HistoryRebuild::HistoryRebuild(const ProducerHistory& history, Offset end, Offset log_start)
    : end_(end), from_(history.settled_end()), settled_(history.settled()) {
  if (settled_.end_offset() > end || from_ < log_start) {
    settled_ = ProducerWindow();
    from_ = log_start;
  }
  from_ = std::min(from_, end);
  window_ = settled_;
  for (const ProducedBatch& batch : history.window()) {
    if (batch.end() <= end) kept_.Push(history.window().epoch(), batch);
  }
}

ProducerHistory HistoryRebuild::Finish() const {
  ProducerWindow window = window_;
  for (const ProducedBatch& batch : kept_) {
    if (batch.base >= window.end_offset()) window.Push(kept_.epoch(), batch);
  }
  return ProducerHistory(window, settled_, from_);
}

}  // namespace falaj::record
