#ifndef TESTS_SIMULATION_DATA_FINDINGS_H_
#define TESTS_SIMULATION_DATA_FINDINGS_H_

#include <cstddef>

#include "absl/strings/string_view.h"

#include "tests/simulation/marked_findings.h"

namespace falaj::simulation::data {

// A mark is a rare path that a run went through. A simulation that never gets there proves nothing
// about it; a test fails if the seeds of CI leave one out.
//
// FALAJ_DATA_MARK(constant, name, what happened).
#define FALAJ_DATA_MARKS(FALAJ_DATA_MARK)                                                          \
  FALAJ_DATA_MARK(kLeaderReplaced, "leader-replaced", "another node took over the lead")           \
  FALAJ_DATA_MARK(kLeaderless, "leaderless", "nobody might lead for a while")                      \
  FALAJ_DATA_MARK(kElrElection, "elr-election", "who was eligible came back and led")              \
  FALAJ_DATA_MARK(kLastLeader, "last-leader", "nobody was eligible; the last leader led again")    \
  FALAJ_DATA_MARK(kSameLeaderAgain, "same-leader-again", "one node led two epochs running")        \
  FALAJ_DATA_MARK(kUncleanElection, "unclean-election", "one led that may lack committed records") \
  FALAJ_DATA_MARK(kCommittedCut, "committed-cut", "... and others cut what had been committed")    \
  FALAJ_DATA_MARK(kReassigned, "reassigned", "a partition settled at other nodes")                 \
  FALAJ_DATA_MARK(kReassignmentLeft, "reassignment-left", "... or was sent elsewhere, or stayed")  \
  FALAJ_DATA_MARK(kCopyDropped, "copy-dropped", "a node gave up a copy that is on others now")     \
  FALAJ_DATA_MARK(kMinimumChanged, "minimum-changed", "more, or fewer, must be in sync")           \
  FALAJ_DATA_MARK(kWentOn, "went-on", "all but one were well, and a partition went on without it") \
  FALAJ_DATA_MARK(kWaitedForOne, "waited-for-one",                                                 \
                  "... or waited for it, as nobody else might lead")                               \
  FALAJ_DATA_MARK(kTruncated, "truncated", "a follower cut what its leader had not got")           \
  FALAJ_DATA_MARK(kOwnRecordsCut, "own-records-cut", "... and had appended that as the leader")    \
  FALAJ_DATA_MARK(kCutTwice, "cut-twice", "a follower's log and its leader's parted ways twice")   \
  FALAJ_DATA_MARK(kLogBegunAnew, "log-begun-anew", "a follower's log ended below the leader's")    \
  FALAJ_DATA_MARK(kLogTrimmed, "log-trimmed", "records were deleted from the front")               \
  FALAJ_DATA_MARK(kIsrShrunk, "isr-shrunk", "a leader put a follower out of the ISR")              \
  FALAJ_DATA_MARK(kIsrGrown, "isr-grown", "a follower joined the ISR")                             \
  FALAJ_DATA_MARK(kIsrUnderMin, "isr-under-min", "fewer were in sync than must be")                \
  FALAJ_DATA_MARK(kIsrRefused, "isr-refused", "the metadata service refused who wanted to join")   \
  FALAJ_DATA_MARK(kIsrOutcomeLost, "isr-outcome-lost", "a leader never heard of its ISR change")   \
  FALAJ_DATA_MARK(kNotEnoughReplicas, "not-enough-replicas", "a producer was refused for it")      \
  FALAJ_DATA_MARK(kNotEnoughToBegin, "not-enough-to-begin", "... by a leader that did not serve")  \
  FALAJ_DATA_MARK(kUncertain, "append-uncertain", "a deposed leader left its producers unsure")    \
  FALAJ_DATA_MARK(kAnsweredByFollower, "answered-by-follower", "... or told them all was well")    \
  FALAJ_DATA_MARK(kRefusedLate, "refused-late", "... or that their batches are nowhere")           \
  FALAJ_DATA_MARK(kZombieAppended, "zombie-appended",                                              \
                  "a deposed leader that did not know took it")                                    \
  FALAJ_DATA_MARK(kDuplicate, "duplicate-answered", "a repetition got the first copy's offset")    \
  FALAJ_DATA_MARK(kDuplicateElsewhere, "duplicate-elsewhere", "... from another leader")           \
  FALAJ_DATA_MARK(kOutOfOrder, "out-of-order", "a batch overtook the one before it")               \
  FALAJ_DATA_MARK(kNewProducerEpoch, "new-producer-epoch", "a producer had to begin anew")         \
  FALAJ_DATA_MARK(kReplyLost, "reply-lost", "a producer never heard of its batch, and repeated")   \
  FALAJ_DATA_MARK(kUncleanRejoin, "unclean-rejoin", "a new incarnation caught up and joined")      \
  FALAJ_DATA_MARK(kCleanStop, "clean-stop", "a node stopped cleanly, and kept its place")          \
  FALAJ_DATA_MARK(kPowerLost, "power-lost", "a power loss took unsynced writes")                   \
  FALAJ_DATA_MARK(kDiskFull, "disk-full", "a write found no room")                                 \
  FALAJ_DATA_MARK(kSyncFailed, "sync-failed", "a sync of what was shown found no room")            \
  FALAJ_DATA_MARK(kDiskLost, "disk-lost", "a node came back with an empty disk")                   \
  FALAJ_DATA_MARK(kDiskWentBack, "disk-went-back", "a disk came back as it was in time past")      \
  FALAJ_DATA_MARK(kDamageFound, "damage-found", "a flipped bit was found")                         \
  FALAJ_DATA_MARK(kDamagedDropped, "damaged-dropped", "... and the copy was fetched anew")         \
  FALAJ_DATA_MARK(kSessionExpired, "session-expired", "a session ended by silence")                \
  FALAJ_DATA_MARK(kPausedLeaderReplaced, "paused-leader-replaced", "a paused leader woke up late") \
  FALAJ_DATA_MARK(kWatchFromSnapshot, "watch-from-snapshot", "a watch had to begin anew")          \
  FALAJ_DATA_MARK(kWatchElsewhere, "watch-elsewhere", "a watch went on at another metadata node")  \
  FALAJ_DATA_MARK(kWatchClosed, "watch-closed", "a metadata node sent a watcher away")             \
  FALAJ_DATA_MARK(kProposedAcross, "proposed-across",                                              \
                  "the metadata leader changed while an ISR change was under way")                 \
  FALAJ_DATA_MARK(kCommandUnheard, "command-unheard",                                              \
                  "a command was committed, and its answer got lost")                              \
  FALAJ_DATA_MARK(kCommandUnknown, "command-unknown",                                              \
                  "a deposed metadata leader could not say what became of a command")              \
  FALAJ_DATA_MARK(kSessionAcross, "session-across", "a session lived on under another leader")     \
  FALAJ_DATA_MARK(kStreamBroken, "stream-broken", "a replica stream broke under way")              \
  FALAJ_DATA_MARK(kDeposedRead, "deposed-read", "a consumer read from a deposed leader")           \
  FALAJ_DATA_MARK(kReadEarly, "read-early", "... or from one that could not serve")                \
  FALAJ_DATA_MARK(kReadTooEarly, "read-too-early", "... and did not know if there was more")

enum class Mark {
#define FALAJ_DATA_MARK(constant, name, what) constant,
  FALAJ_DATA_MARKS(FALAJ_DATA_MARK)
#undef FALAJ_DATA_MARK
      kCount
};
constexpr size_t kMarks = static_cast<size_t>(Mark::kCount);
absl::string_view MarkName(Mark mark);
absl::string_view MarkMeaning(Mark mark);

using Findings = MarkedFindings<Mark>;

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_FINDINGS_H_
