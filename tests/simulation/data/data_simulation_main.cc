// Lives lives of a cluster of storage nodes from seeds, and says what they show:
//
//   data_simulation --seed=1 --seeds=200         200 lives
//   data_simulation --seed=7 --trace             one, told event by event
//   data_simulation --minutes=60                 as many as fit
//   data_simulation --bug=join-before-catch-up     with a planted bug, until it is caught
//
// Prints the first broken promise and exits 1; a second run of that seed repeats it exactly. With
// --bug, exits 0 if it was caught. Ends with the marks: how often each rare path was taken.
#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"

#include "libs/base/log.h"
#include "libs/replica/planted_bug.h"
#include "tests/simulation/data/data_simulation.h"
#include "tests/simulation/data/findings.h"

ABSL_FLAG(uint64_t, seed, 1, "First seed.");
ABSL_FLAG(uint64_t, seeds, 1, "How many seeds, from the first one on.");
ABSL_FLAG(double, minutes, 0, "Go on with further seeds for so long; 0: --seeds decides.");
ABSL_FLAG(double, virtual_seconds, 5, "How long the faults of one life last, in virtual seconds.");
ABSL_FLAG(std::string, bug, "none", "A planted bug to switch on, by name.");
ABSL_FLAG(bool, trace, false, "Tell what happens.");
ABSL_FLAG(bool, verbose, false, "A line for every seed.");
ABSL_FLAG(bool, keep_going, false, "Go on with the next seed behind a broken promise.");

namespace falaj::simulation::data {
namespace {

// What many runs have shown together.
struct Totals {
  uint64_t seeds = 0;
  uint64_t events = 0;
  uint64_t sends = 0;
  uint64_t acknowledged = 0;
  uint64_t reads = 0;
  uint64_t commands = 0;
  SimTime time = 0;
  std::array<uint64_t, kMarks> marks{};

  void Add(const RunReport& report) {
    ++seeds;
    events += report.events;
    sends += report.sends;
    acknowledged += report.acknowledged;
    reads += report.reads;
    commands += report.commands;
    time += report.time;
    for (size_t i = 0; i < kMarks; ++i) marks[i] += report.marks[i];
  }

  void Print(double seconds) const {
    std::printf(
        "%llu seeds, %llu events, %.0f virtual seconds, %llu batches sent, %llu acknowledged, "
        "%llu read, %llu metadata commands\n",
        Number(seeds), Number(events), static_cast<double>(time) / kSecond, Number(sends),
        Number(acknowledged), Number(reads), Number(commands));
    std::printf("%.2f s of a core: %.1f seeds/s, %.0f events/s\n", seconds,
                static_cast<double>(seeds) / seconds, static_cast<double>(events) / seconds);
    for (size_t i = 0; i < kMarks; ++i) {
      const auto mark = static_cast<Mark>(i);
      std::printf("  %-24s %9llu  %s\n", std::string(MarkName(mark)).c_str(), Number(marks[i]),
                  std::string(MarkMeaning(mark)).c_str());
    }
  }

  static unsigned long long Number(uint64_t value) { return value; }  // NOLINT: for printf
};

int Main() {
  const auto bug = replica::PlantedBugFromName(absl::GetFlag(FLAGS_bug));
  if (!bug) {
    std::fprintf(stderr, "no bug is called %s; there are:\n", absl::GetFlag(FLAGS_bug).c_str());
    for (replica::PlantedBug known : replica::kPlantedBugs) {
      std::fprintf(stderr, "  %s\n", std::string(replica::PlantedBugName(known)).c_str());
    }
    return 2;
  }
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
  const double limit = absl::GetFlag(FLAGS_minutes) * 60;
  RunOptions options;
  options.planted_bug = *bug;
  options.trace = absl::GetFlag(FLAGS_trace);
  options.faulty_time = static_cast<SimTime>(absl::GetFlag(FLAGS_virtual_seconds) * kSecond);
  options.seed = absl::GetFlag(FLAGS_seed);
  Totals totals;
  bool found = false;
  const auto goes_on = [&] {
    if (found && !absl::GetFlag(FLAGS_keep_going)) return false;
    return limit > 0 ? elapsed() < limit : totals.seeds < absl::GetFlag(FLAGS_seeds);
  };
  while (goes_on()) {
    const RunReport report = Run(options);
    totals.Add(report);
    found |= report.finding.has_value();
    if (report.finding || absl::GetFlag(FLAGS_verbose)) {
      std::printf("%s  (%llu events, hash %016llx)\n", Describe(options, report).c_str(),
                  Totals::Number(report.events), Totals::Number(report.hash));
      std::fflush(stdout);
    }
    ++options.seed;
  }
  totals.Print(static_cast<double>(std::clock()) / CLOCKS_PER_SEC);
  return found == (*bug != replica::PlantedBug::kNone) ? 0 : 1;
}

}  // namespace
}  // namespace falaj::simulation::data

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("lives lives of a cluster of storage nodes from seeds");
  absl::ParseCommandLine(argc, argv);
  falaj::log::Options log;
  log.level_min = falaj::log::Level::kOff;
  falaj::log::Configure(log);
  return falaj::simulation::data::Main();
}
