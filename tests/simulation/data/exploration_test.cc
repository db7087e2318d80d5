// The states of small bounds, all of them; and the first of those that three of everything make.
#include "tests/simulation/data/exploration.h"

#include <cstdio>

#include "gtest/gtest.h"

namespace falaj::simulation::data {
namespace {

using replica::PlantedBug;

ExplorationReport Look(const ExplorationBounds& bounds) {
  const ExplorationReport report = Explore(bounds);
  std::printf("%llu states, %llu transitions, %llu with committed records\n",
              static_cast<unsigned long long>(report.states),       // NOLINT: for printf
              static_cast<unsigned long long>(report.transitions),  // NOLINT: for printf
              static_cast<unsigned long long>(report.committed));   // NOLINT: for printf
  return report;
}

TEST(ExplorationTest, OneReignAndOneChangeOfTheIsrAreSafeInEveryState) {
  const ExplorationReport report =
      Look({.records = 1, .leader_epochs = 1, .partition_epochs = 2, .sessions = 0, .crashes = 0});
  EXPECT_TRUE(report.complete);
  EXPECT_FALSE(report.finding) << report.finding->invariant << ": " << report.finding->what;
  EXPECT_GT(report.committed, 0u);
}

// Complete, they take hours: replica_exploration.
TEST(ExplorationTest, TheFirstStatesOfThreeOfEverythingAreSafe) {
  const ExplorationReport report = Look({.states_max = 20'000});
  EXPECT_FALSE(report.finding) << report.finding->invariant << ": " << report.finding->what;
  EXPECT_GE(report.states, 20'000u);
}

// A model that finds nothing proves little.
TEST(ExplorationTest, FindsWhoJoinsBeforeItHoldsEverything) {
  EXPECT_TRUE(Look({.records = 1,
                    .leader_epochs = 1,
                    .partition_epochs = 3,
                    .sessions = 0,
                    .crashes = 0,
                    .states_max = 40'000,
                    .nearest_first = true,
                    .bug = PlantedBug::kJoinBeforeCatchUp})
                  .finding);
}

TEST(ExplorationTest, FindsACutAtTheHighWatermark) {
  EXPECT_TRUE(Look({.records = 1,
                    .leader_epochs = 2,
                    .partition_epochs = 2,
                    .sessions = 0,
                    .crashes = 0,
                    .states_max = 40'000,
                    .nearest_first = true,
                    .bug = PlantedBug::kTruncateToHighWatermark})
                  .finding);
}

}  // namespace
}  // namespace falaj::simulation::data
