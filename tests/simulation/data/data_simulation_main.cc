// Lives lives of a cluster of storage nodes from seeds, and says what they show:
//
//   data_simulation --seed=1 --seeds=200         200 lives; seed_runner.h has the rest
//   data_simulation --bug=join-before-catch-up
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "libs/replica/planted_bug.h"
#include "tests/simulation/data/data_simulation.h"
#include "tests/simulation/data/findings.h"
#include "tests/simulation/seed_runner.h"

namespace falaj::simulation::data {
namespace {

struct Lives {
  using Options = RunOptions;
  using Report = RunReport;
  using Mark = falaj::simulation::data::Mark;
  using Bug = replica::PlantedBug;
  static constexpr const auto& kBugs = replica::kPlantedBugs;
  static std::optional<Bug> BugFromName(absl::string_view name) {
    return replica::PlantedBugFromName(name);
  }

  struct Counts {
    void Add(const Report& report) {
      sends += report.sends;
      acknowledged += report.acknowledged;
      reads += report.reads;
      commands += report.commands;
    }
    std::string Text() const {
      return absl::StrCat(sends, " batches sent, ", acknowledged, " acknowledged, ", reads,
                          " read, ", commands, " metadata commands");
    }

    uint64_t sends = 0;
    uint64_t acknowledged = 0;
    uint64_t reads = 0;
    uint64_t commands = 0;
  };
};

}  // namespace
}  // namespace falaj::simulation::data

int main(int argc, char** argv) {
  return falaj::simulation::LiveSeeds<falaj::simulation::data::Lives>(
      falaj::simulation::ParseSeedChoice(argc, argv,
                                         "lives lives of a cluster of storage nodes from seeds"));
}
