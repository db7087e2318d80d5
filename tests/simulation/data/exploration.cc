#include "tests/simulation/data/exploration.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/cluster/election.h"
#include "libs/replica/replica.h"

namespace falaj::simulation::data {
namespace {

namespace pb = ::falaj::internal::v1;

using replica::Effects;
using replica::Replica;

constexpr int kNodes = 3;
constexpr int32_t kMinInSync = 2;

// One record of a log: the epoch it was written in, and which it is (0: the epoch's first).
struct Record {
  LeaderEpoch epoch;
  int value = 0;

  friend bool operator==(const Record&, const Record&) = default;
};

replica::Settings ModelSettings() {
  replica::Settings settings;
  settings.min_in_sync_replicas = kMinInSync;
  // Nothing is ever late; who does not hold everything may be put out at any check.
  settings.replica_lag_max = -absl::Nanoseconds(1);
  return settings;
}

struct Node {
  Node(NodeId id, const replica::Stored& stored, replica::PlantedBug bug)
      : core(id, stored, ModelSettings(), bug) {}

  Replica core;
  std::vector<Record> log;  // On disk.
  NodeEpoch node_epoch{1};
  std::optional<replica::AttachRequest> asks;  // Has not arrived.
  uint64_t attach_id = 0;
  std::optional<std::pair<NodeId, replica::FollowerProgress>> ack;  // To whom; has not arrived.
  std::optional<replica::IsrProposal> proposal;                     // Has not arrived.
};

// Everything there is. Copied for each step.
struct State {
  std::vector<Node> nodes;
  cluster::NodeTable table;
  pb::PartitionState partition;
  std::vector<Record> committed;  // What any high watermark has ever covered.
  int records = 0;
  int sessions = 0;  // That have ended.
  int crashes = 0;
};

std::string Fingerprint(const State& state) {
  std::string text = absl::StrCat(state.records, ".", state.sessions, ".", state.crashes, ";",
                                  state.partition.SerializeAsString(), ";");
  for (const auto& [id, node] : state.table) absl::StrAppend(&text, node.session_id() != 0);
  for (const Record& one : state.committed) absl::StrAppend(&text, one.epoch, ":", one.value, ",");
  for (const Node& node : state.nodes) {
    absl::StrAppend(&text, ";", node.core.Fingerprint(), ";", node.core.partition_epoch(), ";",
                    node.node_epoch, ";");
    for (const Record& one : node.log) absl::StrAppend(&text, one.epoch, ":", one.value, ",");
    if (node.asks) absl::StrAppend(&text, "a", node.asks->epoch, ".", node.asks->log_end);
    if (node.ack) {
      const replica::FollowerProgress& ack = node.ack->second;
      absl::StrAppend(&text, "k", node.ack->first, ".", ack.from.node_epoch, ".", ack.epoch, ".",
                      ack.written_end, ".", ack.flushed_end);
    }
    if (node.proposal) {
      absl::StrAppend(&text, "p", node.proposal->epoch, ".", node.proposal->partition_epoch, ".");
      for (const auto& one : node.proposal->isr) {
        absl::StrAppend(&text, one.node, ".", one.node_epoch, ",");
      }
    }
  }
  return text;
}

// Two independent hashes: there are too many states to keep them, and too few for both to collide.
std::pair<uint64_t, uint64_t> HashOf(const std::string& text) {
  uint64_t a = 0xcbf29ce484222325;
  uint64_t b = 0x9e3779b97f4a7c15;
  for (const char c : text) {
    a = (a ^ static_cast<uint8_t>(c)) * 0x100000001b3;
    b = (b + static_cast<uint8_t>(c) + 1) * 0xff51afd7ed558ccd;
    b ^= b >> 29;
  }
  return {a, b};
}

class Explorer {
 public:
  explicit Explorer(const ExplorationBounds& bounds) : bounds_(bounds) {}

  ExplorationReport Run() {
    Visit(Initial());
    while (!open_.empty() && !report_.finding && report_.states < bounds_.states_max) {
      std::unique_ptr<State>& next = bounds_.nearest_first ? open_.front() : open_.back();
      const std::unique_ptr<State> state = std::move(next);
      bounds_.nearest_first ? open_.pop_front() : open_.pop_back();
      Expand(*state);
    }
    report_.complete = open_.empty() && !report_.finding;
    return report_;
  }

 private:
  static replica::PlantedBug BugOf(const ExplorationBounds& bounds) { return bounds.bug; }

  State Initial() {
    State state;
    state.partition.set_leader(1);
    state.partition.set_leader_epoch(1);
    state.partition.set_partition_epoch(1);
    for (int id = 1; id <= kNodes; ++id) {
      state.nodes.emplace_back(NodeId{id}, replica::Stored(), BugOf(bounds_));
      pb::NodeState& node = state.table[id];
      node.set_node_id(id);
      node.set_session_id(id);
      node.set_node_epoch(1);
      node.set_directory_id("d");
      state.partition.add_replicas(id);
      state.partition.add_isr(id);
    }
    return state;
  }

  void Visit(State state) {
    ++report_.transitions;
    if (!seen_.insert(HashOf(Fingerprint(state))).second) return;
    ++report_.states;
    if (!state.committed.empty()) ++report_.committed;
    open_.push_back(std::make_unique<State>(std::move(state)));
  }

  // Takes the step in a copy, if it changes anything.
  template <typename Step>
  void Try(const State& state, Step step) {
    State next(state);
    if (!step(&next) || report_.finding) return;
    NoteCommitted(&next);
    Check(next);
    Visit(std::move(next));
  }

  void Expand(const State& state) {
    for (int i = 0; i < kNodes; ++i) {
      Try(state, [&](State* next) { return Append(next, i); });
      Try(state, [&](State* next) { return Learn(next, i); });
      Try(state, [&](State* next) { return Attach(next, i); });
      Try(state, [&](State* next) { return Fetch(next, i); });
      Try(state, [&](State* next) { return TakeAck(next, i); });
      Try(state, [&](State* next) { return CheckIsr(next, i); });
      Try(state, [&](State* next) { return Decide(next, i); });
      Try(state, [&](State* next) { return MoveLead(next, i); });
      Try(state, [&](State* next) { return EndOrResume(next, i); });
      Try(state, [&](State* next) { return Crash(next, i); });
    }
  }

  // ---- The host of a replica ----

  static int Index(NodeId id) { return id.value() - 1; }
  static Node* NodeOf(State* state, NodeId id) {
    return &state->nodes[static_cast<size_t>(Index(id))];
  }

  bool Feed(State* state, int i, const replica::Input& input, int value = 0,
            LeaderEpoch epoch = LeaderEpoch{-1}) {
    Node& node = state->nodes[static_cast<size_t>(i)];
    Effects effects;
    if (!node.core.Step(input, &effects).ok()) return false;
    Persist(&node, &effects, value, epoch);
    Send(i, &node, &effects);
    return true;
  }

  void Persist(Node* node, Effects* effects, int value, LeaderEpoch epoch) {
    const bool writes = !effects->nothing_to_persist();
    for (const replica::Placement& place : effects->placements) {
      if (place.base.value() != static_cast<int64_t>(node->log.size())) {
        Report("dense logs", "a hole");
      }
      node->log.push_back({place.epoch, place.leader_change ? 0 : value});
      if (epoch.value() >= 0) node->log.back().epoch = epoch;
    }
    if (effects->truncate_suffix.has_value()) {
      const Offset end = *effects->truncate_suffix;
      if (end < node->core.high_watermark()) Report("cuts", "below a high watermark");
      node->log.resize(static_cast<size_t>(end.value()));
      effects->attach.reset();
      IgnoreError(node->core.Step(replica::Truncated{Offset{0}, end}, effects), "never refuses");
    }
    if (!writes) return;
    IgnoreError(
        node->core.Step(replica::Written{node->core.log_end(), /*synced=*/true, {}}, effects),
        "never refuses");
  }

  void Send(int i, Node* node, Effects* effects) {
    if (effects->attach.has_value()) {
      node->asks = effects->attach;
      node->attach_id = effects->attach->attach_id;
    }
    if (effects->ack.has_value()) {
      node->ack = {node->core.leader(),
                   {.stream = 1,
                    .from = {NodeId{i + 1}, node->node_epoch},
                    .epoch = node->core.epoch(),
                    .written_end = effects->ack->written_end,
                    .flushed_end = effects->ack->flushed_end}};
    }
    if (effects->isr_proposal.has_value()) node->proposal = effects->isr_proposal;
  }

  // ---- Steps ----

  bool Append(State* state, int i) {
    if (state->records >= bounds_.records) return false;
    const LeaderEpoch epoch = state->nodes[static_cast<size_t>(i)].core.epoch();
    const replica::Append append{.token = 1,
                                 .epoch = epoch,
                                 .acks = replica::Acks::kNone,
                                 .batch = {.record_count = 1, .size_bytes = 1}};
    if (!Feed(state, i, append, state->records + 1)) return false;
    ++state->records;
    return true;
  }

  bool Learn(State* state, int i) {
    const pb::PartitionState& now = state->partition;
    const PartitionEpoch epoch{now.partition_epoch()};
    if (state->nodes[static_cast<size_t>(i)].core.partition_epoch() >= epoch) return false;
    if (now.leader() != i + 1) {
      return Feed(
          state, i,
          replica::BecomeFollower{LeaderEpoch{now.leader_epoch()}, epoch, NodeId{now.leader()}});
    }
    replica::BecomeLeader lead{.epoch = LeaderEpoch{now.leader_epoch()}, .partition_epoch = epoch};
    for (const int32_t one : now.isr()) lead.isr.emplace_back(one);
    for (const int32_t one : now.replicas()) lead.replicas.emplace_back(one);
    return Feed(state, i, lead);
  }

  // The question arrives, and the answer.
  bool Attach(State* state, int i) {
    Node& node = state->nodes[static_cast<size_t>(i)];
    if (!node.asks.has_value()) return false;
    const replica::AttachRequest asked = *node.asks;
    Node& leader = *NodeOf(state, node.core.leader());
    Effects effects;
    const replica::AttachFollower attach{.token = 1,
                                         .stream = 1,
                                         .from = {NodeId{i + 1}, node.node_epoch},
                                         .epoch = asked.epoch,
                                         .last_epoch = asked.last_epoch,
                                         .log_end = asked.log_end,
                                         .flushed_end = asked.flushed_end};
    if (!leader.core.Step(attach, &effects).ok()) return false;  // It is asked again.
    const replica::AttachAnswer answer = effects.attach_answers.front();
    Send(Index(node.core.leader()), &leader, &effects);
    node.asks.reset();
    const replica::AttachAnswered answered{.attach_id = asked.attach_id,
                                           .diverging = answer.diverging,
                                           .log_start = answer.log_start,
                                           .high_watermark = answer.high_watermark};
    if (!Feed(state, i, answered)) Report("cuts", "a replica cannot follow its leader");
    return true;
  }

  // The next record, with the marks.
  bool Fetch(State* state, int i) {
    Node& node = state->nodes[static_cast<size_t>(i)];
    if (!node.core.attached()) return false;
    const Node leader = *NodeOf(state, node.core.leader());
    if (leader.core.role() != replica::Role::kLeader || leader.core.epoch() != node.core.epoch()) {
      return false;
    }
    bool changed = Feed(state, i,
                        replica::LeaderMarks{.attach_id = node.attach_id,
                                             .log_start = Offset{0},
                                             .high_watermark = leader.core.high_watermark()});
    const Offset end = node.core.log_end();
    if (end.value() < static_cast<int64_t>(leader.log.size())) {
      const Record& record = leader.log[static_cast<size_t>(end.value())];
      changed |= Feed(state, i,
                      replica::Replicate{.token = 1,
                                         .attach_id = node.attach_id,
                                         .base = end,
                                         .last = end,
                                         .batch_epoch = record.epoch},
                      record.value);
    }
    return changed;
  }

  bool TakeAck(State* state, int i) {
    Node& node = state->nodes[static_cast<size_t>(i)];
    if (!node.ack.has_value()) return false;
    const auto [leader, progress] = *std::exchange(node.ack, std::nullopt);
    if (leader == NodeId{0}) return true;
    Feed(state, Index(leader), progress);
    return true;
  }

  bool CheckIsr(State* state, int i) {
    const Node& node = state->nodes[static_cast<size_t>(i)];
    if (node.core.role() != replica::Role::kLeader || node.proposal.has_value()) return false;
    return Feed(state, i, replica::CheckIsr{});
  }

  // The metadata service decides on a proposal; the watch tells of it, a refusal the answer.
  bool Decide(State* state, int i) {
    Node& node = state->nodes[static_cast<size_t>(i)];
    if (!node.proposal.has_value()) return false;
    const replica::IsrProposal proposal = *std::exchange(node.proposal, std::nullopt);
    pb::PartitionState& now = state->partition;
    const bool current = state->table.at(i + 1).session_id() != 0 && now.leader() == i + 1 &&
                         now.leader_epoch() == proposal.epoch.value() &&
                         now.partition_epoch() == proposal.partition_epoch.value();
    if (!current) return true;
    if (now.partition_epoch() >= bounds_.partition_epochs) return false;
    google::protobuf::RepeatedField<int32_t> isr;
    bool eligible = true;
    for (const replica::IsrMember& one : proposal.isr) {
      isr.Add(one.node.value());
      if (cluster::Contains(now.isr(), one.node.value())) continue;
      eligible &= cluster::IsStaying(state->table, one.node.value()) &&
                  NodeOf(state, one.node)->node_epoch == one.node_epoch;
    }
    std::sort(isr.begin(), isr.end());
    if (eligible) {
      cluster::SetIsr(isr, kMinInSync, &now);
      return true;
    }
    return Feed(state, i,
                replica::IsrAnswered{.epoch = proposal.epoch,
                                     .partition_epoch = proposal.partition_epoch,
                                     .outcome = replica::IsrAnswered::Outcome::kRefused});
  }

  // An operator's wish.
  bool MoveLead(State* state, int i) {
    return cluster::MoveLead(state->table, i + 1, &state->partition) &&
           WithinBounds(state->partition);
  }

  // The session ends by silence; or the same process registers again.
  bool EndOrResume(State* state, int i) {
    pb::NodeState& node = state->table.at(i + 1);
    pb::PartitionState& now = state->partition;
    if (node.session_id() != 0) {
      if (state->sessions >= bounds_.sessions) return false;
      ++state->sessions;
      node.set_session_id(0);
      cluster::LeaveIsr(i + 1, kMinInSync, &now);
    } else {
      node.set_session_id(i + 1);
    }
    cluster::Elect(state->table, kMinInSync, &now);
    return WithinBounds(now);
  }

  // kill -9, and the restart, which proves nothing.
  bool Crash(State* state, int i) {
    if (state->crashes >= bounds_.crashes) return false;
    ++state->crashes;
    Node& node = state->nodes[static_cast<size_t>(i)];
    pb::PartitionState& now = state->partition;
    state->table.at(i + 1).set_session_id(0);
    cluster::LeaveIsr(i + 1, kMinInSync, &now);
    cluster::Elect(state->table, kMinInSync, &now);
    state->table.at(i + 1).set_session_id(i + 1);
    cluster::Disqualify(i + 1, &now);
    cluster::Elect(state->table, kMinInSync, &now);
    // The checkpoint of the high watermark is as old as can be.
    const replica::Stored stored{.log_start = Offset{0},
                                 .log_end = Offset{static_cast<int64_t>(node.log.size())},
                                 .high_watermark = Offset{0},
                                 .epochs = node.core.epochs().entries()};
    Node restarted(NodeId{i + 1}, stored, bounds_.bug);
    restarted.log = node.log;
    restarted.node_epoch = node.node_epoch + 1;
    std::vector<Node> nodes;
    for (int k = 0; k < kNodes; ++k) {
      nodes.push_back(k == i ? restarted : state->nodes[static_cast<size_t>(k)]);
    }
    state->nodes.swap(nodes);
    return WithinBounds(now);
  }

  bool WithinBounds(const pb::PartitionState& now) const {
    return now.leader_epoch() <= bounds_.leader_epochs &&
           now.partition_epoch() <= bounds_.partition_epochs;
  }

  // ---- What must hold ----

  void NoteCommitted(State* state) {
    for (const Node& node : state->nodes) {
      const auto end = static_cast<size_t>(node.core.high_watermark().value());
      const size_t known = std::min(end, state->committed.size());
      if (end > node.log.size() ||
          !std::equal(node.log.begin(), node.log.begin() + static_cast<std::ptrdiff_t>(known),
                      state->committed.begin())) {
        return Report("StrongIsr", "two replicas differ below their high watermarks");
      }
      for (size_t at = known; at < end; ++at) state->committed.push_back(node.log[at]);
    }
  }

  void Check(const State& state) {
    const pb::PartitionState& now = state.partition;
    if (now.leader() != 0 && !cluster::Contains(now.isr(), now.leader())) {
      Report("LeaderInIsr", absl::StrCat("node ", now.leader()));
    }
    for (int id = 1; id <= kNodes; ++id) {
      const Node& node = state.nodes[static_cast<size_t>(id - 1)];
      const bool in_sync = cluster::Contains(now.isr(), id);
      if (!in_sync && !cluster::Contains(now.elr(), id)) continue;
      if (node.log.size() < state.committed.size() ||
          !std::equal(state.committed.begin(), state.committed.end(), node.log.begin())) {
        Report("StrongIsr", absl::StrCat("node ", id, " does not hold what is committed"));
      }
      if (!in_sync || now.leader() == 0) continue;
      const Replica& leader = state.nodes[static_cast<size_t>(now.leader() - 1)].core;
      if (leader.role() == replica::Role::kLeader && leader.epoch().value() == now.leader_epoch() &&
          leader.high_watermark().value() > static_cast<int64_t>(node.log.size())) {
        Report("ValidHw", absl::StrCat("node ", id, " ends below its leader's high watermark"));
      }
    }
  }

  void Report(const char* invariant, const std::string& what) {
    if (!report_.finding) report_.finding = Finding{invariant, what};
  }

  const ExplorationBounds bounds_;
  ExplorationReport report_;
  absl::flat_hash_set<std::pair<uint64_t, uint64_t>> seen_;
  std::deque<std::unique_ptr<State>> open_;  // Found, not expanded yet.
};

}  // namespace

ExplorationReport Explore(const ExplorationBounds& bounds) { return Explorer(bounds).Run(); }

}  // namespace falaj::simulation::data
