#ifndef TESTS_SIMULATION_SIMULATION_H_
#define TESTS_SIMULATION_SIMULATION_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "libs/raft/planted_bug.h"
#include "tests/simulation/event_queue.h"
#include "tests/simulation/findings.h"

namespace falaj::simulation {

// What becomes of machines that have lost their disks.
enum class LostDisks {
  kStayAway,
  kReturnEmpty,            // Under their old ids; their directories are new, and must be refused.
  kReturnWithoutTheirIds,  // As well, but nothing tells the directories apart: promises get broken.
};

struct RunOptions {
  uint64_t seed = 1;
  raft::PlantedBug planted_bug = raft::PlantedBug::kNone;
  SimTime faulty_time = 10 * kSecond;  // How long the nemesis works.
  bool trace = false;
  LostDisks lost_disks = LostDisks::kStayAway;
};

// What a run has shown.
struct RunReport {
  std::optional<Finding> finding;  // The first broken promise; nullopt: none was.
  SimTime time = 0;                // Virtual, at the end.
  uint64_t events = 0;
  uint64_t hash = 0;  // Of everything that happened: equal for equal seeds.
  uint64_t operations = 0;
  uint64_t entries = 0;
  uint64_t terms = 0;
  std::array<uint64_t, kMarks> marks{};
};

// Lives one life of a metadata quorum and its clients, drawn from a seed: years of bad luck in a
// few virtual seconds. Every invariant is checked after every event. At the end a random majority
// gets well and must do alone, then everybody, and the history is judged.
RunReport Run(const RunOptions& options);

// "seed 7: election safety: node 2: leads term 3, which node 1 leads".
std::string Describe(const RunOptions& options, const RunReport& report);

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_SIMULATION_H_
