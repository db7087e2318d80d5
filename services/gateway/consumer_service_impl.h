// ConsumerServiceImpl is the gRPC face of consuming.
#ifndef SERVICES_GATEWAY_CONSUMER_SERVICE_IMPL_H_
#define SERVICES_GATEWAY_CONSUMER_SERVICE_IMPL_H_

#include <grpcpp/grpcpp.h>

#include "falaj/v1/consumer_service.grpc.pb.h"

#include "services/gateway/gateway_parts.h"

namespace falaj::gateway {

class ConsumerServiceImpl final
    : public v1::ConsumerService::WithRawCallbackMethod_Fetch<
          v1::ConsumerService::WithRawCallbackMethod_Consume<
              v1::ConsumerService::WithCallbackMethod_ListOffsets<v1::ConsumerService::Service>>> {
 public:
  explicit ConsumerServiceImpl(const GatewayParts* parts) : parts_(parts) {}

  grpc::ServerUnaryReactor* Fetch(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Consume(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* ListOffsets(grpc::CallbackServerContext* context,
                                        const v1::ListOffsetsRequest* request,
                                        v1::ListOffsetsResponse* response) override;

 private:
  const GatewayParts* const parts_;
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_CONSUMER_SERVICE_IMPL_H_
