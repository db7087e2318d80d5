#include "services/storage/scrub_plan.h"

#include <optional>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace falaj::storage {
namespace {

using testing::ElementsAre;
using testing::Pair;

constexpr absl::Duration kPeriod = absl::Hours(24 * 7);
const absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);

ScrubPosition StartedAt(absl::Time time) { return {.since_ms = absl::ToUnixMillis(time)}; }

std::vector<LocalPartitionId> Ids(const std::vector<uint32_t>& numbers) {
  std::vector<LocalPartitionId> ids;
  for (const uint32_t number : numbers) ids.emplace_back(number);
  return ids;
}

// Reads `steps` places, ten records each of partitions that hold 25.
std::vector<std::pair<int64_t, int64_t>> Read(ScrubPlan* plan, int steps) {
  std::vector<std::pair<int64_t, int64_t>> places;
  for (; steps > 0; --steps) {
    const auto place = plan->Next();
    if (!place.has_value()) break;
    places.emplace_back(place->partition.value(), place->from.value());
    if (place->from.value() == 20) {
      plan->Leave();
    } else {
      plan->Advance(place->from + 10);
    }
  }
  return places;
}

TEST(ScrubPlanTest, APassReadsEveryPartitionOnceAndThenRestsForThePeriod) {
  ScrubPlan plan(kPeriod, StartedAt(kStart));
  EXPECT_FALSE(plan.Due(kStart));
  EXPECT_FALSE(plan.Due(kStart + kPeriod - absl::Seconds(1))) << "it has just been written";
  const absl::Time begun = kStart + kPeriod;
  ASSERT_TRUE(plan.Due(begun));
  plan.Begin(Ids({3, 7}));
  EXPECT_TRUE(plan.Due(begun)) << "it is under way";
  EXPECT_THAT(Read(&plan, 100), ElementsAre(Pair(3, 0), Pair(3, 10), Pair(3, 20), Pair(7, 0),
                                            Pair(7, 10), Pair(7, 20)));
  EXPECT_TRUE(plan.Due(begun)) << "until it is told";
  const absl::Time ended = begun + absl::Hours(5);
  plan.Complete(ended);
  EXPECT_EQ(plan.position().completed_ms, absl::ToUnixMillis(ended));
  EXPECT_TRUE(plan.NeedsPartitions());
  EXPECT_FALSE(plan.Due(ended + kPeriod - absl::Seconds(1)));
  EXPECT_TRUE(plan.Due(ended + kPeriod));
}

TEST(ScrubPlanTest, AnInterruptedPassGoesOnWhereItWas) {
  ScrubPlan before(kPeriod, StartedAt(kStart));
  before.Begin(Ids({3, 7, 9}));
  Read(&before, 5);
  ScrubPlan after(kPeriod, before.position());
  EXPECT_TRUE(after.Due(kStart)) << "though the period is not over";
  ASSERT_TRUE(after.NeedsPartitions());
  after.Begin(Ids({3, 7, 9, 12}));
  EXPECT_THAT(Read(&after, 100), ElementsAre(Pair(7, 20), Pair(9, 0), Pair(9, 10), Pair(9, 20),
                                             Pair(12, 0), Pair(12, 10), Pair(12, 20)));
}

TEST(ScrubPlanTest, APartitionThatIsGoneAfterARestartIsPassedOver) {
  ScrubPlan before(kPeriod, StartedAt(kStart));
  before.Begin(Ids({3, 7, 9}));
  Read(&before, 5);
  ScrubPlan after(kPeriod, before.position());
  after.Begin(Ids({3, 9}));
  EXPECT_THAT(Read(&after, 1), ElementsAre(Pair(9, 0))) << "not where the other one was";
  ScrubPlan empty(kPeriod, before.position());
  empty.Begin({});
  EXPECT_FALSE(empty.Next().has_value());
  empty.Complete(kStart);
  EXPECT_FALSE(empty.Due(kStart));
}

TEST(ScrubPlanTest, WhatIsDamagedIsLeftAtOnce) {
  ScrubPlan plan(kPeriod, StartedAt(kStart));
  plan.Begin(Ids({3, 7}));
  Read(&plan, 2);
  plan.Leave();
  EXPECT_THAT(Read(&plan, 1), ElementsAre(Pair(7, 0)));
}

TEST(ScrubPlanTest, AClockThatWasSetBackDoesNotPutOffAPassForYears) {
  ScrubPlan plan(kPeriod, StartedAt(kStart + absl::Hours(24 * 3650)));
  EXPECT_TRUE(plan.Due(kStart));
}

TEST(ScrubPlanTest, APositionIsReadAsItWasWritten) {
  const ScrubPosition position{
      .since_ms = 5, .completed_ms = 4, .partition = LocalPartitionId(7), .offset = Offset(80)};
  EXPECT_EQ(ParseScrubPosition(FormatScrubPosition(position)), position);
  for (const char* damaged : {"", "since_ms 5\n", "nonsense", "since_ms x\ncompleted_ms 4\n",
                              "since_ms 5\ncompleted_ms 4\npartition 7\noffset -1\n"}) {
    EXPECT_EQ(ParseScrubPosition(damaged), std::nullopt) << damaged;
  }
}

}  // namespace
}  // namespace falaj::storage
