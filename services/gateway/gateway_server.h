// GatewayServer is one gateway: the public services on one port, metrics and health on another. It
// keeps no state of its own; any number of gateways serve a cluster and any of them can take over
// from any other.
//
// falaj-gateway runs one; `falaj dev` and the tests run several in one process.
//
// Threads: Start and Stop from any one thread. Inside, gRPC's threads move bytes; one thread
// follows the metadata watch.
//
// Failures: with the metadata service away it goes on with the routes it knows, and is not ready
// once they are older than routes_age_max. With a storage node away, requests for its partitions
// wait until their deadline.
#ifndef SERVICES_GATEWAY_GATEWAY_SERVER_H_
#define SERVICES_GATEWAY_GATEWAY_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"

namespace falaj::gateway {

class GatewayServer {
 public:
  struct Options {
    std::string listen_address = "127.0.0.1:0";
    std::string http_address = "127.0.0.1:0";     // Empty: no HTTP.
    std::vector<std::string> metadata_addresses;  // At least one.

    int stream_batches_in_flight_max = 1000;                 // Of one produce stream.
    int64_t stream_bytes_in_flight_max = int64_t{16} << 20;  // The same, in bytes.
    int64_t connection_bytes_max = int64_t{64} << 20;        // Of all calls of one connection.
    int64_t total_bytes_max = int64_t{512} << 20;            // Of all connections together.
    int connection_streams_max = 128;                        // Calls at a time on one connection.
    int coordination_calls_max = 20'000;                     // Forwarded at a time.
    absl::Duration routes_age_max = absl::Seconds(30);
    // Between "not ready" and the end of the streams: whoever sends clients here, a load balancer
    // or Kubernetes, needs a while to notice.
    absl::Duration stop_wait = absl::ZeroDuration();
    absl::Duration stop_grace = absl::Seconds(5);  // For calls under way when it stops.
    Clock* clock = nullptr;                        // Not owned. Null: the machine's clock.
  };

  // Returns when the gateway listens; Ready() becomes true with the first routes. INVALID_CONFIG
  // for options that make no sense, kUnavailable if an address cannot be listened on.
  static absl::StatusOr<std::unique_ptr<GatewayServer>> Start(const Options& options);

  virtual ~GatewayServer() = default;  // Stops.

  virtual std::string grpc_address() const = 0;
  virtual std::string http_address() const = 0;  // Empty if there is no HTTP.
  virtual bool Ready() const = 0;
  // Readiness off; `stop_wait` later streams and long polls end with SHUTTING_DOWN, a produce
  // stream once it has acked what it has taken; other calls have `stop_grace` to end; then
  // everything closes. Idempotent.
  virtual void Stop() = 0;

 protected:
  GatewayServer() = default;
  GatewayServer(const GatewayServer&) = delete;
  GatewayServer& operator=(const GatewayServer&) = delete;
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_GATEWAY_SERVER_H_
