#ifndef SERVICES_METADATA_EVENT_STREAM_H_
#define SERVICES_METADATA_EVENT_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <cstddef>
#include <deque>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "libs/base/log.h"
#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::metadata {

// EventStream sends one watcher its events over gRPC, one write at a time, from a queue bounded in
// bytes. Message is the response message of a watch, with an index().
//
// A hub and gRPC share it: gRPC until OnDone(), the hub until an event is not taken any more. When
// the queue overflows, what waits is dropped and the stream ends with QUOTA_EXCEEDED and the
// metadata key "resume_after_index": nothing is left out silently.
//
// Threads: Enqueue, EnqueueIfIdle and Close from the node's rounds, the reactions from gRPC's.
template <typename Message>
class EventStream : public grpc::ServerWriteReactor<Message> {
 public:
  using Event = std::shared_ptr<const Message>;

  explicit EventStream(size_t queue_bytes_max) : queue_bytes_max_(queue_bytes_max) {}

  // Keeps itself alive until gRPC is done with it. Call once, before it is handed to gRPC.
  void Own(std::shared_ptr<EventStream> self) {
    MutexLock lock(&mu_);
    self_ = std::move(self);
  }

  // False: it has ended, or is ending because it is too slow.
  bool Enqueue(Event event, size_t size_bytes) {
    MutexLock lock(&mu_);
    if (closing_) return false;
    // One event always fits, however large: a snapshot must get through.
    if (queue_.empty() || queue_bytes_ + size_bytes <= queue_bytes_max_) {
      Append(std::move(event), size_bytes);
      return true;
    }
    log::Warning("a watcher is too slow, its watch ends", {{"queued_bytes", queue_bytes_}});
    queue_.resize(1);
    const auto resume = queue_.front().event->index();
    CloseLocked(MakeError(Reason::kQuotaExceeded, "the watcher is too slow; resume the watch",
                          {{"resume_after_index", absl::StrCat(resume)}}));
    return false;
  }

  // For signs of life: left out if something waits anyway.
  bool EnqueueIfIdle(Event event, size_t size_bytes) {
    MutexLock lock(&mu_);
    if (closing_) return false;
    if (queue_.empty()) Append(std::move(event), size_bytes);
    return true;
  }

  void Close(const absl::Status& status) {
    MutexLock lock(&mu_);
    if (!closing_) CloseLocked(status);
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(&mu_);
    queue_bytes_ -= queue_.front().size_bytes;
    queue_.pop_front();
    if (!ok && !closing_) {
      closing_ = true;
      close_status_ = MakeError(Reason::kCancelled, "the watcher has gone");
    }
    if (!ok) queue_.clear();
    if (!queue_.empty()) {
      this->StartWrite(queue_.front().event.get());
    } else if (closing_) {
      this->Finish(rpc::ToGrpc(close_status_));
    }
  }

  // A write under way fails now, and OnWriteDone() finishes.
  void OnCancel() override { Close(MakeError(Reason::kCancelled, "the watcher has gone")); }

  void OnDone() override {
    std::shared_ptr<EventStream> last;  // Destroyed after the lock is released.
    MutexLock lock(&mu_);
    last = std::move(self_);
  }

 private:
  struct Queued {
    Event event;
    size_t size_bytes = 0;
  };

  void Append(Event event, size_t size_bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    queue_.push_back({std::move(event), size_bytes});
    queue_bytes_ += size_bytes;
    if (queue_.size() == 1) this->StartWrite(queue_.front().event.get());
  }

  void CloseLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    closing_ = true;
    close_status_ = status;
    if (queue_.empty()) this->Finish(rpc::ToGrpc(close_status_));
  }

  const size_t queue_bytes_max_;

  Mutex mu_;
  std::shared_ptr<EventStream> self_ ABSL_GUARDED_BY(mu_);  // gRPC's share.
  std::deque<Queued> queue_ ABSL_GUARDED_BY(mu_);           // The front is being written.
  size_t queue_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool closing_ ABSL_GUARDED_BY(mu_) = false;  // Finish() was called, or will be after the write.
  absl::Status close_status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_EVENT_STREAM_H_
