#include "tests/simulation/data/storage_process.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "tests/simulation/data/metadata.h"
#include "tests/simulation/data/storage_node.h"

namespace falaj::simulation::data {
namespace {

constexpr SimTime kRegisterPatience = 200 * kMillisecond;
constexpr SimTime kWatchPauseMax = 20 * kMillisecond;
constexpr SimTime kHousekeeping = 100 * kMillisecond;
constexpr SimTime kStopPause = 20 * kMillisecond;
constexpr int kStopTries = 10;
constexpr SimTime kEndPatience = 100 * kMillisecond;

}  // namespace

StorageProcess::StorageProcess(World* world, StorageNode* node, const Identity& identity,
                               uint64_t seed)
    : world_(world),
      node_(node),
      identity_(identity),
      random_(seed),
      replication_(random_.Next()),
      shard_({.world = world, .node = node, .store = &node->store(), .outbox = &replication_},
             random_.Next()) {}

void StorageProcess::Start() {
  replication_.Start({.world = world_, .node = node_, .shard = &shard_});
  Register();
  Watch();
  node_->After(kHousekeeping, EventKind::kTimer, [this] { Housekeep(); });
}

void StorageProcess::Register() {
  const uint64_t attempt = registering_ = world_->NextId();
  pb::ClusterCommand command;
  pb::RegisterNodeCommand& node = *command.mutable_register_node();
  node.set_node_id(node_->id().value());
  node.set_directory_id(std::string(node_->store().directory().bytes()));
  node.set_address(absl::StrCat("10.0.0.", node_->id(), ":7000"));
  node.set_session_timeout_ms(static_cast<int32_t>(world_->laws.session_timeout / kMillisecond));
  node.set_clean_node_epoch(identity_.clean_epoch.value());
  node.set_incarnation_id(std::string(identity_.incarnation.bytes()));
  const auto answer = [this, attempt](const absl::StatusOr<pb::ExecuteResponse>& response) {
    if (registering_ == attempt && response.ok()) OnRegistered(*response);
  };
  world_->metadata->Execute(At(node_->id()), command, node_->Guarded(answer));
  node_->After(kRegisterPatience, EventKind::kTimer, [this, attempt] {
    if (registering_ == attempt) Register();
  });
}

void StorageProcess::OnRegistered(const pb::ExecuteResponse& response) {
  registering_ = 0;
  session_ = SessionId{response.node().session_id()};
  epoch_ = NodeEpoch{response.node().node_epoch()};
  replication_.SetNodeEpoch(epoch_);
  if (!std::exchange(allowed_, true)) allowed_from_ = LogIndex{response.index()};
  if (!applied_ && view_->index() >= allowed_from_) ApplyAll();
  node_->After(world_->laws.session_timeout / 3, EventKind::kTimer, [this] { Heartbeat(); });
}

void StorageProcess::Heartbeat() {
  if (registering_ != 0 || session_ == SessionId{0}) return;
  node_->After(world_->laws.session_timeout / 3, EventKind::kTimer, [this] { Heartbeat(); });
  const auto answer = [this, session = session_](const absl::Status& status) {
    if (session != session_ || registering_ != 0) return;
    if (ReasonOf(status) == Reason::kSessionExpired) Register();
  };
  world_->metadata->Heartbeat(At(node_->id()), session_, node_->Guarded(answer));
}

void StorageProcess::Watch() {
  const uint64_t watch = watch_ = world_->NextId();
  watch_heard_ = world_->now();
  const auto on_event = [this, watch](const pb::WatchClusterResponse& event) {
    OnEvent(watch, event);
  };
  const auto on_end = [this, watch](const absl::Status& why) { OnWatchEnded(watch, why); };
  const LogIndex after = std::exchange(watch_anew_, false) ? LogIndex{0} : view_->index();
  world_->metadata->Watch(At(node_->id()), after, node_->Guarded(on_event), node_->Guarded(on_end));
}

void StorageProcess::OnWatchEnded(uint64_t watch, const absl::Status& why) {
  if (watch != watch_) return;
  watch_ = 0;
  watch_anew_ = ReasonOf(why) == Reason::kWatchCompacted;
  if (watch_anew_) world_->findings->Reach(Mark::kWatchFromSnapshot);
  node_->After(random_.Between(1, kWatchPauseMax), EventKind::kTimer, [this] {
    if (watch_ == 0) Watch();
  });
}

void StorageProcess::OnEvent(uint64_t watch, const pb::WatchClusterResponse& event) {
  if (watch != watch_) return;
  watch_heard_ = world_->now();
  auto next = cluster::ClusterView::Advance(view_, event);
  if (!next.ok()) {
    return world_->findings->Report("watch", std::string(next.status().message()));
  }
  view_ = *std::move(next);
  if (!allowed_ || view_->index() < allowed_from_) return;
  if (!applied_ || event.has_snapshot()) return ApplyAll();
  for (const pb::TopicDelta& change : event.delta().topics()) {
    const auto id = Uuid::FromBytes(change.topic().topic_id());
    if (const cluster::TopicInfo* topic = view_->FindTopic(*id)) ApplyTopic(*topic);
  }
}

void StorageProcess::ApplyAll() {
  applied_ = true;
  std::set<PartitionNumber> assigned;
  for (const auto& [name, topic] : view_->topics()) {
    ApplyTopic(*topic);
    for (const cluster::PartitionInfo& partition : topic->partitions) {
      if (partition.HasReplica(node_->id())) {
        assigned.insert(world_->Number(topic->id, partition.index));
      }
    }
  }
  shard_.DropExcept(assigned);
}

void StorageProcess::ApplyTopic(const cluster::TopicInfo& topic) {
  for (const cluster::PartitionInfo& partition : topic.partitions) {
    const PartitionNumber number = world_->Number(topic.id, partition.index);
    if (number < 0) continue;
    if (!partition.HasReplica(node_->id())) {
      if (asked_.erase(number) > 0) shard_.Unassign(number);
      continue;
    }
    Asked& asked = asked_[number];
    std::string settings = topic.settings.SerializeAsString();
    if (asked.epoch == partition.partition_epoch && asked.settings == settings) continue;
    asked = {std::move(settings), partition.partition_epoch};
    AssignPartition(topic, partition);
  }
}

void StorageProcess::AssignPartition(const cluster::TopicInfo& topic,
                                     const cluster::PartitionInfo& partition) {
  shard_.Assign({.partition = world_->Number(topic.id, partition.index),
                 .settings = {.fsync = topic.settings.fsync(),
                              .batch_bytes_max = topic.settings.batch_bytes_max(),
                              .min_in_sync_replicas = topic.settings.min_in_sync_replicas(),
                              .append_time = topic.settings.append_time(),
                              .replica_lag_max = absl::Nanoseconds(world_->laws.replica_lag_max)},
                 .leader = partition.leader,
                 .epoch = partition.leader_epoch,
                 .partition_epoch = partition.partition_epoch,
                 .unclean_epoch = partition.unclean_epoch,
                 .isr = partition.isr,
                 .elr = partition.elr,
                 .replicas = partition.replicas});
}

void StorageProcess::Housekeep() {
  node_->After(kHousekeeping, EventKind::kTimer, [this] { Housekeep(); });
  if (world_->now() - watch_heard_ > world_->laws.watch_patience) Watch();
  shard_.Retry();
  if (random_.Below(3) == 0) shard_.Checkpoint();
}

Fetched StorageProcess::Fetch(PartitionNumber partition, LeaderEpoch epoch, Offset from,
                              int batches_max) {
  const Published state = shard_.state(partition);
  Fetched fetched;
  if (!state.readable || state.epoch != epoch) {
    fetched.status = MakeError(Reason::kNotLeader, "not the leader at this epoch");
    return fetched;
  }
  fetched.serving = state.serving;
  fetched.log_start = state.log_start;
  fetched.high_watermark = state.high_watermark;
  if (from > state.high_watermark && !state.serving) {
    world_->findings->Reach(Mark::kReadTooEarly);
    fetched.status = MakeError(Reason::kLeaderUnavailable, "not known yet");
    return fetched;
  }
  if (from < state.log_start || from > state.high_watermark) {
    fetched.status = MakeError(Reason::kOffsetOutOfRange, "out of range");
    return fetched;
  }
  const StoredLog* const log = node_->store().Find(partition, Store::View::kWritten);
  while (from < state.high_watermark && static_cast<int>(fetched.batches.size()) < batches_max) {
    const Batch* const batch = log->Find(from);
    if (batch == nullptr || batch->end() > state.high_watermark) break;
    if (batch->damaged) {
      node_->OnDamage(partition);
      fetched.status = MakeError(Reason::kNotLeader, "damaged: another one is about to lead");
      return fetched;
    }
    fetched.batches.push_back(*batch);
    from = batch->end();
  }
  if (!state.serving && !fetched.batches.empty()) world_->findings->Reach(Mark::kReadEarly);
  return fetched;
}

const cluster::PartitionInfo* StorageProcess::Known(PartitionNumber partition) const {
  const PartitionName& name = world_->partitions[static_cast<size_t>(partition)];
  return view_->FindPartition(name.topic_id, name.index);
}

// ---- The end ----

void StorageProcess::Stop(std::function<void(NodeEpoch)> stopped) {
  stopped_ = std::move(stopped);
  PrepareStop(kStopTries);
}

void StorageProcess::PrepareStop(int tries_left) {
  if (tries_left == 0 || session_ == SessionId{0}) {
    return shard_.Stop([this] { EndSession(); });
  }
  pb::ClusterCommand command;
  command.mutable_prepare_stop()->set_node_id(node_->id().value());
  command.mutable_prepare_stop()->set_node_epoch(epoch_.value());
  const auto done = std::make_shared<bool>(false);
  const auto answer = [this, done](const absl::StatusOr<pb::ExecuteResponse>& response) {
    if (*done || !response.ok() || response->partitions_led() > 0) return;
    *done = true;
    shard_.Stop([this] { EndSession(); });
  };
  world_->metadata->Execute(At(node_->id()), command, node_->Guarded(answer));
  node_->After(kStopPause, EventKind::kTimer, [this, done, tries_left] {
    if (!std::exchange(*done, true)) PrepareStop(tries_left - 1);
  });
}

void StorageProcess::EndSession() {
  pb::ClusterCommand command;
  command.mutable_end_session()->set_session_id(std::max<int64_t>(1, session_.value()));
  const auto ended = std::make_shared<bool>(false);
  const auto stop = [this, ended] {
    if (!std::exchange(*ended, true)) stopped_(epoch_);
  };
  const auto answer = [stop](const absl::StatusOr<pb::ExecuteResponse>& /*response*/) { stop(); };
  world_->metadata->Execute(At(node_->id()), command, node_->Guarded(answer));
  node_->After(kEndPatience, EventKind::kTimer, stop);
}

}  // namespace falaj::simulation::data
