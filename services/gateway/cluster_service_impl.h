// ClusterServiceImpl is the gRPC face of the cluster: an overview, the storage nodes, and a watch,
// all from the route table.
#ifndef SERVICES_GATEWAY_CLUSTER_SERVICE_IMPL_H_
#define SERVICES_GATEWAY_CLUSTER_SERVICE_IMPL_H_

#include <grpcpp/grpcpp.h>

#include "falaj/v1/cluster_service.grpc.pb.h"

#include "services/gateway/cluster_history.h"
#include "services/gateway/gateway_parts.h"

namespace falaj::gateway {

class ClusterServiceImpl final
    : public v1::ClusterService::WithCallbackMethod_GetCluster<
          v1::ClusterService::WithCallbackMethod_ListNodes<
              v1::ClusterService::WithCallbackMethod_WatchCluster<v1::ClusterService::Service>>> {
 public:
  ClusterServiceImpl(const GatewayParts* parts, ClusterHistory* history)
      : parts_(parts), history_(history) {}

  grpc::ServerUnaryReactor* GetCluster(grpc::CallbackServerContext* context,
                                       const v1::GetClusterRequest* request,
                                       v1::GetClusterResponse* response) override;
  grpc::ServerUnaryReactor* ListNodes(grpc::CallbackServerContext* context,
                                      const v1::ListNodesRequest* request,
                                      v1::ListNodesResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchClusterResponse>* WatchCluster(
      grpc::CallbackServerContext* context, const v1::WatchClusterRequest* request) override;

 private:
  const GatewayParts* const parts_;
  ClusterHistory* const history_;  // Not owned.
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_CLUSTER_SERVICE_IMPL_H_
