#include "tests/simulation/data/exploration_metadata.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"

#include "tests/simulation/data/exploration_replica.h"

namespace falaj::simulation::data {
namespace {

constexpr unsigned kAllNodes = (1U << kNodes) - 1;

uint8_t Bits(const google::protobuf::RepeatedField<int32_t>& nodes) {
  unsigned bits = 0;
  for (const int32_t node : nodes) bits |= 1U << (node - 1);
  return static_cast<uint8_t>(bits);
}

}  // namespace

MetadataNumber MetadataTable::Start() {
  State state;
  state.partition.set_leader(1);
  state.partition.set_leader_epoch(1);
  for (int id = 1; id <= kNodes; ++id) {
    internal::v1::NodeState& node = state.nodes[id];
    node.set_node_id(id);
    node.set_session_id(id);
    node.set_directory_id("d");
    state.partition.add_replicas(id);
    state.partition.add_isr(id);
  }
  return Intern(std::move(state));
}

MetadataNumber MetadataTable::Intern(State state) {
  state.partition.set_partition_epoch(0);
  MetadataView view{.isr = Bits(state.partition.isr()),
                    .eligible = Bits(state.partition.elr()),
                    .leader = static_cast<int8_t>(state.partition.leader()),
                    .leader_epoch = static_cast<int8_t>(state.partition.leader_epoch()),
                    .leader_behind = state.leader_behind};
  for (const auto& [id, node] : state.nodes) {
    if (node.session_id() != 0) view.alive = static_cast<uint8_t>(view.alive | 1U << (id - 1));
  }
  std::string text =
      absl::StrCat(view.alive, ".", view.leader_behind, ";", state.partition.SerializeAsString());
  const auto [known, is_new] =
      numbers_.try_emplace(std::move(text), static_cast<MetadataNumber>(states_.size()));
  if (!is_new) return known->second;
  if (states_.size() >= kNothing) std::abort();  // Bounds far beyond what can be explored.
  states_.push_back(std::move(state));
  views_.push_back(view);
  next_.emplace_back().fill(kUnknown);
  return known->second;
}

MetadataTable::Next MetadataTable::Remember(MetadataNumber from, size_t event, Change change) {
  if (next_[from][event] == kUnknown) {
    State state = states_[from];
    change(&state);
    const internal::v1::PartitionState& before = states_[from].partition;
    if (state.partition.leader_epoch() != before.leader_epoch()) {
      state.leader_behind = false;
    } else if (state.partition.partition_epoch() != before.partition_epoch()) {
      state.leader_behind = state.partition.leader() != 0;
    }
    const bool within = state.partition.leader_epoch() <= leader_epochs_max_;
    const MetadataNumber next = within ? Intern(std::move(state)) : kNothing;
    next_[from][event] = next == from ? kNothing : next;
  }
  const uint16_t next = next_[from][event];
  return next == kNothing ? std::nullopt : Next(next);
}

MetadataTable::Next MetadataTable::MoveLead(MetadataNumber from, int node) {
  return Remember(from, static_cast<size_t>(node), [node](State* state) {
    cluster::MoveLead(state->nodes, node + 1, &state->partition);
  });
}

MetadataTable::Next MetadataTable::EndOrResume(MetadataNumber from, int node) {
  return Remember(from, static_cast<size_t>(kNodes + node), [node](State* state) {
    internal::v1::NodeState& it = state->nodes.at(node + 1);
    if (it.session_id() != 0) {
      it.set_session_id(0);
      cluster::LeaveIsr(node + 1, kMinInSync, &state->partition);
    } else {
      it.set_session_id(node + 1);
    }
    cluster::Elect(state->nodes, kMinInSync, &state->partition);
  });
}

// Each of up to `nodes` nodes ends once and comes back once, in any order.
void MetadataTable::FollowSessions(MetadataNumber at, int nodes, unsigned touched,
                                   std::vector<MetadataNumber>* ends) {
  const unsigned alive = views_[at].alive;
  if (touched != 0 && alive == kAllNodes) {
    ends->push_back(at);
    return;
  }
  for (int node = 0; node < kNodes; ++node) {
    const unsigned bit = 1U << node;
    if ((alive & bit) != 0 && ((touched & bit) != 0 || nodes == 0)) continue;
    const Next next = EndOrResume(at, node);
    if (next) FollowSessions(*next, nodes - ((alive & bit) != 0), touched | bit, ends);
  }
}

std::vector<MetadataNumber> MetadataTable::OutagesOf(MetadataNumber from, int nodes) {
  std::vector<MetadataNumber> ends;
  FollowSessions(from, nodes, 0, &ends);
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  return ends;
}

const std::vector<MetadataNumber>& MetadataTable::Outages(MetadataNumber from) {
  const auto known = outages_.find(from);
  if (known != outages_.end()) return known->second;
  std::vector<MetadataNumber> result = OutagesOf(from, 1);
  std::vector<MetadataNumber> chained = {from};
  for (size_t i = 0; i < chained.size(); ++i) {
    for (const MetadataNumber one : OutagesOf(chained[i], 1)) {
      if (std::find(chained.begin(), chained.end(), one) == chained.end()) chained.push_back(one);
    }
  }
  for (const MetadataNumber one : OutagesOf(from, kNodes)) {
    if (std::find(chained.begin(), chained.end(), one) == chained.end()) result.push_back(one);
  }
  return outages_[from] = std::move(result);
}

MetadataTable::Next MetadataTable::Restart(MetadataNumber from, int node, bool same) {
  const size_t event = static_cast<size_t>((same ? 3 : 2) * kNodes + node);
  return Remember(from, event, [node, same](State* state) {
    internal::v1::NodeState& it = state->nodes.at(node + 1);
    if (it.session_id() != 0) {
      it.set_session_id(0);
      cluster::LeaveIsr(node + 1, kMinInSync, &state->partition);
      cluster::Elect(state->nodes, kMinInSync, &state->partition);
    }
    it.set_session_id(node + 1);
    if (!same) cluster::Disqualify(node + 1, &state->partition);
    cluster::Elect(state->nodes, kMinInSync, &state->partition);
  });
}

MetadataTable::Next MetadataTable::SetIsr(MetadataNumber from, unsigned isr) {
  return Remember(from, 4 * kNodes + isr, [isr](State* state) {
    google::protobuf::RepeatedField<int32_t> members;
    for (int node = 0; node < kNodes; ++node) {
      if ((isr >> node & 1) != 0) members.Add(node + 1);
    }
    cluster::SetIsr(members, kMinInSync, &state->partition);
  });
}

int MetadataTable::LeaderAfterRecovery(const std::array<Held, kNodes>& reports) {
  uint64_t key = 0;
  for (const Held& one : reports) {
    key = key << 16 | static_cast<uint64_t>(one.epoch << 8 | one.end);
  }
  const auto [known, is_new] = recovered_.try_emplace(key, 0);
  if (!is_new) return known->second;
  internal::v1::PartitionState partition = states_.front().partition;
  cluster::BeginRecovery(&partition);
  for (int node = 0; node < kNodes; ++node) {
    const Held& held = reports[static_cast<size_t>(node)];
    internal::v1::ReplicaReport report;
    report.set_node_id(node + 1);
    report.set_last_epoch(held.epoch);
    report.set_log_end(held.end);
    cluster::TakeReport(report, &partition);
  }
  cluster::Elect(states_.front().nodes, kMinInSync, &partition);
  return known->second = partition.leader();
}

MetadataTable::Next MetadataTable::TellLeader(MetadataNumber from) {
  return Remember(from, 4 * kNodes + 8, [](State* state) { state->leader_behind = false; });
}

}  // namespace falaj::simulation::data
