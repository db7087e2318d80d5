#include "libs/raft/planted_bug.h"

namespace falaj::raft {

absl::string_view PlantedBugName(PlantedBug bug) {
  switch (bug) {
    case PlantedBug::kNone:
      return "none";
    case PlantedBug::kCommitOldTermByCounting:
      return "commit-old-term-by-counting";
    case PlantedBug::kAcknowledgeBeforeFsync:
      return "acknowledge-before-fsync";
    case PlantedBug::kVoteNotPersisted:
      return "vote-not-persisted";
    case PlantedBug::kReadWithoutReadIndex:
      return "read-without-read-index";
    case PlantedBug::kSnapshotNotDurable:
      return "snapshot-not-durable";
    case PlantedBug::kRemovedMemberCounts:
      return "removed-member-counts";
    case PlantedBug::kDuplicateApplyAfterRestart:
      return "duplicate-apply-after-restart";
    case PlantedBug::kSessionExpiredByFollowerClock:
      return "session-expired-by-follower-clock";
    case PlantedBug::kWatchSkipsAnEntry:
      return "watch-skips-an-entry";
    case PlantedBug::kEphemeralSurvivesItsSession:
      return "ephemeral-survives-its-session";
  }
  return "unknown";
}

std::optional<PlantedBug> PlantedBugFromName(absl::string_view name) {
  if (name == PlantedBugName(PlantedBug::kNone)) return PlantedBug::kNone;
  for (PlantedBug bug : kPlantedBugs) {
    if (name == PlantedBugName(bug)) return bug;
  }
  return std::nullopt;
}

}  // namespace falaj::raft
