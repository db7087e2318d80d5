#include "libs/replica/planted_bug.h"

namespace falaj::replica {

absl::string_view PlantedBugName(PlantedBug bug) {
  switch (bug) {
    case PlantedBug::kNone:
      return "none";
    case PlantedBug::kTruncateToHighWatermark:
      return "truncate-to-high-watermark";
    case PlantedBug::kNoLeaderEpochEntry:
      return "no-leader-epoch-entry";
    case PlantedBug::kHighWatermarkOverCommittedIsr:
      return "high-watermark-over-committed-isr";
    case PlantedBug::kOldEpochAckCounts:
      return "old-epoch-ack-counts";
    case PlantedBug::kJoinBeforeCatchUp:
      return "join-before-catch-up";
    case PlantedBug::kRestartWithoutIncarnation:
      return "restart-without-incarnation";
    case PlantedBug::kFollowerAcksBeforeFsync:
      return "follower-acks-before-fsync";
    case PlantedBug::kZombieLeaderServes:
      return "zombie-leader-serves";
    case PlantedBug::kDeduplicationNotReplicated:
      return "deduplication-not-replicated";
    case PlantedBug::kLogStartAheadIgnored:
      return "log-start-ahead-ignored";
    case PlantedBug::kCommitBeforeEpochStart:
      return "commit-before-epoch-start";
  }
  return "unknown";
}

std::optional<PlantedBug> PlantedBugFromName(absl::string_view name) {
  if (name == PlantedBugName(PlantedBug::kNone)) return PlantedBug::kNone;
  for (const PlantedBug bug : kPlantedBugs) {
    if (name == PlantedBugName(bug)) return bug;
  }
  return std::nullopt;
}

bool PlantedBugIsOfReplica(PlantedBug bug) {
  switch (bug) {
    case PlantedBug::kOldEpochAckCounts:
    case PlantedBug::kRestartWithoutIncarnation:
    case PlantedBug::kFollowerAcksBeforeFsync:
    case PlantedBug::kDeduplicationNotReplicated:
      return false;
    case PlantedBug::kNone:
    case PlantedBug::kTruncateToHighWatermark:
    case PlantedBug::kNoLeaderEpochEntry:
    case PlantedBug::kHighWatermarkOverCommittedIsr:
    case PlantedBug::kJoinBeforeCatchUp:
    case PlantedBug::kZombieLeaderServes:
    case PlantedBug::kLogStartAheadIgnored:
    case PlantedBug::kCommitBeforeEpochStart:
      return true;
  }
  return false;
}

}  // namespace falaj::replica
