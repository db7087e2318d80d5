// Load for the benchmark of the gateway hop: one client stream that moves encoded batches as fast
// as the gateway lets it, costing as little as a client can.
#ifndef SERVICES_GATEWAY_TESTING_STREAM_LOAD_H_
#define SERVICES_GATEWAY_TESTING_STREAM_LOAD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "libs/base/bytes.h"

namespace falaj::gateway {

struct StreamLoadResult {
  int64_t bytes = 0;                      // Of batches.
  absl::Duration elapsed;                 // From the first frame to the last answer.
  std::vector<absl::Duration> latencies;  // From sending to the ack, of each batch, ascending.
};

// Sends the batch `count` times to partition 0, with at most `window` not yet acked.
absl::StatusOr<StreamLoadResult> RunProduceLoad(const std::string& address,
                                                const std::string& topic, const Bytes& batch,
                                                int count, int window);
// Reads batches of partition 0 until `bytes` have come, never granting more than `credit` ahead.
absl::StatusOr<StreamLoadResult> RunConsumeLoad(const std::string& address,
                                                const std::string& topic, int64_t bytes,
                                                int64_t credit);

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_TESTING_STREAM_LOAD_H_
