// ServerHost is one listening gRPC port with everything a Falaj service has: limits, health,
// reflection, metrics, and a stop that leaves nothing hanging.
//
//   auto host = ServerHost::Start({.listen_address = "127.0.0.1:0"}, {&topics, &producer},
//   &registry);
//   (*host)->SetReady(true);
//   ...
//   (*host)->Stop(absl::Seconds(5));
//
// Health (grpc.health.v1): "liveness" is serving from the start; "readiness", "" and the full name
// of every service are not until SetReady(true).
//
// Ownership: the services and the registry belong to the caller and must outlive the ServerHost.
// Threads: Start, Stop and the destructor from one thread at a time; the rest from any.
//
// Stop: health turns NOT_SERVING, no new calls are taken, calls under way have `grace` to end, then
// they are cancelled. A reactor must call Finish() when it is cancelled: Stop waits for it. Streams
// that would go on for ever are best ended before (open_calls.h).
#ifndef LIBS_RPC_SERVER_H_
#define LIBS_RPC_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "libs/base/mutex.h"
#include "libs/rpc/channel.h"
#include "libs/telemetry/registry.h"

namespace falaj::rpc {

class HealthService;
class ServerMetrics;

class ServerHost {
 public:
  struct Options {
    std::string listen_address = "127.0.0.1:0";
    int max_receive_bytes = kInternalMessageBytesMax;
    int max_send_bytes = kInternalMessageBytesMax;
    int max_concurrent_streams = 1024;  // Per connection.
    // Zero keeps connections for ever: right between nodes, where the long streams live.
    absl::Duration connection_age_max = absl::ZeroDuration();
    absl::Duration connection_age_grace = absl::Minutes(1);
    absl::Duration connection_idle_max = absl::Minutes(5);
    int64_t memory_bytes_max = 0;  // gRPC's own buffers; 0: no limit.
  };

  // `registry` may be null: no metrics then. Returns kUnavailable if the address cannot be listened
  // on.
  static absl::StatusOr<std::unique_ptr<ServerHost>> Start(
      const Options& options, const std::vector<grpc::Service*>& services,
      telemetry::Registry* registry);
  ~ServerHost();  // Stops without grace.
  ServerHost(const ServerHost&) = delete;
  ServerHost& operator=(const ServerHost&) = delete;

  int port() const { return port_; }
  std::string address() const;  // "host:port" with the real port.

  // Sets one health name.
  void SetServing(const std::string& name, bool serving);
  // Sets "readiness", "" and every service.
  void SetReady(bool ready);

  // Readiness off, and everything is served all the same for so long: whoever sends clients here
  // needs a while to notice. Blocks. SetReady() must not be called any more.
  void Drain(absl::Duration wait);
  // See the class comment. May be called again; returns when the server has stopped.
  void Stop(absl::Duration grace);

 private:
  explicit ServerHost(const Options& options);
  void Build(const std::vector<grpc::Service*>& services);

  const Options options_;
  std::unique_ptr<HealthService> health_;
  std::shared_ptr<ServerMetrics> metrics_;  // Null without a registry; interceptors share it.
  std::vector<std::string> service_names_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;

  Mutex mu_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace falaj::rpc

#endif  // LIBS_RPC_SERVER_H_
