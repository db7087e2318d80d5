#ifndef SERVICES_METADATA_WATCH_STREAM_H_
#define SERVICES_METADATA_WATCH_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <cstddef>
#include <deque>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "falaj/internal/v1/metadata_service.pb.h"

#include "libs/base/mutex.h"
#include "services/metadata/watch_hub.h"

namespace falaj::metadata {

// WatchStream sends one watcher its events over gRPC, one write at a time, from a queue bounded in
// bytes.
//
// The WatchHub and gRPC share it: gRPC until OnDone(), the hub until Push() returns false. When the
// queue overflows, what waits is dropped and the stream ends with QUOTA_EXCEEDED and the metadata
// key "resume_after_index": nothing is left out silently.
//
// Threads: Push, PushKeepalive and Close from the node's thread, the reactions from gRPC's.
class WatchStream final : public grpc::ServerWriteReactor<internal::v1::WatchClusterResponse>,
                          public Watcher {
 public:
  // Lives until both gRPC and the caller let go of it.
  static std::shared_ptr<WatchStream> Create(size_t queue_bytes_max);

  bool Push(const WatchEvent& event) override;
  bool PushKeepalive(const WatchEvent& event) override;
  void Close(const absl::Status& status) override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  explicit WatchStream(size_t queue_bytes_max) : queue_bytes_max_(queue_bytes_max) {}

  void Enqueue(const WatchEvent& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CloseLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const size_t queue_bytes_max_;

  Mutex mu_;
  std::shared_ptr<WatchStream> self_ ABSL_GUARDED_BY(mu_);  // gRPC's share.
  std::deque<WatchEvent> queue_ ABSL_GUARDED_BY(mu_);       // The front is being written.
  size_t queue_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool closing_ ABSL_GUARDED_BY(mu_) = false;  // Finish() was called, or will be after the write.
  absl::Status close_status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_WATCH_STREAM_H_
