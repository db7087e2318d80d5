// Mistakes that other implementations shipped, to be switched on by tests that must catch them.
//
//   Replica replica(self, stored, settings, PlantedBug::kTruncateToHighWatermark);  // Only in a
//   test.
//
// A simulator that finds nothing proves little; one that finds each of these proves that it looks.
#ifndef LIBS_REPLICA_PLANTED_BUG_H_
#define LIBS_REPLICA_PLANTED_BUG_H_

#include <array>
#include <optional>

#include "absl/strings/string_view.h"

namespace falaj::replica {

// PlantedBug is one mistake. Who makes it stands beside it; Replica ignores those that are not its
// own.
enum class PlantedBug {
  kNone,
  // Replica. A follower cuts its log at its high watermark when it attaches, as Kafka did before
  // KIP-101: the watermark it knows may be older than the one producers were told of.
  kTruncateToHighWatermark,
  // Replica. A leader does not note where its epoch began (KAFKA-7415): what an older epoch's
  // followers hold beyond it looks like a part of its log.
  kNoLeaderEpochEntry,
  // Replica. Who is about to join the ISR is not waited for, although it may be in it already.
  kHighWatermarkOverCommittedIsr,
  // Replica, and host, which passes it on: an acknowledgement given to an earlier reign counts
  // (KIP-320).
  kOldEpochAckCounts,
  // Replica. Whoever is attached may join the ISR.
  kJoinBeforeCatchUp,
  // Host. A process that starts gives itself out for the one before it, whatever its disk has lost.
  kRestartWithoutIncarnation,
  // Host. A follower says synced while the sync is still under way.
  kFollowerAcksBeforeFsync,
  // Replica. A leader that learns of its successor goes on.
  kZombieLeaderServes,
  // Host. Followers do not note the sequences of idempotent producers.
  kDeduplicationNotReplicated,
  // Replica. A follower whose log ends below the leader's start goes on as though nothing was
  // missing.
  kLogStartAheadIgnored,
  // Replica. A leader counts what it inherited as committed once all in sync hold that, be it that
  // they lack the start of its epoch (figure 8 of Raft). Only a recovered metadata quorum, which
  // has to find the fullest log by its epoch, would suffer from that.
  kCommitBeforeEpochStart,
};

inline constexpr std::array kPlantedBugs = {
    PlantedBug::kTruncateToHighWatermark,
    PlantedBug::kNoLeaderEpochEntry,
    PlantedBug::kHighWatermarkOverCommittedIsr,
    PlantedBug::kOldEpochAckCounts,
    PlantedBug::kJoinBeforeCatchUp,
    PlantedBug::kRestartWithoutIncarnation,
    PlantedBug::kFollowerAcksBeforeFsync,
    PlantedBug::kZombieLeaderServes,
    PlantedBug::kDeduplicationNotReplicated,
    PlantedBug::kLogStartAheadIgnored,
    PlantedBug::kCommitBeforeEpochStart,
};

// "truncate-to-high-watermark"; "none" for kNone.
absl::string_view PlantedBugName(PlantedBug bug);
// nullopt if no bug has this name.
std::optional<PlantedBug> PlantedBugFromName(absl::string_view name);
// True if Replica alone makes the mistake, whatever its host does; also for kNone.
bool PlantedBugIsOfReplica(PlantedBug bug);

}  // namespace falaj::replica

#endif  // LIBS_REPLICA_PLANTED_BUG_H_
