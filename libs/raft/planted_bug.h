// Mistakes that other implementations shipped, to be switched on by tests that must catch them.
//
//   Options options;
//   options.planted_bug = *PlantedBugFromName("vote-not-persisted");   // Only ever in a test.
//
// A simulator that finds nothing proves little; one that finds each of these proves that it looks.
#ifndef LIBS_RAFT_PLANTED_BUG_H_
#define LIBS_RAFT_PLANTED_BUG_H_

#include <array>
#include <optional>

#include "absl/strings/string_view.h"

namespace falaj::raft {

// PlantedBug is one mistake. Who makes it stands beside it; RaftCore ignores those that are not its
// own.
enum class PlantedBug {
  kNone,
  // RaftCore. A leader takes entries of earlier terms for committed as soon as a majority holds
  // them (paper, figure 8). They travel apart from its own, so that there is such a moment.
  kCommitOldTermByCounting,
  // Host of the core. Acknowledges what a crash can still take away.
  kAcknowledgeBeforeFsync,
  // RaftCore. Promises a vote that is not in what it asks to store: after a crash it votes again.
  kVoteNotPersisted,
  // RaftCore. A leader answers reads from what it knows, without asking whether it still leads.
  kReadWithoutReadIndex,
  // Host of the core. A snapshot from the leader is acknowledged before it is stored.
  kSnapshotNotDurable,
  // RaftCore. Who was a voter goes on voting, acknowledging and standing for election, against the
  // majority of those who are.
  kRemovedMemberCounts,
  // Host of the core. After a restart entries are applied that the snapshot already contains.
  kDuplicateApplyAfterRestart,
  // Host of the core. A node other than the leader ends sessions by its own clock.
  kSessionExpiredByFollowerClock,
  // State machine. A watch that resumes misses one entry.
  kWatchSkipsAnEntry,
  // State machine. An ephemeral node outlives the session that made it.
  kEphemeralSurvivesItsSession,
};

inline constexpr std::array kPlantedBugs = {
    PlantedBug::kCommitOldTermByCounting,    PlantedBug::kAcknowledgeBeforeFsync,
    PlantedBug::kVoteNotPersisted,           PlantedBug::kReadWithoutReadIndex,
    PlantedBug::kSnapshotNotDurable,         PlantedBug::kRemovedMemberCounts,
    PlantedBug::kDuplicateApplyAfterRestart, PlantedBug::kSessionExpiredByFollowerClock,
    PlantedBug::kWatchSkipsAnEntry,          PlantedBug::kEphemeralSurvivesItsSession,
};

// "vote-not-persisted"; "none" for kNone.
absl::string_view PlantedBugName(PlantedBug bug);
// nullopt if no bug has this name.
std::optional<PlantedBug> PlantedBugFromName(absl::string_view name);

}  // namespace falaj::raft

#endif  // LIBS_RAFT_PLANTED_BUG_H_
