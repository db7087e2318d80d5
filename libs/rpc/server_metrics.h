// ServerMetrics counts the calls of one server (MethodMetrics), and its errors by reason
// (falaj_errors_total).
//
// Labels are the methods of the services that are installed, so strangers cannot make up series.
// The table of methods is complete before the server starts and constant afterwards: counting a
// message is one atomic add.
//
// ServerHost and the interceptors of calls under way share it.
#ifndef LIBS_RPC_SERVER_METRICS_H_
#define LIBS_RPC_SERVER_METRICS_H_

#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

#include "libs/rpc/method_metrics.h"
#include "libs/telemetry/error_counters.h"
#include "libs/telemetry/registry.h"

namespace falaj::rpc {

class ServerMetrics {
 public:
  using Method = MethodMetrics;

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
