// Consumer::Impl: the positions, the stream, and what has come in.
//
// gRPC's thread only appends frames to inbox_ (bounded by the credit) and says when the call ends;
// everything else happens in Poll(). So there is no thread of its own, and a consumer that is not
// polled does nothing.
#ifndef LIBS_CLIENT_CONSUMER_IMPL_H_
#define LIBS_CLIENT_CONSUMER_IMPL_H_

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"

#include "falaj/v1/consumer_service.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/client/admin.h"
#include "libs/client/consumer.h"
#include "libs/client/raw_stream.h"
#include "libs/client/run_decoder.h"

namespace falaj::client {

class Consumer::Impl {
 public:
  Impl(const ConsumerOptions& options, const std::vector<ConsumerPosition>& positions);
  ~Impl();

  absl::StatusOr<RecordRun> Poll(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Seek(absl::string_view topic, PartitionIndex partition,
                    const v1::OffsetTarget& target) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status SetPaused(absl::string_view topic, PartitionIndex partition, bool paused)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<Offset> Position(absl::string_view topic, PartitionIndex partition) const
      ABSL_LOCKS_EXCLUDED(mu_);
  void Close() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Place {
    std::string topic;
    PartitionIndex partition;
    v1::OffsetTarget start;      // Where to begin while position is unknown.
    Offset position{-1};         // Of the next record to hand out.
    LeaderEpoch last_epoch{-1};  // Of the record before position; -1: not known.
    bool subscribed = false;     // Named in the open frame of the present call.
    bool paused = false;
    bool resting = false;  // Failed; waits for Seek().
    bool seeking = false;  // Frames sent before the last seek may still come.
    std::optional<MonotonicTime> retry_at = std::nullopt;  // Ask again after a passing error.
  };
  using Key = std::pair<std::string, int32_t>;

  // What the loop of Poll() does next; each returns a result to hand out, or nothing to go on.
  using Outcome = std::optional<absl::StatusOr<RecordRun>>;
  Outcome TakeFrame(const Bytes& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Outcome TakeRecords(RecordsFrame frame) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Outcome TakeError(const absl::Status& error, Place* place) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Outcome TakeEnd() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Place* FindCulprit(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void TakeOpened(const v1::ConsumeStreamOpened& opened) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  void Connect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Disconnect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  static void FillPosition(const Place& place, v1::PartitionPosition* position);
  bool AnythingToRead() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Grant(int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SendSeek(const Place& place) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SendPaused(const Place& place) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Repeats what is due and returns the time of the next repetition.
  MonotonicTime RetryDue(MonotonicTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<Place*> Find(absl::string_view topic, PartitionIndex partition)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Constant after construction.
  const ConsumerOptions options_;
  Clock* const clock_;
  std::shared_ptr<grpc::Channel> channel_;
  Admin admin_;

  mutable Mutex mu_;
  CondVar changed_;
  std::vector<Place> places_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<Key, size_t> index_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  std::shared_ptr<RawStream> stream_ ABSL_GUARDED_BY(mu_);
  uint64_t call_number_ ABSL_GUARDED_BY(mu_) = 0;
  int calls_running_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<Bytes> inbox_ ABSL_GUARDED_BY(mu_);
  std::optional<absl::Status> ended_ ABSL_GUARDED_BY(mu_);  // How the present call ended.
  int64_t ungranted_ ABSL_GUARDED_BY(mu_) = 0;              // Handed out and not yet granted back.
  int failures_ ABSL_GUARDED_BY(mu_) = 0;
  MonotonicTime reconnect_at_ ABSL_GUARDED_BY(mu_);
  std::optional<MonotonicTime> lost_at_ ABSL_GUARDED_BY(mu_);  // Without a working call since.
};

}  // namespace falaj::client

#endif  // LIBS_CLIENT_CONSUMER_IMPL_H_
