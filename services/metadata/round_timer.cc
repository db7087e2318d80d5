#include "services/metadata/round_timer.h"

#include <algorithm>
#include <utility>

namespace falaj::metadata {
namespace {

// A round this late means the process stood still, not that the others were silent.
constexpr absl::Duration kPauseMin = absl::Milliseconds(500);
constexpr int kTicksLateMax = 10;  // A whole election timeout is 15 and more.
// Even with nothing to do: so cheap, and a bound on what an oversight may cost.
constexpr absl::Duration kSleepMax = absl::Seconds(1);

}  // namespace

RoundTimer::Passed RoundTimer::BeginRound(MonotonicTime now) {
  const absl::Duration late = now - round_ - std::exchange(sleep_, absl::ZeroDuration());
  Passed passed;
  if (late > kPauseMin) passed.stood_still = late;
  round_ = now;
  if (now < next_tick_) return passed;
  const int64_t due = (now - next_tick_) / tick_ + 1;
  next_tick_ = next_tick_ + due * tick_;
  const bool in_time = late <= kTicksLateMax * tick_;
  passed.ticks = static_cast<int>(in_time ? due : std::min<int64_t>(due, kTicksLateMax));
  return passed;
}

MonotonicTime RoundTimer::EndRound(MonotonicTime now, const Due& due) {
  MonotonicTime end = std::min(due.wake_by, now + kSleepMax);
  // Compared as a number first: there may be no tick to wait for at all.
  if (due.ticks < kSleepMax / tick_) end = std::min(end, next_tick_ + (due.ticks - 1) * tick_);
  end = std::min(std::max(end, next_tick_), due.hurry_by);
  sleep_ = std::max(end - now, absl::ZeroDuration());
  return end;
}

}  // namespace falaj::metadata
