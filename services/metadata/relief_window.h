#ifndef SERVICES_METADATA_RELIEF_WINDOW_H_
#define SERVICES_METADATA_RELIEF_WINDOW_H_

#include <algorithm>

#include "absl/time/time.h"

#include "libs/base/clock.h"

namespace falaj::metadata {

// ReliefWindow is when rounds go on without a node's thread, which waits for its disk: RaftNode's
// Baton goes by it, and so does the simulated node.
//
// Not at once: most writes are over before another thread would be awake. And not for ever: a node
// whose disk hangs must fall silent, so that a leader is replaced, as if its whole process hung.
struct ReliefWindow {
  MonotonicTime from;
  MonotonicTime until;

  bool Contains(MonotonicTime now) const { return from <= now && now < until; }
};

inline constexpr absl::Duration kReliefAfter = absl::Milliseconds(4);

// How long after the beginning of the write it ends: well within the patience of the others.
inline absl::Duration ReliefMax(absl::Duration election_timeout_min) {
  return std::min(absl::Milliseconds(100), election_timeout_min / 4);
}

// Of a write that begins at `begin`.
inline ReliefWindow ReliefFrom(MonotonicTime begin, absl::Duration election_timeout_min) {
  return {begin + kReliefAfter, begin + ReliefMax(election_timeout_min)};
}

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_RELIEF_WINDOW_H_
