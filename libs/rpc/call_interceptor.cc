#include "libs/rpc/call_interceptor.h"

#include <grpcpp/support/status.h>

#include "libs/base/status.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::rpc {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::ServerRpcInfo;

CallInterceptor::CallInterceptor(const ServerRpcInfo& info, std::shared_ptr<ServerMetrics> metrics,
                                 ServerMetrics::Method* method)
    : metrics_(std::move(metrics)),
      method_(method),
      start_(Clock::Real()->MonotonicNow()),
      one_request_(info.type() == ServerRpcInfo::Type::UNARY ||
                   info.type() == ServerRpcInfo::Type::SERVER_STREAMING),
      code_(grpc::StatusCode::CANCELLED) {
  if (method_ != nullptr) method_->started->Add();
}

CallInterceptor::~CallInterceptor() {
  if (method_ == nullptr) return;
  // A call whose status was never sent was given up by its client.
  method_->CountHandled(code_);
  method_->seconds->Observe(Clock::Real()->MonotonicNow() - start_);
}

void CallInterceptor::Intercept(grpc::experimental::InterceptorBatchMethods* batch) {
  if (method_ != nullptr &&
      batch->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_MESSAGE)) {
    method_->sent->Add();
  }
  if (batch->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_MESSAGE)) {
    OnReceived(batch->GetRecvMessage() != nullptr);
  }
  if (batch->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
    grpc::Status status = batch->GetSendStatus();
    if (!status.ok() && status.error_details().empty()) {
      status = WithReason(status);
      batch->ModifySendStatus(status);
    }
    code_ = status.error_code();
    if (metrics_ != nullptr && !status.ok()) metrics_->errors()->Count(FromGrpc(status));
  }
  batch->Proceed();
}

void CallInterceptor::OnReceived(bool message) {
  if (message && method_ != nullptr) method_->received->Add();
  // gRPC parses before any code of ours runs, and tells of a failure only by the want of a message.
  if (!message && one_request_) unparsable_ = true;
}

grpc::Status CallInterceptor::WithReason(const grpc::Status& status) const {
  if (unparsable_) {
    return ToGrpc(MakeError(Reason::kInvalidRequest,
                            "the request is not a valid message of the type this method takes"));
  }
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED && status.error_message().empty()) {
    return ToGrpc(MakeError(Reason::kUnsupported, "this server does not offer the method"));
  }
  return ToGrpc(FromGrpc(status));
}

grpc::experimental::Interceptor* CallInterceptorFactory::CreateServerInterceptor(
    ServerRpcInfo* info) {
  ServerMetrics::Method* const method =
      metrics_ == nullptr ? nullptr : metrics_->Find(info->method());
  return new CallInterceptor(*info, method == nullptr ? nullptr : metrics_, method);
}

}  // namespace falaj::rpc
