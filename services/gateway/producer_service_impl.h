// ProducerServiceImpl is the gRPC face of producing: Produce as one call, StreamProduce as a raw
// stream.
#ifndef SERVICES_GATEWAY_PRODUCER_SERVICE_IMPL_H_
#define SERVICES_GATEWAY_PRODUCER_SERVICE_IMPL_H_

#include <grpcpp/grpcpp.h>

#include "falaj/v1/producer_service.grpc.pb.h"

#include "libs/base/mutex.h"
#include "libs/base/random.h"
#include "services/gateway/gateway_parts.h"

namespace falaj::gateway {

class ProducerServiceImpl final
    : public v1::ProducerService::WithCallbackMethod_Produce<
          v1::ProducerService::WithRawCallbackMethod_StreamProduce<v1::ProducerService::Service>> {
 public:
  explicit ProducerServiceImpl(const GatewayParts* parts);

  // On a thread of gRPC's pool: it may have to wait for the metadata service.
  grpc::Status InitProducer(grpc::ServerContext* context, const v1::InitProducerRequest* request,
                            v1::InitProducerResponse* response) override;
  grpc::ServerUnaryReactor* Produce(grpc::CallbackServerContext* context,
                                    const v1::ProduceRequest* request,
                                    v1::ProduceResponse* response) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StreamProduce(
      grpc::CallbackServerContext* context) override;

 private:
  // Appends what is asked and answers. `confirmed`: whether what the table lacks does not exist.
  void Append(grpc::CallbackServerContext* context, const v1::ProduceRequest& request,
              const absl::Status& confirmed, v1::ProduceResponse* response,
              grpc::ServerUnaryReactor* reactor);
  Random NewRandom();

  const GatewayParts* const parts_;
  Mutex mu_;
  Random random_
      ABSL_GUARDED_BY(mu_);  // Seeds each call's choice of partition for records without a key.
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_PRODUCER_SERVICE_IMPL_H_
