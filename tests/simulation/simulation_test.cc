// The seeds of CI: all invariants hold in 200 lives, each mark is reached, seeds repeat exactly.
#include "tests/simulation/simulation.h"

#include <array>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "tests/simulation/findings.h"
#include "tests/simulation/print_findings.h"
#include "tests/simulation/quiet_log.h"

namespace falaj::simulation {
namespace {

const testing::Environment* const kQuietLog =
    testing::AddGlobalTestEnvironment(new QuietLog);  // NOLINT: gtest owns it.

std::array<uint64_t, kMarks> RunSeeds(uint64_t first, uint64_t count,
                                      LostDisks lost_disks = LostDisks::kStayAway) {
  std::array<uint64_t, kMarks> marks{};
  uint64_t events = 0;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    RunOptions options;
    options.seed = seed;
    options.lost_disks = lost_disks;
    const RunReport report = simulation::Run(options);
    EXPECT_FALSE(report.finding) << Describe(options, report);
    if (report.finding) break;
    for (size_t i = 0; i < kMarks; ++i) marks[i] += report.marks[i];
    events += report.events;
  }
  if (count > 1) PrintSeeds<Mark>(first, count, events, marks);
  return marks;
}

void ExpectAllReached(const std::array<uint64_t, kMarks>& marks) {
  for (size_t i = 0; i < kMarks; ++i) {
    const auto mark = static_cast<Mark>(i);
    EXPECT_GT(marks[i], 0u) << MarkName(mark) << ": " << MarkMeaning(mark);
  }
}

// Two shards, so that two cores share them.
TEST(SimulationTest, FirstHundredSeedsKeepEveryPromise) { ExpectAllReached(RunSeeds(1, 100)); }
TEST(SimulationTest, SecondHundredSeedsKeepEveryPromise) { ExpectAllReached(RunSeeds(101, 100)); }

// Nothing changes for anybody but the operator, who reads why.
TEST(SimulationTest, DisksThatWereLostMayComeBackEmpty) {
  const auto marks = RunSeeds(1, 100, LostDisks::kReturnEmpty);
  EXPECT_GT(marks[static_cast<size_t>(Mark::kWiped)], 20u);
}

TEST(SimulationTest, EmptyDisksThatNothingTellsApartAreNoticed) {
  RunOptions options;
  options.lost_disks = LostDisks::kReturnWithoutTheirIds;
  for (options.seed = 1; options.seed <= 200; ++options.seed) {
    if (simulation::Run(options).finding) return;
  }
  FAIL() << "a node that forgot its promises was not noticed";
}

TEST(SimulationTest, ASeedRepeatsExactly) {
  for (const uint64_t seed : {1, 2, 3}) {
    RunOptions options;
    options.seed = seed;
    const RunReport once = simulation::Run(options);
    const RunReport again = simulation::Run(options);
    EXPECT_EQ(once.hash, again.hash) << "seed " << seed;
    EXPECT_EQ(once.events, again.events) << "seed " << seed;
    EXPECT_EQ(once.marks, again.marks) << "seed " << seed;
  }
}

// One number a line; the rest of the line says what it found once.
std::vector<uint64_t> RegressionSeeds() {
  std::ifstream file("tests/simulation/regression_seeds.txt");
  EXPECT_TRUE(file.good());
  std::vector<uint64_t> seeds;
  for (std::string line; std::getline(file, line);) {
    uint64_t seed = 0;
    if (std::istringstream(line) >> seed) seeds.push_back(seed);
  }
  return seeds;
}

TEST(SimulationTest, SeedsThatFailedOnceKeepEveryPromise) {
  for (uint64_t seed : RegressionSeeds()) RunSeeds(seed, 1);
}

}  // namespace
}  // namespace falaj::simulation
