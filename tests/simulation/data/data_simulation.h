#ifndef TESTS_SIMULATION_DATA_DATA_SIMULATION_H_
#define TESTS_SIMULATION_DATA_DATA_SIMULATION_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "libs/replica/planted_bug.h"
#include "tests/simulation/data/findings.h"
#include "tests/simulation/data/nemesis.h"
#include "tests/simulation/event_queue.h"

namespace falaj::simulation::data {

// What stands for the metadata service: one state that forgets nothing, which is fast, or the
// shipped quorum; or what the seed says, mostly the former.
enum class MetadataKind { kDrawn, kSingle, kQuorum };

struct RunOptions {
  uint64_t seed = 1;
  replica::PlantedBug planted_bug = replica::PlantedBug::kNone;
  SimTime faulty_time = 5 * kSecond;  // How long the nemesis works.
  Script script = Script::kNone;      // To begin with.
  MetadataKind metadata = MetadataKind::kDrawn;
  bool trace = false;
};

// What a run has shown.
struct RunReport {
  std::optional<Finding> finding;  // The first broken promise; nullopt: none was.
  SimTime time = 0;                // Virtual, at the end.
  uint64_t events = 0;
  uint64_t hash = 0;  // Of everything that happened: equal for equal seeds.
  uint64_t sends = 0;
  uint64_t acknowledged = 0;
  uint64_t reads = 0;
  uint64_t commands = 0;  // Of the metadata service.
  bool quorum = false;    // Which had a quorum.
  std::array<uint64_t, kMarks> marks{};
};

// Lives one life of storage nodes, their metadata service, producers and consumers, drawn from a
// seed. Every invariant is checked after every event. At the end all gets well: every ISR must
// become whole, every copy the same, every producer and consumer done; then what the clients saw is
// judged.
RunReport Run(const RunOptions& options);

// "seed 7 (quorum) at 1.234567 s: I1 logs match: node 2 partition 0: ...".
std::string Describe(const RunOptions& options, const RunReport& report);

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_DATA_SIMULATION_H_
