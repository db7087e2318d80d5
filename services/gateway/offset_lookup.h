// OffsetLookup translates positions (an offset, a time, a name) to offsets by asking the leaders,
// all nodes in parallel.
#ifndef SERVICES_GATEWAY_OFFSET_LOOKUP_H_
#define SERVICES_GATEWAY_OFFSET_LOOKUP_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "falaj/internal/v1/storage_service.pb.h"
#include "falaj/v1/record.pb.h"

#include "services/gateway/gateway_parts.h"

namespace falaj::gateway {

struct OffsetQuestion {
  std::string topic;
  PartitionIndex partition;
  v1::OffsetTarget target;
};

// One entry a question, in order; a FoundOffset's error field is never set, errors are in the
// StatusOr.
using OffsetAnswers = std::vector<absl::StatusOr<internal::v1::FoundOffset>>;

// INVALID_REQUEST unless exactly one way to say the position is chosen, and well-formed.
absl::Status CheckTarget(const v1::OffsetTarget& target);

// Calls `done` once, perhaps before it returns (when nothing has to be asked). Leaders that are
// unknown or have moved are looked for again until `deadline`.
void LookUpOffsets(const GatewayParts* parts, std::vector<OffsetQuestion> questions,
                   MonotonicTime deadline, std::function<void(OffsetAnswers)> done);

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_OFFSET_LOOKUP_H_
