// Clock is the only way to the time: shells take one in their constructor, pure cores take times as
// arguments.
//
// Two scales that never mix: the wall clock (record timestamps, display) may jump; the monotonic
// clock (every timeout, every latency) never goes back. ManualClock stands still until a test moves
// it.
#ifndef LIBS_BASE_CLOCK_H_
#define LIBS_BASE_CLOCK_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

#include "libs/base/mutex.h"

namespace falaj {

// MonotonicTime is a point on the monotonic scale, in nanoseconds since an arbitrary start.
struct MonotonicTime {
  int64_t ns = 0;

  friend auto operator<=>(const MonotonicTime&, const MonotonicTime&) = default;
  friend MonotonicTime operator+(MonotonicTime t, absl::Duration d) {
    return {t.ns + absl::ToInt64Nanoseconds(d)};
  }
  friend absl::Duration operator-(MonotonicTime a, MonotonicTime b) {
    return absl::Nanoseconds(a.ns - b.ns);
  }
};

class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;  // Wall clock.
  virtual MonotonicTime MonotonicNow() const = 0;
  int64_t NowMs() const { return absl::ToUnixMillis(Now()); }  // Unix milliseconds.

  // The machine's clocks. Never destroyed.
  static Clock* Real();
};

class ManualClock final : public Clock {
 public:
  explicit ManualClock(absl::Time start = absl::FromUnixSeconds(1'700'000'000)) : now_(start) {}
  absl::Time Now() const override;
  MonotonicTime MonotonicNow() const override;
  void Advance(absl::Duration d);        // Moves both scales.
  void JumpWallClock(absl::Duration d);  // Moves the wall clock only, also back.

 private:
  mutable Mutex mu_;
  absl::Time now_ ABSL_GUARDED_BY(mu_);
  MonotonicTime monotonic_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj

#endif  // LIBS_BASE_CLOCK_H_
