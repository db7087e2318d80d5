#ifndef LIBS_RAFT_CORE_STATE_H_
#define LIBS_RAFT_CORE_STATE_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"

#include "falaj/internal/v1/raft.pb.h"

#include "libs/base/ids.h"
#include "libs/raft/election_timer.h"
#include "libs/raft/membership.h"
#include "libs/raft/planted_bug.h"
#include "libs/raft/quorum.h"
#include "libs/raft/raft_entries.h"
#include "libs/raft/ready.h"

namespace falaj::raft {

// CoreState is what outlives a role: term and vote, the log, the membership, the election timer,
// the newest snapshot, and the effects collected for the next Ready. RaftCore owns it; the role in
// office works on it through a pointer.
//
// It is a struct with a few operations that keep its parts in step; who may do what is decided by
// the roles.
struct CoreState {
  CoreState(const Options& options, Restored restored, Membership base);

  NodeId self() const { return options.self; }
  // Whose votes and acknowledgements count.
  Electorate electorate() const {
    const std::vector<NodeId>& voters = members.current().voters;
    return {has_bug(PlantedBug::kRemovedMemberCounts) ? members.ever_voted() : voters,
            MajorityOf(voters.size())};
  }
  bool has_bug(PlantedBug bug) const { return options.planted_bug == bug; }
  bool IsVoter() const {
    return has_bug(PlantedBug::kRemovedMemberCounts)
               ? absl::c_linear_search(members.ever_voted(), options.self)
               : members.current().IsVoter(options.self);
  }
  // Whether this node may stand for election. It may while the newest membership, which has it no
  // more, is not committed: perhaps only its log is long enough to win. Its own vote does not count
  // then (thesis 4.2.2).
  bool MayStand() const {
    return IsVoter() || (members.current_index() > log.committed() &&
                         members.At(log.committed()).IsVoter(options.self));
  }
  bool IsOnlyVoter() const { return IsVoter() && members.current().voters.size() == 1; }
  // A first member that has promised nothing and that no membership names: founder.h.
  bool IsUnfounded() const {
    return !options.directory.is_nil() && term == Term(0) && log.last_index() == LogIndex(0) &&
           IsVoter() && members.current().DirectoryOf(options.self).is_nil();
  }
  // False if another directory than the one that stands for the sender has sent it.
  bool IsOfMember(const pb::RaftMessage& message) const {
    const Uuid named = members.current().DirectoryOf(NodeId(message.from()));
    return named.is_nil() || message.from_directory().empty() ||
           message.from_directory() == named.bytes();
  }
  // True while a leader was heard so recently that nobody should stand against it (thesis 4.2.3).
  bool HearsLeader() const { return leader != NodeId() && timer.IsWithinMinimum(); }
  bool OwnVoteIsDurable() const { return durable_term == term && durable_vote == options.self; }

  // A message of the current term from this node. What promises are made on goes to the directory
  // that stands for the receiver, and to no other.
  pb::RaftMessage NewMessage(pb::RaftMessageType type, NodeId to) const;
  // Only for what promises nothing about this node's disk: what a leader tells followers, and
  // reads.
  void SendNow(pb::RaftMessage message) { messages.push_back(std::move(message)); }
  void SendAfterPersist(pb::RaftMessage message) {
    messages_after_persist.push_back(std::move(message));
  }
  // Acknowledges the log up to `index` once what this Ready carries is on disk.
  void SendAck(NodeId to, LogIndex index);

  // Tells a founder, in that directory, what members the cluster has; once they are on disk.
  void SendMembership(NodeId to, const Uuid& directory);

  void SetTerm(Term new_term);
  // The cluster begins, for this node, with these members.
  void Found(Membership membership);
  // Appends an entry of the current term; a leader's right.
  EntryId AppendOwn(pb::RaftEntryType type, std::string data);
  // Takes over entries from the leader, replacing conflicting ones, and follows the membership in
  // them. INVALID_REQUEST, without effect, if a membership is malformed. Requires: none of the
  // entries is committed here.
  absl::Status AppendFromLeader(const EntryList& entries);
  // Replaces the log by a complete snapshot from the leader.
  void Install(Snapshot received, Membership membership);

  bool HasEffects() const;
  // Moves the collected effects into a Ready.
  Ready TakeReady();
  void Persisted(uint64_t number);

  const Options options;
  Term term;
  NodeId vote;    // 0: none in this term.
  NodeId leader;  // 0: unknown.
  RaftEntries log;
  MembershipHistory members;
  ElectionTimer timer;
  Snapshot snapshot;                 // The newest one: made here, or received.
  bool snapshot_to_install = false;  // `snapshot` came from the leader and awaits a Ready.
  // A snapshot under way from the leader; kept over leader changes, so that a new leader with the
  // same snapshot goes on where the old one stopped.
  struct Incoming {
    pb::RaftSnapshot meta;
    std::string data;
  };
  std::optional<Incoming> incoming;
  bool storage_failed = false;
  std::string refusal;  // Why this directory takes no part, for good; else empty.
  // The last batch of reads a leader was asked about, and a founder's last question. It begins at
  // random in every life of the node: a late answer to the life before must not be taken for one to
  // what this life has asked.
  uint64_t read_batch;

  std::vector<pb::RaftMessage> messages;
  std::vector<pb::RaftMessage> messages_after_persist;
  std::vector<ReadState> reads;
  std::vector<uint64_t> dropped_reads;

 private:
  // A Ready under way and the term and vote it carries.
  struct Writing {
    uint64_t number = 0;
    Term term;
    NodeId vote;
  };

  pb::RaftHardState HardState() const;

  std::optional<Membership> founded_;  // Awaits a Ready.
  Term durable_term;
  NodeId durable_vote;
  std::deque<Writing> writing_;
  uint64_t last_number_ = 0;
  pb::RaftHardState told_hard_;  // As of the last Ready.
};

}  // namespace falaj::raft

#endif  // LIBS_RAFT_CORE_STATE_H_
