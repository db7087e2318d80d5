#include "tests/simulation/data/single_metadata.h"

#include <algorithm>
#include <string>

#include "libs/base/status.h"
#include "tests/simulation/data/storage_node.h"

namespace falaj::simulation::data {
namespace {

// The service is one endpoint; storage nodes are at their ids, clients behind them.
constexpr Endpoint kMetadata = 0;

constexpr SimTime kMetadataTick = 20 * kMillisecond;
constexpr SimTime kSignOfLife = 100 * kMillisecond;
constexpr int64_t kStartMs = 1'700'000'000'000;

}  // namespace

SingleMetadata::SingleMetadata(World* world, uint64_t seed) : Metadata(world), random_(seed) {
  world_->queue->After(kMetadataTick, EventKind::kTimer, [this] { Tick(); });
}

void SingleMetadata::Start(const Uuid& cluster_id) {
  pb::ClusterCommand init;
  init.mutable_init_cluster()->set_cluster_id(std::string(cluster_id.bytes()));
  IgnoreError(Apply(init).status(), "the first command");
}

void SingleMetadata::Submit(std::function<void()> apply) {
  // A round of the quorum; the log has one order.
  const SimTime took = random_.Between(200 * kMicrosecond, 4 * kMillisecond);
  last_commit_ = std::max({world_->now() + took, stalled_until_, last_commit_ + 1});
  world_->queue->After(last_commit_ - world_->now(), EventKind::kDisk, std::move(apply));
}

void SingleMetadata::Execute(Endpoint from, pb::ClusterCommand command, Answer answer) {
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

absl::StatusOr<pb::ExecuteResponse> SingleMetadata::Apply(const pb::ClusterCommand& asked) {
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
  }
  if (applied.response.ok() && command.has_end_session()) {
    sessions_.erase(SessionId{command.end_session().session_id()});
  }
  OnApplied(command, applied.response, applied.delta);
  if (applied.delta.nodes_size() + applied.delta.topics_size() > 0) {
    pb::WatchClusterResponse event;
    event.set_index(state_.index().value());
    *event.mutable_delta() = applied.delta;
    events_.push_back(event);
    for (Watcher& watcher : watchers_) Push(&watcher, event);
  }
  return std::move(applied.response);
}

void SingleMetadata::Heartbeat(Endpoint from, SessionId session,
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

void SingleMetadata::Watch(Endpoint from, LogIndex after, OnEvent on_event, OnEnd /*on_end*/) {
  world_->network->Call(from, kMetadata, [this, from, after, on_event = std::move(on_event)] {
    OpenWatch(from, after, std::make_shared<OnEvent>(on_event));
  });
}

void SingleMetadata::OpenWatch(Endpoint from, LogIndex after, std::shared_ptr<OnEvent> on_event) {
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

void SingleMetadata::Push(Watcher* watcher, const pb::WatchClusterResponse& event) {
  if (watcher->broken) return;
  watcher->broken = !world_->network->Call(
      kMetadata, watcher->at, [on_event = watcher->on_event, event] { (*on_event)(event); });
  watcher->sent = LogIndex{event.index()};
}

void SingleMetadata::Ask(Endpoint from, PartitionNumber number,
                         std::function<void(const pb::PartitionState&)> answer) {
  world_->network->Call(from, kMetadata, [this, from, number, answer = std::move(answer)] {
    const pb::PartitionState now = partition(number);
    world_->network->Call(kMetadata, from, [answer, now] { answer(now); });
  });
}

void SingleMetadata::Tick() {
  world_->queue->After(kMetadataTick, EventKind::kTimer, [this] { Tick(); });
  if (stalled_until_ > world_->now()) return;
  if (world_->now() / kSignOfLife != (world_->now() - kMetadataTick) / kSignOfLife) {
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

std::vector<Endpoint> SingleMetadata::endpoints() const { return {kMetadata}; }

void SingleMetadata::Disturb(SimTime span) {
  stalled_until_ = world_->now() + span;
  for (auto& [id, session] : sessions_) session.heard = stalled_until_;
  watchers_.clear();
}

}  // namespace falaj::simulation::data
