#ifndef LIBS_RAFT_RAFT_CORE_H_
#define LIBS_RAFT_RAFT_CORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "falaj/internal/v1/raft.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/ids.h"
#include "libs/raft/membership.h"
#include "libs/raft/ready.h"

namespace falaj::raft {

struct CoreState;
class Founder;
class Leader;
class RoleBehaviour;
enum class Next;

// RaftCore is one node's part in the Raft consensus algorithm (Ongaro and Ousterhout 2014, "the
// paper"; Ongaro's thesis of the same year), without any I/O: messages and ticks in, effects out.
//
// The metadata service owns one RaftCore per node, feeds it from its network and timer, and carries
// out what TakeReady() returns (see Ready for the order). RaftCore owns the in-memory log;
// libs/log's RaftLog keeps it on disk.
//
// Role transitions (each role is a class in a file of its own):
// clang-format off
//   from           on                                                  to
//   founder        the cluster has begun, and it is a member           follower      (founder.h)
//   founder        all founders are as empty; its id is the lowest     pre-candidate (founder.h)
//   follower       no leader heard for a random timeout                pre-candidate (thesis 9.6)
//   follower       TIMEOUT_NOW from the leader                         candidate     (thesis 3.10)
//   follower       timeout or start, as the only voter                 candidate
//   pre-candidate  a majority would vote                               candidate     (thesis 9.6)
//   candidate      a majority voted, own vote on disk included         leader        (paper 5.2)
//   (pre-)cand.    timeout                                             pre-candidate
//   (pre-)cand.    a majority refused, or a leader of the term speaks  follower      (paper 5.2)
//   leader         no majority heard for an election timeout           follower      (thesis 6.2)
//   leader         its own removal is committed                        follower      (thesis 4.2.2)
//   any            a higher term                                       follower      (paper 5.1)
//   any            StorageFailed()                                     follower, mute for ever
// clang-format on
// Invariants:
//   a vote, an acknowledgement or a candidacy leaves only after the state it promises is on disk
//   the commit index never moves back, never passes the log, and rises by counting only over
//     entries of the leader's own term (paper 5.4.2, figure 8), which its first entry, a no-op,
//     makes possible at once
//   an entry is handed out to be applied once, in order, committed and on this node's disk
//   committed entries are never overwritten
//   a directory other than the one a membership names for the node makes no promise in its name
//
// Threads: none; one thread at a time. Failures: Step() refuses malformed messages without effect;
// after StorageFailed() the node takes no part any more and everything returns STORAGE_FAILED.
//
// Not here: timers in seconds, sockets, files, the state machine, sessions, retries of proposals.
class RaftCore {
 public:
  // Returns INVALID_CONFIG for options out of range, CORRUPT_RECORD if the restored state
  // contradicts itself. A node that is the only voter starts its own election at once.
  static absl::StatusOr<std::unique_ptr<RaftCore>> Create(const Options& options,
                                                          Restored restored);
  ~RaftCore();

  // Takes a message in. Stale, duplicated and reordered messages are not errors.
  // Returns INVALID_REQUEST if it is malformed or not for this node, INTERNAL if it proves that
  // another node broke the protocol, STORAGE_FAILED after StorageFailed(); no effect in each case.
  absl::Status Step(const pb::RaftMessage& message);
  // One unit of time has passed.
  void Tick();
  // How many calls of Tick() from now on the next one may have an effect; at least 1. The shell may
  // sleep so long, if nothing comes in, and count the ticks afterwards.
  int TicksUntilDue() const;
  // The answers that should be taken in at once. Others only say that all is well, or how far a
  // follower is, and may wait for the next round, at the price of a heartbeat that tells an older
  // commit. Whatever the node is given, and every Ready, may change it.
  Answers awaited_answers() const;
  // The connection from `node` has broken. If it leads, its process has probably died, and this
  // node waits less long for a word of it. No more than a hint: elections are as safe as ever.
  void Doubt(NodeId node);

  // Appends a command of the state machine to the log.
  // Returns METADATA_UNAVAILABLE if this node does not lead (metadata "leader_id" if known) or is
  // handing over; QUOTA_EXCEEDED if too much is uncommitted; INVALID_REQUEST if it is too large.
  absl::StatusOr<EntryId> Propose(std::string command);
  // Changes the membership by one node. Returns METADATA_UNAVAILABLE also while nothing of this
  // term is committed yet: try again. MEMBERSHIP_CHANGING while another change is uncommitted;
  // NODE_LAGS if a learner is too far behind to vote; NODE_NOT_FOUND if the node is no member;
  // INVALID_REQUEST if the change makes no sense.
  absl::StatusOr<EntryId> ProposeMembership(const MembershipChange& change);
  // Asks for a point from which this node may serve a linearizable read; it comes as Ready::reads,
  // or as Ready::dropped_reads if the leader changes or does not answer within an election timeout.
  // A follower or learner asks the leader. Returns METADATA_UNAVAILABLE if it knows none;
  // QUOTA_EXCEEDED.
  absl::Status ReadIndex(uint64_t request_id, ReadPatience patience = ReadPatience::kNone);
  // Hands the lead to `target` as soon as its log equals this one; proposals are refused meanwhile.
  // Given up after an election timeout. NODE_LAGS if the target is far behind or was not heard from
  // within an election timeout; NODE_NOT_FOUND if it is no member; INVALID_REQUEST if it is this
  // node or does not vote.
  absl::Status TransferLeadership(NodeId target);

  // True while a leader has kept to itself that entries are committed (Options::commits_ride); it
  // tells with the next Ready after TellCommits(). Who calls it soon enough costs nobody anything.
  bool OwesCommits() const;
  void TellCommits();

  bool HasReady();
  Ready TakeReady();
  // Everything that Ready `number` (and those before) asked to store is stored.
  void Persisted(uint64_t number);
  // The state machine has applied all entries up to `index`.
  void Applied(LogIndex index);
  // The disk refused a write. Steps down and takes no part in anything any more.
  void StorageFailed();

  // Snapshots are made while the log goes on: describe it together with freezing the state, write
  // the state out (FinishSnapshot) and store it on another thread, then compact.
  //
  // True if enough was applied since the last snapshot to make one. Stays true while it is made.
  bool SnapshotDue() const;
  // What a snapshot of the state reached by applying all entries up to `index` covers: index, term
  // and membership. Returns INVALID_REQUEST unless snapshot index < index <= applied.
  absl::StatusOr<pb::RaftSnapshot> DescribeSnapshot(LogIndex index) const;
  // The oldest entry the log should keep once the snapshot at `snapshot_index` is stored.
  LogIndex FirstIndexToKeep(LogIndex snapshot_index) const;
  // `snapshot` is stored: forgets the entries before FirstIndexToKeep(). Does nothing if one from
  // the leader has overtaken it.
  absl::Status Compact(Snapshot snapshot);

  Role role() const;
  bool is_leader() const { return role() == Role::kLeader; }
  NodeId leader() const;  // 0: unknown.
  Term term() const;
  LogIndex committed() const;
  LogIndex applied() const;
  LogIndex last_index() const;
  // Why this node's directory takes no part, and never will: it is empty, or another one, while the
  // cluster counts on what it had. Empty otherwise. Says what to do.
  const std::string& refusal() const;
  // The change by which a leader names the directory of a voter that has none yet (clusters of
  // before there were directories); for ProposeMembership().
  std::optional<MembershipChange> DueBinding() const;
  // The newest membership in the log, committed or not.
  const Membership& membership() const;
  const Membership& committed_membership() const;
  // 0: no leadership transfer under way.
  NodeId transferring_to() const;
  // nullopt for an entry the log does not hold, or not any more.
  std::optional<Term> term_at(LogIndex index) const;
  // All at once; copies.
  CoreStatus status() const;

 private:
  RaftCore(const Options& options, Restored restored, Membership base);

  bool IsForAnotherDirectory(const pb::RaftMessage& message);
  absl::Status StepFounding(const pb::RaftMessage& message);
  void StepLowerTerm(const pb::RaftMessage& message);
  void StepVoteRequest(const pb::RaftMessage& message);
  void Become(Next next);
  void BecomeFollower(Term term);
  absl::Status CheckLeads() const;
  uint64_t SnapshotTurn(uint64_t index) const;
  SoftState Soft() const;

  std::unique_ptr<CoreState> state_;
  std::unique_ptr<RoleBehaviour> role_;  // Never null.
  Leader* leader_ = nullptr;             // role_ if it is a Leader.
  Founder* founder_ = nullptr;           // role_ if it is a Founder.
  std::optional<SoftState> told_soft_;   // As of the last Ready.
};

}  // namespace falaj::raft

#endif  // LIBS_RAFT_RAFT_CORE_H_
