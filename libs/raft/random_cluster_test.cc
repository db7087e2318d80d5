// Lives of whole clusters, drawn from a seed: messages are lost, duplicated and reordered, nodes
// crash and lose what they had not synced, disks are slow, members come and go. After every step
// the four safety properties of the paper (figure 3) must hold. At the end the network heals and
// everything must be committed everywhere.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "libs/base/random.h"
#include "libs/raft/test_cluster.h"

namespace falaj::raft {
namespace {

constexpr int kNodes = 5;  // Three of them vote at first.

class RandomLife {
 public:
  explicit RandomLife(uint64_t seed) : random_(seed) {
    for (int id = 1; id <= kNodes; ++id) {
      Options options;
      options.self = NodeId(id);
      options.election_ticks_min = 8;
      options.election_ticks_max = 16;
      options.heartbeat_ticks = 2;
      options.random_seed = random_.Next();
      options.message_bytes_max = 40;
      options.inflight_max = 3;
      options.entries_kept = random_.Below(6);
      options.snapshot_entries = 10;
      options.snapshot_chunk_bytes = 30;
      Restored initial;
      for (int voter = 1; voter <= 3; ++voter) {
        initial.snapshot.meta.mutable_membership()->add_voters(voter);
      }
      cluster_.Add(options, std::move(initial));
    }
  }

  void Run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      Step();
      CheckInvariants();
    }
    if (!testing::Test::HasFailure()) HealAndFinish();
  }

 private:
  NodeId AnyNode() { return NodeId(static_cast<int32_t>(1 + random_.Below(kNodes))); }
  bool Chance(uint64_t percent) { return random_.Below(100) < percent; }

  void Step() {
    const uint64_t dice = random_.Below(1000);
    if (dice < 480) return DeliverAny();
    TestNode& node = cluster_.node(AnyNode());
    const NodeId id = node.options.self;
    if (node.core == nullptr) {
      if (Chance(10)) {
        EXPECT_TRUE(cluster_.Start(id).ok());
      }
    } else if (dice < 620) {
      node.core->Tick();
    } else if (dice < 760) {
      // Taken now, carried out some time later: the disk is slow.
      if (node.held.size() < 3 && node.core->HasReady()) cluster_.Take(id);
    } else if (dice < 940) {
      if (!node.held.empty()) cluster_.Finish(id);
    } else if (dice < 975) {
      Propose(&node);
    } else if (dice < 985) {
      Reconfigure(&node);
    } else if (dice < 993) {
      if (node.core->SnapshotDue()) {
        EXPECT_TRUE(cluster_.TakeSnapshot(id).ok());
      }
    } else if (dice < 997) {
      cluster_.Crash(id);
    } else {
      cut_off_ = Chance(50) ? NodeId() : AnyNode();
    }
  }

  void Propose(TestNode* node) {
    if (Chance(30)) {
      const absl::Status asked = node->core->ReadIndex(++reads_);
      if (asked.ok()) read_floor_[reads_] = committed_.size();
    } else if (node->core->Propose(absl::StrCat("c", ++proposals_)).ok()) {
      ++accepted_;
    }
  }

  void Reconfigure(TestNode* node) {
    const NodeId target = AnyNode();
    if (Chance(30)) {
      (void)node->core->TransferLeadership(target);
      return;
    }
    MembershipChange change;
    change.kind = static_cast<MembershipChange::Kind>(random_.Below(3));
    change.node = target;
    // Keeps a majority of the original voters around, so that the end can be reached.
    if (change.kind == MembershipChange::Kind::kRemove &&
        node->core->status().membership.voters.size() < 3) {
      return;
    }
    (void)node->core->ProposeMembership(change);
  }

  void DeliverAny() {
    auto& in_flight = cluster_.in_flight();
    if (in_flight.empty()) return;
    // Mostly in order, sometimes not.
    const size_t span = Chance(80) ? 1 : std::min<size_t>(in_flight.size(), 20);
    const auto at = in_flight.begin() + static_cast<std::ptrdiff_t>(random_.Below(span));
    const pb::RaftMessage message = *at;
    if (!Chance(5)) in_flight.erase(at);  // Else it comes again.
    const bool cut = cut_off_ != NodeId() &&
                     (NodeId(message.from()) == cut_off_ || NodeId(message.to()) == cut_off_);
    if (cut || Chance(4)) return;
    const absl::Status status = cluster_.Deliver(message);
    EXPECT_TRUE(status.ok()) << status << " for " << Describe(message);
  }

  void CheckInvariants() {
    for (auto& [id, node] : cluster_.nodes()) {
      if (node.core == nullptr) continue;
      CheckElectionSafety(id, node);
      CheckStateMachineSafety(id, node);
      CheckReads(&node);
    }
  }

  // At most one leader per term.
  void CheckElectionSafety(NodeId id, const TestNode& node) {
    if (!node.core->is_leader()) return;
    const auto [leader, is_new] = leaders_.emplace(node.core->term(), id);
    EXPECT_EQ(leader->second, id) << "two leaders in term " << node.core->term().value();
    if (is_new) CheckLeaderCompleteness(node);
  }

  // Whatever was committed is in the log of every later leader. What the log has compacted away was
  // applied, and is checked there.
  void CheckLeaderCompleteness(const TestNode& node) {
    ++elections_;
    EXPECT_GE(node.core->status().last_index.value(), committed_.size())
        << "a leader misses committed entries";
  }

  // All state machines apply the same entries in the same order.
  void CheckStateMachineSafety(NodeId id, const TestNode& node) {
    size_t& checked = checked_[id];
    checked = std::min(checked, node.applied.size());
    for (; checked < node.applied.size(); ++checked) {
      if (checked == committed_.size()) committed_.push_back(node.applied[checked]);
      EXPECT_EQ(node.applied[checked], committed_[checked]) << "node " << id.value();
    }
  }

  // A read answers with everything that was known to be committed when it was asked.
  void CheckReads(TestNode* node) {
    for (const ReadState& read : std::exchange(node->reads, {})) {
      EXPECT_GE(read.index.value(), read_floor_[read.request_id]) << "a stale read";
      ++reads_answered_;
    }
  }

  // Log matching: if two logs on disk hold an entry of the same index and term, they hold the same
  // up to there.
  void CheckLogMatching() {
    for (auto& [a, node_a] : cluster_.nodes()) {
      for (auto& [b, node_b] : cluster_.nodes()) {
        if (a < b) CompareLogs(node_a.disk.content().entries, node_b.disk.content().entries);
      }
    }
  }

  static void CompareLogs(const std::vector<pb::RaftEntry>& a,
                          const std::vector<pb::RaftEntry>& b) {
    std::map<uint64_t, const pb::RaftEntry*> by_index;
    for (const pb::RaftEntry& entry : a) by_index[entry.index()] = &entry;
    bool must_match = false;
    for (auto it = b.rbegin(); it != b.rend(); ++it) {
      const auto other = by_index.find(it->index());
      if (other == by_index.end()) continue;
      must_match |= other->second->term() == it->term();
      if (must_match) {
        EXPECT_EQ(Describe(*other->second), Describe(*it));
      }
    }
  }

  void HealAndFinish() {
    CheckLogMatching();
    cut_off_ = NodeId();
    for (auto& [id, node] : cluster_.nodes()) {
      if (node.core == nullptr) {
        EXPECT_TRUE(cluster_.Start(id).ok());
      }
    }
    for (int round = 0; round < 2000 && !testing::Test::HasFailure(); ++round) {
      for (auto& [id, node] : cluster_.nodes()) {
        node.core->Tick();
        while (!node.held.empty()) cluster_.Finish(id);
        while (node.core->HasReady()) {
          cluster_.Take(id);
          cluster_.Finish(id);
        }
      }
      for (const pb::RaftMessage& message : std::exchange(cluster_.in_flight(), {})) {
        EXPECT_TRUE(cluster_.Deliver(message).ok());
      }
      CheckInvariants();
      if (round == 1000) ProposeLast();
    }
    CheckLogMatching();
    EXPECT_TRUE(IsSettled()) << "no agreement after the network healed";
    EXPECT_GT(elections_, 0);
  }

  void ProposeLast() {
    for (auto& [id, node] : cluster_.nodes()) {
      if (node.core->is_leader()) (void)node.core->Propose("last");
    }
  }

  // Every member has applied everything, the last command included.
  bool IsSettled() {
    for (auto& [id, node] : cluster_.nodes()) {
      if (!node.core->is_leader()) continue;
      const CoreStatus leader = node.core->status();
      if (leader.applied != leader.last_index) return false;
      for (NodeId member : leader.membership.All()) {
        if (cluster_.node(member).applied != committed_) return false;
      }
      return !committed_.empty() && committed_.back().find("last") != std::string::npos;
    }
    return false;
  }

  Random random_;
  TestCluster cluster_;
  NodeId cut_off_;
  std::map<Term, NodeId> leaders_;
  std::vector<std::string> committed_;  // As first applied by anybody.
  std::map<NodeId, size_t> checked_;
  std::map<uint64_t, size_t> read_floor_;
  uint64_t proposals_ = 0;
  uint64_t reads_ = 0;
  int accepted_ = 0;
  int elections_ = 0;
  int reads_answered_ = 0;
};

// FALAJ_RAFT_SEEDS=n runs more of them; FALAJ_RAFT_SEED=n replays one.
TEST(RandomClusterTest, StaysSafeAndRecoversInEveryLife) {
  const char* one = std::getenv("FALAJ_RAFT_SEED");
  const char* many = std::getenv("FALAJ_RAFT_SEEDS");
  const uint64_t first = one != nullptr ? std::strtoull(one, nullptr, 10) : 1;
  const uint64_t count = one != nullptr    ? 1
                         : many != nullptr ? std::strtoull(many, nullptr, 10)
                                           : 60;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RandomLife(seed).Run(8000);
    if (HasFailure()) break;
  }
}

}  // namespace
}  // namespace falaj::raft
