#ifndef LIBS_COORDINATION_COORDINATION_STATE_H_
#define LIBS_COORDINATION_COORDINATION_STATE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "falaj/internal/v1/coordination.pb.h"
#include "falaj/v1/coordination_service.pb.h"

#include "libs/base/ids.h"
#include "libs/base/persistent_map.h"
#include "libs/coordination/limits.h"
#include "libs/coordination/session.h"
#include "libs/coordination/znode.h"

namespace falaj::coordination {

// CoordinationState is the tree of znodes and its sessions, as a replicated state machine.
//
// Every metadata node owns one, inside its MetadataState, and applies the committed entries of the
// Raft log to it, in order. Equal logs give equal states, down to the bytes of Snapshot(); time and
// secrets come in with the commands. Copying is O(1): a snapshot is made of a copy, on any thread.
//
// Invariants, which FromSnapshot() checks and the tests hold:
//   "/" exists; the parent of every other znode exists, is not ephemeral, and counts it
//   an ephemeral znode's session is alive; when a session ends, all its znodes go in that entry
//   a session's id is the index of the entry that opened it, so none ever comes back
//   create_index <= modify_index; a version rises by one with every set
//   a command that is refused changes nothing, but for the saved answer of its session
//
// Elections: the candidates of a path are its ephemeral children called candidate-NNNNNNNNNN, which
// only Campaign makes; the first by number leads, and its create_index is the fencing token. A
// number is never used twice while its parent lives, and a parent lives while it has candidates, so
// tokens rise.
//
// Threads: none; one object at a time, but copies are independent of each other. Not here: the log,
// who is told of changes (ZnodeWatchHub), when a session has timed out, who waits to lead.
class CoordinationState {
 public:
  // What one entry did. No changes if the result is an error.
  struct Applied {
    absl::StatusOr<internal::v1::CoordinationResult> result;
    ZnodeChanges changes;
  };

  CoordinationState();  // "/" alone.
  // Returns CORRUPT_RECORD if the snapshot breaks an invariant.
  static absl::StatusOr<CoordinationState> FromSnapshot(
      const internal::v1::CoordinationState& snapshot);
  internal::v1::CoordinationState Snapshot() const;
  // The bytes of Snapshot(), much faster.
  std::string SerializeSnapshot() const;

  // Applies the entry at `index`. Requires: index is above that of every entry before. A repetition
  // of a request whose answer is kept gets that answer, with the index it has, and changes nothing.
  Applied Apply(LogIndex index, int64_t time_ms, const internal::v1::CoordinationCommand& command);
  // The session was silent too long, or is a storage node's that wants to go. No effect if there is
  // no such session.
  ZnodeChanges EndSession(LogIndex index, int64_t time_ms, SessionId session);
  // A storage node's session, with one ephemeral znode. A znode that stands at `path` goes first,
  // and missing parents are made. Requires: `path` is valid and below /falaj, at least two names
  // deep; `session` is not alive; nothing below `path`. Quotas do not apply.
  ZnodeChanges OpenNodeSession(LogIndex index, int64_t time_ms, SessionId session,
                               int32_t timeout_ms, absl::string_view path, std::string data);

  // Makes the mistake of raft::PlantedBug::kEphemeralSurvivesItsSession from now on. For tests.
  void PlantEphemeralSurvives() { ephemeral_survives_ = true; }

  // Null if it is not alive. Valid until the state changes.
  const Session* FindSession(SessionId id) const;
  const PersistentMap<SessionId, SessionPtr>& sessions() const { return sessions_; }
  // INVALID_REQUEST if the handle is unset, SESSION_EXPIRED, SESSION_MISMATCH.
  absl::Status CheckSession(const v1::SessionHandle& handle) const;

  // Reads. The answer's `index` is left to the caller, who knows what was applied.
  ZnodePtr FindZnode(absl::string_view path) const;  // Null if there is none.
  // INVALID_PATH, ZNODE_NOT_FOUND.
  absl::StatusOr<v1::GetZnodeResponse> Get(absl::string_view path) const;
  // INVALID_PATH, INVALID_REQUEST, ZNODE_NOT_FOUND.
  absl::StatusOr<v1::ListChildrenResponse> List(const v1::ListChildrenRequest& request) const;
  // INVALID_PATH, ZNODE_NOT_FOUND if nobody leads.
  absl::StatusOr<v1::GetLeaderResponse> GetLeader(absl::string_view path) const;
  // The candidate that leads at the election `path`, or null.
  ZnodePtr FirstCandidate(absl::string_view path) const;
  // True if the candidate at `candidate_path` exists and leads its election.
  bool Leads(absl::string_view candidate_path) const;

  // Equal states have equal digests, whichever way they came about. O(1).
  uint64_t digest() const { return digest_; }
  int64_t znode_count() const { return static_cast<int64_t>(tree_.size()); }
  int64_t session_count() const { return static_cast<int64_t>(sessions_.size()); }
  int64_t ephemeral_count() const { return static_cast<int64_t>(ephemerals_.size()); }
  // Of all paths and data.
  int64_t data_bytes() const { return data_bytes_; }
  int64_t saved_answer_bytes() const { return saved_answer_bytes_; }

 private:
  // Lets a test lower the quotas; everybody else has the same.
  friend class QuotaPeer;

  using Command = internal::v1::CoordinationCommand;
  using Result = internal::v1::CoordinationResult;

  // The entry being applied, and what it has changed so far.
  struct Entry {
    LogIndex index;
    int64_t time_ms = 0;
    ZnodeChanges changes = {};
  };

  // A znode to be.
  struct Planned {
    absl::string_view path;  // Without its number, if it is sequential.
    std::string data = {};
    SessionId owner = SessionId(0);  // Not 0: ephemeral.
    bool sequential = false;
    bool create_parents = false;
  };

  // The znodes of sessions, in the order of the tree.
  struct EphemeralKey {
    SessionId session;
    ZnodeKey key;
    // NOLINTNEXTLINE(modernize-use-nullptr): it takes the 0 of an ordering for a pointer.
    friend std::strong_ordering operator<=>(const EphemeralKey&, const EphemeralKey&) = default;
    friend bool operator==(const EphemeralKey&, const EphemeralKey&) = default;
  };

  // coordination_state.cc: what a command is, sessions, answers kept.
  absl::StatusOr<Result> ExecuteOnce(Entry* entry, const Command& command,
                                     const v1::WriteOptions& options);
  absl::StatusOr<Result> Execute(Entry* entry, const Command& command);
  // The session a command acts in, which must be there unless the command closes it; 0 if in none.
  absl::StatusOr<SessionId> CheckSessionOf(const Command& command) const;
  absl::StatusOr<Result> OpenSession(Entry* entry, const internal::v1::OpenSessionCommand& command);
  absl::StatusOr<Result> CloseSession(Entry* entry, const v1::CloseSessionRequest& request);
  void RemoveSession(Entry* entry, const Session& session);
  // coordination_snapshot.cc. The sessions come first.
  absl::Status LoadSessions(const internal::v1::CoordinationState& snapshot);
  absl::StatusOr<ZnodePtr> LoadZnode(const internal::v1::ZnodeState& saved) const;
  absl::Status LoadTree(const internal::v1::CoordinationState& snapshot);
  void PutSession(SessionPtr session);

  // coordination_writes.cc: requests to change znodes. Refused: no effect.
  absl::StatusOr<ZnodePtr> Create(Entry* entry, const v1::CreateZnodeRequest& request,
                                  SessionId session);
  absl::StatusOr<ZnodePtr> Create(Entry* entry, Planned planned);
  absl::StatusOr<ZnodePtr> Set(Entry* entry, const v1::SetZnodeRequest& request);
  absl::Status Delete(Entry* entry, const v1::DeleteZnodeRequest& request);
  absl::StatusOr<Result> Multi(Entry* entry, const v1::ExecuteMultiRequest& request);
  absl::Status MultiStep(Entry* entry, const v1::MultiOperation& operation, SessionId session,
                         v1::Znode* outcome);
  absl::StatusOr<ZnodePtr> FindExpected(absl::string_view path,
                                        std::optional<int64_t> expected_version) const;
  absl::StatusOr<std::string> FinalPath(const Planned& planned, const Znode* parent) const;
  absl::Status CheckQuota(int64_t more_znodes, int64_t more_bytes) const;

  // coordination_election.cc
  absl::StatusOr<Result> Campaign(Entry* entry, const v1::CampaignRequest& request);
  absl::StatusOr<Result> Resign(Entry* entry, const v1::ResignCampaignRequest& request);
  ZnodePtr CandidateOf(SessionId session, absl::string_view path) const;

  // coordination_tree.cc: changes of the tree, sure to be allowed. They keep the counts, the digest
  // and the index of ephemeral znodes, and list the changes in the entry.
  const ZnodePtr* FindInTree(absl::string_view path) const;
  void AddZnode(Entry* entry, std::string path, SharedBytes data, SessionId owner);
  void AddMissingParents(Entry* entry, absl::string_view path);
  ZnodePtr ChangeData(Entry* entry, const Znode& znode, SharedBytes data);
  void RemoveZnode(Entry* entry, ZnodePtr znode);
  // `count` children of `path` were removed (created, if `delta` is +1).
  void CountChildren(const Entry& entry, absl::string_view path, int64_t delta);
  // The number at the end of `path` is the newest its parent has given.
  void RaiseSequence(absl::string_view path);
  void Put(ZnodePtr znode);         // New, or in place of its last version.
  void Forget(const Znode& znode);  // Takes it out of everything that is kept of znodes.

  PersistentMap<ZnodeKey, ZnodePtr> tree_;               // Keys view the paths of their values.
  PersistentMap<EphemeralKey, SharedBytes> ephemerals_;  // Path; keys view it.
  PersistentMap<SessionId, SessionPtr> sessions_;
  uint64_t digest_ = 0;  // Of all znodes and sessions, by exclusive or.
  Quotas quotas_;
  bool ephemeral_survives_ = false;
  int64_t data_bytes_ = 0;
  int64_t saved_answer_bytes_ = 0;
};

}  // namespace falaj::coordination

#endif  // LIBS_COORDINATION_COORDINATION_STATE_H_
