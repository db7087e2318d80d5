// GatewayParts names what the calls and streams of a gateway share. GatewayServer owns the parts
// and outlives every call.
#ifndef SERVICES_GATEWAY_GATEWAY_PARTS_H_
#define SERVICES_GATEWAY_GATEWAY_PARTS_H_

#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/gate.h"
#include "libs/rpc/open_calls.h"
#include "services/gateway/connection_budgets.h"
#include "services/gateway/gateway_metrics.h"
#include "services/gateway/retry_timer.h"
#include "services/gateway/route_table.h"

namespace falaj::gateway {

class ProducerIds;
class ProducerLanes;
class RouteConfirmer;
class StorageLinks;

// Limits that clients feel. The defaults are what the public protos promise.
struct GatewayLimits {
  int stream_batches_in_flight_max = 1000;
  int64_t stream_bytes_in_flight_max = 16 << 20;
  absl::Duration append_timeout = absl::Seconds(30);  // For calls without a deadline of their own.
};

struct GatewayParts {
  RouteTable* routes = nullptr;
  RouteConfirmer* confirmer = nullptr;
  StorageLinks* links = nullptr;
  ConnectionBudgets* budgets = nullptr;
  GatewayMetrics* metrics = nullptr;
  RetryTimers* timers = nullptr;
  rpc::OpenCalls* calls = nullptr;  // Streams and long polls.
  ProducerIds* producer_ids = nullptr;
  ProducerLanes* lanes = nullptr;
  Clock* clock = nullptr;
  Gate* turns = nullptr;  // Around what is left for the end of a turn of a callback thread.
  GatewayLimits limits;
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_GATEWAY_PARTS_H_
