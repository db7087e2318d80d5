// PartitionQueue decides, for one partition of a producer, which batch may be sent next and what an
// answer means: batching by linger and size, the order of retries, and when to give up.
//
//           Append()            Take()                    OnAck(ok)
//   record ---------> waiting ---------> in flight -------------------> delivered
//                        ^                   | OnAck(retryable, definite)
//                        |  all in flight    v
//                        +-------------- failed ---- something later was appended ----> error
//                           have failed
//
// Order: while a failed batch waits, nothing of the partition is sent. It goes back to the head of
// the queue, with all that failed after it, once nothing is in flight any more; then one batch at a
// time is sent until one succeeds. If a batch behind it was appended meanwhile, or may have been,
// sending it again would break the order, so its error goes to the caller.
//
// Idempotent producers. Each batch is numbered when it comes to the head for the first time, and
// whatever its outcome it may be sent again: the leader keeps the order and appends it once. At
// most 5 are in flight. Once its outcome was unknown a batch never fails with an error that says it
// was not appended. If a batch is given up there may be a gap: the leader refuses those behind it
// with OUT_OF_ORDER_SEQUENCE. When all are back and the *oldest* was refused so, none of them is in
// the log: only then, and all together, they are numbered anew under the next epoch (KIP-360). A
// sequence is never given to other records.
//
// Pure: no threads, no clock, no gRPC. The owner (TopicStream) locks and passes the time.
#ifndef LIBS_CLIENT_PARTITION_QUEUE_H_
#define LIBS_CLIENT_PARTITION_QUEUE_H_

#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "libs/base/bytes.h"
#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/client/producer.h"
#include "libs/record/batch_builder.h"
#include "libs/record/producer_stamp.h"
#include "libs/record/record.h"

namespace falaj::client {

// PendingBatch is the records of one batch, from the first Append() to its delivery.
struct PendingBatch {
  explicit PendingBatch(size_t expected_bytes) : builder(expected_bytes) {}

  uint64_t id = 0;  // Set when it is first sent.
  PartitionIndex partition;
  MonotonicTime created;
  record::BatchBuilder builder;
  std::vector<DeliveryCallback> callbacks;  // One per record.
  int64_t charged_bytes = 0;                // What it counts against the buffer.
  bool sealed = false;                      // Takes no more records.
  Bytes encoded;                            // Filled by the sender, kept for a retry.
  record::ProducerStamp encoded_stamp;      // What `encoded` is numbered with.
  // Of an idempotent producer:
  std::optional<record::ProducerStamp> stamp;  // Set when it first comes to the head.
  bool missing = false;    // Refused the last time, as batches before it are missing.
  absl::Status uncertain;  // Why its outcome was unknown at least once; OK if it never was.
};
using BatchPtr = std::shared_ptr<PendingBatch>;

// Finished is a batch with its outcome, for the owner to report outside its lock.
struct Finished {
  BatchPtr batch;
  absl::Status status;
  Offset base_offset{-1};
  bool duplicate = false;
};

// True for errors that may pass by themselves: the same batch may be accepted later. A cancelled
// call is one: we ended it to try anew, or a server did that goes away. Who closes a producer or
// consumer gives up by himself what is left.
bool IsRetryable(const absl::Status& status);

class PartitionQueue {
 public:
  struct Options {
    absl::Duration linger;
    int32_t batch_bytes = 64 << 10;
    absl::Duration retry_base = absl::Milliseconds(20);
    absl::Duration retry_max = absl::Seconds(1);
    bool retry_uncertain = false;
    bool idempotent = false;
  };
  // How long a batch that could leave gathers records because others are on their way, and a frame
  // gathers batches. A batch costs everybody it passes about as much as 10 to 20 KiB of payload,
  // and so does a frame: those that leave with little keep a cluster busy at half of what it can
  // take.
  static constexpr absl::Duration kGatherMax = absl::Milliseconds(5);
  static constexpr MonotonicTime kNever{std::numeric_limits<int64_t>::max()};

  PartitionQueue(const Options* options, PartitionIndex partition)
      : options_(options), partition_(partition) {}

  // Adds a record of about `size_bytes` to the open batch, or to a new one if it has no room.
  // Returns true if that sealed a batch or began one: the moment to look at ReadyAt() again.
  bool Append(const record::Record& record, int64_t size_bytes, DeliveryCallback done,
              MonotonicTime now);
  // What numbers the batches from now on, where NeedsProducer(); until then nothing is sent.
  void SetProducer(ProducerId producer);
  bool NeedsProducer() const { return options_->idempotent && producer_ == ProducerId(-1); }
  // False: the next record begins a batch, the moment for a sticky partitioner to move on.
  bool HasOpenBatch() const { return !waiting_.empty() && !waiting_.back()->sealed; }

  // What goes on around the queue.
  struct Traffic {
    bool flushing = false;  // Somebody waits for all there is.
    bool quiet = false;     // Nothing is in flight, of no partition.
  };
  // When the head batch may be sent: now or earlier = send it; kNever = not before an answer
  // arrives. It may be sooner in other traffic.
  MonotonicTime ReadyAt(const Traffic& traffic) const;
  // The head batch, sealed and numbered; null if there is none. It stays at the head while it is
  // being encoded.
  BatchPtr Head();
  // The same as it is; may still grow.
  const PendingBatch* head() const { return waiting_.empty() ? nullptr : waiting_.front().get(); }
  // Size of what is not in flight; counts no further than to `enough`.
  size_t WaitingBytes(size_t enough) const;
  // The head batch cannot be sent at all.
  void DropHead(const absl::Status& status, std::vector<Finished>* finished);
  // Moves the head batch to the batches in flight.
  void MarkSent(uint64_t id);

  // What came back for a batch in flight.
  struct Answer {
    absl::Status status;
    Offset base_offset{-1};
    bool duplicate = false;
  };
  // Appends to `finished` what is decided by it.
  void OnAck(uint64_t id, const Answer& answer, MonotonicTime now, std::vector<Finished>* finished);
  // The stream broke with batches in flight: nobody knows what became of them.
  void OnBroken(const absl::Status& uncertain, MonotonicTime now, std::vector<Finished>* finished);
  // Gives up what was created at or before `created_max` and is not in flight, with the error of
  // the last attempt or else `status`. `busy` is spared.
  void Expire(MonotonicTime created_max, const PendingBatch* busy, const absl::Status& status,
              std::vector<Finished>* finished);

  // Creation time of the oldest batch; kNever if there is none.
  MonotonicTime Oldest() const;
  MonotonicTime OldestInFlight() const;
  bool idle() const { return waiting_.empty() && in_flight_.empty() && failed_.empty(); }
  PartitionIndex partition() const { return partition_; }
  size_t in_flight() const { return in_flight_.size(); }

 private:
  BatchPtr RemoveInFlight(uint64_t id);
  void GiveUpFailed(std::vector<Finished>* finished);
  void RequeueFailed(MonotonicTime now);
  // What an answer means for an idempotent producer: false if the batch is finished.
  bool MustRepeat(PendingBatch* batch, const absl::Status& status) const;
  void FinishNumbered(BatchPtr batch, const Answer& answer, std::vector<Finished>* finished);
  void NumberAnew();

  const Options* const options_;
  const PartitionIndex partition_;
  ProducerId producer_{-1};
  ProducerEpoch epoch_{0};
  Sequence next_sequence_{0};
  std::deque<BatchPtr> waiting_;
  std::deque<BatchPtr> in_flight_;
  std::deque<Finished> failed_;  // Each with the error to report if it cannot be sent again.
  MonotonicTime retry_at_;
  size_t last_size_bytes_ = 512;  // Of the last full batch: what the next one reserves.
  absl::Status last_error_;       // Of the last failed round.
  int attempts_ = 0;  // Failed rounds in a row; while positive, one batch at a time is sent.
};

}  // namespace falaj::client

#endif  // LIBS_CLIENT_PARTITION_QUEUE_H_
