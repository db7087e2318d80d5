#include "libs/base/clock.h"

#include <chrono>

#include "absl/time/clock.h"

namespace falaj {
namespace {

class RealClock final : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
  MonotonicTime MonotonicNow() const override {
    const auto since_start = std::chrono::steady_clock::now().time_since_epoch();
    return {std::chrono::duration_cast<std::chrono::nanoseconds>(since_start).count()};
  }
};

}  // namespace

Clock* Clock::Real() {
  static RealClock* const clock = new RealClock;  // Outlives every user, also static ones.
  return clock;
}

absl::Time ManualClock::Now() const {
  MutexLock lock(&mu_);
  return now_;
}

MonotonicTime ManualClock::MonotonicNow() const {
  MutexLock lock(&mu_);
  return monotonic_;
}

void ManualClock::Advance(absl::Duration d) {
  MutexLock lock(&mu_);
  now_ += d;
  monotonic_ = monotonic_ + d;
}

void ManualClock::JumpWallClock(absl::Duration d) {
  MutexLock lock(&mu_);
  now_ += d;
}

}  // namespace falaj
