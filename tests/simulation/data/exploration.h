#ifndef TESTS_SIMULATION_DATA_EXPLORATION_H_
#define TESTS_SIMULATION_DATA_EXPLORATION_H_

#include <cstdint>
#include <optional>

#include "libs/replica/planted_bug.h"
#include "tests/simulation/findings.h"

namespace falaj::simulation::data {

// How far to look.
struct ExplorationBounds {
  int records = 3;           // That producers append, in all.
  int leader_epochs = 3;     // Elections end there.
  int partition_epochs = 7;  // So do changes of the ISR.
  int sessions = 2;          // That end by silence.
  int crashes = 1;           // Restarts that prove nothing; the disk keeps what was synced.
  uint64_t states_max = UINT64_MAX;
  bool nearest_first = false;  // Finds the shortest way to a broken promise; takes more memory.
  replica::PlantedBug bug = replica::PlantedBug::kNone;
};

struct ExplorationReport {
  std::optional<Finding> finding;
  uint64_t states = 0;       // Different ones.
  uint64_t transitions = 0;  // Between them.
  uint64_t committed = 0;    // States in which a record is committed.
  bool complete = false;     // There are no others within the bounds.
};

// Visits every state that three replicas of one partition and their elections can come into, within
// bounds, whatever the order in which things happen: the shipped Replica and the shipped election
// rules (libs/cluster/election.h), with min_in_sync_replicas 2.
//
// A step is an append, what a node learns from the metadata, an attach with its answer, a record
// with the marks, an acknowledgement that arrives (perhaps in a later epoch), a check of the ISR, a
// proposal that is decided, a lead that is moved, a session that ends or comes back, a crash with
// its restart. Writes are synced at once. In every state:
//
//   StrongIsr    whoever is in the ISR of record, or eligible, holds what was ever committed, and
//                below its own high watermark no replica has anything else
//   LeaderInIsr  who leads is in the ISR
//   ValidHw      nobody in the ISR of record ends below its leader's high watermark
//
// The published models of Kafka's replication check the same three of their own text.
ExplorationReport Explore(const ExplorationBounds& bounds);

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_EXPLORATION_H_
