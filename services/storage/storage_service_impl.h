// StorageServiceImpl is the gRPC face of a storage node: decode, call, encode.
//
// Append, Read and Replicate are raw: they see messages as slices, so that batches are neither
// parsed nor copied. What may block goes to the disk readers; gRPC's threads never do.
//
// Threads: gRPC's.
#ifndef SERVICES_STORAGE_STORAGE_SERVICE_IMPL_H_
#define SERVICES_STORAGE_STORAGE_SERVICE_IMPL_H_

#include <grpcpp/grpcpp.h>

#include "falaj/internal/v1/storage_service.grpc.pb.h"

#include "services/storage/service_parts.h"

namespace falaj::storage {

using StorageServiceBase = internal::v1::StorageService::WithRawCallbackMethod_Append<
    internal::v1::StorageService::WithRawCallbackMethod_Read<
        internal::v1::StorageService::WithCallbackMethod_FindOffsets<
            internal::v1::StorageService::WithCallbackMethod_TruncatePrefix<
                internal::v1::StorageService::WithRawCallbackMethod_Replicate<
                    internal::v1::StorageService::Service>>>>>;

class StorageServiceImpl final : public StorageServiceBase {
 public:
  explicit StorageServiceImpl(const ServiceParts* parts) : parts_(parts) {}  // Outlives this.

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Append(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context,
                                 const grpc::ByteBuffer* request,
                                 grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* FindOffsets(grpc::CallbackServerContext* context,
                                        const internal::v1::FindOffsetsRequest* request,
                                        internal::v1::FindOffsetsResponse* response) override;
  grpc::ServerUnaryReactor* TruncatePrefix(grpc::CallbackServerContext* context,
                                           const internal::v1::TruncatePrefixRequest* request,
                                           internal::v1::TruncatePrefixResponse* response) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Replicate(
      grpc::CallbackServerContext* context) override;

 private:
  const ServiceParts* const parts_;
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_STORAGE_SERVICE_IMPL_H_
