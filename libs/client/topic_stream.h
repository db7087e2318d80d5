// TopicStream is the StreamProduce stream of one topic and the partition queues behind it.
//
// Producer owns one per topic it has sent to. Whoever makes something sendable pumps: the caller of
// Append() when the stream is idle, gRPC's thread after a write or an answer, the producer's worker
// when a timer is due. At most one write is outstanding, so batches gather while it is on its way;
// they share the next frame.
//
// Ownership: shared with the events of the running call; Shutdown() breaks that and must be called
// before the last owner goes.
//
// Threads: all methods from any thread; one lock. Encoding and delivery callbacks run outside it.
//
// Failures: a broken call is replaced with backoff while records wait. An error that will not pass
// (TOPIC_NOT_FOUND, INVALID_REQUEST) fails what waits; the next Append() tries afresh.
#ifndef LIBS_CLIENT_TOPIC_STREAM_H_
#define LIBS_CLIENT_TOPIC_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "falaj/v1/producer_service.pb.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/random.h"
#include "libs/client/byte_budget.h"
#include "libs/client/options.h"
#include "libs/client/partition_queue.h"
#include "libs/client/produce_frame.h"
#include "libs/client/raw_stream.h"

namespace falaj::client {

// What all streams of a producer share. Outlives them.
struct ProducerContext {
  ProducerOptions options;
  std::shared_ptr<grpc::Channel> channel;
  Clock* clock = nullptr;
  ByteBudget* budget = nullptr;
  std::function<void(MonotonicTime)> wake_at;  // Asks for OnTimer() at that time.
  // Of an idempotent producer.
  std::function<void()> want_producer;  // Asks for SetProducer(); may be called under the lock.
};

class TopicStream : public std::enable_shared_from_this<TopicStream> {
 public:
  TopicStream(const ProducerContext* context, std::string topic, uint64_t seed);

  // Opens the stream if it never was, and waits until the partitions are known.
  absl::StatusOr<int32_t> PartitionCount(MonotonicTime deadline) ABSL_LOCKS_EXCLUDED(mu_);
  // Requires a successful PartitionCount(). Takes over `size_bytes` of the budget, unless it fails.
  absl::Status Append(std::optional<PartitionIndex> partition, const record::Record& record,
                      int64_t size_bytes, DeliveryCallback done) ABSL_LOCKS_EXCLUDED(mu_);
  // Largest batch the topic takes.
  int64_t batch_bytes_max() const ABSL_LOCKS_EXCLUDED(mu_);

  // Sends what is waiting. WaitFinished() returns once everything appended before `start` is done.
  void BeginFlush() ABSL_LOCKS_EXCLUDED(mu_);
  bool WaitFinished(MonotonicTime start, MonotonicTime deadline) ABSL_LOCKS_EXCLUDED(mu_);
  void EndFlush() ABSL_LOCKS_EXCLUDED(mu_);

  // What numbers the batches of all partitions that wait for it.
  void SetProducer(ProducerId producer) ABSL_LOCKS_EXCLUDED(mu_);
  // There is none to be had: fails what waits for it.
  void FailProducer(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);

  // Does what is due: linger, retries, reconnecting, delivery timeouts. Asks for the next timer.
  void OnTimer(MonotonicTime now) ABSL_LOCKS_EXCLUDED(mu_);
  // Ends the call, fails everything outstanding and waits until no event runs any more. Not from a
  // callback.
  void Shutdown() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Slot {
    PartitionQueue queue;
    bool listed = false;                           // In ready_.
    MonotonicTime timer = PartitionQueue::kNever;  // In timers_, unless kNever.
  };

  void Connect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnFrame(uint64_t call, const grpc::ByteBuffer& frame) ABSL_LOCKS_EXCLUDED(mu_);
  void OnOpened(const v1::ProduceStreamOpened& opened) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnAck(const v1::BatchAck& ack, std::vector<Finished>* finished)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnAnswer(uint64_t batch_id, const PartitionQueue::Answer& answer,
                std::vector<Finished>* finished) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnWritten(uint64_t call) ABSL_LOCKS_EXCLUDED(mu_);
  void OnCallDone(uint64_t call, const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu_);
  void OnBroken(const absl::Status& status, std::vector<Finished>* finished)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Equip(Slot* slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // What Pump() gathers. Its batches are marked as sent before they are written.
  struct Outgoing {
    ProduceFrame frame;
    std::shared_ptr<RawStream> stream;  // Where the frame will go.
    size_t plain_bytes = 0;             // Before compression, of what was encoded for the frame.
    std::vector<Finished> failed;       // Could not be encoded; to be told once the frame is away.
  };

  // Sends what may be sent now. One thread at a time encodes; the others leave it to that one.
  void Pump() ABSL_LOCKS_EXCLUDED(mu_);
  // When what is ready may leave in the next frame; kNever if nothing is ready.
  MonotonicTime NextFrameAt() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Encodes the next batch, if one may be sent, and marks it as sent in the frame. False once
  // nothing more can be added.
  bool AddBatch(Outgoing* out) ABSL_LOCKS_EXCLUDED(mu_);
  // Whether the head batch of `queue` may share the frame.
  bool Fits(const PartitionQueue& queue, const Outgoing& out) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  BatchPtr PickBatch(const Outgoing& out, MonotonicTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool MarkSent(const BatchPtr& batch, uint64_t id, size_t frame_batches)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Encode(PendingBatch* batch, const record::ProducerStamp& stamp,
                      v1::Compression codec) const;
  // What goes on, but for the latest so many batches: those of the frame that is being made.
  PartitionQueue::Traffic TrafficBut(size_t batches) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Reschedule(Slot* slot, MonotonicTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Lets go what gathered records as long as others were in flight, if none is any more.
  void EndGathering(MonotonicTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  PartitionIndex Choose(const record::Record& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  MonotonicTime Oldest() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Expire(MonotonicTime created_max, const absl::Status& status,
              std::vector<Finished>* finished) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void BreakInFlight(const absl::Status& status, MonotonicTime now, std::vector<Finished>* finished)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void PlanTimer(MonotonicTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Runs the callbacks. Requires: the caller has counted itself in delivering_ under the lock.
  void Deliver(std::vector<Finished> finished) ABSL_LOCKS_EXCLUDED(mu_);

  const ProducerContext* const context_;
  const std::string topic_;
  PartitionQueue::Options queue_options_;

  mutable Mutex mu_;
  CondVar changed_;
  Random random_ ABSL_GUARDED_BY(mu_);
  // The call. call_number_ tells events of an old call from those of the present one.
  std::shared_ptr<RawStream> stream_ ABSL_GUARDED_BY(mu_);
  uint64_t call_number_ ABSL_GUARDED_BY(mu_) = 0;
  bool opened_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool shut_down_ ABSL_GUARDED_BY(mu_) = false;
  int failures_ ABSL_GUARDED_BY(mu_) = 0;  // Calls in a row that ended before they were opened.
  ProducerId producer_ ABSL_GUARDED_BY(mu_){-1};  // The latest id got.
  MonotonicTime reconnect_at_ ABSL_GUARDED_BY(mu_);
  MonotonicTime expire_at_ ABSL_GUARDED_BY(mu_);  // When to look for what is late again.
  absl::Status last_error_ ABSL_GUARDED_BY(mu_);  // Why the last call ended.
  v1::ProduceStreamOpened limits_ ABSL_GUARDED_BY(mu_);
  // The partitions.
  std::vector<Slot> slots_ ABSL_GUARDED_BY(mu_);
  std::deque<int32_t> ready_ ABSL_GUARDED_BY(mu_);
  absl::btree_set<std::pair<MonotonicTime, int32_t>> timers_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<uint64_t, std::pair<int32_t, int64_t>> sent_
      ABSL_GUARDED_BY(mu_);  // Batch id to partition and encoded size.
  int64_t sent_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  int delivering_ ABSL_GUARDED_BY(mu_) = 0;  // Threads about to run callbacks.
  int calls_running_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t outstanding_records_ ABSL_GUARDED_BY(mu_) = 0;  // Appended and not finished.
  uint64_t next_batch_id_ ABSL_GUARDED_BY(mu_) = 1;
  PendingBatch* encoding_ ABSL_GUARDED_BY(mu_) = nullptr;
  int32_t sticky_ ABSL_GUARDED_BY(mu_) = -1;
  int flushes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace falaj::client

#endif  // LIBS_CLIENT_TOPIC_STREAM_H_
