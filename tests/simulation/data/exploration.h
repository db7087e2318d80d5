#ifndef TESTS_SIMULATION_DATA_EXPLORATION_H_
#define TESTS_SIMULATION_DATA_EXPLORATION_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libs/replica/planted_bug.h"
#include "tests/simulation/data/exploration_replica.h"
#include "tests/simulation/findings.h"

namespace falaj::simulation::data {

// What are several steps, and would else be one. With all of them apart there are far more states,
// but hardly any that others could tell from one there was before.
struct StepsApart {
  // A session ends, and comes back later. Else sessions are back before anybody hears of it.
  bool sessions = false;
  // A follower has a record, and its leader hears of it later. Else at once, but for late_acks.
  bool acks = false;
  // A follower hears who leads, and attaches later. Else it hears once it can attach.
  bool attaches = false;
};

// How far to look; IsWithinReach says what can be. Changes of the ISR and ends of sessions are not
// counted: they may come and go without end, as what they lead to repeats itself.
struct ExplorationBounds {
  int records = 3;                     // That producers append, in all.
  int leader_epochs = 3;               // Elections end there.
  int crashes = 0;                     // Restarts that prove nothing.
  Syncing syncing = Syncing::kAtOnce;  // A crash loses what is not on disk.
  // Acknowledgements of a reign may come when their follower has left it.
  bool late_acks = true;
  StepsApart apart{};
  bool heals = false;  // In every state, look at what becomes of it when nothing more goes wrong.
  uint32_t states_max = UINT32_MAX - 1;
  replica::PlantedBug bug = replica::PlantedBug::kNone;
};

// Whether logs, epochs and acknowledgements fit into where a world keeps them.
constexpr bool IsWithinReach(const ExplorationBounds& bounds) {
  return bounds.records >= 0 && bounds.leader_epochs >= 1 && bounds.crashes >= 0 &&
         bounds.records + bounds.leader_epochs <= kLogLengthMax && bounds.leader_epochs < 8 &&
         bounds.crashes < 7;
}

struct ExplorationReport {
  std::optional<Finding> finding;
  std::vector<std::string> way;  // The shortest to the finding.
  uint64_t states = 0;           // Different ones.
  uint64_t transitions = 0;      // Between them.
  uint64_t committed = 0;        // States in which a record is committed.
  uint64_t healed = 0;           // States of which it was seen that they heal.
  size_t replica_states = 0;     // Of one replica.
  size_t replica_steps = 0;      // Of one replica: so often the shipped code ran.
  size_t metadata_states = 0;
  bool complete = false;  // There are no others within the bounds.
};

// Visits every state that three replicas of one partition and their elections can come into, within
// bounds, whatever the order in which things happen: the shipped Replica and the shipped election
// rules (libs/cluster/election.h), with min_in_sync_replicas 2.
//
// The steps are about those of the published models (hachikuji/kafka-specification, Kip320.tla):
//
//   append      whoever believes that it leads writes a record
//   learn       a node hears the latest of the metadata: it leads, with this ISR, or follows
//   attach      a follower asks its leader of the same epoch, and cuts, until both agree
//   fetch       it gets the next record, if there is one, and the high watermark
//   ack         its leader hears what it holds
//   late ack    the same, when the follower has left the reign, or crashed
//   check       a leader proposes to change the ISR; it may also do so at an attach or an ack
//   decide      the proposal comes to the metadata service
//   move lead, session, crash, sync
//
// In every state:
//
//   StrongIsr    whoever is in the ISR of record, or eligible, holds what was ever committed (on
//                disk, if the topic says so)
//   Matching     what any two high watermarks cover is the same
//   LeaderInIsr  who leads is in the ISR
//   OneLeader    no two lead in the same epoch, and nobody who knows of its successor
//   ValidHw      nobody in the ISR of record ends below its leader's high watermark; none is above
//                its own log's end, and no log is cut below one
//   MonotonicHw  none goes back, but by a crash
//   Epochs       they rise along a log
//   Recovery     should the metadata quorum be lost now, and recovered with nothing but the word of
//                any two of the three nodes, then whoever it lets lead holds what was ever
//                committed
//   Heals        (if asked for) should nothing go wrong from now on, then all three nodes come to
//   be
//                in sync, with one log, of which everything is committed
//
// Requires: IsWithinReach(bounds).
ExplorationReport Explore(const ExplorationBounds& bounds);

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_EXPLORATION_H_
