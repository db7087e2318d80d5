#include "libs/rpc/server_metrics.h"

#include <google/protobuf/descriptor.h>
#include <grpcpp/support/status.h>

#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/clock.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::rpc {
namespace {

using grpc::experimental::InterceptionHookPoints;

// As Go prints them: what every dashboard expects.
constexpr const char* kCodeNames[] = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};

const char* TypeName(const google::protobuf::MethodDescriptor& method) {
  if (method.client_streaming()) return method.server_streaming() ? "bidi_stream" : "client_stream";
  return method.server_streaming() ? "server_stream" : "unary";
}

// CallMetrics follows one call. gRPC runs its hooks one at a time.
class CallMetrics final : public grpc::experimental::Interceptor {
 public:
  CallMetrics(std::shared_ptr<ServerMetrics> metrics, ServerMetrics::Method* method)
      : metrics_(std::move(metrics)), method_(method), start_(Clock::Real()->MonotonicNow()) {
    method_->started->Add();
  }
  ~CallMetrics() override {
    // A call whose status was never sent was given up by its client.
    method_->CountHandled(code_);
    method_->seconds->Observe(Clock::Real()->MonotonicNow() - start_);
  }

  void Intercept(grpc::experimental::InterceptorBatchMethods* batch) override {
    if (batch->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_MESSAGE)) {
      method_->sent->Add();
    }
    if (batch->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_MESSAGE) &&
        batch->GetRecvMessage() != nullptr) {
      method_->received->Add();
    }
    if (batch->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      const grpc::Status status = batch->GetSendStatus();
      code_ = status.error_code();
      if (!status.ok()) metrics_->errors()->Count(FromGrpc(status));
    }
    batch->Proceed();
  }

 private:
  const std::shared_ptr<ServerMetrics> metrics_;
  ServerMetrics::Method* const method_;
  const MonotonicTime start_;
  int code_ = grpc::StatusCode::CANCELLED;
};

}  // namespace

ServerMetrics::Method::Method(telemetry::Registry* registry, telemetry::Labels labels)
    : started(registry->AddCounter("grpc_server_started_total",
                                   "Total number of RPCs started on the server.", labels)),
      received(registry->AddCounter("grpc_server_msg_received_total",
                                    "Total number of RPC stream messages received on the server.",
                                    labels)),
      sent(registry->AddCounter("grpc_server_msg_sent_total",
                                "Total number of gRPC stream messages sent by the server.",
                                labels)),
      seconds(registry->AddHistogram("grpc_server_handling_seconds",
                                     "Time until an RPC was completed by the server.", labels)),
      registry_(registry),
      labels_(std::move(labels)) {
  CountHandled(-1);
}

void ServerMetrics::Method::CountHandled(int code) {
  const bool count = code >= 0;
  const size_t index = !count ? 0
                       : static_cast<size_t>(code) < kCodes
                           ? static_cast<size_t>(code)
                           : static_cast<size_t>(grpc::StatusCode::UNKNOWN);
  telemetry::Counter* counter = handled_[index].load(std::memory_order_acquire);
  if (counter == nullptr) {
    telemetry::Labels labels = labels_;
    labels["grpc_code"] = kCodeNames[index];
    counter = registry_->AddCounter("grpc_server_handled_total",
                                    "Total number of RPCs completed on the server.", labels);
    handled_[index].store(counter, std::memory_order_release);
  }
  if (count) counter->Add();
}

void ServerMetrics::AddService(const std::string& service) {
  const google::protobuf::ServiceDescriptor* const descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service);
  if (descriptor == nullptr) return;
  for (int i = 0; i < descriptor->method_count(); ++i) {
    const google::protobuf::MethodDescriptor& method = *descriptor->method(i);
    methods_[absl::StrCat("/", service, "/", method.name())] =
        std::make_unique<Method>(registry_, telemetry::Labels{{"grpc_type", TypeName(method)},
                                                              {"grpc_service", service},
                                                              {"grpc_method", method.name()}});
  }
}

ServerMetrics::Method* ServerMetrics::Find(absl::string_view path) const {
  const auto it = methods_.find(path);
  return it == methods_.end() ? nullptr : it->second.get();
}

grpc::experimental::Interceptor* MetricsInterceptorFactory::CreateServerInterceptor(
    grpc::experimental::ServerRpcInfo* info) {
  ServerMetrics::Method* const method = metrics_->Find(info->method());
  return method == nullptr ? nullptr : new CallMetrics(metrics_, method);
}

}  // namespace falaj::rpc
