// CallInterceptor accompanies one call of a server: it counts it, and sees to it that no error
// leaves without a reason. Without one are those that gRPC itself makes: for a request that is no
// valid message of its type, which becomes INVALID_REQUEST; for a method nobody serves,
// UNSUPPORTED; any other gets the reason nearest its code.
//
// Out of its reach is what gRPC refuses below: a message above the size limit, a compressed one.
//
// Ownership: gRPC makes one per call and deletes it. Threads: gRPC runs its hooks one at a time.
#ifndef LIBS_RPC_CALL_INTERCEPTOR_H_
#define LIBS_RPC_CALL_INTERCEPTOR_H_

#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <utility>

#include "libs/base/clock.h"
#include "libs/rpc/server_metrics.h"

namespace falaj::rpc {

class CallInterceptor final : public grpc::experimental::Interceptor {
 public:
  // `metrics` and `method` are both null, or neither: a call that is not counted.
  CallInterceptor(const grpc::experimental::ServerRpcInfo& info,
                  std::shared_ptr<ServerMetrics> metrics, ServerMetrics::Method* method);
  ~CallInterceptor() override;
  void Intercept(grpc::experimental::InterceptorBatchMethods* batch) override;

 private:
  void OnReceived(bool message);
  // As `status`, with a reason.
  grpc::Status WithReason(const grpc::Status& status) const;

  const std::shared_ptr<ServerMetrics> metrics_;
  ServerMetrics::Method* const method_;
  const MonotonicTime start_;
  const bool one_request_;   // Else the client sends a stream, and no message is its end.
  bool unparsable_ = false;  // The one request was no message of its type.
  int code_;                 // The call ended so.
};

// Makes one for every call. `metrics` may be null.
class CallInterceptorFactory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit CallInterceptorFactory(std::shared_ptr<ServerMetrics> metrics)
      : metrics_(std::move(metrics)) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override;

 private:
  const std::shared_ptr<ServerMetrics> metrics_;
};

}  // namespace falaj::rpc

#endif  // LIBS_RPC_CALL_INTERCEPTOR_H_
