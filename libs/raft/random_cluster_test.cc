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
constexpr size_t kInFlightMax = 30;

// What happened in all lives: a test in which nothing happens proves nothing.
struct Totals {
  uint64_t elections = 0;
  uint64_t entries = 0;
  uint64_t reads = 0;
  uint64_t follower_reads = 0;
  uint64_t membership_changes = 0;
  uint64_t snapshots = 0;
  uint64_t crashes = 0;
  uint64_t wipes = 0;
  uint64_t settled = 0;  // Lives in the end of which all was agreed on.
};

// Whether disks are lost, and nodes come back with empty ones under their old ids: of the founders
// one, of the others any.
enum class Wipes {
  kNone,
  kWithDirectories,     // They must be recognised.
  kWithoutDirectories,  // They cannot be: what is committed gets lost.
};

class RandomLife {
 public:
  explicit RandomLife(uint64_t seed, PlantedBug bug = PlantedBug::kNone, Wipes wipes = Wipes::kNone)
      : random_(seed), wipes_(wipes) {
    silence_percent_ = random_.Below(2) * random_.Below(50);
    crash_weight_ = 5 + random_.Below(60);
    down_long_ = Chance(50);
    cluster_.on_fault = [this](const std::string& what) { Require(false, what); };
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
      options.planted_bug = bug;
      if (wipes_ == Wipes::kWithDirectories) options.directory = TestDirectory(++directories_);
      cluster_.Add(options, Empty());
    }
  }

  void Run(int steps) {
    for (int i = 0; i < steps && fault_.empty(); ++i) {
      Step();
      CheckInvariants();
    }
    if (fault_.empty()) HealAndFinish();
  }

  const Totals& totals() const { return totals_; }
  // The first rule that was broken; empty if none was.
  const std::string& fault() const { return fault_; }

 private:
  static Restored Empty() {
    Restored empty;
    for (int voter = 1; voter <= 3; ++voter) {
      empty.snapshot.meta.mutable_membership()->add_voters(voter);
    }
    return empty;
  }
  void Require(bool holds, absl::string_view rule) {
    if (!holds && fault_.empty()) fault_ = std::string(rule);
  }
  NodeId AnyNode() { return NodeId(static_cast<int32_t>(1 + random_.Below(kNodes))); }
  bool Chance(uint64_t percent) { return random_.Below(100) < percent; }

  void Step() {
    if (wipes_ != Wipes::kNone && random_.Below(3000) == 0) return Wipe(AnyNode());
    const uint64_t dice = random_.Below(10'000);
    if (dice < 4200) return Chance(silence_percent_) ? Tick() : DeliverAny();
    TestNode& node = cluster_.node(AnyNode());
    const NodeId id = node.options.self;
    if (node.core == nullptr) {
      if (Chance(down_long_ ? 10 : 50)) Require(cluster_.Start(id).ok(), "a node does not start");
    } else if (dice < 5000) {
      node.core->Tick();
    } else if (dice < 7000) {
      // Taken now, carried out some time later: the disk is slow.
      if (node.held.size() < 3 && node.core->HasReady()) cluster_.Take(id);
    } else if (dice < 9200) {
      if (!node.held.empty()) cluster_.Finish(id);
    } else if (dice < 9800) {
      Propose(&node);
    } else if (dice < 9860) {
      Reconfigure(&node);
    } else if (dice < 9920) {
      if (node.core->SnapshotDue()) Require(cluster_.TakeSnapshot(id).ok(), "no snapshot");
    } else if (dice < 9920 + crash_weight_) {
      cluster_.Crash(id);
      ++totals_.crashes;
    } else if (dice >= 9985) {
      Partition();
    }
  }

  // The disk is lost; what the node has said is still under way.
  void Wipe(NodeId id) {
    const bool founder = id <= NodeId(3);
    if (founder && wiped_founder_ != NodeId() && wiped_founder_ != id) return;
    if (founder) wiped_founder_ = id;
    Options options = cluster_.node(id).options;
    options.random_seed = random_.Next();
    if (wipes_ == Wipes::kWithDirectories) options.directory = TestDirectory(++directories_);
    cluster_.Add(options, Empty());
    checked_[id] = 0;
    ++totals_.wipes;
  }

  void Tick() {
    TestNode& node = cluster_.node(AnyNode());
    if (node.core != nullptr) node.core->Tick();
  }

  // Splits the nodes into two sides, or joins them again.
  void Partition() {
    cut_off_.clear();
    for (uint64_t i = random_.Below(3); i > 0; --i) cut_off_.insert(AnyNode());
  }

  void Propose(TestNode* node) {
    if (Chance(50)) {
      const ReadPatience patience = Chance(30) ? ReadPatience::kNextHeartbeat : ReadPatience::kNone;
      const absl::Status asked = node->core->ReadIndex(++reads_, patience);
      if (asked.ok()) read_floor_[reads_] = committed_.size();
    } else {
      (void)node->core->Propose(absl::StrCat("c", ++proposals_));
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
        node->core->membership().voters.size() < 3) {
      return;
    }
    (void)node->core->ProposeMembership(change);
  }

  void DeliverAny() {
    auto& in_flight = cluster_.in_flight();
    if (in_flight.empty()) return;
    // Lost rather than ever later: no election can be won by last week's votes.
    while (in_flight.size() > kInFlightMax) {
      in_flight.erase(in_flight.begin() +
                      static_cast<std::ptrdiff_t>(random_.Below(in_flight.size())));
    }
    // Mostly in order, sometimes not.
    const size_t span = Chance(80) ? 1 : std::min<size_t>(in_flight.size(), 20);
    const auto at = in_flight.begin() + static_cast<std::ptrdiff_t>(random_.Below(span));
    const pb::RaftMessage message = *at;
    if (!Chance(5)) in_flight.erase(at);  // Else it comes again.
    const bool cut =
        cut_off_.contains(NodeId(message.from())) != cut_off_.contains(NodeId(message.to()));
    if (cut || Chance(4)) return;
    const absl::Status status = cluster_.Deliver(message);
    if (!status.ok()) Require(false, absl::StrCat(status.ToString(), " for ", Describe(message)));
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
    Require(leader->second == id, "two leaders in one term");
    if (is_new) CheckLeaderCompleteness(node);
  }

  // Whatever was committed is in the log of every later leader. What the log has compacted away was
  // applied, and is checked there.
  void CheckLeaderCompleteness(const TestNode& node) {
    ++totals_.elections;
    Require(node.core->last_index().value() >= committed_.size(),
            "a leader misses committed entries");
  }

  // All state machines apply the same entries in the same order.
  void CheckStateMachineSafety(NodeId id, const TestNode& node) {
    size_t& checked = checked_[id];
    checked = std::min(checked, node.applied.size());
    for (; checked < node.applied.size(); ++checked) {
      if (checked == committed_.size()) committed_.push_back(node.applied[checked]);
      if (node.applied[checked] == committed_[checked]) continue;
      Require(false, absl::StrCat("node ", id, " applies ", node.applied[checked], ", others ",
                                  committed_[checked]));
    }
  }

  // A read answers with everything that was known to be committed when it was asked.
  void CheckReads(TestNode* node) {
    for (const ReadState& read : std::exchange(node->reads, {})) {
      Require(read.index.value() >= read_floor_[read.request_id], "a stale read");
      ++(node->core->is_leader() ? totals_.reads : totals_.follower_reads);
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

  void CompareLogs(const std::vector<pb::RaftEntry>& a, const std::vector<pb::RaftEntry>& b) {
    std::map<uint64_t, const pb::RaftEntry*> by_index;
    for (const pb::RaftEntry& entry : a) by_index[entry.index()] = &entry;
    bool must_match = false;
    for (auto it = b.rbegin(); it != b.rend(); ++it) {
      const auto other = by_index.find(it->index());
      if (other == by_index.end()) continue;
      must_match |= other->second->term() == it->term();
      if (must_match) Require(Describe(*other->second) == Describe(*it), "logs do not match");
    }
  }

  void HealAndFinish() {
    CheckLogMatching();
    cut_off_.clear();
    for (auto& [id, node] : cluster_.nodes()) {
      if (node.core == nullptr) Require(cluster_.Start(id).ok(), "a node does not start");
    }
    for (int round = 0; round < 2000 && fault_.empty(); ++round) {
      for (auto& [id, node] : cluster_.nodes()) {
        node.core->Tick();
        while (!node.held.empty()) cluster_.Finish(id);
        while (node.core->HasReady()) {
          cluster_.Take(id);
          cluster_.Finish(id);
        }
      }
      for (const pb::RaftMessage& message : std::exchange(cluster_.in_flight(), {})) {
        Require(cluster_.Deliver(message).ok(), "a message is refused");
      }
      CheckInvariants();
      if (round == 1000) ProposeLast();
    }
    CheckLogMatching();
    const bool settled = IsSettled();
    totals_.settled += settled ? 1 : 0;
    if (fault_.empty() && wipes_ != Wipes::kWithoutDirectories && MajorityHasItsDisks()) {
      Require(settled, "no agreement after the network healed");
    }
    totals_.entries += committed_.size();
    for (const std::string& entry : committed_) {
      totals_.membership_changes += entry.find("members") != std::string::npos ? 1 : 0;
    }
    for (auto& [id, node] : cluster_.nodes()) totals_.snapshots += node.snapshots_installed;
  }

  // By every membership that somebody believes in: whoever has the longest log decides. A majority
  // without them is lost for good.
  bool MajorityHasItsDisks() {
    for (auto& [id, node] : cluster_.nodes()) {
      const Membership& members = node.core->membership();
      if (node.options.directory.is_nil()) continue;
      if (members.directories.empty()) continue;  // It has heard of none yet.
      const auto well =
          std::count_if(members.voters.begin(), members.voters.end(), [&](NodeId voter) {
            return members.DirectoryOf(voter) == cluster_.node(voter).options.directory;
          });
      if (static_cast<size_t>(well) * 2 <= members.voters.size()) return false;
    }
    return true;
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
      if (node.core->applied() != node.core->last_index()) return false;
      for (NodeId member : node.core->membership().All()) {
        if (!cluster_.node(member).core->refusal().empty()) continue;
        if (cluster_.node(member).applied != committed_) return false;
      }
      return !committed_.empty() && committed_.back().find("last") != std::string::npos;
    }
    return false;
  }

  Random random_;
  const Wipes wipes_;
  uint8_t directories_ = 0;
  NodeId wiped_founder_;
  // What kind of life it is: how often a message is late, how often nodes crash, and for how long.
  uint64_t silence_percent_ = 0;
  uint64_t crash_weight_ = 0;
  bool down_long_ = false;
  TestCluster cluster_;
  std::string fault_;
  std::set<NodeId> cut_off_;  // One side of the partition.
  std::map<Term, NodeId> leaders_;
  std::vector<std::string> committed_;  // As first applied by anybody.
  std::map<NodeId, size_t> checked_;
  std::map<uint64_t, size_t> read_floor_;
  uint64_t proposals_ = 0;
  uint64_t reads_ = 0;
  Totals totals_;
};

// FALAJ_RAFT_SEEDS=n runs more of them; FALAJ_RAFT_SEED=n replays one.
TEST(RandomClusterTest, StaysSafeAndRecoversInEveryLife) {
  const char* one = std::getenv("FALAJ_RAFT_SEED");
  const char* many = std::getenv("FALAJ_RAFT_SEEDS");
  const char* bug_name = std::getenv("FALAJ_RAFT_BUG");
  const PlantedBug bug = PlantedBugFromName(bug_name != nullptr ? bug_name : "none").value();
  const uint64_t first = one != nullptr ? std::strtoull(one, nullptr, 10) : 1;
  const uint64_t count = one != nullptr    ? 1
                         : many != nullptr ? std::strtoull(many, nullptr, 10)
                                           : 50;
  Totals totals;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RandomLife life(seed, bug);
    life.Run(20'000);
    ASSERT_EQ(life.fault(), "");
    totals.elections += life.totals().elections;
    totals.entries += life.totals().entries;
    totals.reads += life.totals().reads;
    totals.follower_reads += life.totals().follower_reads;
    totals.membership_changes += life.totals().membership_changes;
    totals.snapshots += life.totals().snapshots;
    totals.crashes += life.totals().crashes;
  }
  RecordProperty("lives",
                 absl::StrCat(totals.elections, " elections, ", totals.entries, " entries, ",
                              totals.reads, " reads, ", totals.follower_reads, " follower reads, ",
                              totals.membership_changes, " membership changes, ", totals.snapshots,
                              " snapshots, ", totals.crashes, " crashes"));
  EXPECT_GT(totals.elections, count * 5);
  EXPECT_GT(totals.entries, count * 40);
  EXPECT_GT(totals.reads, count * 5);
  EXPECT_GT(totals.follower_reads, count * 5);
  EXPECT_GT(totals.membership_changes, count);
  EXPECT_GT(totals.snapshots, count);
  EXPECT_GT(totals.crashes, count * 5);
}

// An empty directory under an old id takes no part: nothing that was committed is lost by it.
// As above, FALAJ_RAFT_SEEDS=n runs more.
TEST(RandomClusterTest, StaysSafeWhenDisksAreLost) {
  const char* many = std::getenv("FALAJ_RAFT_SEEDS");
  const uint64_t lives = many != nullptr ? std::strtoull(many, nullptr, 10) : 40;
  Totals totals;
  for (uint64_t seed = 1; seed <= lives; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RandomLife life(seed, PlantedBug::kNone, Wipes::kWithDirectories);
    life.Run(20'000);
    ASSERT_EQ(life.fault(), "");
    totals.elections += life.totals().elections;
    totals.wipes += life.totals().wipes;
    totals.settled += life.totals().settled;
  }
  RecordProperty("lives", absl::StrCat(totals.elections, " elections, ", totals.wipes, " wipes, ",
                                       totals.settled, " settled"));
  EXPECT_GT(totals.elections, lives * 3);
  EXPECT_GT(totals.wipes, lives * 2);
  EXPECT_GT(totals.settled, lives / 2);
}

TEST(RandomClusterTest, NoticesEmptyDirectoriesThatAreHeard) {
  std::string fault;
  for (uint64_t seed = 1; fault.empty() && seed <= 40; ++seed) {
    RandomLife life(seed, PlantedBug::kNone, Wipes::kWithoutDirectories);
    life.Run(20'000);
    fault = life.fault();
  }
  EXPECT_NE(fault, "");
  RecordProperty("fault", fault);
}

// What does not notice a mistake proves nothing. What the other planted bugs do is shown by the
// transcripts planted_*.txt; FALAJ_RAFT_BUG=name lets the lives above make one.
TEST(RandomClusterTest, NoticesAPlantedBug) {
  std::string fault;
  for (uint64_t seed = 1; fault.empty() && seed <= 20; ++seed) {
    RandomLife life(seed, PlantedBug::kReadWithoutReadIndex);
    life.Run(20'000);
    fault = life.fault();
  }
  EXPECT_EQ(fault, "a stale read");
}

}  // namespace
}  // namespace falaj::raft
