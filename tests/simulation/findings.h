#ifndef TESTS_SIMULATION_FINDINGS_H_
#define TESTS_SIMULATION_FINDINGS_H_

#include <cstddef>

#include "absl/strings/string_view.h"

#include "tests/simulation/marked_findings.h"

namespace falaj::simulation {

// A mark is a rare path that a run went through. A simulation that never gets there proves nothing
// about it; a test fails if the seeds of CI leave one out.
//
// FALAJ_SIM_MARK(constant, name, what happened).
#define FALAJ_SIM_MARKS(FALAJ_SIM_MARK)                                                            \
  FALAJ_SIM_MARK(kLeaderReplaced, "leader-replaced", "another node took over the lead")            \
  FALAJ_SIM_MARK(kCheckQuorum, "check-quorum", "a leader without a majority stepped down")         \
  FALAJ_SIM_MARK(kTransferred, "transferred", "a leader handed over on demand")                    \
  FALAJ_SIM_MARK(kDivergentLog, "divergent-log", "a log was cut back to a new leader's")           \
  FALAJ_SIM_MARK(kOwnEntryLost, "own-entry-lost", "an old leader's uncommitted entry went")        \
  FALAJ_SIM_MARK(kUncommittedAdopted, "uncommitted-adopted", "a new leader committed an old one")  \
  FALAJ_SIM_MARK(kSnapshotMade, "snapshot-made", "a node compacted its log")                       \
  FALAJ_SIM_MARK(kSnapshotInstalled, "snapshot-installed", "a node was too far behind its leader") \
  FALAJ_SIM_MARK(kLearnerAdded, "learner-added", "an empty node joined")                           \
  FALAJ_SIM_MARK(kLearnerPromoted, "learner-promoted", "a learner became a voter")                 \
  FALAJ_SIM_MARK(kMemberRemoved, "member-removed", "a voter was removed")                          \
  FALAJ_SIM_MARK(kLeaderRemoved, "leader-removed", "the leader was removed")                       \
  FALAJ_SIM_MARK(kWiped, "wiped", "a node lost its disk")                                          \
  FALAJ_SIM_MARK(kTornWrite, "torn-write", "a crash tore a write, and the node came back")         \
  FALAJ_SIM_MARK(kDiskFailed, "disk-failed", "a disk refused a sync")                              \
  FALAJ_SIM_MARK(kDiskFull, "disk-full", "a disk had no room")                                     \
  FALAJ_SIM_MARK(kRelieved, "relieved", "a round went on while a disk wrote")                      \
  FALAJ_SIM_MARK(kReliefOver, "relief-over", "a disk wrote for so long that the node stood still") \
  FALAJ_SIM_MARK(kJoinedWrites, "joined-writes", "what several rounds asked for was one write")    \
  FALAJ_SIM_MARK(kPausedLeaderReplaced, "paused-leader-replaced", "a paused leader woke up late")  \
  FALAJ_SIM_MARK(kFollowerRead, "follower-read", "a follower served a linearizable read")          \
  FALAJ_SIM_MARK(kReadsDropped, "reads-dropped", "reads under way were refused")                   \
  FALAJ_SIM_MARK(kUnknownOutcome, "unknown-outcome", "a client never learned what became of it")   \
  FALAJ_SIM_MARK(kRepeated, "repeated", "a repetition got the first answer")                       \
  FALAJ_SIM_MARK(kSessionExpired, "session-expired", "a session ended by silence")                 \
  FALAJ_SIM_MARK(kEphemeralsGone, "ephemerals-gone", "a session's end took its znodes away")       \
  FALAJ_SIM_MARK(kMultiRefused, "multi-refused", "a multi failed half-way and changed nothing")    \
  FALAJ_SIM_MARK(kWatchResumed, "watch-resumed", "a watch went on at another node")                \
  FALAJ_SIM_MARK(kWatchCompacted, "watch-compacted", "a watch had to begin anew")                  \
  FALAJ_SIM_MARK(kElectionPassedOn, "election-passed-on", "a second contender won an election")    \
  FALAJ_SIM_MARK(kMinorityLeftBroken, "minority-left-broken", "a healed majority went on alone")

enum class Mark {
#define FALAJ_SIM_MARK(constant, name, what) constant,
  FALAJ_SIM_MARKS(FALAJ_SIM_MARK)
#undef FALAJ_SIM_MARK
      kCount
};
constexpr size_t kMarks = static_cast<size_t>(Mark::kCount);
absl::string_view MarkName(Mark mark);
absl::string_view MarkMeaning(Mark mark);

using Findings = MarkedFindings<Mark>;

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_FINDINGS_H_
