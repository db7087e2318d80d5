// All states within bounds that take a minute together; replica_exploration goes further. And each
// planted bug that the model can express is found.
#include "tests/simulation/data/exploration.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"

namespace falaj::simulation::data {
namespace {

using replica::PlantedBug;

std::string Describe(const ExplorationReport& report) {
  if (!report.finding) return "no finding";
  return absl::StrCat(report.finding->invariant, ": ", report.finding->what,
                      "; after: ", absl::StrJoin(report.way, ", "));
}

void ExpectSafeInEveryState(const ExplorationBounds& bounds) {
  const ExplorationReport report = Explore(bounds);
  std::printf("%llu states, %llu transitions, %llu with committed records, %llu that heal\n",
              static_cast<unsigned long long>(report.states),       // NOLINT: for printf
              static_cast<unsigned long long>(report.transitions),  // NOLINT: for printf
              static_cast<unsigned long long>(report.committed),    // NOLINT: for printf
              static_cast<unsigned long long>(report.healed));      // NOLINT: for printf
  EXPECT_FALSE(report.finding) << Describe(report);
  EXPECT_TRUE(report.complete);
  EXPECT_GT(report.committed, 0u);
  // But for those that are too near to the bounds.
  if (bounds.heals) {
    EXPECT_GT(report.healed, report.states / 10 * 9);
  }
}

TEST(ExplorationTest, ThreeRecordsInTwoReignsAreSafe) {
  ExpectSafeInEveryState({.records = 3, .leader_epochs = 2});
}

TEST(ExplorationTest, OneRecordInThreeReignsIsSafeAndHeals) {
  ExpectSafeInEveryState({.records = 1, .leader_epochs = 3, .heals = true});
}

TEST(ExplorationTest, TheSmallestStepsAreSafe) {
  ExpectSafeInEveryState({.records = 1,
                          .leader_epochs = 2,
                          .apart = {.sessions = true, .acks = true, .attaches = true}});
}

TEST(ExplorationTest, WhoeverStaysAwayComesBackInSync) {
  ExpectSafeInEveryState({.records = 0,
                          .leader_epochs = 2,
                          .apart = {.sessions = true, .acks = true, .attaches = true},
                          .heals = true});
}

TEST(ExplorationTest, ARestartIsSafe) {
  ExpectSafeInEveryState({.records = 1, .leader_epochs = 2, .crashes = 1});
}

TEST(ExplorationTest, ARestartWithoutWhatWasNotSyncedIsSafeAndHeals) {
  ExpectSafeInEveryState(
      {.records = 0, .leader_epochs = 2, .crashes = 1, .syncing = Syncing::kLater, .heals = true});
  ExpectSafeInEveryState(
      {.records = 0, .leader_epochs = 2, .crashes = 1, .syncing = Syncing::kUnasked});
}

// An exploration that finds nothing proves little.
struct Planted {
  PlantedBug bug;
  uint32_t states_max;  // It is found among so many.
  int crashes = 0;
  Syncing syncing = Syncing::kAtOnce;
};

constexpr Planted kPlanted[] = {
    {PlantedBug::kTruncateToHighWatermark, 100'000},
    {PlantedBug::kNoLeaderEpochEntry, 5'000},
    {PlantedBug::kHighWatermarkOverCommittedIsr, 200'000},
    {PlantedBug::kOldEpochAckCounts, 300'000},
    {PlantedBug::kJoinBeforeCatchUp, 20'000},
    {PlantedBug::kRestartWithoutIncarnation, 20'000, 1, Syncing::kUnasked},
    {PlantedBug::kFollowerAcksBeforeFsync, 20'000, 1, Syncing::kLater},
    {PlantedBug::kZombieLeaderServes, 1'000},
    {PlantedBug::kCommitBeforeEpochStart, 50'000},
};

// There are no producers to repeat themselves here, and no log is trimmed.
constexpr PlantedBug kInexpressible[] = {PlantedBug::kDeduplicationNotReplicated,
                                         PlantedBug::kLogStartAheadIgnored};

class PlantedBugTest : public testing::TestWithParam<Planted> {};

TEST_P(PlantedBugTest, IsFound) {
  const ExplorationReport report = Explore({.crashes = GetParam().crashes,
                                            .syncing = GetParam().syncing,
                                            .states_max = GetParam().states_max,
                                            .bug = GetParam().bug});
  EXPECT_TRUE(report.finding);
  RecordProperty("found", Describe(report));
  std::printf("%llu states; %s\n",
              static_cast<unsigned long long>(report.states),  // NOLINT: for printf
              Describe(report).c_str());
}

INSTANTIATE_TEST_SUITE_P(Each, PlantedBugTest, testing::ValuesIn(kPlanted), [](const auto& one) {
  return absl::StrReplaceAll(replica::PlantedBugName(one.param.bug), {{"-", "_"}});
});

TEST(ExplorationTest, EveryPlantedBugIsLookedForOrCannotBeExpressed) {
  for (const PlantedBug bug : replica::kPlantedBugs) {
    const bool looked_for = std::any_of(std::begin(kPlanted), std::end(kPlanted),
                                        [bug](const Planted& one) { return one.bug == bug; });
    const bool inexpressible = std::find(std::begin(kInexpressible), std::end(kInexpressible),
                                         bug) != std::end(kInexpressible);
    EXPECT_NE(looked_for, inexpressible) << replica::PlantedBugName(bug);
  }
}

}  // namespace
}  // namespace falaj::simulation::data
