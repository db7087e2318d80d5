// ClusterServiceImpl is the gRPC face of the cluster: an overview, the storage nodes, and a watch,
// all from the route table; and the operations that move partitions about, which are commands of
// the metadata service.
//
// The operations block a thread, and are rare, like those of TopicServiceImpl.
#ifndef SERVICES_GATEWAY_CLUSTER_SERVICE_IMPL_H_
#define SERVICES_GATEWAY_CLUSTER_SERVICE_IMPL_H_

#include <grpcpp/grpcpp.h>

#include "absl/status/statusor.h"

#include "falaj/v1/cluster_service.grpc.pb.h"

#include "libs/rpc/metadata_channel.h"
#include "services/gateway/cluster_history.h"
#include "services/gateway/gateway_parts.h"

namespace falaj::gateway {

class ClusterServiceImpl final
    : public v1::ClusterService::WithCallbackMethod_GetCluster<
          v1::ClusterService::WithCallbackMethod_ListNodes<
              v1::ClusterService::WithCallbackMethod_WatchCluster<v1::ClusterService::Service>>> {
 public:
  ClusterServiceImpl(const GatewayParts* parts, ClusterHistory* history,
                     rpc::MetadataChannel* metadata)
      : parts_(parts), history_(history), metadata_(metadata) {}

  grpc::ServerUnaryReactor* GetCluster(grpc::CallbackServerContext* context,
                                       const v1::GetClusterRequest* request,
                                       v1::GetClusterResponse* response) override;
  grpc::ServerUnaryReactor* ListNodes(grpc::CallbackServerContext* context,
                                      const v1::ListNodesRequest* request,
                                      v1::ListNodesResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchClusterResponse>* WatchCluster(
      grpc::CallbackServerContext* context, const v1::WatchClusterRequest* request) override;

  grpc::Status ReassignPartitions(grpc::ServerContext* context,
                                  const v1::ReassignPartitionsRequest* request,
                                  v1::ReassignPartitionsResponse* response) override;
  grpc::Status ListReassignments(grpc::ServerContext* context,
                                 const v1::ListReassignmentsRequest* request,
                                 v1::ListReassignmentsResponse* response) override;
  grpc::Status CancelReassignments(grpc::ServerContext* context,
                                   const v1::CancelReassignmentsRequest* request,
                                   v1::CancelReassignmentsResponse* response) override;
  grpc::Status ElectLeaders(grpc::ServerContext* context, const v1::ElectLeadersRequest* request,
                            v1::ElectLeadersResponse* response) override;
  grpc::Status DrainNode(grpc::ServerContext* context, const v1::DrainNodeRequest* request,
                         v1::DrainNodeResponse* response) override;
  grpc::Status UndrainNode(grpc::ServerContext* context, const v1::UndrainNodeRequest* request,
                           v1::UndrainNodeResponse* response) override;

 private:
  // Sets the mark of a node; answers how many partitions that has set on their way.
  absl::StatusOr<int32_t> SetDraining(grpc::ServerContext* context, int32_t node_id, bool draining,
                                      v1::StorageNode* node);
  absl::Status Elect(grpc::ServerContext* context, const v1::ElectLeadersRequest& request,
                     v1::ElectLeadersResponse* response);

  const GatewayParts* const parts_;
  ClusterHistory* const history_;         // Not owned.
  rpc::MetadataChannel* const metadata_;  // Not owned.
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_CLUSTER_SERVICE_IMPL_H_
