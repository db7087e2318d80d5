// What a partition knows of an idempotent producer: the newest batches it has appended, by which a
// repeated batch is recognised and a missing one noticed.
//
// ProducerWindow is a fold over the batches of one producer in log order, and nothing else: every
// replica that has the same log has the same windows. ProducerHistory remembers beside it how the
// window was a little earlier, so that the window of a shorter log can be had without reading the
// longer one from its beginning. The leader's table (libs/replica) and the store (libs/log) share
// them.
//
// Append times are the one thing the log does not say; they differ between replicas by what their
// clocks and the network make of them, and decide nothing but when a producer is forgotten.
//
// Plain values. Threads: one at a time.
#ifndef LIBS_RECORD_PRODUCER_WINDOW_H_
#define LIBS_RECORD_PRODUCER_WINDOW_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "libs/base/ids.h"
#include "libs/record/batch_header.h"

namespace falaj::record {

// Kafka's number. A producer that has more batches in flight may find, when it repeats them, that
// the oldest are refused as out of order although they were appended: never that one is appended
// twice.
inline constexpr size_t kProducerWindowBatches = 5;

// The sequence `count` records after `sequence`: 0 follows 2^31 - 1.
constexpr Sequence SequenceAfter(Sequence sequence, int32_t count) {
  return Sequence(static_cast<int32_t>(
      (static_cast<uint32_t>(sequence.value()) + static_cast<uint32_t>(count)) & 0x7fffffffU));
}

// A batch a producer has appended.
struct ProducedBatch {
  Offset base{};
  int64_t append_time_ms = -1;
  Sequence base_sequence{};
  int32_t record_count = 0;  // As appended, whatever compaction has left of them.

  Offset end() const { return base + record_count; }
  Sequence last_sequence() const { return SequenceAfter(base_sequence, record_count - 1); }

  friend bool operator==(const ProducedBatch&, const ProducedBatch&) = default;
};

// True for batches that count: of a producer, numbered, and not markers of a transaction.
bool IsSequenced(const BatchHeader& header);
// The batch of a header for which that is true.
ProducedBatch ToProducedBatch(const BatchHeader& header, int64_t append_time_ms);

// The newest batches of one producer: of one epoch, without a gap between their sequences. A batch
// that does not continue the window begins a new one; that happens with a new epoch, and on a
// replica that remembers a producer longer than the leader did.
class ProducerWindow {
 public:
  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  const ProducedBatch* begin() const { return batches_.data(); }  // Oldest first.
  const ProducedBatch* end() const { return batches_.data() + size_; }

  // Of the newest batch. Requires !empty().
  ProducerEpoch epoch() const { return epoch_; }
  const ProducedBatch& newest() const { return batches_[size_ - 1]; }
  Sequence next_sequence() const { return SequenceAfter(newest().last_sequence(), 1); }
  // One past the newest record; 0 if empty.
  Offset end_offset() const { return empty() ? Offset(0) : newest().end(); }

  // The batch of exactly these sequences; null if it is not, or no longer, in the window.
  const ProducedBatch* Find(ProducerEpoch epoch, Sequence base_sequence,
                            int32_t record_count) const;
  // Takes in the next batch of the log. Requires batch.base >= end_offset().
  void Push(ProducerEpoch epoch, const ProducedBatch& batch);

  friend bool operator==(const ProducerWindow& a, const ProducerWindow& b);

 private:
  std::array<ProducedBatch, kProducerWindowBatches> batches_{};
  size_t size_ = 0;
  ProducerEpoch epoch_{-1};
};

// The window of a producer, and an earlier one that no truncation is expected to take back.
//
// `settled` is the window of the log below `settled_end`, and all its batches were committed: they
// end at or below a high watermark. Logs are truncated to their high watermark at the lowest
// (unless an unclean election throws committed records away), so a truncated log's window is
// `settled` and what the log holds from `settled_end` on: about as much as was not committed.
// The next such window is prepared while the first still serves, because the high watermark may
// never be found above the window of a producer that is always busy.
class ProducerHistory {
 public:
  ProducerHistory() = default;
  ProducerHistory(const ProducerWindow& window, const ProducerWindow& settled, Offset settled_end)
      : window_(window), settled_(settled), settled_end_(settled_end) {}

  const ProducerWindow& window() const { return window_; }
  const ProducerWindow& settled() const { return settled_; }
  Offset settled_end() const { return settled_end_; }

  // Takes in the next batch of the log, given the high watermark before it.
  void Append(ProducerEpoch epoch, const ProducedBatch& batch, Offset high_watermark);

  friend bool operator==(const ProducerHistory&, const ProducerHistory&) = default;

 private:
  struct Candidate {
    ProducerWindow window;
    Offset end;
    friend bool operator==(const Candidate&, const Candidate&) = default;
  };

  ProducerWindow window_;
  ProducerWindow settled_;
  Offset settled_end_{0};
  std::optional<Candidate> candidate_;  // Becomes `settled`. Not stored.
};

// Rebuilds the history of a producer after its log was truncated:
//
//   HistoryRebuild rebuild(history, end, log_start);
//   for (batches of this producer that begin in [rebuild.from(), rebuild.to())) rebuild.Add(...);
//   history = rebuild.Finish();
//
// The result is the window of everything that was ever in the log below `end`. With two exceptions
// it is the window of what the log still holds: if committed batches were truncated (unclean
// election), and if the log start has meanwhile passed settled_end(). It may then be shorter than
// it ought to be or empty, but if there is one it ends where it ought to: what a producer repeats
// is refused, if not recognised, and not appended twice (but for its very first batch, if nothing
// is known of it any more).
class HistoryRebuild {
 public:
  // `end` is where a batch of the log ended.
  HistoryRebuild(const ProducerHistory& history, Offset end, Offset log_start);

  // What has to be read; from() >= to() if nothing.
  Offset from() const { return from_; }
  Offset to() const { return kept_.empty() ? end_ : kept_.begin()->base; }
  // In log order.
  void Add(ProducerEpoch epoch, const ProducedBatch& batch) { window_.Push(epoch, batch); }
  // An empty window: the producer is not known any more.
  ProducerHistory Finish() const;

 private:
  const Offset end_;
  Offset from_;
  ProducerWindow settled_;
  ProducerWindow window_;
  ProducerWindow kept_;  // What was in the window and is still in the log.
};

// What is stored for one producer of a partition. An empty window: nothing, it is forgotten.
struct ProducerRow {
  ProducerId producer{-1};
  ProducerHistory history{};

  friend bool operator==(const ProducerRow&, const ProducerRow&) = default;
};

}  // namespace falaj::record

#endif  // LIBS_RECORD_PRODUCER_WINDOW_H_
