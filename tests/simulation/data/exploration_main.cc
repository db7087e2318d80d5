// Visits every state of three replicas and their elections within bounds, and says how many there
// are:
//
//   replica_exploration                                    the bounds that three of everything make
//   replica_exploration --records=2 --leader_epochs=2      fewer
//   replica_exploration --bug=join-before-catch-up         with a planted bug, until it is caught
#include <cstdio>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"

#include "tests/simulation/data/exploration.h"

ABSL_FLAG(int, records, 3, "Records that producers append.");
ABSL_FLAG(int, leader_epochs, 3, "Leader epochs.");
ABSL_FLAG(int, partition_epochs, 7, "Partition epochs.");
ABSL_FLAG(int, sessions, 2, "Sessions that end by silence.");
ABSL_FLAG(int, crashes, 1, "Unclean restarts.");
ABSL_FLAG(uint64_t, states_max, UINT64_MAX, "Give up after so many.");
ABSL_FLAG(std::string, bug, "none", "A planted bug of Replica to switch on, by name.");

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  using falaj::replica::PlantedBug;
  const auto bug = falaj::replica::PlantedBugFromName(absl::GetFlag(FLAGS_bug));
  if (!bug) {
    std::fprintf(stderr, "no bug is called %s\n", absl::GetFlag(FLAGS_bug).c_str());
    return 2;
  }
  const auto report =
      falaj::simulation::data::Explore({.records = absl::GetFlag(FLAGS_records),
                                        .leader_epochs = absl::GetFlag(FLAGS_leader_epochs),
                                        .partition_epochs = absl::GetFlag(FLAGS_partition_epochs),
                                        .sessions = absl::GetFlag(FLAGS_sessions),
                                        .crashes = absl::GetFlag(FLAGS_crashes),
                                        .states_max = absl::GetFlag(FLAGS_states_max),
                                        .bug = *bug});
  if (report.finding) {
    std::printf("%s: %s\n", report.finding->invariant.c_str(), report.finding->what.c_str());
  }
  std::printf("%llu states, %llu transitions, %llu with committed records, %s\n",
              static_cast<unsigned long long>(report.states),       // NOLINT: for printf
              static_cast<unsigned long long>(report.transitions),  // NOLINT: for printf
              static_cast<unsigned long long>(report.committed),    // NOLINT: for printf
              report.complete ? "complete" : "not complete");
  return report.finding.has_value() == (*bug != PlantedBug::kNone) ? 0 : 1;
}
