// ServerMetrics counts the calls of one server under the names of go-grpc-prometheus:
// grpc_server_{started,handled,msg_received,msg_sent}_total and grpc_server_handling_seconds. It
// also counts errors by reason (falaj_errors_total).
//
// Labels are the methods of the services that are installed, so strangers cannot make up series.
// The table of methods is complete before the server starts and constant afterwards: counting a
// message is one atomic add.
//
// ServerHost and the interceptors of calls under way share it.
#ifndef LIBS_RPC_SERVER_METRICS_H_
#define LIBS_RPC_SERVER_METRICS_H_

#include <array>
#include <atomic>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

#include "libs/telemetry/error_counters.h"
#include "libs/telemetry/registry.h"

namespace falaj::rpc {

class ServerMetrics {
 public:
  // The metrics of one method.
  class Method {
   public:
    Method(telemetry::Registry* registry, telemetry::Labels labels);
    void CountHandled(int code);

    telemetry::Counter* const started;
    telemetry::Counter* const received;
    telemetry::Counter* const sent;
    telemetry::Histogram* const seconds;

   private:
    static constexpr size_t kCodes = 17;
    telemetry::Registry* const registry_;
    const telemetry::Labels labels_;
    std::array<std::atomic<telemetry::Counter*>, kCodes> handled_{};  // Made on first use.
  };

  explicit ServerMetrics(telemetry::Registry* registry)  // Not owned; outlives this.
      : registry_(registry), errors_(registry) {}

  // Before the server starts. `service` is the full name of a service linked into the program.
  void AddService(const std::string& service);
  // Null if the method is not known. `path` is "/package.Service/Method".
  Method* Find(absl::string_view path) const;
  telemetry::ErrorCounters* errors() { return &errors_; }

 private:
  telemetry::Registry* const registry_;
  telemetry::ErrorCounters errors_;
  absl::flat_hash_map<std::string, std::unique_ptr<Method>> methods_;  // By path.
};

}  // namespace falaj::rpc

#endif  // LIBS_RPC_SERVER_METRICS_H_
