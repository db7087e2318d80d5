#ifndef SERVICES_METADATA_NEWEST_STREAMS_H_
#define SERVICES_METADATA_NEWEST_STREAMS_H_

#include <map>

#include "absl/base/thread_annotations.h"

#include "libs/base/ids.h"
#include "libs/base/mutex.h"

namespace falaj::metadata {

// NewestStreams knows which stream each peer opened last. The end of that one says something about
// the peer; the end of an older one, which may come long after (a half-open connection ends when
// keepalive notices), says nothing.
//
// Streams are told apart by address and closed before they are destroyed. Threads: any.
class NewestStreams {
 public:
  // The stream has proved whose it is.
  void Opened(NodeId peer, const void* stream) {
    MutexLock lock(&mu_);
    newest_[peer] = stream;
  }
  // True: no other stream has taken its place.
  [[nodiscard]] bool Closed(NodeId peer, const void* stream) {
    MutexLock lock(&mu_);
    const auto found = newest_.find(peer);
    if (found == newest_.end() || found->second != stream) return false;
    newest_.erase(found);
    return true;
  }

 private:
  Mutex mu_;
  std::map<NodeId, const void*> newest_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_NEWEST_STREAMS_H_
