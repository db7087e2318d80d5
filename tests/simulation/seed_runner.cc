#include "tests/simulation/seed_runner.h"

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"

#include "libs/base/log.h"

ABSL_FLAG(uint64_t, seed, 1, "First seed.");
ABSL_FLAG(uint64_t, seeds, 1, "How many seeds, from the first one on.");
ABSL_FLAG(double, minutes, 0, "Go on with further seeds for so long; 0: --seeds decides.");
ABSL_FLAG(std::optional<double>, virtual_seconds, std::nullopt,
          "How long the faults of one life last, in virtual seconds.");
ABSL_FLAG(std::string, bug, "none", "A planted bug to switch on, by name.");
ABSL_FLAG(bool, trace, false, "Tell what happens.");
ABSL_FLAG(bool, verbose, false, "A line for every seed.");
ABSL_FLAG(bool, keep_going, false, "Go on with the next seed behind a broken promise.");

namespace falaj::simulation {

SeedChoice ParseSeedChoice(int argc, char** argv, const char* usage) {
  absl::SetProgramUsageMessage(usage);
  absl::ParseCommandLine(argc, argv);
  log::Options log;
  log.level_min = log::Level::kOff;
  log::Configure(log);
  return {.seed = absl::GetFlag(FLAGS_seed),
          .seeds = absl::GetFlag(FLAGS_seeds),
          .minutes = absl::GetFlag(FLAGS_minutes),
          .virtual_seconds = absl::GetFlag(FLAGS_virtual_seconds),
          .bug = absl::GetFlag(FLAGS_bug),
          .trace = absl::GetFlag(FLAGS_trace),
          .verbose = absl::GetFlag(FLAGS_verbose),
          .keep_going = absl::GetFlag(FLAGS_keep_going)};
}

}  // namespace falaj::simulation
