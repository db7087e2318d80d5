#include "tests/simulation/data/metadata.h"

#include <algorithm>
#include <utility>

#include "libs/cluster/election.h"
#include "tests/simulation/data/invariants.h"

namespace falaj::simulation::data {
namespace {

template <typename Nodes>
bool IsSame(const Nodes& a, const Nodes& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

}  // namespace

void Metadata::OnApplied(const pb::ClusterCommand& command,
                         const absl::StatusOr<pb::ExecuteResponse>& response,
                         const pb::ClusterDelta& delta) {
  if (response.ok() && command.has_register_node()) {
    world_->invariants->OnRegistered(NodeId{response->node().node_id()});
  }
  if (delta.nodes_size() + delta.topics_size() == 0) return;
  NoteMarks(delta);
  world_->invariants->OnMetadata(delta);
}

void Metadata::NoteMarks(const pb::ClusterDelta& delta) {
  for (const pb::TopicDelta& change : delta.topics()) {
    const auto topic = Uuid::FromBytes(change.topic().topic_id());
    for (const pb::PartitionState& now : change.topic().partitions()) {
      const PartitionNumber number = world_->Number(*topic, PartitionIndex{now.partition()});
      const auto [known, first] = before_.try_emplace(number, now);
      if (first) continue;
      const pb::PartitionState was = std::exchange(known->second, now);
      if (was.leader() != now.leader()) {
        NoteLeader(was, now);
      } else if (now.isr_size() < was.isr_size() && now.leader() != 0) {
        world_->findings->Reach(Mark::kIsrShrunk);
      } else if (now.isr_size() > was.isr_size()) {
        world_->findings->Reach(Mark::kIsrGrown);
      }
      if (was.target_replicas_size() > 0) NoteMove(was, now);
      if (now.isr_size() < min_in_sync(number)) world_->findings->Reach(Mark::kIsrUnderMin);
    }
  }
}

void Metadata::NoteLeader(const pb::PartitionState& was, const pb::PartitionState& now) {
  world_->findings->Reach(now.leader() == 0 ? Mark::kLeaderless : Mark::kLeaderReplaced);
  const bool was_empty = was.leader() == 0 && was.isr().empty() && now.leader() != 0;
  if (was_empty && cluster::Contains(was.elr(), now.leader())) {
    world_->findings->Reach(Mark::kElrElection);
  } else if (was_empty && (was.elr().empty() || now.leader() == was.last_leader())) {
    world_->findings->Reach(Mark::kLastLeader);
  }
  if (was.leader() == 0 && was.last_leader() == now.leader()) {
    world_->findings->Reach(Mark::kSameLeaderAgain);
  }
}

void Metadata::NoteMove(const pb::PartitionState& was, const pb::PartitionState& now) {
  if (IsSame(was.target_replicas(), now.target_replicas())) return;
  const bool settled = IsSame(was.target_replicas(), now.replicas());
  const bool moved = settled && was.adding_replicas_size() > 0;
  world_->findings->Reach(moved ? Mark::kReassigned : Mark::kReassignmentLeft);
}

const pb::TopicState& Metadata::TopicOf(PartitionNumber partition) const {
  return state().topics().at(world_->partitions[static_cast<size_t>(partition)].topic);
}

const pb::PartitionState& Metadata::partition(PartitionNumber partition) const {
  const PartitionIndex index = world_->partitions[static_cast<size_t>(partition)].index;
  return TopicOf(partition).partitions(index.value());
}

int32_t Metadata::min_in_sync(PartitionNumber partition) const {
  const pb::TopicState& topic = TopicOf(partition);
  return std::min(topic.settings().min_in_sync_replicas(), topic.replication_factor());
}

bool Metadata::AllowsUncleanElections(PartitionNumber partition) const {
  return TopicOf(partition).settings().unclean_election_after_ms() != 0;
}

bool Metadata::IsAlive(NodeId node) const {
  return cluster::IsAlive(state().nodes(), node.value());
}

}  // namespace falaj::simulation::data
