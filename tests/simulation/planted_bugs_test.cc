// A simulator that finds nothing proves little: it must find each mistake of
// libs/raft/planted_bug.h.
#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"

#include "libs/base/log.h"
#include "libs/raft/planted_bug.h"
#include "tests/simulation/print_findings.h"
#include "tests/simulation/simulation.h"

namespace falaj::simulation {
namespace {

using raft::PlantedBug;

constexpr uint64_t kSeedsMax = 1000;

class PlantedBugTest : public testing::TestWithParam<PlantedBug> {};

// Any of the first thousand seeds will do; most bugs are found by the first few.
TEST_P(PlantedBugTest, IsCaught) {
  log::Options quiet;
  quiet.level_min = log::Level::kOff;
  log::Configure(quiet);
  RunOptions options;
  options.planted_bug = GetParam();
  uint64_t events = 0;
  for (options.seed = 1; options.seed <= kSeedsMax; ++options.seed) {
    const RunReport report = simulation::Run(options);
    events += report.events;
    if (!report.finding) continue;
    PrintCaught(raft::PlantedBugName(GetParam()), options.seed, events, Describe(options, report));
    return;
  }
  FAIL() << raft::PlantedBugName(GetParam()) << " was not caught within " << kSeedsMax << " seeds";
}

INSTANTIATE_TEST_SUITE_P(
    Each, PlantedBugTest, testing::ValuesIn(raft::kPlantedBugs),
    [](const testing::TestParamInfo<PlantedBug>& bug) {
      return absl::StrReplaceAll(raft::PlantedBugName(bug.param), {{"-", "_"}});
    });

}  // namespace
}  // namespace falaj::simulation
