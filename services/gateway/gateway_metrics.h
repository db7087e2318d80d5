// GatewayMetrics is what a gateway measures of itself; names and meanings stand in README.md of the
// project. Threads: any.
#ifndef SERVICES_GATEWAY_GATEWAY_METRICS_H_
#define SERVICES_GATEWAY_GATEWAY_METRICS_H_

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "falaj/v1/record.pb.h"

#include "libs/telemetry/error_counters.h"
#include "libs/telemetry/registry.h"
#include "services/gateway/connection_budgets.h"

namespace falaj::gateway {

class GatewayMetrics {
 public:
  explicit GatewayMetrics(telemetry::Registry* registry)
      : produce_streams(AddStreams(registry, "produce")),
        consume_streams(AddStreams(registry, "consume")),
        retries(AddRetries(registry, "leader")),
        coordination_retries(AddRetries(registry, "metadata")),
        coordination_calls(registry->AddGauge(
            "falaj_gateway_coordination_calls",
            "Coordination calls and streams forwarded to the metadata service now.", {})),
        produce_leader_(AddProduce(registry, "leader")),
        produce_all_(AddProduce(registry, "all")),
        throttled_by_connection_(AddThrottled(registry, "connection_bytes")),
        throttled_by_gateway_(AddThrottled(registry, "gateway_bytes")),
        errors_(registry) {}

  // Request to ack, as the gateway sees it. Blind produces are not observed: nobody waits for them.
  void ObserveProduce(v1::Acks acks, absl::Duration duration) {
    if (acks == v1::ACKS_LEADER) produce_leader_->Observe(duration);
    if (acks == v1::ACKS_ALL) produce_all_->Observe(duration);
  }
  // A call was refused, or a stream not read on, for want of room.
  void CountThrottled(BudgetScope scope) {
    (scope == BudgetScope::kConnection ? throttled_by_connection_ : throttled_by_gateway_)->Add();
  }
  // For errors inside answers; those of whole calls are counted by the server host.
  void CountError(const absl::Status& status) { errors_.Count(status); }

  telemetry::Gauge* const produce_streams;
  telemetry::Gauge* const consume_streams;
  telemetry::Counter* const retries;
  telemetry::Counter* const coordination_retries;
  telemetry::Gauge* const coordination_calls;

 private:
  static telemetry::Gauge* AddStreams(telemetry::Registry* registry, const char* kind) {
    return registry->AddGauge("falaj_gateway_streams", "Client streams open now.",
                              {{"kind", kind}});
  }
  static telemetry::Counter* AddRetries(telemetry::Registry* registry, const char* reason) {
    return registry->AddCounter(
        "falaj_gateway_retries_total",
        "Batches and coordination calls sent again because a leader had moved.",
        {{"reason", reason}});
  }
  static telemetry::Counter* AddThrottled(telemetry::Registry* registry, const char* reason) {
    return registry->AddCounter(
        "falaj_gateway_throttled_requests_total",
        "Times a call was refused, or a stream not read on, because the gateway held too many "
        "bytes of its connection or of all.",
        {{"reason", reason}});
  }
  static telemetry::Histogram* AddProduce(telemetry::Registry* registry, const char* acks) {
    return registry->AddHistogram("falaj_produce_seconds",
                                  "Time from a produce request to its ack.", {{"acks", acks}});
  }

  telemetry::Histogram* const produce_leader_;
  telemetry::Histogram* const produce_all_;
  telemetry::Counter* const throttled_by_connection_;
  telemetry::Counter* const throttled_by_gateway_;
  telemetry::ErrorCounters errors_;
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_GATEWAY_METRICS_H_
