#ifndef LIBS_RAFT_LEADER_H_
#define LIBS_RAFT_LEADER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "falaj/internal/v1/raft.pb.h"

#include "libs/base/ids.h"
#include "libs/raft/core_state.h"
#include "libs/raft/progress.h"
#include "libs/raft/role.h"

namespace falaj::raft {

// Leader appends to the log, brings the followers' logs to the same state, and decides what is
// committed, for one term.
//
// Its first act is a no-op entry: entries of earlier terms are never committed by counting (paper
// 5.4.2), so without it they would wait for the next command. It counts its own disk like any
// follower's: only what is persisted. Entries go to followers without waiting for that.
//
// Appends are made by Flush(), once per Ready, so that proposals made together travel together.
//
// Reads (thesis 6.4): requests, this node's and the followers' batches, are gathered into rounds; a
// round is confirmed when a majority has answered a heartbeat sent after it began. Before the no-op
// is committed they wait. One round is under way at a time. The next one begins at once, with
// heartbeats of its own, if somebody waits who is not patient; else with the heartbeats that are
// due anyway, if anybody waits.
class Leader final : public RoleBehaviour {
 public:
  explicit Leader(CoreState* state);

  Role role() const override { return Role::kLeader; }
  absl::StatusOr<Next> Step(const pb::RaftMessage& message) override;
  Next Tick() override;
  int TicksUntilDue() const override;
  Next OnPersisted() override { return AdvanceCommit(); }
  absl::Status ReadIndex(uint64_t request_id, ReadPatience patience) override;
  // The messages and reads that are due.
  void Flush() override;
  void Retire() override;

  absl::StatusOr<EntryId> Propose(std::string command);
  absl::StatusOr<EntryId> ProposeMembership(const MembershipChange& change);
  absl::Status Transfer(NodeId target);

  // Some follower that could apply more was not told so: see Options::commits_ride.
  bool OwesCommits() const;
  void TellCommits() { tell_commits_ = true; }

  NodeId transferring_to() const { return transfer_target_; }
  Answers awaited_answers() const;
  std::optional<MembershipChange> DueBinding() const;
  std::vector<FollowerStatus> followers() const;

 private:
  // A read of this node, or a batch of them of a follower.
  struct Read {
    NodeId node;
    uint64_t number = 0;  // Request id, or the follower's number of the batch.
    ReadPatience patience = ReadPatience::kNone;
  };

  bool IsOfDirectory(const pb::RaftMessage& message, Progress* progress) const;
  Next StepAppendReply(const pb::RaftMessage& message, Progress* progress);
  Next StepHeartbeatReply(const pb::RaftMessage& message, Progress* progress);
  Next AdvanceCommit();
  bool HasCommittedOwnTerm() const { return state_->log.committed() >= no_op_; }
  // Was heard from within an election timeout.
  bool IsActive(const Progress& progress) const {
    return ticks_ - progress.heard_at <= static_cast<uint64_t>(state_->options.election_ticks_min);
  }
  bool HearsMajority() const;
  absl::Status CheckMayPropose(size_t bytes) const;
  absl::Status CheckCaughtUp(NodeId node, const Progress& progress) const;
  absl::Status CheckMayLead(NodeId target) const;
  void FollowMembership();
  void Replicate(NodeId node, Progress* progress);
  void SendChunk(NodeId node, Progress* progress);
  void SendHeartbeats();
  void StepReadIndex(const pb::RaftMessage& message);
  void TakeIn(const Read& read);
  size_t reads_waiting() const { return new_reads_.size() + round_reads_.size(); }
  bool MayStartReadRound() const;
  void StartReadRound();
  void ConfirmReads();
  void Answer(const Read& read, LogIndex index);
  void TransferIfCaughtUp();

  CoreState* const state_;               // Not owned; outlives this.
  LogIndex no_op_;                       // The first entry of this term.
  std::map<NodeId, Progress> progress_;  // Of every other member.
  uint64_t ticks_ = 0;                   // In office.
  int heartbeat_elapsed_ = 0;
  int quorum_elapsed_ = 0;
  uint64_t read_round_ = 0;
  LogIndex round_index_;           // Committed when round read_round_ began.
  std::vector<Read> new_reads_;    // Wait for a round.
  bool in_haste_ = false;          // One of them is not patient.
  std::vector<Read> round_reads_;  // Wait for round read_round_ to be confirmed.
  NodeId transfer_target_;         // 0: none.
  bool transfer_told_ = false;
  bool tell_commits_ = false;  // With the next Flush().
  int transfer_elapsed_ = 0;
};

}  // namespace falaj::raft

#endif  // LIBS_RAFT_LEADER_H_
