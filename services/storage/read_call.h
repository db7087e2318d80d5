// ReadCall is one Read: it gathers batches below the high watermark of one or many partitions and,
// if there are too few, waits for more until the caller's patience ends.
//
//   collect from memory ──▶ enough ─────────────────────────────▶ answer
//        │      ▲   │
//        │      │   └─ needs the disk ──▶ collect on a disk reader ──▶ answer or park
//        ▼      │
//      parked ──┴─ woken by: a high watermark, a change of leader, its deadline, a cancellation
//
// Parked, it is an entry in the waiter list of each partition and one among the deadlines: no
// thread, no polling. It is woken on the thread that moved the high watermark, and goes on there if
// that is one of gRPC's and little is to be done, else on a reader thread that never touches the
// disk.
//
// Ownership: shared by gRPC (until OnDone) and the waiter lists. Threads: one thread at
// a time collects; mu_ guards who that is.
#ifndef SERVICES_STORAGE_READ_CALL_H_
#define SERVICES_STORAGE_READ_CALL_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "falaj/internal/v1/storage_service.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "services/storage/partition.h"
#include "services/storage/read_deadlines.h"
#include "services/storage/service_parts.h"

namespace falaj::storage {

class ReadCall final : public grpc::ServerUnaryReactor,
                       public Partition::Waiter,
                       public ReadDeadlines::Waiting,
                       public std::enable_shared_from_this<ReadCall> {
 public:
  // Lives until gRPC is done with it. `response` is gRPC's, valid until then.
  static ReadCall* Start(const ServiceParts* parts, const grpc::ByteBuffer& request,
                         grpc::ByteBuffer* response);

  void OnCancel() override;
  void OnDone() override;
  void Wake(GoOn where) override;
  void OnDeadline() override;

 private:
  // gRPC would else hand OnDone() and OnCancel(), which are short and take no lock that is held
  // while anything of gRPC's is called, to a thread of its own: a wake-up for every read.
  bool InternalInlineable() override { return true; }

  // What there is of one partition so far.
  struct Part {
    std::shared_ptr<Partition> partition;  // Null if there is none.
    LeaderEpoch epoch;
    Offset offset;                          // Where to begin.
    std::optional<LeaderEpoch> last_epoch;  // Of the record before that; unset: not to be checked.
    int64_t bytes_max = 0;
    PartitionState state;
    absl::Status status;
    Offset next;  // Where the batches end.
    Bytes batches;
    size_t last_batch = 0;                           // Where in them the last one begins.
    absl::InlinedVector<MonotonicTime, 4> appended;  // When, if they come from the tail cache.
  };

  ReadCall(const ServiceParts* parts, grpc::ByteBuffer* response)
      : parts_(parts), response_(response) {}

  absl::Status Parse(const grpc::ByteBuffer& request);
  // Collects, then answers, parks, or hands over to a disk reader. On one thread at a time.
  void Go(bool may_block);
  // Returns false if the disk must be read and may not be.
  bool Collect(bool may_block);
  bool CollectPart(Part* part, int64_t room, bool may_block);
  // Whether the partition may be read from where it is asked to.
  absl::Status CheckPosition(const Part& part) const;
  absl::StatusOr<log::TailRun> ReadDisk(const Part& part, size_t bytes_max);
  // Returns false if there is news already: collect again.
  bool Park();
  void Unpark();
  void Answer();
  // Counts what is handed over.
  void Observe(const Part& part);
  void End(const absl::Status& status);

  const ServiceParts* const parts_;
  grpc::ByteBuffer* const response_;
  std::vector<Part> request_;
  int64_t bytes_max_ = 0;
  int64_t bytes_min_ = 1;
  int64_t collected_bytes_ = 0;
  bool failed_part_ = false;
  std::vector<std::pair<std::shared_ptr<Partition>, Offset>> parked_at_;
  MonotonicTime deadline_;  // Of the real clock; not set if it does not wait.

  Mutex mu_;
  std::shared_ptr<ReadCall> self_ ABSL_GUARDED_BY(mu_);  // Until OnDone.
  int64_t budgeted_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool parked_ ABSL_GUARDED_BY(mu_) = false;
  bool news_ ABSL_GUARDED_BY(mu_) = false;  // Came while nobody was parked.
  bool timed_out_ ABSL_GUARDED_BY(mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_READ_CALL_H_
