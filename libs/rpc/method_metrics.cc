#include "libs/rpc/method_metrics.h"

#include <grpcpp/support/status.h>

#include <utility>

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

struct MethodMetrics::Names {
  struct Text {
    const char* name;
    const char* help;
  };
  Text started;
  Text handled;
  Text received;
  Text sent;
  Text seconds;
};

const MethodMetrics::Names& MethodMetrics::NamesOf(Side side) {
  static constexpr Names kServer = {
      {"grpc_server_started_total", "Total number of RPCs started on the server."},
      {"grpc_server_handled_total", "Total number of RPCs completed on the server."},
      {"grpc_server_msg_received_total",
       "Total number of RPC stream messages received on the server."},
      {"grpc_server_msg_sent_total", "Total number of gRPC stream messages sent by the server."},
      {"grpc_server_handling_seconds", "Time until an RPC was completed by the server."}};
  static constexpr Names kClient = {
      {"grpc_client_started_total", "Total number of RPCs started on the client."},
      {"grpc_client_handled_total", "Total number of RPCs completed by the client."},
      {"grpc_client_msg_received_total",
       "Total number of RPC stream messages received by the client."},
      {"grpc_client_msg_sent_total", "Total number of gRPC stream messages sent by the client."},
      {"grpc_client_handling_seconds", "Time until an RPC was finished for the client."}};
  return side == Side::kServer ? kServer : kClient;
}

MethodMetrics::MethodMetrics(telemetry::Registry* registry, Side side,
                             const google::protobuf::MethodDescriptor& method)
    : MethodMetrics(registry, NamesOf(side),
                    {{"grpc_type", TypeName(method)},
                     {"grpc_service", method.service()->full_name()},
                     {"grpc_method", method.name()}}) {}

MethodMetrics::MethodMetrics(telemetry::Registry* registry, const Names& names,
                             telemetry::Labels labels)
    : started(registry->AddCounter(names.started.name, names.started.help, labels)),
      received(registry->AddCounter(names.received.name, names.received.help, labels)),
      sent(registry->AddCounter(names.sent.name, names.sent.help, labels)),
      seconds(registry->AddHistogram(names.seconds.name, names.seconds.help, labels)),
      registry_(registry),
      names_(names),
      labels_(std::move(labels)) {
  Handled(grpc::StatusCode::OK);  // A rate needs a series from the start.
}

telemetry::Counter* MethodMetrics::Handled(size_t code) {
  telemetry::Counter* counter = handled_[code].load(std::memory_order_acquire);
  if (counter == nullptr) {
    telemetry::Labels labels = labels_;
    labels["grpc_code"] = kCodeNames[code];
    counter = registry_->AddCounter(names_.handled.name, names_.handled.help, labels);
    handled_[code].store(counter, std::memory_order_release);
  }
  return counter;
}

void MethodMetrics::CountHandled(int code) {
  const bool known = code >= 0 && static_cast<size_t>(code) < kCodes;
  Handled(static_cast<size_t>(known ? code : grpc::StatusCode::UNKNOWN))->Add();
}

}  // namespace falaj::rpc
