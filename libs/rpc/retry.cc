#include "libs/rpc/retry.h"

#include <algorithm>

namespace falaj::rpc {

absl::Duration Backoff::Next() {
  absl::Duration wait = options_.base;
  for (int i = 0; i < attempts_ && wait < options_.max; ++i) wait *= 2;
  ++attempts_;
  return std::min(wait, options_.max) * (0.5 + 0.5 * random_.Unit());
}

}  // namespace falaj::rpc
