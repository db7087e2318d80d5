#ifndef LIBS_RPC_CLIENT_METRICS_H_
#define LIBS_RPC_CLIENT_METRICS_H_

#include <grpcpp/support/client_interceptor.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

#include "libs/base/mutex.h"
#include "libs/rpc/method_metrics.h"
#include "libs/telemetry/registry.h"

namespace falaj::rpc {

// ClientMetrics counts the calls that a service makes of others (MethodMetrics), over all channels
// that are made with it (ChannelOptions::metrics). A method has its series from its first call on.
//
// Shared by the channels; they, and their calls, end before the registry does. Threads: any.
class ClientMetrics {
 public:
  explicit ClientMetrics(telemetry::Registry* registry) : registry_(registry) {}

  // Null if no service that is linked into the program has the method. `path` is
  // "/package.Service/Method".
  MethodMetrics* Find(absl::string_view path) ABSL_LOCKS_EXCLUDED(mu_);

  using Interceptors =
      std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>;
  // What makes a channel count.
  static Interceptors For(const std::shared_ptr<ClientMetrics>& metrics);

 private:
  telemetry::Registry* const registry_;
  Mutex mu_;
  absl::flat_hash_map<std::string, std::unique_ptr<MethodMetrics>> methods_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::rpc

#endif  // LIBS_RPC_CLIENT_METRICS_H_
