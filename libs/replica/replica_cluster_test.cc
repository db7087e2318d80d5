// Three replicas of one partition, their disks, the streams between them and a metadata service
// that elects, from one seed: crashes that lose what was not synced, streams that break and lag,
// pauses, changes of the ISR in flight. After every step the invariants of replication hold.
#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/replica/replica.h"
#include "libs/replica/replica_cluster_test_parts.h"

namespace falaj::replica {
namespace {

constexpr int kNodes = 3;
constexpr int32_t kMinInSync = 2;
const Settings kSettings{.min_in_sync_replicas = kMinInSync, .replica_lag_max = absl::Seconds(1)};

class World {
 public:
  explicit World(uint64_t seed)
      : random_(seed), calm_(static_cast<uint64_t>(random_.Between(20, 1000))) {
    for (int i = 0; i < kNodes; ++i) {
      nodes_[i].id = NodeId{i + 1};
      Start(&nodes_[i]);
    }
  }

  void Run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      now_ = now_ + absl::Milliseconds(random_.Between(0, 20));
      Turn();
      Check();
    }
    Heal();
  }

  int elections() const { return elections_; }
  int truncations() const { return truncations_; }
  size_t acknowledged() const { return acknowledged_.size(); }
  int duplicates() const { return duplicates_; }
  size_t refused() const { return refused_.size(); }

 private:
  void Turn() {
    Node* const node = &nodes_[random_.Below(kNodes)];
    switch (random_.Below(calm_)) {
      case 0:
        return Crash(node);
      case 1:
        return ExpireSession(node);
      case 2:
        return Break(&StreamOf(node->id));
      case 4:
        return NoticeTheEndOfStreams();
      case 5:
        if (node->alive && MoveLead(node->id, &record_)) ++elections_;
        return;
      case 3:  // The power fails, everywhere at once.
        for (Node& one : nodes_) Crash(&one);
        return;
      default:
        break;
    }
    if (!node->up) {
      if (random_.Below(30) == 0) Start(node);
      return;
    }
    switch (random_.Below(8)) {
      case 0:
        return Watch(node);
      case 1:
        return Produce(node);
      case 2:
        return Feed(node, CheckIsr{now_});
      case 3:
        return AskMetadata(node);
      case 4:
        return OpenStream(node);
      default:
        return Deliver(node);
    }
  }

  // ---- Nodes ----

  Node& NodeOf(NodeId id) { return nodes_[id.value() - 1]; }
  Stream& StreamOf(NodeId follower) { return streams_[follower.value() - 1]; }

  void Start(Node* node) {
    node->up = node->alive = true;
    ++node->node_epoch;
    // An unclean restart: out of the ISR and the ELR, unless nobody is left at all.
    if (crashed_[node->id]) Disqualify(node->id);
    Stored stored{.log_end = node->disk.end(),
                  .high_watermark = std::min(node->disk.high_watermark, node->disk.end()),
                  .epochs = node->disk.epochs,
                  .producers = node->disk.producers()};
    node->disk.synced_batches = node->disk.log.size();
    node->disk.synced_epochs = node->disk.epochs.size();
    node->replica = std::make_unique<Replica>(node->id, stored, kSettings);
    node->effects = Effects();
    node->seen = PartitionEpoch{0};
    node->proposing.reset();
    Elect();
  }

  void Crash(Node* node) {
    if (!node->up) return;
    // What was not synced may be gone, from the back.
    node->up = false;
    crashed_[node->id] = true;
    Disk& disk = node->disk;
    disk.log.resize(std::min<size_t>(disk.log.size(), static_cast<size_t>(random_.Between(
                                                          static_cast<int64_t>(disk.synced_batches),
                                                          static_cast<int64_t>(disk.log.size())))));
    while (disk.epochs.size() > disk.synced_epochs &&
           (disk.epochs.back().start > disk.end() || disk.log.size() == disk.synced_batches)) {
      disk.epochs.pop_back();
    }
    node->replica.reset();
    held_.erase(node->id);
    for (NodeId follower : {NodeId{1}, NodeId{2}, NodeId{3}}) {
      if (follower == node->id || LeaderSeenBy(follower) == node->id) Break(&StreamOf(follower));
    }
  }

  NodeId LeaderSeenBy(NodeId id) {
    const Node& node = NodeOf(id);
    return node.replica == nullptr ? NodeId{0} : node.replica->leader();
  }

  void Feed(Node* node, const Input& input) {
    if (!node->up) return;
    IgnoreError(node->replica->Step(input, &node->effects), "refusals are part of life");
    Persist(node);
  }

  // The shell: writes at once, syncs sometimes later, truncates, sends.
  void Persist(Node* node) {
    Effects& effects = node->effects;
    for (const EpochEntry& entry : std::exchange(effects.epochs, {})) {
      node->disk.epochs.push_back(entry);
    }
    for (const Placement& place : std::exchange(effects.placements, {})) {
      ASSERT_EQ(place.base, node->disk.end()) << "a hole in the log of node " << node->id.value();
      uint64_t token = place.token;
      if (place.leader_change) token = uint64_t{1} << 32;
      const auto sequence = sequences_.find(token);
      node->disk.log.push_back({place.epoch, place.base, place.last, token,
                                sequence == sequences_.end() ? -1 : sequence->second});
    }
    node->replica->TakeProducerRows();
    const bool synced = random_.Below(3) > 0;
    if (node->replica->has_unwritten() || synced) {
      if (synced) {
        node->disk.synced_batches = node->disk.log.size();
        node->disk.synced_epochs = node->disk.epochs.size();
      }
      ASSERT_TRUE(
          node->replica->Step(Written{node->replica->log_end(), synced, now_}, &effects).ok());
    }
    if (effects.truncate_suffix.has_value()) return Truncate(node);
    Send(node);
    node->disk.high_watermark = node->replica->high_watermark();
  }

  void Truncate(Node* node) {
    const Offset end = *std::exchange(node->effects.truncate_suffix, std::nullopt);
    EXPECT_GE(end, node->replica->high_watermark()) << "cut below the high watermark";
    ++truncations_;
    Disk& disk = node->disk;
    while (!disk.log.empty() && disk.log.back().last >= end) disk.log.pop_back();
    while (!disk.epochs.empty() && disk.epochs.back().start >= disk.end()) disk.epochs.pop_back();
    disk.synced_batches = disk.log.size();
    disk.synced_epochs = disk.epochs.size();
    ASSERT_TRUE(
        node->replica->Step(Truncated{Offset{0}, disk.end(), disk.producers()}, &node->effects)
            .ok());
    Send(node);
  }

  void Send(Node* node) {
    Effects& effects = node->effects;
    Stream& stream = StreamOf(node->id);
    if (const auto attach = std::exchange(effects.attach, std::nullopt); attach.has_value()) {
      if (stream.open) Attach(node, *attach);
    }
    if (const auto ack = std::exchange(effects.ack, std::nullopt); ack.has_value() && stream.open) {
      stream.to_leader.push_back(FollowerProgress{.stream = stream.id,
                                                  .from = {node->id, node->node_epoch},
                                                  .epoch = node->replica->epoch(),
                                                  .written_end = ack->written_end,
                                                  .flushed_end = ack->flushed_end});
    }
    for (const Reply& reply : std::exchange(effects.replies, {})) {
      if (reply.status.ok()) Acknowledge(*node, reply);
      if (ReasonOf(reply.status) != Reason::kNotLeader) continue;
      refused_.push_back(held_[node->id][reply.token]);
    }
    if (effects.isr_proposal.has_value()) {
      node->proposing = std::exchange(effects.isr_proposal, std::nullopt);
    }
  }

  void Acknowledge(const Node& node, const Reply& reply) {
    Batch batch = held_[node.id][reply.token];
    if (reply.outcome.duplicate) {  // Its place is the first copy's.
      ++duplicates_;
      const std::vector<Batch>& log = node.disk.log;
      const auto first = std::find_if(log.begin(), log.end(), [&](const Batch& one) {
        return one.base == reply.outcome.base && one.sequence == batch.sequence;
      });
      ASSERT_NE(first, log.end()) << "a duplicate of what is not there";
      batch = *first;
    }
    acknowledged_.push_back(batch);
    if (batch.sequence >= 0) producer_.Acknowledged(batch.sequence);
  }

  // ---- Streams ----

  void OpenStream(Node* node) {
    Stream& stream = StreamOf(node->id);
    if (node->replica->role() != Role::kFollower || stream.open) return;
    const NodeId leader = node->replica->leader();
    if (leader == NodeId{0} || !NodeOf(leader).up) return;
    stream = Stream();
    stream.open = true;
    stream.id = ++stream_ids_;
    to_[node->id] = leader;
    Feed(node, Reattach{});
  }

  void Attach(Node* node, const AttachRequest& attach) {
    Stream& stream = StreamOf(node->id);
    if (to_[node->id] != node->replica->leader()) return Break(&stream);
    stream.pushing = false;
    stream.attach_id = attach.attach_id;
    stream.to_leader.push_back(AttachFollower{.token = attach.attach_id,
                                              .stream = stream.id,
                                              .from = {node->id, node->node_epoch},
                                              .epoch = attach.epoch,
                                              .last_epoch = attach.last_epoch,
                                              .log_end = attach.log_end,
                                              .flushed_end = attach.flushed_end});
  }

  void Break(Stream* stream) {
    const NodeId follower{static_cast<int32_t>(stream - streams_) + 1};
    if (!std::exchange(stream->open, false)) return;
    // The leader notices when it does, perhaps long after the follower is back.
    left_.push_back(
        {to_[follower], FollowerLeft{stream->id, {follower, NodeOf(follower).node_epoch}}});
    *stream = Stream();
  }

  void NoticeTheEndOfStreams() {
    for (auto& [leader, left] : std::exchange(left_, {})) {
      left.now = now_;
      Feed(&NodeOf(leader), left);
    }
  }

  // Moves one message of the node's stream, either way, or lets its leader push.
  void Deliver(Node* node) {
    Stream& stream = StreamOf(node->id);
    if (!stream.open) return;
    Node& leader = NodeOf(to_[node->id]);
    switch (random_.Below(3)) {
      case 0:
        return ToLeader(node, &leader);
      case 1:
        return ToFollower(node);
      default:
        return Push(node, &leader);
    }
  }

  void ToLeader(Node* node, Node* leader) {
    Stream& stream = StreamOf(node->id);
    if (stream.to_leader.empty()) return;
    Input input = std::move(stream.to_leader.front());
    stream.to_leader.pop_front();
    auto* const attach = std::get_if<AttachFollower>(&input);
    if (attach != nullptr) attach->now = now_;
    if (auto* ack = std::get_if<FollowerProgress>(&input)) ack->now = now_;
    const Offset end = attach == nullptr ? Offset{0} : attach->log_end;
    const bool is_attach = attach != nullptr;
    Feed(leader, input);
    for (const AttachAnswer& answer : std::exchange(leader->effects.attach_answers, {})) {
      stream.to_follower.push_back({AttachAnswered{.attach_id = answer.token,
                                                   .diverging = answer.diverging,
                                                   .log_start = answer.log_start,
                                                   .high_watermark = answer.high_watermark},
                                    {}});
      stream.pushing = !answer.diverging.has_value() && answer.token == stream.attach_id;
      stream.cursor = end;
      return;
    }
    if (is_attach) Break(&stream);  // Refused: not the leader (yet). It comes back.
  }

  void ToFollower(Node* node) {
    Stream& stream = StreamOf(node->id);
    if (stream.to_follower.empty()) return;
    auto [input, batches] = std::move(stream.to_follower.front());
    stream.to_follower.pop_front();
    Feed(node, input);
    for (const Batch& batch : batches) {
      Feed(node, Replicate{.token = batch.token,
                           .attach_id = std::get<LeaderMarks>(input).attach_id,
                           .base = batch.base,
                           .last = batch.last,
                           .batch_epoch = batch.epoch,
                           .producer = batch.producer()});
    }
  }

  // The leader pushes what it has written, and its marks.
  void Push(Node* node, Node* leader) {
    Stream& stream = StreamOf(node->id);
    if (!stream.pushing || !leader->up || leader->replica->role() != Role::kLeader) return;
    if (leader->replica->epoch() != node->replica->epoch()) return Break(&stream);
    std::vector<Batch> batches;
    for (const Batch& batch : leader->disk.log) {
      if (batch.base >= stream.cursor) batches.push_back(batch);
    }
    if (!batches.empty()) stream.cursor = batches.back().last + 1;
    stream.to_follower.push_back({LeaderMarks{.attach_id = stream.attach_id,
                                              .log_start = Offset{0},
                                              .high_watermark = leader->replica->high_watermark()},
                                  std::move(batches)});
  }

  // ---- Clients ----

  void Produce(Node* node) {
    const uint64_t token = ++token_;
    BatchInfo info{.record_count = static_cast<int32_t>(random_.Between(1, 3))};
    if (random_.Below(2) == 0) {
      info = NumberedProducer::InfoOf(producer_.Choose(&random_));
      sequences_[token] = info.base_sequence.value();
    }
    info.size_bytes = 10;
    const Append append{
        .token = token, .epoch = node->replica->epoch(), .acks = Acks::kAll, .batch = info};
    const Offset base = node->replica->log_end();
    // Before the step: the answer to a duplicate may come with it.
    held_[node->id][token] = {append.epoch, base, base + (info.record_count - 1), token,
                              info.base_sequence.value()};
    if (!node->replica->Step(append, &node->effects).ok()) return;
    Persist(node);
  }

  // ---- The metadata service ----

  void Watch(Node* node) {
    if (!node->alive || node->seen == record_.partition_epoch) return;
    node->seen = record_.partition_epoch;
    if (NodeId{record_.leader} == node->id) {
      Break(&StreamOf(node->id));
      Feed(node, BecomeLeader{.epoch = record_.epoch,
                              .partition_epoch = record_.partition_epoch,
                              .isr = record_.isr,
                              .replicas = {NodeId{1}, NodeId{2}, NodeId{3}},
                              .now = now_});
      return;
    }
    if (to_[node->id] != NodeId{record_.leader}) Break(&StreamOf(node->id));
    Feed(node, BecomeFollower{record_.epoch, record_.partition_epoch, NodeId{record_.leader}});
  }

  // Sends the proposal; sometimes the answer is lost, sometimes the request.
  void AskMetadata(Node* node) {
    if (!node->proposing.has_value()) return;
    const IsrProposal proposal = *std::exchange(node->proposing, std::nullopt);
    IsrAnswered answer{.epoch = proposal.epoch,
                       .partition_epoch = proposal.partition_epoch,
                       .outcome = IsrAnswered::Outcome::kUnknown,
                       .now = now_};
    if (random_.Below(8) > 0) {
      if (proposal.partition_epoch != record_.partition_epoch ||
          NodeId{record_.leader} != node->id || proposal.epoch != record_.epoch) {
        return;  // Too late: the watch will tell.
      }
      const bool done = Alter(proposal);
      const bool lost = random_.Below(8) == 0;
      if (done && !lost) return;  // The watch will tell.
      if (!lost) answer.outcome = IsrAnswered::Outcome::kRefused;
    }
    Feed(node, answer);
  }

  bool Alter(const IsrProposal& proposal) {
    std::vector<NodeId> isr;
    for (const IsrMember& member : proposal.isr) {
      const Node& node = NodeOf(member.node);
      if (!Has(record_.isr, member.node) && (!node.alive || node.node_epoch != member.node_epoch)) {
        return false;
      }
      isr.push_back(member.node);
    }
    SetIsr(isr, kMinInSync, &record_);
    return true;
  }

  void Disqualify(NodeId node) {
    crashed_[node] = false;
    // Not in the epoch in which the process before may have sent what this one has lost.
    if (NodeId{record_.leader} == node) record_.leader = 0;
    // The last that is left holds everything synced, and nobody else does: it stays.
    if (Without(record_.isr, node).empty() && Without(record_.elr, node).empty()) return;
    record_.isr = Without(record_.isr, node);
    record_.elr = Without(record_.elr, node);
    ++record_.partition_epoch;
  }

  void ExpireSession(Node* node) {
    if (!std::exchange(node->alive, false)) return;
    if (Has(record_.isr, node->id)) {
      SetIsr(Without(record_.isr, node->id), kMinInSync, &record_);
    }
    if (NodeId{record_.leader} == node->id) record_.leader = 0;
    Elect();
    // A process that still runs registers again: the same incarnation of the disk, a new epoch.
    if (!node->up) return;
    node->alive = true;
    ++node->node_epoch;
    Break(&StreamOf(node->id));
    Elect();
  }

  void Elect() {
    if (record_.leader != 0) return;
    const std::vector<NodeId>& electorate = record_.isr.empty() ? record_.elr : record_.isr;
    for (const NodeId node : {NodeId{1}, NodeId{2}, NodeId{3}}) {
      if (!NodeOf(node).alive || !Has(electorate, node)) continue;
      record_.leader = node.value();
      if (record_.isr.empty()) SetIsr({node}, kMinInSync, &record_);
      break;
    }
    if (record_.leader == 0) return;
    ++record_.epoch;
    ++record_.partition_epoch;
    ++elections_;
  }

  // ---- Invariants ----

  void Check() {
    // I1, I2: what is committed anywhere is the same everywhere it is, for ever.
    for (const Node& node : nodes_) {
      if (node.replica == nullptr) continue;
      const Offset hw = node.replica->high_watermark();
      EXPECT_LE(hw, node.disk.end());
      for (const Batch& batch : node.disk.log) {
        if (batch.last >= hw) break;
        const auto [known, is_new] = committed_.emplace(batch.base, batch);
        EXPECT_EQ(known->second.epoch, batch.epoch) << "offset " << batch.base.value();
        EXPECT_EQ(known->second.token, batch.token) << "offset " << batch.base.value();
      }
    }
    for (const Batch& batch : acknowledged_) {
      const auto it = committed_.find(batch.base);
      EXPECT_TRUE(it != committed_.end() && it->second == batch) << "acknowledged, not committed";
    }
    for (const Batch& batch : refused_) {
      const auto it = committed_.find(batch.base);
      EXPECT_FALSE(it != committed_.end() && it->second == batch) << "refused, but committed";
    }
    // I4: everybody in the ISR of record holds what is committed.
    const Offset committed_end =
        committed_.empty() ? Offset{0} : committed_.rbegin()->second.last + 1;
    for (const NodeId id : record_.isr) {
      if (crashed_[id]) continue;  // Known to have left once it registers.
      EXPECT_GE(NodeOf(id).disk.end(), committed_end) << "node " << id.value() << " is in the ISR";
    }
    for (int i = 0; i < kNodes && !committed_.empty(); ++i) {
      EXPECT_TRUE(
          RecoveryKeeps(committed_.rbegin()->second, nodes_[i].disk, nodes_[(i + 1) % kNodes].disk))
          << "a recovery of the metadata quorum without node " << (i + 2) % kNodes + 1;
    }
  }

  // No more faults: everybody ends up in sync, with one log.
  void Heal() {
    for (Node& node : nodes_) {
      if (!node.up) Start(&node);
      if (!node.alive) ExpireSession(&node);
    }
    for (int i = 0; i < 20000 && !Healed() && !testing::Test::HasFailure(); ++i) {
      now_ = now_ + absl::Milliseconds(random_.Between(0, 20));
      Node* const node = &nodes_[random_.Below(kNodes)];
      Watch(node);
      Feed(node, CheckIsr{now_});
      AskMetadata(node);
      OpenStream(node);
      Deliver(node);
      Check();
    }
    EXPECT_TRUE(Healed()) << "not everybody came back in sync\n"
                          << DescribeCluster(record_, nodes_, streams_);
    EXPECT_EQ(nodes_[0].disk.log, nodes_[1].disk.log);
    EXPECT_EQ(nodes_[1].disk.log, nodes_[2].disk.log);
    CheckProducer();
  }

  // I8: every batch once and in order, and the same known of it everywhere.
  void CheckProducer() {
    int next = 0;
    for (const Batch& batch : nodes_[0].disk.log) {
      if (batch.sequence < 0) continue;
      EXPECT_EQ(batch.sequence, NumberedProducer::SequenceOf(next++));
    }
    EXPECT_GE(next, producer_.oldest()) << "acknowledged, not in the log";
    for (const Node& node : nodes_) {
      const record::ProducerWindow* const window = node.replica->producers().Find(ProducerId{1});
      const auto rows = node.disk.producers();
      ASSERT_EQ(window == nullptr, rows.empty());
      if (window == nullptr) continue;
      EXPECT_EQ(*window, rows[0].history.window());
    }
  }

  bool Healed() {
    if (record_.isr.size() != kNodes || record_.leader == 0) return false;
    Node& leader = NodeOf(NodeId{record_.leader});
    if (leader.seen != record_.partition_epoch) return false;
    return leader.replica->serving() &&
           leader.replica->high_watermark() == leader.replica->log_end();
  }

  Random random_;
  const uint64_t calm_;  // One turn in so many is a fault of each kind.
  MonotonicTime now_{1'000'000'000};
  Node nodes_[kNodes];
  Stream streams_[kNodes];  // By follower.
  uint64_t stream_ids_ = 0;
  std::vector<std::pair<NodeId, FollowerLeft>> left_;  // To whom nobody has said so yet.
  std::map<NodeId, NodeId> to_;                        // The leader a stream goes to.
  std::map<NodeId, bool> crashed_;                     // Since it registered last.
  Record record_;
  uint64_t token_ = 0;
  std::map<NodeId, std::map<uint64_t, Batch>> held_;
  std::vector<Batch> acknowledged_;
  std::vector<Batch> refused_;  // For certain.
  std::map<Offset, Batch> committed_;
  int elections_ = 0;
  int truncations_ = 0;
  NumberedProducer producer_;
  std::map<uint64_t, int32_t> sequences_;  // By token.
  int duplicates_ = 0;
};

TEST(ReplicaClusterTest, NothingAcknowledgedIsLostThroughRandomFaults) {
  int elections = 0;
  int truncations = 0;
  size_t acknowledged = 0;
  int duplicates = 0;
  size_t refused = 0;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    World world(seed);
    world.Run(5000);
    if (testing::Test::HasFailure()) return;
    elections += world.elections();
    truncations += world.truncations();
    acknowledged += world.acknowledged();
    duplicates += world.duplicates();
    refused += world.refused();
  }
  // The faults reach what they are for.
  EXPECT_GT(elections, 1000);
  EXPECT_GT(truncations, 300);
  EXPECT_GT(acknowledged, 5000u);
  EXPECT_GT(duplicates, 1000);
  EXPECT_GT(refused, 50u);
}

}  // namespace
}  // namespace falaj::replica
