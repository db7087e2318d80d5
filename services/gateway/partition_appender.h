// PartitionAppender sends the batches of one producer to one partition, in order, to whichever
// storage node leads it.
//
// A produce stream owns one for each partition it writes to; a unary Produce makes one for the
// call. It is kept alive by what is under way.
//
// Order. Batches are pipelined, up to the caller's own bound, only after the leader has answered
// one under the same leader epoch. Until then one batch is under way at a time: a node that has not
// yet learned that it leads refuses the first batch, and the ones behind it must not overtake.
//
//   unconfirmed ── answer under epoch e ──▶ confirmed(e) ── NOT_LEADER, broken link ──▶ draining
//   draining ── all back, and a pause ──▶ unconfirmed
//
// In draining nothing is sent until every batch under way has come back; those that may be sent
// again return to the head of the queue in their old order. Retries end at the batch's deadline,
// and when the gateway stops.
//
// What may be sent again: what certainly was not appended and may be elsewhere (NOT_LEADER,
// LEADER_UNAVAILABLE, SHUTTING_DOWN); and whatever its outcome (APPEND_UNCERTAIN, STORAGE_FAILED) a
// batch with sequences, as its leader appends it once. Once its outcome was unknown a batch does
// not end with an error that says it was not appended, unless the leader's sequences prove that.
//
// Sequences are the client's; or the appender numbers the batch itself, if it comes with a lane. Of
// those at most 5 are under way. If one of them is given up, the leader refuses those behind it
// with OUT_OF_ORDER_SEQUENCE. When all are back and the first of them was refused so, none of them
// is in the log: they are numbered anew, under the next epoch of the lane.
//
// Threads: any. One thread at a time sends and calls back (Pump); whoever changes something
// meanwhile leaves the work to it. Callbacks run without a lock held, in the order of Append():
// outcomes that come early wait for those before them.
#ifndef SERVICES_GATEWAY_PARTITION_APPENDER_H_
#define SERVICES_GATEWAY_PARTITION_APPENDER_H_

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/bytes.h"
#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/record/producer_stamp.h"
#include "services/gateway/gateway_parts.h"
#include "services/gateway/producer_lane.h"
#include "services/gateway/storage_link.h"

namespace falaj::gateway {

class PartitionAppender : public std::enable_shared_from_this<PartitionAppender> {
 public:
  // `parts` must outlive every batch under way.
  PartitionAppender(const GatewayParts* parts, TopicId topic, PartitionIndex partition,
                    v1::Acks acks);

  // `done` gets what became of the batch: the answer, or the error that ends it. Retries stop at
  // `deadline`. A `lane` numbers the batch, which must not be numbered yet; it is the same one in
  // all calls, and what it knows of this partition is the appender's as long as that lives.
  void Append(Bytes batch, MonotonicTime deadline, AppendCallback done,
              std::shared_ptr<ProducerLane> lane = nullptr);

 private:
  using Outcome = absl::StatusOr<internal::v1::AppendOutcome>;

  struct Batch {
    uint64_t number = 0;  // In order of arrival.
    Bytes bytes;
    MonotonicTime deadline;
    AppendCallback done;
    int32_t record_count = 0;
    bool sequenced = false;                      // It carries sequences, or will when it is sent.
    bool by_lane = false;                        // The lane numbers it.
    std::optional<record::ProducerStamp> stamp;  // As it did.
    bool missing = false;    // Refused the last time, as batches before it are missing.
    absl::Status uncertain;  // Why its outcome was unknown at least once; OK if it never was.
  };
  struct Launch {  // A batch on its way out, decided under the lock and sent outside.
    Batch batch;
    AppendTarget target;
    std::string address;
  };
  using Finished = std::pair<AppendCallback, Outcome>;

  // Sends what may be sent and calls back what is due, until nothing is left to do now.
  void Pump();
  // Takes the next batch to send, or finishes it with an error, or arms the retry timer. False if
  // there is nothing to do now.
  bool TakeNext(std::vector<Launch>* launches) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::vector<Finished> TakeFinished() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Finish(Batch batch, Outcome outcome) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FailBatch(Batch batch, const absl::Status& error) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool MayRepeat(const Batch& batch, const absl::Status& error) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Number(Batch* batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void NumberAnew() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnOutcome(Batch batch, LeaderEpoch epoch, Outcome outcome);
  // False if the gateway stops.
  bool PumpLater() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const GatewayParts* const parts_;
  const TopicId topic_;
  const PartitionIndex partition_;
  const v1::Acks acks_;

  Mutex mu_;
  std::shared_ptr<ProducerLane> lane_
      ABSL_GUARDED_BY(mu_);                              // Null before the first of its batches.
  Numbering* numbering_ ABSL_GUARDED_BY(mu_) = nullptr;  // Of lane_.
  bool pumping_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t next_number_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<Batch> queue_ ABSL_GUARDED_BY(mu_);  // Ascending by number.
  int in_flight_ ABSL_GUARDED_BY(mu_) = 0;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<LeaderEpoch> confirmed_ ABSL_GUARDED_BY(mu_);
  bool pump_due_ ABSL_GUARDED_BY(mu_) = false;                  // A timer runs.
  std::map<uint64_t, Finished> finished_ ABSL_GUARDED_BY(mu_);  // By number; not called back yet.
  uint64_t next_finished_ ABSL_GUARDED_BY(mu_) = 0;             // The number to call back next.
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_PARTITION_APPENDER_H_
