#ifndef TESTS_SIMULATION_RAFT_INVARIANTS_H_
#define TESTS_SIMULATION_RAFT_INVARIANTS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"

#include "falaj/internal/v1/raft.pb.h"

#include "libs/base/ids.h"
#include "libs/raft/raft_core.h"
#include "tests/simulation/disk.h"
#include "tests/simulation/event_queue.h"
#include "tests/simulation/findings.h"

namespace falaj::simulation {

// What the invariants see of a running node.
struct NodeProbe {
  NodeId id;
  uint64_t life = 0;  // Rises with every start.
  const raft::RaftCore* core = nullptr;
  const SimDisk* disk = nullptr;
};

// RaftInvariants holds a cluster to the properties of the Raft paper (figure 3) and to what follows
// from them, after every event. Each check looks only at what the event can have changed: one node,
// the entries it writes, the entries it hands out.
//
//   one vote per term       a node never grants its vote to two candidates of a term (5.2)
//   election safety         at most one leader per term (5.2)
//   leader append-only      a leader never replaces an entry of its log (5.3)
//   log matching            entries of equal index and term are equal, and so is what precedes them
//   leader completeness     a new leader holds every entry that is committed (5.4)
//   commit rule             a leader's commit index rises to an entry of its own term (5.4.2)
//   commit is durable       a majority of the voters holds on disk what the leader calls committed
//   commit is for ever      no node's commit index falls, no committed entry is replaced
//   state machine safety    every node applies the same entry at an index (5.4.3)
class RaftInvariants {
 public:
  using DiskOf = std::function<const SimDisk*(NodeId)>;
  // An entry is applied for the first time anywhere.
  using OnCommit = std::function<void(const internal::v1::RaftEntry& entry)>;

  // `findings` and `queue` are not owned. `disk_of` finds disks of nodes that are gone, too.
  RaftInvariants(Findings* findings, const EventQueue* queue, DiskOf disk_of, OnCommit on_commit);

  void set_founders(raft::Membership founders) { membership_ = std::move(founders); }

  // Told of every vote that leaves a node.
  void set_on_vote(std::function<void(NodeId voter)> on_vote) { on_vote_ = std::move(on_vote); }

  void OnSend(const internal::v1::RaftMessage& message);
  // Before SimDisk takes the Ready.
  void OnWrite(const NodeProbe& node, const raft::Ready& ready);
  // Before the state machine takes the entries.
  void OnApply(const NodeProbe& node, const std::vector<internal::v1::RaftEntry>& entries);
  // After every event that reached the node.
  void OnEvent(const NodeProbe& node);
  // The node runs no more; its memory is gone.
  void OnStop(NodeId id) { seen_.erase(id); }

  // The newest entry that anybody knows to be committed.
  LogIndex committed() const { return committed_.index; }
  // How many entries have been applied somewhere.
  LogIndex applied() const { return LogIndex(log_.size()); }
  // The newest leader there has been, and since when; node 0: none.
  NodeId leader() const { return leaders_.empty() ? NodeId() : leaders_.rbegin()->second.node; }
  Term leader_term() const { return leaders_.empty() ? Term() : leaders_.rbegin()->first; }
  // When the leader of `term` was elected.
  SimTime elected(Term term) const { return leaders_.at(term).since; }
  const raft::Membership& membership() const { return membership_; }
  // What entries bring that have been written or sent somewhere and may yet be committed: in the
  // log of a node that runs, or is down, or on the way to one.
  std::vector<raft::Membership> OpenMemberships() const;

 private:
  struct LeaderOf {
    NodeId node;
    SimTime since = 0;
  };
  // Which entry it is: its content, and the term of the entry before it.
  struct EntryPrint {
    uint64_t content = 0;
    Term previous_term;
    friend bool operator==(const EntryPrint&, const EntryPrint&) = default;
  };
  struct AppliedEntry {
    Term term;
    uint64_t content = 0;
  };
  // A node as of its last event.
  struct Seen {
    uint64_t life = 0;
    bool leader = false;
    Term term = {};
    LogIndex committed = {};
    raft::Membership membership = {};
  };

  void Report(absl::string_view invariant, NodeId node, absl::string_view what);
  void CheckOverwriting(const NodeProbe& node, const raft::Ready& ready);
  void CheckLogMatching(const NodeProbe& node, const raft::Ready& ready);
  void OnNewLeader(const NodeProbe& node);
  void OnCommitRisen(const NodeProbe& node, const Seen& before);
  bool MajorityHolds(const raft::Membership& membership, raft::EntryId entry) const;
  void NoteMembership(const internal::v1::RaftEntry& entry);
  void MarkMembership(const raft::Membership& before, const raft::Membership& after, Term term);

  Findings* const findings_;
  const EventQueue* const queue_;
  const DiskOf disk_of_;
  const OnCommit on_commit_;
  std::function<void(NodeId voter)> on_vote_;

  std::map<Term, LeaderOf> leaders_;
  absl::flat_hash_map<std::pair<NodeId, Term>, NodeId> votes_;
  absl::flat_hash_map<std::pair<LogIndex, Term>, EntryPrint> prints_;
  std::vector<AppliedEntry> log_;  // log_[i] is the entry of index i + 1.
  raft::EntryId committed_{};
  raft::Membership membership_;  // Of the newest membership entry applied.
  std::map<std::pair<LogIndex, Term>, raft::Membership> proposed_;
  std::map<NodeId, Seen> seen_;
};

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_RAFT_INVARIANTS_H_
