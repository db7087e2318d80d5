#include "tests/simulation/cluster.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace falaj::simulation {

Cluster::Cluster(const Options& options)
    : options_(options),
      random_(options.seed),
      queue_(random_.Next()),
      network_(&queue_, random_.Next()),
      trace_(&queue_, options.trace),
      replay_(&findings_, &queue_, options.raft.planted_bug,
              [this](Term term) { return invariants_.elected(term); }),
      invariants_(
          &findings_, &queue_,
          [this](NodeId id) {
            const auto found = nodes_.find(id);
            return found == nodes_.end() ? nullptr : &found->second->disk();
          },
          [this](const internal::v1::RaftEntry& entry) { replay_.Apply(entry); }),
      world_{&queue_, &network_, &findings_, &invariants_, &replay_, &trace_} {
  network_.set_receiver([this](internal::v1::RaftMessage message) {
    node(NodeId(message.to()))->GiveMessage(std::move(message));
  });
  raft::Membership founders;
  for (int id = 1; id <= options.voters; ++id) founders.voters.emplace_back(id);
  invariants_.set_founders(founders);
  for (int i = 0; i < options.voters; ++i) Add(founders);
  for (auto& [id, founder] : nodes_) founder->Start();
}

SimNode* Cluster::Add(const raft::Membership& members) {
  ++last_id_;
  SimNode::Options options;
  options.id = last_id_;
  options.raft = options_.raft;
  options.cluster_id = Uuid::FromRandomBits(options_.seed, 1);
  options.seed = random_.Next();
  raft::Restored empty;
  *empty.snapshot.meta.mutable_membership() = members.ToProto();
  return nodes_.emplace(last_id_, std::make_unique<SimNode>(world_, options, std::move(empty)))
      .first->second.get();
}

SimNode* Cluster::AddNode() {
  if (last_id_.value() >= kNodesMax) return nullptr;
  SimNode* const added = Add(invariants_.membership());
  added->Start();
  return added;
}

SimNode* Cluster::Leader() const {
  const auto found = nodes_.find(invariants_.leader());
  if (found == nodes_.end() || !found->second->running()) return nullptr;
  const raft::RaftCore& core = found->second->node().core();
  const bool leads = core.is_leader() && core.term() == invariants_.leader_term();
  return leads ? found->second.get() : nullptr;
}

void Cluster::Wipe(NodeId id) {
  trace_("node ", id, " loses its disk");
  findings_.Reach(Mark::kWiped);
  node(id)->Kill();
  wiped_.insert(id);
}

std::vector<raft::Membership> Cluster::KnownMemberships() const {
  std::vector<raft::Membership> known = invariants_.OpenMemberships();
  known.push_back(invariants_.membership());
  for (const auto& [id, member] : nodes_) {
    if (!member->running()) continue;
    const raft::Membership& believed = member->node().core().membership();
    if (believed != invariants_.membership()) known.push_back(believed);
  }
  return known;
}

bool Cluster::CanSpare(const std::vector<raft::Membership>& memberships,
                       const std::set<NodeId>& without) const {
  for (const raft::Membership& membership : memberships) {
    const auto well = std::count_if(
        membership.voters.begin(), membership.voters.end(),
        [&](NodeId voter) { return !wiped_.contains(voter) && !without.contains(voter); });
    if (static_cast<size_t>(well) * 2 <= membership.voters.size()) return false;
  }
  return true;
}

}  // namespace falaj::simulation
