// Visits every state of three replicas and their elections within bounds, and says how many there
// are:
//
//   replica_exploration                                    the bounds that three of everything make
//   replica_exploration --records=2 --leader_epochs=2      fewer
//   replica_exploration --bug=join-before-catch-up         with a planted bug, until it is caught
#include <sys/resource.h>

#include <cstdio>
#include <optional>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"

#include "tests/simulation/data/exploration.h"

ABSL_FLAG(int, records, 3, "Records that producers append.");
ABSL_FLAG(int, leader_epochs, 3, "Leader epochs.");
ABSL_FLAG(int, crashes, 0, "Restarts that prove nothing.");
ABSL_FLAG(std::string, syncing, "at-once", "Or later, or unasked: a crash loses the rest.");
ABSL_FLAG(bool, late_acks, true, "Acknowledgements of a reign may come after it.");
ABSL_FLAG(bool, sessions_apart, false, "Sessions that end may stay away.");
ABSL_FLAG(bool, acks_apart, false, "A leader hears later what a follower has.");
ABSL_FLAG(bool, attaches_apart, false, "A follower hears of a leader, and attaches later.");
ABSL_FLAG(bool, heals, false, "Look at what becomes of each state when nothing more goes wrong.");
ABSL_FLAG(uint32_t, states_max, UINT32_MAX - 1, "Give up after so many.");
ABSL_FLAG(std::string, bug, "none", "A planted bug of Replica to switch on, by name.");

namespace {

std::optional<falaj::simulation::data::Syncing> SyncingFromName(const std::string& name) {
  using falaj::simulation::data::Syncing;
  if (name == "at-once") return Syncing::kAtOnce;
  if (name == "later") return Syncing::kLater;
  if (name == "unasked") return Syncing::kUnasked;
  return std::nullopt;
}

void PrintCost() {
  rusage cost{};
  if (getrusage(RUSAGE_SELF, &cost) != 0) return;
  std::printf(
      "%lld s of one core, %lld MiB\n",
      static_cast<long long>(cost.ru_utime.tv_sec + cost.ru_stime.tv_sec),  // NOLINT: printf
      static_cast<long long>(cost.ru_maxrss / 1024));                       // NOLINT: printf
}

}  // namespace

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  using falaj::replica::PlantedBug;
  const auto bug = falaj::replica::PlantedBugFromName(absl::GetFlag(FLAGS_bug));
  if (!bug) {
    std::fprintf(stderr, "no bug is called %s\n", absl::GetFlag(FLAGS_bug).c_str());
    return 2;
  }
  const auto syncing = SyncingFromName(absl::GetFlag(FLAGS_syncing));
  if (!syncing) {
    std::fprintf(stderr, "--syncing is at-once, later or unasked\n");
    return 2;
  }
  const falaj::simulation::data::ExplorationBounds bounds = {
      .records = absl::GetFlag(FLAGS_records),
      .leader_epochs = absl::GetFlag(FLAGS_leader_epochs),
      .crashes = absl::GetFlag(FLAGS_crashes),
      .syncing = *syncing,
      .late_acks = absl::GetFlag(FLAGS_late_acks),
      .apart = {.sessions = absl::GetFlag(FLAGS_sessions_apart),
                .acks = absl::GetFlag(FLAGS_acks_apart),
                .attaches = absl::GetFlag(FLAGS_attaches_apart)},
      .heals = absl::GetFlag(FLAGS_heals),
      .states_max = absl::GetFlag(FLAGS_states_max),
      .bug = *bug};
  if (!IsWithinReach(bounds)) {
    std::fprintf(stderr, "records and leader epochs are 8 at most, together\n");
    return 2;
  }
  const auto report = Explore(bounds);
  if (report.finding) {
    std::printf("%s: %s\n", report.finding->invariant.c_str(), report.finding->what.c_str());
    for (const std::string& step : report.way) std::printf("  %s\n", step.c_str());
  }
  std::printf("%llu states, %llu transitions, %llu with committed records, %s\n",
              static_cast<unsigned long long>(report.states),       // NOLINT: for printf
              static_cast<unsigned long long>(report.transitions),  // NOLINT: for printf
              static_cast<unsigned long long>(report.committed),    // NOLINT: for printf
              report.complete ? "complete" : "not complete");
  std::printf("%zu states of a replica, %zu steps of one; %zu states of the metadata\n",
              report.replica_states, report.replica_steps, report.metadata_states);
  PrintCost();
  return report.finding.has_value() == (*bug != PlantedBug::kNone) ? 0 : 1;
}
