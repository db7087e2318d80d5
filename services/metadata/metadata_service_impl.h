#ifndef SERVICES_METADATA_METADATA_SERVICE_IMPL_H_
#define SERVICES_METADATA_METADATA_SERVICE_IMPL_H_

#include <grpcpp/grpcpp.h>

#include <cstddef>

#include "falaj/internal/v1/metadata_service.grpc.pb.h"

#include "libs/base/ids.h"
#include "services/metadata/raft_node.h"

namespace falaj::metadata {

// MetadataServiceImpl is the gRPC door to RaftNode: it passes requests in and answers out, and
// decides nothing. Threads: gRPC's; nothing here blocks.
class MetadataServiceImpl final : public internal::v1::MetadataService::CallbackService {
 public:
  // `node` is not owned and outlives this.
  MetadataServiceImpl(RaftNode* node, const Uuid& cluster_id, uint64_t incarnation,
                      size_t watcher_queue_bytes)
      : node_(node),
        cluster_id_(cluster_id),
        incarnation_(incarnation),
        watcher_queue_bytes_(watcher_queue_bytes) {}

  grpc::ServerUnaryReactor* Execute(grpc::CallbackServerContext* context,
                                    const internal::v1::ExecuteRequest* request,
                                    internal::v1::ExecuteResponse* response) override;
  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* context,
                                      const internal::v1::HeartbeatRequest* request,
                                      internal::v1::HeartbeatResponse* response) override;
  grpc::ServerWriteReactor<internal::v1::HoldSessionResponse>* HoldSession(
      grpc::CallbackServerContext* context,
      const internal::v1::HoldSessionRequest* request) override;
  grpc::ServerWriteReactor<internal::v1::WatchClusterResponse>* WatchCluster(
      grpc::CallbackServerContext* context,
      const internal::v1::WatchClusterRequest* request) override;
  grpc::ServerUnaryReactor* GetNewestChange(
      grpc::CallbackServerContext* context, const internal::v1::GetNewestChangeRequest* request,
      internal::v1::GetNewestChangeResponse* response) override;
  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context,
                                      const internal::v1::GetStatusRequest* request,
                                      internal::v1::GetStatusResponse* response) override;
  grpc::ServerUnaryReactor* TransferLeadership(
      grpc::CallbackServerContext* context, const internal::v1::TransferLeadershipRequest* request,
      internal::v1::TransferLeadershipResponse* response) override;
  grpc::ServerUnaryReactor* ChangeMembership(
      grpc::CallbackServerContext* context, const internal::v1::ChangeMembershipRequest* request,
      internal::v1::ChangeMembershipResponse* response) override;

 private:
  RaftNode* const node_;
  const Uuid cluster_id_;
  const uint64_t incarnation_;
  const size_t watcher_queue_bytes_;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_METADATA_SERVICE_IMPL_H_
