#include "services/metadata/round_timer.h"

#include <limits>

#include "gtest/gtest.h"

namespace falaj::metadata {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(10);
constexpr int kNever = std::numeric_limits<int>::max();

class RoundTimerTest : public ::testing::Test {
 protected:
  static MonotonicTime At(int ms) { return MonotonicTime() + absl::Milliseconds(ms); }
  RoundTimer timer_{kTick, At(0)};
};

TEST_F(RoundTimerTest, CountsWholeTicksAndLosesNone) {
  EXPECT_EQ(0, timer_.BeginRound(At(9)).ticks);
  EXPECT_EQ(1, timer_.BeginRound(At(19)).ticks);
  EXPECT_EQ(1, timer_.BeginRound(At(21)).ticks);
  EXPECT_EQ(3, timer_.BeginRound(At(50)).ticks);
}

TEST_F(RoundTimerTest, SleepsUntilTheFirstThingThatIsDue) {
  EXPECT_EQ(At(50), timer_.EndRound(At(1), {.ticks = 5, .wake_by = At(900)}));
  EXPECT_EQ(At(37), timer_.EndRound(At(1), {.ticks = 5, .wake_by = At(37)}));
  EXPECT_EQ(At(10), timer_.EndRound(At(1), {.ticks = 5, .wake_by = At(0)}))
      << "at once means with the next tick";
  EXPECT_EQ(At(37), timer_.EndRound(At(1), {.ticks = kNever, .wake_by = At(37)}));
  EXPECT_EQ(At(1001), timer_.EndRound(At(1), {.ticks = kNever, .wake_by = At(90'000)}))
      << "it looks once a second";
  EXPECT_EQ(At(3), timer_.EndRound(At(1), {.ticks = 5, .wake_by = At(37), .hurry_by = At(3)}))
      << "also before the next tick";
}

TEST_F(RoundTimerTest, ASleepOnPurposeIsTimeThatHasPassed) {
  timer_.EndRound(At(1), {.ticks = 60, .wake_by = At(900)});
  const RoundTimer::Passed woken = timer_.BeginRound(At(605));
  EXPECT_EQ(60, woken.ticks);
  EXPECT_EQ(absl::ZeroDuration(), woken.stood_still);
}

TEST_F(RoundTimerTest, AProcessThatStoodStillCountsAFewTicksOnly) {
  timer_.EndRound(At(1), {.ticks = 5, .wake_by = At(900)});
  const RoundTimer::Passed woken = timer_.BeginRound(At(3050));
  EXPECT_EQ(10, woken.ticks);
  EXPECT_EQ(absl::Milliseconds(3001), woken.stood_still);
  EXPECT_EQ(0, timer_.BeginRound(At(3055)).ticks) << "the rest is never counted";
  EXPECT_EQ(1, timer_.BeginRound(At(3060)).ticks);
}

TEST_F(RoundTimerTest, ARoundThatTakesLongIsAPauseToo) {
  timer_.BeginRound(At(10));
  timer_.EndRound(At(610), {.ticks = 5, .wake_by = At(900)});
  const RoundTimer::Passed next = timer_.BeginRound(At(610));
  EXPECT_EQ(10, next.ticks);
  EXPECT_EQ(absl::Milliseconds(600), next.stood_still);
}

}  // namespace
}  // namespace falaj::metadata
