#include "tests/simulation/data/metadata.h"

#include <algorithm>
#include <string>

#include "libs/base/status.h"
#include "libs/cluster/election.h"
#include "tests/simulation/data/invariants.h"
#include "tests/simulation/data/storage_node.h"

namespace falaj::simulation::data {
namespace {

constexpr SimTime kTick = 20 * kMillisecond;
constexpr SimTime kSignOfLife = 100 * kMillisecond;
constexpr int64_t kStartMs = 1'700'000'000'000;

bool IsMember(const google::protobuf::RepeatedField<int32_t>& nodes, int32_t node) {
  return cluster::Contains(nodes, node);
}

}  // namespace

Metadata::Metadata(World* world, uint64_t seed) : world_(world), random_(seed) {
  world_->queue->After(kTick, EventKind::kTimer, [this] { Tick(); });
}

void Metadata::Submit(std::function<void()> apply) {
  // A round of the quorum; the log has one order.
  const SimTime took = random_.Between(200 * kMicrosecond, 4 * kMillisecond);
  last_commit_ = std::max({world_->now() + took, stalled_until_, last_commit_ + 1});
  world_->queue->After(last_commit_ - world_->now(), EventKind::kDisk, std::move(apply));
}

void Metadata::Execute(Endpoint from, pb::ClusterCommand command, Answer answer) {
  world_->network->Call(from, kMetadata, [this, from, command = std::move(command), answer] {
    Submit([this, from, command, answer] {
      const pb::RegisterNodeCommand& node = command.register_node();
      if (command.has_register_node() &&
          !world_->nodes.at(NodeId{node.node_id()})->MayRegister(node.incarnation_id())) {
        return;
      }
      const auto response = Apply(command);
      // Should this get lost, the command has been carried out all the same.
      world_->network->Call(kMetadata, from, [answer, response] { answer(response); });
    });
  });
}

absl::StatusOr<pb::ExecuteResponse> Metadata::Apply(const pb::ClusterCommand& asked) {
  pb::ClusterCommand command = asked;
  command.set_time_ms(kStartMs + world_->now() / kMillisecond);
  cluster::ClusterState::Applied applied = state_.Apply(state_.index() + 1, command);
  world_->queue->Note(state_.index().value() << 8 | static_cast<uint64_t>(command.command_case()));
  if (applied.response.ok() && command.has_register_node()) {
    const pb::NodeState& node = applied.response->node();
    const NodeId id{node.node_id()};
    std::erase_if(sessions_, [id](const auto& one) { return one.second.node == id; });
    sessions_[SessionId{node.session_id()}] = {
        .node = id, .timeout = node.session_timeout_ms() * kMillisecond, .heard = world_->now()};
    world_->invariants->OnRegistered(id);
  }
  if (applied.response.ok() && command.has_end_session()) {
    sessions_.erase(SessionId{command.end_session().session_id()});
  }
  if (applied.delta.nodes_size() + applied.delta.topics_size() > 0) {
    pb::WatchClusterResponse event;
    event.set_index(state_.index().value());
    *event.mutable_delta() = applied.delta;
    events_.push_back(event);
    NoteMarks(applied.delta);
    world_->invariants->OnMetadata(applied.delta);
    for (Watcher& watcher : watchers_) Push(&watcher, event);
  }
  return std::move(applied.response);
}

void Metadata::NoteMarks(const pb::ClusterDelta& delta) {
  for (const pb::TopicDelta& change : delta.topics()) {
    const auto topic = Uuid::FromBytes(change.topic().topic_id());
    for (const pb::PartitionState& now : change.topic().partitions()) {
      const PartitionNumber number = world_->Number(*topic, PartitionIndex{now.partition()});
      const auto known = before_.find(number);
      if (known != before_.end()) {
        const pb::PartitionState& was = known->second;
        if (was.leader() != now.leader()) {
          world_->findings->Reach(now.leader() == 0 ? Mark::kLeaderless : Mark::kLeaderReplaced);
          const bool was_empty = was.leader() == 0 && was.isr().empty() && now.leader() != 0;
          if (was_empty && IsMember(was.elr(), now.leader())) {
            world_->findings->Reach(Mark::kElrElection);
          } else if (was_empty && was.elr().empty()) {
            world_->findings->Reach(Mark::kLastLeader);
          } else if (was_empty && now.leader() == was.last_leader()) {
            world_->findings->Reach(Mark::kLastLeader);
          }
          if (was.leader() == 0 && was.last_leader() == now.leader()) {
            world_->findings->Reach(Mark::kSameLeaderAgain);
          }
        } else if (now.isr_size() < was.isr_size() && now.leader() != 0) {
          world_->findings->Reach(Mark::kIsrShrunk);
        } else if (now.isr_size() > was.isr_size()) {
          world_->findings->Reach(Mark::kIsrGrown);
        }
        if (was.target_replicas_size() > 0) NoteMove(was, now);
        if (now.isr_size() < min_in_sync(number)) world_->findings->Reach(Mark::kIsrUnderMin);
      }
      before_[number] = now;
    }
  }
}

void Metadata::NoteMove(const pb::PartitionState& was, const pb::PartitionState& now) {
  const auto same = [](const auto& a, const auto& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  };
  if (same(was.target_replicas(), now.target_replicas())) return;
  const bool settled = same(was.target_replicas(), now.replicas());
  const bool moved = settled && was.adding_replicas_size() > 0;
  world_->findings->Reach(moved ? Mark::kReassigned : Mark::kReassignmentLeft);
}

void Metadata::Heartbeat(Endpoint from, SessionId session,
                         std::function<void(absl::Status)> answer) {
  world_->network->Call(from, kMetadata, [this, from, session, answer = std::move(answer)] {
    if (stalled_until_ > world_->now()) return;  // Nobody leads.
    absl::Status status;
    if (const auto it = sessions_.find(session); it != sessions_.end()) {
      it->second.heard = world_->now();
    } else {
      status = MakeError(Reason::kSessionExpired, "the session has ended");
    }
    world_->network->Call(kMetadata, from, [answer, status] { answer(status); });
  });
}

void Metadata::Watch(Endpoint from, LogIndex after, OnEvent on_event) {
  world_->network->Call(from, kMetadata, [this, from, after, on_event = std::move(on_event)] {
    OpenWatch(from, after, std::make_shared<OnEvent>(on_event));
  });
}

void Metadata::OpenWatch(Endpoint from, LogIndex after, std::shared_ptr<OnEvent> on_event) {
  std::erase_if(watchers_, [from](const Watcher& one) { return one.at == from; });
  watchers_.push_back(
      {.at = from, .sent = after, .broken = false, .on_event = std::move(on_event)});
  Watcher& watcher = watchers_.back();
  // Of a log that is compacted now and then, an old index is not there any more.
  if (after.value() == 0 || random_.Below(8) == 0) {
    if (after.value() != 0) world_->findings->Reach(Mark::kWatchFromSnapshot);
    pb::WatchClusterResponse event;
    event.set_index(state_.index().value());
    *event.mutable_snapshot() = state_.Snapshot();
    return Push(&watcher, event);
  }
  for (const pb::WatchClusterResponse& event : events_) {
    if (event.index() > after.value()) Push(&watcher, event);
  }
}

void Metadata::Push(Watcher* watcher, const pb::WatchClusterResponse& event) {
  if (watcher->broken) return;
  watcher->broken = !world_->network->Call(
      kMetadata, watcher->at, [on_event = watcher->on_event, event] { (*on_event)(event); });
  watcher->sent = LogIndex{event.index()};
}

void Metadata::Ask(Endpoint from, PartitionNumber number,
                   std::function<void(const pb::PartitionState&)> answer) {
  world_->network->Call(from, kMetadata, [this, from, number, answer = std::move(answer)] {
    const pb::PartitionState now = partition(number);
    world_->network->Call(kMetadata, from, [answer, now] { answer(now); });
  });
}

void Metadata::Tick() {
  world_->queue->After(kTick, EventKind::kTimer, [this] { Tick(); });
  if (stalled_until_ > world_->now()) return;
  if (world_->now() / kSignOfLife != (world_->now() - kTick) / kSignOfLife) {
    pb::WatchClusterResponse alive;
    alive.set_index(state_.index().value());
    for (Watcher& watcher : watchers_) Push(&watcher, alive);
  }
  std::vector<SessionId> ended;
  for (const auto& [id, session] : sessions_) {
    if (world_->now() - session.heard > session.timeout) ended.push_back(id);
  }
  for (const SessionId id : ended) {
    (*world_->trace)("metadata: the session of node ", sessions_.at(id).node, " expires");
    world_->findings->Reach(Mark::kSessionExpired);
    sessions_.erase(id);
    pb::ClusterCommand command;
    command.mutable_end_session()->set_session_id(id.value());
    Submit([this, command] { IgnoreError(Apply(command).status(), "it may have ended"); });
  }
}

void Metadata::FailOver(SimTime stall) {
  stalled_until_ = world_->now() + stall;
  for (auto& [id, session] : sessions_) session.heard = stalled_until_;
  watchers_.clear();
}

const pb::PartitionState& Metadata::partition(PartitionNumber number) const {
  const PartitionName& name = world_->partitions[static_cast<size_t>(number)];
  return state_.topics().at(name.topic).partitions(name.index.value());
}

int32_t Metadata::min_in_sync(PartitionNumber number) const {
  const PartitionName& name = world_->partitions[static_cast<size_t>(number)];
  const pb::TopicState& topic = state_.topics().at(name.topic);
  return std::min(topic.settings().min_in_sync_replicas(), topic.replication_factor());
}

bool Metadata::AllowsUncleanElections(PartitionNumber partition) const {
  const PartitionName& name = world_->partitions[static_cast<size_t>(partition)];
  return state_.topics().at(name.topic).settings().unclean_election_after_ms() != 0;
}

bool Metadata::IsAlive(NodeId node) const { return cluster::IsAlive(state_.nodes(), node.value()); }

}  // namespace falaj::simulation::data
