// Pace is the schedule of an open loop: when the n-th record is due. It never asks whether the one
// before has been answered, so a stall of the server shows as latency instead of as fewer records.
//
// Threads: one at a time.
#ifndef SERVICES_CLI_PACE_H_
#define SERVICES_CLI_PACE_H_

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"

namespace falaj::cli {

class Pace {
 public:
  // Who waits does so for at least as long. At a high rate several records are then due at once,
  // and late by at most this, which their latency tells; to wake up for each would cost a good part
  // of a core, which is what the cluster under test lacks.
  static constexpr absl::Duration kNapMin = absl::Microseconds(500);

  // `per_second` of zero: everything is due at once.
  Pace(double per_second, MonotonicTime start) : per_second_(per_second), start_(start) {}

  MonotonicTime Due(int64_t n) const {
    if (per_second_ <= 0) return start_;
    return {start_.ns + static_cast<int64_t>(static_cast<double>(n) * 1e9 / per_second_)};
  }
  // Blocks until the n-th record is due and returns that time, which may be long past.
  MonotonicTime Wait(int64_t n, const Clock* clock) {
    const MonotonicTime due = Due(n);
    const MonotonicTime now = clock->MonotonicNow();
    if (per_second_ <= 0 || due <= now) return due;
    const MonotonicTime end = std::max(due, now + kNapMin);
    MutexLock lock(&mu_);
    for (absl::Duration left = end - now; left > absl::ZeroDuration();
         left = end - clock->MonotonicNow()) {
      never_.WaitFor(&mu_, left);
    }
    return due;
  }

 private:
  const double per_second_;
  const MonotonicTime start_;
  Mutex mu_;
  CondVar never_;  // Waited on for its timeout only.
};

}  // namespace falaj::cli

#endif  // SERVICES_CLI_PACE_H_
