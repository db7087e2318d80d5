// TopicServiceImpl is the gRPC face of topics: changes go to the metadata service, questions are
// answered from the route table. A change is answered once this gateway's table includes it, so
// that a client reads what it has written.
//
// These are the gateway's only methods that block a thread: they are rare, and gRPC runs them on
// threads of their own.
#ifndef SERVICES_GATEWAY_TOPIC_SERVICE_IMPL_H_
#define SERVICES_GATEWAY_TOPIC_SERVICE_IMPL_H_

#include <grpcpp/grpcpp.h>

#include "absl/status/statusor.h"

#include "falaj/internal/v1/cluster.pb.h"
#include "falaj/v1/topic_service.grpc.pb.h"

#include "libs/rpc/metadata_channel.h"
#include "services/gateway/gateway_parts.h"

namespace falaj::gateway {

class TopicServiceImpl final : public v1::TopicService::Service {
 public:
  TopicServiceImpl(const GatewayParts* parts, rpc::MetadataChannel* metadata)
      : parts_(parts), metadata_(metadata) {}

  grpc::Status CreateTopic(grpc::ServerContext* context, const v1::CreateTopicRequest* request,
                           v1::CreateTopicResponse* response) override;
  grpc::Status GetTopic(grpc::ServerContext* context, const v1::GetTopicRequest* request,
                        v1::GetTopicResponse* response) override;
  grpc::Status ListTopics(grpc::ServerContext* context, const v1::ListTopicsRequest* request,
                          v1::ListTopicsResponse* response) override;
  grpc::Status UpdateTopic(grpc::ServerContext* context, const v1::UpdateTopicRequest* request,
                           v1::UpdateTopicResponse* response) override;
  grpc::Status DeleteTopic(grpc::ServerContext* context, const v1::DeleteTopicRequest* request,
                           v1::DeleteTopicResponse* response) override;
  grpc::Status AddPartitions(grpc::ServerContext* context, const v1::AddPartitionsRequest* request,
                             v1::AddPartitionsResponse* response) override;
  grpc::Status TruncateTopic(grpc::ServerContext* context, const v1::TruncateTopicRequest* request,
                             v1::TruncateTopicResponse* response) override;

 private:
  // Executes a command and waits until the route table includes it.
  absl::Status Execute(grpc::ServerContext* context, const internal::v1::ClusterCommand& command);
  // Whether the topic has this partition. TOPIC_NOT_FOUND or PARTITION_NOT_FOUND once the metadata
  // service has confirmed it: may block for a moment.
  absl::Status MakeSureOf(const std::string& name, int32_t partition = 0) const;
  absl::StatusOr<v1::Topic> Describe(const std::string& name) const;

  absl::StatusOr<v1::Topic> Create(grpc::ServerContext* context,
                                   const v1::CreateTopicRequest& request);
  absl::StatusOr<v1::Topic> Update(grpc::ServerContext* context,
                                   const v1::UpdateTopicRequest& request);
  absl::Status List(const v1::ListTopicsRequest& request, v1::ListTopicsResponse* response) const;
  absl::Status Truncate(grpc::ServerContext* context, const v1::TruncateTopicRequest& request,
                        v1::TruncateTopicResponse* response);

  const GatewayParts* const parts_;
  rpc::MetadataChannel* const metadata_;  // Not owned.
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_TOPIC_SERVICE_IMPL_H_
