#ifndef LIBS_RPC_METHOD_METRICS_H_
#define LIBS_RPC_METHOD_METRICS_H_

#include <google/protobuf/descriptor.h>

#include <array>
#include <atomic>

#include "libs/telemetry/registry.h"

namespace falaj::rpc {

// MethodMetrics counts the calls of one method on one side of them, under the names of
// go-grpc-prometheus: grpc_{server,client}_{started,handled,msg_received,msg_sent}_total and
// grpc_{server,client}_handling_seconds.
//
// Threads: any; counting is an atomic add. `registry` outlives it.
class MethodMetrics {
 public:
  enum class Side { kServer, kClient };

  MethodMetrics(telemetry::Registry* registry, Side side,
                const google::protobuf::MethodDescriptor& method);
  // A grpc::StatusCode.
  void CountHandled(int code);

  telemetry::Counter* const started;
  telemetry::Counter* const received;
  telemetry::Counter* const sent;
  telemetry::Histogram* const seconds;

 private:
  static constexpr size_t kCodes = 17;
  struct Names;

  static const Names& NamesOf(Side side);
  MethodMetrics(telemetry::Registry* registry, const Names& names, telemetry::Labels labels);
  telemetry::Counter* Handled(size_t code);

  telemetry::Registry* const registry_;
  const Names& names_;
  const telemetry::Labels labels_;
  std::array<std::atomic<telemetry::Counter*>, kCodes> handled_{};  // Made on first use.
};

}  // namespace falaj::rpc

#endif  // LIBS_RPC_METHOD_METRICS_H_
