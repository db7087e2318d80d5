#include "libs/rpc/server_metrics.h"

#include <google/protobuf/descriptor.h>
#include <grpcpp/support/status.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace falaj::rpc {
namespace {

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

}  // namespace falaj::rpc
