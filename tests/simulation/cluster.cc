#include "tests/simulation/cluster.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace falaj::simulation {

raft::Options Cluster::DrawRaft(Random* random) {
  raft::Options options;
  options.message_bytes_max = random->Below(2) == 0 ? 200 : 1 << 20;
  options.inflight_max = 1 + random->Below(16);
  options.apply_bytes_max = random->Below(2) == 0 ? 300 : 4 << 20;
  options.snapshot_entries = 10 + random->Below(200);
  options.entries_kept = random->Below(2) == 0 ? random->Below(4) : random->Below(60);
  options.snapshot_chunk_bytes = 300 + random->Below(4000);
  options.commits_ride = random->Below(2) == 0;
  return options;
}

Cluster::Cluster(const Options& options, const Random& random, const Surroundings& around)
    : options_(options),
      random_(random),
      replay_(&findings_, around.queue, options.raft.planted_bug,
              [this](Term term) { return invariants_.elected(term); }),
      invariants_(
          &findings_, around.queue,
          [this](NodeId id) {
            const auto found = nodes_.find(id);
            return found == nodes_.end() ? nullptr : &found->second->disk();
          },
          [this](const internal::v1::RaftEntry& entry) { replay_.Apply(entry); }),
      world_{around.queue, around.network, &findings_, &invariants_, &replay_, around.trace},
      last_id_(options.first_node - 1) {
  world_.network->set_receiver([this](internal::v1::RaftMessage message) {
    const auto returned = returned_.find(NodeId(message.to()));
    SimNode* const receiver = returned == returned_.end() ? node(NodeId(message.to()))  //
                                                          : returned->second.get();
    receiver->GiveMessage(std::move(message));
  });
  const raft::Membership founders = Founders();
  invariants_.set_founders(founders);
  for (int i = 0; i < options.voters; ++i) Add(founders);
  for (auto& [id, founder] : nodes_) founder->Start();
}

raft::Membership Cluster::Founders() const {
  raft::Membership founders;
  for (int i = 0; i < options_.voters; ++i) founders.voters.emplace_back(options_.first_node + i);
  return founders;
}

SimNode* Cluster::Add(const raft::Membership& members) {
  ++last_id_;
  return nodes_.emplace(last_id_, Make(last_id_, members, 0)).first->second.get();
}

std::unique_ptr<SimNode> Cluster::Make(NodeId id, const raft::Membership& members,
                                       uint64_t directory) {
  SimNode::Options options;
  options.id = id;
  options.raft = options_.raft;
  if (options_.have_directories) {
    options.raft.directory = Uuid::FromRandomBits(static_cast<uint64_t>(id.value()), directory);
  }
  options.lives_before = directory << 32;
  options.cluster_id = options_.cluster_id;
  options.node = options_.node;
  options.seed = random_.Next();
  raft::Restored empty;
  *empty.snapshot.meta.mutable_membership() = members.ToProto();
  return std::make_unique<SimNode>(world_, options, std::move(empty));
}

void Cluster::ReturnEmpty(NodeId id) {
  (*world_.trace)("node ", id, " comes back empty");
  raft::Membership members = Founders();
  if (!members.IsVoter(id)) {  // Started as it was the first time, to join.
    members = invariants_.membership();
    std::erase(members.voters, id);
    std::erase(members.learners, id);
    members.addresses.erase(id);
    members.directories.erase(id);
  }
  std::unique_ptr<SimNode>& node = returned_[id];
  node = Make(id, members, 1);
  node->Start();
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
  (*world_.trace)("node ", id, " loses its disk");
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
