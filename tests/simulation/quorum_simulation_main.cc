// Lives lives of a metadata quorum from seeds, and says what they show:
//
//   quorum_simulation --seed=1 --seeds=200         200 lives; seed_runner.h has the rest
//   quorum_simulation --bug=vote-not-persisted
//   quorum_simulation --seeds=200 --lost_disks_return   and nodes that lost theirs come back empty
#include <cstdint>
#include <optional>
#include <string>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "libs/raft/planted_bug.h"
#include "tests/simulation/findings.h"
#include "tests/simulation/seed_runner.h"
#include "tests/simulation/simulation.h"

ABSL_FLAG(bool, lost_disks_return, false,
          "Machines that lost their disks come back empty under their old ids.");

namespace falaj::simulation {
namespace {

struct Lives {
  using Options = RunOptions;
  using Report = RunReport;
  using Mark = falaj::simulation::Mark;
  using Bug = raft::PlantedBug;
  static constexpr const auto& kBugs = raft::kPlantedBugs;
  static std::optional<Bug> BugFromName(absl::string_view name) {
    return raft::PlantedBugFromName(name);
  }

  struct Counts {
    void Add(const Report& report) {
      operations += report.operations;
      entries += report.entries;
      terms += report.terms;
    }
    std::string Text() const {
      return absl::StrCat(operations, " client operations, ", entries, " entries, ", terms,
                          " terms");
    }

    uint64_t operations = 0;
    uint64_t entries = 0;
    uint64_t terms = 0;
  };
};

}  // namespace
}  // namespace falaj::simulation

int main(int argc, char** argv) {
  using namespace falaj::simulation;  // NOLINT: of this function only.
  const SeedChoice choice =
      ParseSeedChoice(argc, argv, "lives lives of a metadata quorum from seeds");
  RunOptions options;
  if (absl::GetFlag(FLAGS_lost_disks_return)) options.lost_disks = LostDisks::kReturnEmpty;
  return LiveSeeds<Lives>(choice, options);
}
