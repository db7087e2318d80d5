// Lives lives of a cluster of storage nodes from seeds, and says what they show:
//
//   data_simulation --seed=1 --seeds=200         200 lives; seed_runner.h has the rest
//   data_simulation --metadata=quorum --seeds=50  lives with a metadata quorum only
//   data_simulation --bug=join-before-catch-up
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "libs/replica/planted_bug.h"
#include "tests/simulation/data/data_simulation.h"
#include "tests/simulation/data/findings.h"
#include "tests/simulation/seed_runner.h"

ABSL_FLAG(std::string, metadata, "drawn",
          "What stands for the metadata service: single, quorum, or drawn from the seed.");

namespace falaj::simulation::data {
namespace {

std::optional<MetadataKind> MetadataKindFromName(absl::string_view name) {
  if (name == "drawn") return MetadataKind::kDrawn;
  if (name == "single") return MetadataKind::kSingle;
  if (name == "quorum") return MetadataKind::kQuorum;
  return std::nullopt;
}

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
      quorums += report.quorum ? 1 : 0;
    }
    std::string Text() const {
      return absl::StrCat(sends, " batches sent, ", acknowledged, " acknowledged, ", reads,
                          " read, ", commands, " metadata commands, ", quorums,
                          " lives with a quorum");
    }

    uint64_t sends = 0;
    uint64_t acknowledged = 0;
    uint64_t reads = 0;
    uint64_t commands = 0;
    uint64_t quorums = 0;
  };
};

int LiveAll(int argc, char** argv) {
  const SeedChoice choice =
      ParseSeedChoice(argc, argv, "lives lives of a cluster of storage nodes from seeds");
  const auto kind = MetadataKindFromName(absl::GetFlag(FLAGS_metadata));
  if (!kind.has_value()) {
    std::fprintf(stderr, "--metadata is single, quorum or drawn\n");
    return 2;
  }
  return LiveSeeds<Lives>(choice, {.metadata = *kind});
}

}  // namespace
}  // namespace falaj::simulation::data

int main(int argc, char** argv) { return falaj::simulation::data::LiveAll(argc, argv); }
