// CallDeadline() says until when a call that a metadata node holds may wait.
#ifndef SERVICES_METADATA_CALL_DEADLINE_H_
#define SERVICES_METADATA_CALL_DEADLINE_H_

#include <grpcpp/grpcpp.h>

#include <algorithm>

#include "absl/time/time.h"

#include "libs/base/clock.h"

namespace falaj::metadata {

// How long a read waits for an index or a majority if the caller names no deadline.
inline constexpr absl::Duration kReadPatienceMax = absl::Seconds(30);

// The caller's deadline by this node's clock, at most `patience_max` away, and a little earlier
// than the caller's own, so that it still hears the reason.
inline MonotonicTime CallDeadline(const grpc::CallbackServerContext& context, const Clock& clock,
                                  absl::Duration patience_max) {
  const absl::Duration left = absl::FromChrono(context.deadline()) - clock.Now();
  const absl::Duration wait = left - std::min(left / 10, absl::Milliseconds(100));
  return clock.MonotonicNow() + std::min(wait, patience_max);
}

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_CALL_DEADLINE_H_
