#ifndef SERVICES_METADATA_HOLD_STREAM_H_
#define SERVICES_METADATA_HOLD_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "falaj/internal/v1/metadata_service.pb.h"

#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "services/metadata/raft_node.h"
#include "services/metadata/session_holders.h"

namespace falaj::metadata {

// HoldStream is one HoldSession call: it says once that the session is held, and then waits for its
// end. gRPC tells of that when the client cancels it and when the connection is gone, which happens
// at once when a process dies.
//
// gRPC and the node's SessionHolders share it. Threads: gRPC's and the node's.
class HoldStream final : public grpc::ServerWriteReactor<internal::v1::HoldSessionResponse>,
                         public SessionHolder {
 public:
  static HoldStream* Open(RaftNode* node, SessionId session);

  void Close(const absl::Status& status) override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  HoldStream(RaftNode* node, SessionId session) : node_(node), session_(session) {}

  void Begin(MetadataNode* node);

  RaftNode* const node_;
  const SessionId session_;
  const internal::v1::HoldSessionResponse held_;

  Mutex mu_;
  std::shared_ptr<HoldStream> self_ ABSL_GUARDED_BY(mu_);  // gRPC's share.
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool closing_ ABSL_GUARDED_BY(mu_) = false;  // Finish() was called, or will be after the write.
  absl::Status close_status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_HOLD_STREAM_H_
