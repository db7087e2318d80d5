// HealthService is grpc.health.v1.Health with the names Falaj answers to.
//
// gRPC brings one of its own, but reflection does not show it and it knows no difference between
// liveness and readiness.
//
// ServerHost owns one. Threads: any.
#ifndef LIBS_RPC_HEALTH_SERVICE_H_
#define LIBS_RPC_HEALTH_SERVICE_H_

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"

#include "grpc/health/v1/health.grpc.pb.h"

#include "libs/base/mutex.h"

namespace falaj::rpc {

class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  // Tells everybody who watches the name.
  void SetServing(const std::string& name, bool serving);
  // All names turn NOT_SERVING for good, and all watches end: a server cannot stop while they run.
  void Shutdown();

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::health::v1::HealthCheckRequest* request,
                                  grpc::health::v1::HealthCheckResponse* response) override;
  grpc::ServerWriteReactor<grpc::health::v1::HealthCheckResponse>* Watch(
      grpc::CallbackServerContext* context,
      const grpc::health::v1::HealthCheckRequest* request) override;

 private:
  class Watcher;
  using ServingStatus = grpc::health::v1::HealthCheckResponse::ServingStatus;

  // SERVICE_UNKNOWN if the name is not known.
  ServingStatus StatusOf(const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable Mutex mu_;  // Guards the watchers' state too.
  bool shut_down_ ABSL_GUARDED_BY(mu_) = false;
  absl::btree_map<std::string, bool> serving_ ABSL_GUARDED_BY(mu_);
  absl::btree_set<Watcher*> watchers_ ABSL_GUARDED_BY(mu_);  // Each leaves when it is done.
};

}  // namespace falaj::rpc

#endif  // LIBS_RPC_HEALTH_SERVICE_H_
