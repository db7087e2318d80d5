#ifndef SERVICES_METADATA_OPEN_STREAMS_H_
#define SERVICES_METADATA_OPEN_STREAMS_H_

#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "libs/base/mutex.h"

namespace falaj::metadata {

// OpenStreams are the streams of a service that clients keep open for ever, so that a server that
// stops can end them. Stream has Close(status), which may be called more than once and from several
// threads.
//
// Threads: any. A stream is added before gRPC sees it and removed in its OnDone().
template <typename Stream>
class OpenStreams {
 public:
  void Add(Stream* stream) {
    MutexLock lock(&mu_);
    streams_.insert(stream);
    if (!closed_.ok()) stream->Close(closed_);
  }
  void Remove(Stream* stream) {
    MutexLock lock(&mu_);
    streams_.erase(stream);
  }
  // Ends all streams, also those that come later. `status` is an error.
  void CloseAll(const absl::Status& status) {
    MutexLock lock(&mu_);
    closed_ = status;
    // Under the lock: Remove(), after which a stream is deleted, waits for it.
    for (Stream* stream : streams_) stream->Close(status);
  }

 private:
  Mutex mu_;
  std::set<Stream*> streams_ ABSL_GUARDED_BY(mu_);
  absl::Status closed_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_OPEN_STREAMS_H_
