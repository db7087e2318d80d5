#ifndef TESTS_SIMULATION_REPLAY_H_
#define TESTS_SIMULATION_REPLAY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "falaj/internal/v1/cluster.pb.h"
#include "falaj/internal/v1/raft.pb.h"

#include "libs/base/ids.h"
#include "libs/coordination/coordination_state.h"
#include "services/metadata/metadata_state.h"
#include "tests/simulation/event_queue.h"
#include "tests/simulation/findings.h"

namespace falaj::simulation {

// Which request of a client a command is: its session and request id, or, without a session, 0 and
// the number that it writes as data.
using RequestKey = std::pair<int64_t, uint64_t>;
RequestKey KeyOf(const internal::v1::CoordinationCommand& command);
// The number a client wrote as a znode's data; 0 if it is none.
uint64_t ValueOf(absl::string_view data);

// Replay applies the committed log once more, one entry after the other as each is first applied
// anywhere, and remembers every state there ever was: what nodes, answers and watches are held to.
//
//   equal states            a node that has applied up to an index is in the state the replay was
//   in effects are single      a request takes effect at most once, and never after a client was
//   told
//                           that it had none
//   ephemeral znodes        belong to a session that lives, and go with it in the same entry
//   sessions                never end while their leader hears from them, nor within a timeout of
//                           its election; one that has ended stays so
class Replay {
 public:
  using ClusterResponse = absl::StatusOr<internal::v1::ExecuteResponse>;
  // When the leader of a term was elected.
  using ElectedAt = std::function<SimTime(Term)>;
  using OnApplied = std::function<void(const internal::v1::ClusterCommand& command,
                                       const metadata::MetadataState::Applied& applied)>;

  // `findings` and `queue` are not owned.
  // Makes the planted mistake of a state machine, too: the invariants must see it, not a
  // comparison.
  Replay(Findings* findings, const EventQueue* queue, raft::PlantedBug bug, ElectedAt elected_at)
      : findings_(findings), queue_(queue), elected_at_(std::move(elected_at)), steps_(1) {
    state_.PlantBug(bug);
  }

  // The next entry of the log.
  void Apply(const internal::v1::RaftEntry& entry);
  LogIndex index() const { return LogIndex(steps_.size() - 1); }
  // As of index().
  const metadata::MetadataState& state() const { return state_; }
  // Told of every command that is applied, once it is.
  void set_on_applied(OnApplied on_applied) { on_applied_ = std::move(on_applied); }

  void CheckState(NodeId node, const metadata::MetadataState& state);

  // What entry `index` was answered, and changed. Requires: 0 < index <= index().
  const ClusterResponse& ResponseAt(LogIndex index) const { return steps_[index.value()].response; }
  const coordination::ZnodeChanges& ChangesAt(LogIndex index) const {
    return steps_[index.value()].changes;
  }
  // The znode as of `index`; null if there was none.
  coordination::ZnodePtr ZnodeAt(const std::string& path, LogIndex index) const;
  // The first names of a znode's children, as of `index`.
  std::vector<std::string> ChildrenAt(const std::string& path, LogIndex index) const;

  // A client was told that its request had no effect.
  void NoteRefused(RequestKey key);
  // The leader took the sign of life that was sent then, and answered.
  void NoteSignOfLife(SessionId session, SimTime sent);
  // Somebody asks for the session's end, which may then come at any time.
  void NoteEndAsked(SessionId session) { sessions_[session].end_asked = true; }
  bool WasEndAsked(SessionId session) { return sessions_[session].end_asked; }

 private:
  struct Step {
    ClusterResponse response = absl::UnknownError("not a command");
    coordination::ZnodeChanges changes;
    uint64_t digest = 0;
  };
  struct SessionRecord {
    SimTime timeout = 0;
    SimTime last_sign = 0;  // Sent then, and taken by the leader.
    bool end_asked = false;
    bool ended = false;
    std::set<std::string> ephemerals;
  };
  using Version = std::pair<LogIndex, coordination::ZnodePtr>;

  void FollowEffects(LogIndex index, const internal::v1::ClusterCommand& command);
  void FollowSessions(LogIndex index, Term term, const internal::v1::ClusterCommand& command,
                      const metadata::MetadataState::Applied& applied);
  void FollowZnodes(LogIndex index, const coordination::ZnodeChanges& changes);
  void CheckExpiry(LogIndex index, Term term, SessionId session, const SessionRecord& record);

  Findings* const findings_;
  const EventQueue* const queue_;
  const ElectedAt elected_at_;
  OnApplied on_applied_;
  metadata::MetadataState state_;
  std::vector<Step> steps_;  // [0] stands for the empty state.
  std::map<std::string, std::vector<Version>> znodes_;
  std::map<SessionId, SessionRecord> sessions_;
  absl::flat_hash_map<RequestKey, LogIndex> effects_;  // 0: certainly none.
};

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_REPLAY_H_
