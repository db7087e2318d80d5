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
// again (definite, retryable: NOT_LEADER, LEADER_UNAVAILABLE, SHUTTING_DOWN) return to the head of
// the queue in their old order. APPEND_UNCERTAIN is never sent again: it may have been appended.
// Retries end at the batch's deadline, and when the gateway stops.
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
#include "services/gateway/gateway_parts.h"
#include "services/gateway/storage_link.h"

namespace falaj::gateway {

class PartitionAppender : public std::enable_shared_from_this<PartitionAppender> {
 public:
  // `parts` must outlive every batch under way.
  PartitionAppender(const GatewayParts* parts, TopicId topic, PartitionIndex partition,
                    v1::Acks acks);

  // `done` gets what became of the batch: the answer, or the error that ends it. Retries stop at
  // `deadline`.
  void Append(Bytes batch, MonotonicTime deadline, AppendCallback done);

 private:
  using Outcome = absl::StatusOr<internal::v1::AppendResponse>;

  struct Batch {
    uint64_t number = 0;  // In order of arrival.
    Bytes bytes;
    MonotonicTime deadline;
    AppendCallback done;
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
  void OnOutcome(Batch batch, LeaderEpoch epoch, Outcome outcome);
  // False if the gateway stops.
  bool PumpLater() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const GatewayParts* const parts_;
  const TopicId topic_;
  const PartitionIndex partition_;
  const v1::Acks acks_;

  Mutex mu_;
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
