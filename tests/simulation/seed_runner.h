// The command line of a simulator: which seeds to live, and what they have shown together. A
// simulator's main() names its types and its counts, and calls LiveSeeds().
//
//   --seed=1 --seeds=200    200 lives
//   --seed=7 --trace        one, told event by event
//   --minutes=60            as many as fit
//   --bug=NAME              with a planted bug, until it is caught
//
// Prints the first broken promise and exits 1; a second run of that seed repeats it exactly. With
// --bug, exits 0 if it was caught. Ends with the marks: how often each rare path was taken.
#ifndef TESTS_SIMULATION_SEED_RUNNER_H_
#define TESTS_SIMULATION_SEED_RUNNER_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <optional>
#include <string>

#include "tests/simulation/event_queue.h"

namespace falaj::simulation {

// The flags, read once the command line is.
struct SeedChoice {
  uint64_t seed = 1;
  uint64_t seeds = 1;
  double minutes = 0;  // 0: `seeds` decides.
  std::optional<double> virtual_seconds;
  std::string bug;
  bool trace = false;
  bool verbose = false;
  bool keep_going = false;
};
SeedChoice ParseSeedChoice(int argc, char** argv, const char* usage);

// What a core should do at least. A run says whether it did, and does not fail for it: its machine
// may be busy, and a shorter run is no broken promise.
inline constexpr double kEventsPerSecond = 100'000;

inline unsigned long long ForPrintf(uint64_t value) { return value; }  // NOLINT: for printf

// What many runs have shown together.
template <typename Simulation>
class SeedTotals {
 public:
  using Report = typename Simulation::Report;
  using Mark = typename Simulation::Mark;

  void Add(const Report& report) {
    ++seeds_;
    events_ += report.events;
    time_ += report.time;
    counts_.Add(report);
    for (size_t i = 0; i < marks_.size(); ++i) marks_[i] += report.marks[i];
  }

  void Print(double seconds) const {
    std::printf("%llu seeds, %llu events, %.0f virtual seconds, %s\n", ForPrintf(seeds_),
                ForPrintf(events_), static_cast<double>(time_) / kSecond, counts_.Text().c_str());
    const double pace = static_cast<double>(events_) / seconds;
    std::printf("%.2f s of a core: %.1f seeds/s, %.0f events/s of a core (bound: %.0f, %s)\n",
                seconds, static_cast<double>(seeds_) / seconds, pace, kEventsPerSecond,
                pace >= kEventsPerSecond ? "met" : "MISSED");
    for (size_t i = 0; i < marks_.size(); ++i) {
      const auto mark = static_cast<Mark>(i);
      std::printf("  %-24s %9llu  %s\n", std::string(MarkName(mark)).c_str(), ForPrintf(marks_[i]),
                  std::string(MarkMeaning(mark)).c_str());
    }
  }

  uint64_t seeds() const { return seeds_; }

 private:
  uint64_t seeds_ = 0;
  uint64_t events_ = 0;
  SimTime time_ = 0;
  typename Simulation::Counts counts_;
  decltype(Report::marks) marks_{};
};

// `Simulation` has
//   Options, Report, Mark   with Run(), Describe(), MarkName() and MarkMeaning() beside them
//   Bug, kBugs, BugFromName()   the planted bugs, with PlantedBugName() beside them
//   Counts                  Add(report) and Text(): what is counted besides events
// `options` are what a simulator draws from flags of its own. Returns the exit code.
template <typename Simulation>
int LiveSeeds(const SeedChoice& choice, typename Simulation::Options options = {}) {
  const auto bug = Simulation::BugFromName(choice.bug);
  if (!bug.has_value()) {
    std::fprintf(stderr, "no bug is called %s; there are:\n", choice.bug.c_str());
    for (const auto known : Simulation::kBugs) {
      std::fprintf(stderr, "  %s\n", std::string(PlantedBugName(known)).c_str());
    }
    return 2;
  }
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
  options.planted_bug = *bug;
  options.trace = choice.trace;
  if (choice.virtual_seconds.has_value()) {
    options.faulty_time = static_cast<SimTime>(*choice.virtual_seconds * kSecond);
  }
  options.seed = choice.seed;
  SeedTotals<Simulation> totals;
  bool found = false;
  const auto goes_on = [&] {
    if (found && !choice.keep_going) return false;
    const double limit = choice.minutes * 60;
    return limit > 0 ? elapsed() < limit : totals.seeds() < choice.seeds;
  };
  while (goes_on()) {
    const typename Simulation::Report report = Run(options);
    totals.Add(report);
    found |= report.finding.has_value();
    if (report.finding.has_value() || choice.verbose) {
      std::printf("%s  (%llu events, hash %016llx)\n", Describe(options, report).c_str(),
                  ForPrintf(report.events), ForPrintf(report.hash));
      std::fflush(stdout);
    }
    ++options.seed;
  }
  totals.Print(static_cast<double>(std::clock()) / CLOCKS_PER_SEC);
  return found == (*bug != Simulation::Bug::kNone) ? 0 : 1;
}

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_SEED_RUNNER_H_
