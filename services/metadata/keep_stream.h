#ifndef SERVICES_METADATA_KEEP_STREAM_H_
#define SERVICES_METADATA_KEEP_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "falaj/v1/coordination_service.pb.h"

#include "libs/base/mutex.h"
#include "services/metadata/coordination_service_impl.h"
#include "services/metadata/open_streams.h"
#include "services/metadata/raft_node.h"

namespace falaj::metadata {

// KeepStream is one KeepSessions call: it takes a request, asks the node, answers, and takes the
// next, so that a client costs at most one request at a time.
//
// gRPC and the task under way share it. Threads: gRPC's, the node's, and the server's that stops.
class CoordinationServiceImpl::KeepStream final
    : public grpc::ServerBidiReactor<v1::KeepSessionsRequest, v1::KeepSessionsResponse> {
 public:
  static KeepStream* Open(RaftNode* node, OpenStreams<KeepStream>* streams);

  // Ends the stream.
  void Close(const absl::Status& status);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  KeepStream(RaftNode* node, OpenStreams<KeepStream>* streams) : node_(node), streams_(streams) {}

  void Answer(MetadataNode* node);

  RaftNode* const node_;
  OpenStreams<KeepStream>* const streams_;
  v1::KeepSessionsRequest request_;    // Of gRPC while it reads, then of the task.
  v1::KeepSessionsResponse response_;  // Of the task, then of gRPC while it writes.

  Mutex mu_;
  std::shared_ptr<KeepStream> self_ ABSL_GUARDED_BY(mu_);  // gRPC's share.
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_KEEP_STREAM_H_
