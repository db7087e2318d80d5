#include "services/metadata/watch_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::metadata {

std::shared_ptr<WatchStream> WatchStream::Create(size_t queue_bytes_max) {
  auto stream = std::shared_ptr<WatchStream>(new WatchStream(queue_bytes_max));
  MutexLock lock(&stream->mu_);
  stream->self_ = stream;
  return stream;
}

bool WatchStream::Push(const WatchEvent& event) {
  MutexLock lock(&mu_);
  if (closing_) return false;
  // One event always fits, however large: a snapshot must get through.
  if (!queue_.empty() && queue_bytes_ + event.size_bytes > queue_bytes_max_) {
    log::Warning("a watcher is too slow, its watch ends", {{"queued_bytes", queue_bytes_}});
    queue_.resize(1);
    const uint64_t resume = queue_.front().message->index();
    CloseLocked(MakeError(Reason::kQuotaExceeded, "the watcher is too slow; resume the watch",
                          {{"resume_after_index", absl::StrCat(resume)}}));
    return false;
  }
  Enqueue(event);
  return true;
}

bool WatchStream::PushKeepalive(const WatchEvent& event) {
  MutexLock lock(&mu_);
  if (closing_) return false;
  if (queue_.empty()) Enqueue(event);
  return true;
}

void WatchStream::Close(const absl::Status& status) {
  MutexLock lock(&mu_);
  if (!closing_) CloseLocked(status);
}

void WatchStream::Enqueue(const WatchEvent& event) {
  queue_.push_back(event);
  queue_bytes_ += event.size_bytes;
  if (queue_.size() == 1) StartWrite(queue_.front().message.get());
}

void WatchStream::CloseLocked(const absl::Status& status) {
  closing_ = true;
  close_status_ = status;
  if (queue_.empty()) Finish(rpc::ToGrpc(close_status_));
}

void WatchStream::OnWriteDone(bool ok) {
  MutexLock lock(&mu_);
  queue_bytes_ -= queue_.front().size_bytes;
  queue_.pop_front();
  if (!ok && !closing_) {
    closing_ = true;
    close_status_ = MakeError(Reason::kCancelled, "the watcher has gone");
  }
  if (!ok) queue_.clear();
  if (!queue_.empty()) {
    StartWrite(queue_.front().message.get());
  } else if (closing_) {
    Finish(rpc::ToGrpc(close_status_));
  }
}

void WatchStream::OnCancel() {
  MutexLock lock(&mu_);
  // A write under way fails now, and OnWriteDone() finishes.
  if (!closing_) CloseLocked(MakeError(Reason::kCancelled, "the watcher has gone"));
}

void WatchStream::OnDone() {
  std::shared_ptr<WatchStream> last;  // Destroyed after the lock is released.
  MutexLock lock(&mu_);
  last = std::move(self_);
}

}  // namespace falaj::metadata
