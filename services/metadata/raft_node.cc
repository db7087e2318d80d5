#include "services/metadata/raft_node.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "libs/base/log.h"
#include "libs/base/status.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;

// A round this late means the process stood still (a stopped or starved machine), not that the
// nodes were silent.
constexpr absl::Duration kPauseMin = absl::Milliseconds(500);
constexpr absl::Duration kHandOverMax = absl::Seconds(1);
constexpr int kTicksPerRoundMax = 10;  // After a pause: no burst of ticks, no needless election.

const telemetry::Labels kGroup = {{"raft_group", "metadata"}};

std::string DrawUuid(Random* random) { return std::string(random->NextUuid().bytes()); }

}  // namespace

RaftNode::Metrics::Metrics(telemetry::Registry* registry)
    : leader_changes(registry->AddCounter("falaj_raft_leader_changes_total",
                                          "Changes of leader this node has seen.", kGroup)),
      proposals_failed(registry->AddCounter("falaj_raft_proposals_failed_total",
                                            "Commands that did not reach the log.", kGroup)),
      snapshots(registry->AddCounter("falaj_raft_snapshots_total", "Snapshots made or received.",
                                     {{"raft_group", "metadata"}, {"direction", "saved"}})),
      sessions_expired(registry->AddCounter("falaj_cluster_sessions_expired_total",
                                            "Sessions ended for want of a heartbeat.")),
      commit_seconds(registry->AddHistogram("falaj_raft_commit_seconds",
                                            "From proposal to applied entry.", kGroup)) {}

absl::StatusOr<std::unique_ptr<RaftNode>> RaftNode::Create(const Options& options,
                                                           std::unique_ptr<log::RaftLog> log,
                                                           telemetry::Registry* registry) {
  auto node = std::unique_ptr<RaftNode>(new RaftNode(options, std::move(log), registry));
  raft::Restored restored = node->log_->TakeRestored();
  FALAJ_RETURN_IF_ERROR(node->LoadSnapshot(restored.snapshot));
  FALAJ_ASSIGN_OR_RETURN(node->core_, raft::RaftCore::Create(options.raft, std::move(restored)));
  return node;
}

RaftNode::RaftNode(const Options& options, std::unique_ptr<log::RaftLog> log,
                   telemetry::Registry* registry)
    : options_(options),
      log_(std::move(log)),
      metrics_(registry),
      hub_(options.watches),
      random_(Random::FromSystem()) {}

RaftNode::~RaftNode() { Stop(); }

void RaftNode::Start() {
  thread_ = std::thread([this] { Run(); });
}

void RaftNode::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

NodeStatus RaftNode::status() const {
  MutexLock lock(&mu_);
  return status_;
}

absl::Status RaftNode::Post(Task task, bool also_stopping) {
  MutexLock lock(&mu_);
  if (stopping_ && !also_stopping)
    return MakeError(Reason::kShuttingDown, "the metadata node is stopping");
  if (tasks_.size() >= options_.queue_max) {
    return MakeError(Reason::kQuotaExceeded, "too many commands are waiting");
  }
  tasks_.push_back(std::move(task));
  wake_.NotifyOne();
  return absl::OkStatus();
}

void RaftNode::Execute(pb::ClusterCommand command, ExecuteCallback done) {
  const absl::Status posted = Post([this, command = std::move(command), done]() mutable {
    Propose(std::move(command), std::move(done));
  });
  if (!posted.ok()) done(posted);
}

void RaftNode::Heartbeat(SessionId session, StatusCallback done) {
  const absl::Status posted = Post([this, session, done] {
    if (storage_failed_ || !core_->is_leader()) {
      done(NotLeader("none"));
    } else if (sessions_.Touch(session, options_.clock->MonotonicNow())) {
      done(absl::OkStatus());
    } else {
      done(MakeError(Reason::kSessionExpired, absl::StrCat("session ", session, " has ended"),
                     {{"session", absl::StrCat(session)}}));
    }
  });
  if (!posted.ok()) done(posted);
}

void RaftNode::Watch(pb::WatchClusterRequest request, std::shared_ptr<Watcher> watcher,
                     StatusCallback done) {
  const absl::Status posted =
      Post([this, request = std::move(request), watcher = std::move(watcher), done] {
        if (!IsReady()) return done(NotLeader("none"));
        if (!request.cluster_id().empty() && request.cluster_id() != state_.cluster_id().bytes()) {
          return done(MakeError(Reason::kClusterMismatch, "this is another cluster",
                                {{"cluster_id", state_.cluster_id().ToString()}}));
        }
        done(hub_.Add(state_, request.after_index(), watcher));
      });
  if (!posted.ok()) done(posted);
}

void RaftNode::Transfer(NodeId target, StatusCallback done) {
  const absl::Status posted = Post([this, target, done] {
    if (storage_failed_ || !core_->is_leader()) return done(NotLeader("none"));
    const absl::Status begun = core_->TransferLeadership(target);
    if (!begun.ok()) return done(begun);
    transfers_.push_back(done);
  });
  if (!posted.ok()) done(posted);
}

void RaftNode::Step(pb::RaftMessage message) {
  const absl::Status posted = Post(
      [this, message = std::move(message)] {
        if (storage_failed_) return;
        const absl::Status taken = core_->Step(message);
        if (!taken.ok()) {
          log::Error("a metadata node's message was refused",
                     {{"from", message.from()},
                      {"type", pb::RaftMessageType_Name(message.type())},
                      {"error", taken}});
        }
      },
      /*also_stopping=*/true);
  // Dropped: whoever sent it will send again.
  posted.IgnoreError();
}

void RaftNode::SetAddresses(std::map<NodeId, std::string> addresses) {
  const absl::Status posted = Post(
      [this, addresses = std::move(addresses)]() mutable { addresses_ = std::move(addresses); });
  if (!posted.ok()) log::Error("addresses not taken", {{"error", posted}});
}

void RaftNode::Run() {
  last_round_ = options_.clock->MonotonicNow();
  next_tick_ = last_round_ + options_.tick;
  next_keepalive_ = last_round_ + options_.watch_keepalive;
  while (true) {
    TickDue();
    const bool go_on = RunTasks();
    ExpireSessions();
    DrainReady();
    MaybeSnapshot();
    AnswerTransfers();
    KeepWatchesAlive();
    PublishStatus();
    if (!go_on && HandedOver()) break;
    MutexLock lock(&mu_);
    const absl::Duration wait = next_tick_ - options_.clock->MonotonicNow();
    if (tasks_.empty() && wait > absl::ZeroDuration()) wake_.WaitFor(&mu_, wait);
  }
  FinishStopping();
}

// Runs what was posted so far. False: stopping, and this was the last of it.
bool RaftNode::RunTasks() {
  std::deque<Task> tasks;
  bool stopping = false;
  {
    MutexLock lock(&mu_);
    tasks.swap(tasks_);
    stopping = stopping_;
  }
  for (Task& task : tasks) task();
  return !stopping;
}

void RaftNode::TickDue() {
  const MonotonicTime now = options_.clock->MonotonicNow();
  const absl::Duration pause = now - last_round_;
  if (pause > kPauseMin) sessions_.Extend(pause);
  last_round_ = now;
  for (int i = 0; next_tick_ <= now && i < kTicksPerRoundMax; ++i) {
    core_->Tick();
    next_tick_ = next_tick_ + options_.tick;
  }
  if (next_tick_ <= now) next_tick_ = now + options_.tick;
}

void RaftNode::Propose(pb::ClusterCommand command, ExecuteCallback done) {
  if (storage_failed_) return done(NotLeader("none"));
  if (command.command_case() == pb::ClusterCommand::COMMAND_NOT_SET) {
    return done(MakeError(Reason::kInvalidRequest, "command must be set", {{"field", "command"}}));
  }
  StampCommand(&command);
  const absl::StatusOr<raft::EntryId> entry = core_->Propose(command.SerializeAsString());
  if (!entry.ok()) {
    metrics_.proposals_failed->Add();
    const bool elsewhere = ReasonOf(entry.status()) == Reason::kMetadataUnavailable;
    return done(elsewhere ? NotLeader("none") : entry.status());
  }
  pending_[entry->index] = {entry->term, options_.clock->MonotonicNow(), std::move(done)};
}

// Whatever depends on time or chance is drawn here, once, so that all nodes apply the same.
void RaftNode::StampCommand(pb::ClusterCommand* command) {
  command->set_time_ms(options_.clock->NowMs());
  if (command->has_create_topic() && command->create_topic().topic_id().empty()) {
    command->mutable_create_topic()->set_topic_id(DrawUuid(&random_));
  }
}

void RaftNode::ExpireSessions() {
  if (storage_failed_ || !core_->is_leader()) return;
  for (SessionId session : sessions_.TakeExpired(options_.clock->MonotonicNow())) {
    log::Warning("a storage node's session has expired", {{"session", session}});
    metrics_.sessions_expired->Add();
    pb::ClusterCommand command;
    command.mutable_end_session()->set_session_id(session.value());
    Propose(std::move(command), [this, session](const auto& response) {
      if (!response.ok()) sessions_.PutBack(session);
    });
  }
}

void RaftNode::DrainReady() {
  while (!storage_failed_ && core_->HasReady()) {
    raft::Ready ready = core_->TakeReady();
    Send(&ready.messages);
    if (absl::Status status = StoreReady(ready); !status.ok()) return FailStorage(status);
    core_->Persisted(ready.number);
    Send(&ready.messages_after_persist);
    if (ready.soft_state.has_value()) OnSoftState(*ready.soft_state);
    for (const pb::RaftEntry& entry : ready.committed_entries) ApplyEntry(entry);
    if (!ready.committed_entries.empty()) {
      core_->Applied(LogIndex(ready.committed_entries.back().index()));
    }
  }
}

void RaftNode::Send(std::vector<pb::RaftMessage>* messages) {
  if (!options_.send) return;
  for (pb::RaftMessage& message : *messages) options_.send(std::move(message));
}

absl::Status RaftNode::StoreReady(const raft::Ready& ready) {
  if (ready.snapshot.has_value()) {
    FALAJ_RETURN_IF_ERROR(LoadSnapshot(*ready.snapshot));
  }
  return log_->Persist(ready);
}

void RaftNode::ApplyEntry(const pb::RaftEntry& entry) {
  const LogIndex index(entry.index());
  applied_term_ = Term(entry.term());
  pb::ClusterCommand command;
  if (entry.type() != pb::RAFT_ENTRY_TYPE_COMMAND) {
    state_.Skip(index);
    return Answer(entry, NotLeader("none"));
  }
  if (!command.ParseFromString(entry.data())) {
    // Every node sees the same bytes, so every node skips it.
    log::Error("an entry of the metadata log is not a command", {{"index", index}});
    state_.Skip(index);
    return Answer(entry, MakeError(Reason::kInternal, "the command cannot be read"));
  }
  cluster::ClusterState::Applied applied = state_.Apply(index, command);
  const pb::ClusterDelta& delta = applied.delta;
  if (delta.nodes_size() + delta.topics_size() + delta.deleted_topics_size() > 0) {
    counts_stale_ = true;
    KeepSessions(delta);
    hub_.Publish(std::move(applied.delta));
  }
  Answer(entry, std::move(applied.response));
}

void RaftNode::Answer(const pb::RaftEntry& entry, absl::StatusOr<pb::ExecuteResponse> response) {
  const auto found = pending_.find(LogIndex(entry.index()));
  if (found == pending_.end()) return;
  Pending pending = std::move(found->second);
  pending_.erase(found);
  if (pending.term != Term(entry.term())) response = NotLeader("none");  // Overwritten.
  metrics_.commit_seconds->Observe(options_.clock->MonotonicNow() - pending.proposed);
  if (pending.done) pending.done(std::move(response));
}

void RaftNode::OnSoftState(const raft::SoftState& soft) {
  if (soft.leader != known_leader_ && soft.leader.value() != 0) {
    known_leader_ = soft.leader;
    metrics_.leader_changes->Add();
    log::Info("the metadata service has a leader",
              {{"leader", soft.leader}, {"term", soft.term}, {"self", options_.raft.self}});
  }
  const bool leads = soft.role == raft::Role::kLeader;
  if (leads && !was_leader_) BeginLeading();
  if (!leads && was_leader_) {
    sessions_.Clear();
    FailPending(NotLeader("unknown"));
  }
  was_leader_ = leads;
}

void RaftNode::BeginLeading() {
  // Heartbeats went to the leader before this one: everybody starts with a full timeout.
  const MonotonicTime now = options_.clock->MonotonicNow();
  sessions_.Clear();
  for (const auto& [id, node] : state_.nodes()) {
    if (node.session_id() == 0) continue;
    sessions_.Put(SessionId(node.session_id()), absl::Milliseconds(node.session_timeout_ms()), now);
  }
  if (!state_.cluster_id().is_nil()) return;
  pb::ClusterCommand command;
  command.mutable_init_cluster()->set_cluster_id(std::string(log_->cluster_id().bytes()));
  Propose(std::move(command), [](const auto&) {});
}

void RaftNode::KeepSessions(const pb::ClusterDelta& delta) {
  if (!core_->is_leader()) return;
  const MonotonicTime now = options_.clock->MonotonicNow();
  for (const pb::NodeState& node : delta.nodes()) {
    if (node.session_id() == 0) continue;
    sessions_.Put(SessionId(node.session_id()), absl::Milliseconds(node.session_timeout_ms()), now);
  }
  // A session that ended, or was replaced by the node's next one, is in no node any more.
  std::vector<SessionId> alive;
  for (const auto& [id, node] : state_.nodes()) alive.emplace_back(node.session_id());
  sessions_.RemoveAllBut(alive);
}

absl::Status RaftNode::LoadSnapshot(const raft::Snapshot& snapshot) {
  state_ = cluster::ClusterState();
  if (snapshot.meta.index() == 0) return absl::OkStatus();
  pb::ClusterState state;
  const std::string bytes = snapshot.data.ToString();
  if (!state.ParseFromString(bytes)) {
    return MakeError(Reason::kCorruptRecord, "the cluster snapshot cannot be read");
  }
  FALAJ_ASSIGN_OR_RETURN(state_, cluster::ClusterState::FromSnapshot(state));
  hub_.Reset(state_.index());
  counts_stale_ = true;
  return absl::OkStatus();
}

void RaftNode::MaybeSnapshot() {
  if (storage_failed_ || !core_->SnapshotDue()) return;
  std::string bytes = state_.Snapshot().SerializeAsString();
  const size_t size = bytes.size();
  absl::StatusOr<raft::pb::RaftSnapshot> meta = core_->DescribeSnapshot(state_.index());
  if (!meta.ok()) {
    log::Error("cannot make a snapshot", {{"error", meta.status()}});
    return;
  }
  raft::Snapshot snapshot = raft::FinishSnapshot(*std::move(meta), Bytes::Own(std::move(bytes)));
  absl::Status saved = log_->WriteSnapshot(snapshot);
  if (saved.ok()) saved = log_->CommitSnapshot(snapshot, core_->FirstIndexToKeep(snapshot));
  if (!saved.ok()) return FailStorage(saved);
  const absl::Status compacted = core_->Compact(std::move(snapshot));
  if (!compacted.ok()) log::Error("cannot compact the log", {{"error", compacted}});
  metrics_.snapshots->Add();
  log::Info("snapshot saved", {{"index", state_.index()}, {"size_bytes", size}});
}

void RaftNode::FailStorage(const absl::Status& status) {
  log::Error("the metadata log cannot be written, this node takes no further part",
             {{"error", status}});
  storage_failed_ = true;
  core_->StorageFailed();
  sessions_.Clear();
  // What was under way may be on disk or not.
  FailPending(NotLeader("unknown"));
  hub_.CloseAll(NotLeader("none"));
}

void RaftNode::FailPending(const absl::Status& status) {
  std::map<LogIndex, Pending> failed;
  failed.swap(pending_);
  metrics_.proposals_failed->Add(static_cast<int64_t>(failed.size()));
  for (auto& [index, pending] : failed) {
    if (pending.done) pending.done(status);
  }
}

void RaftNode::KeepWatchesAlive() {
  const MonotonicTime now = options_.clock->MonotonicNow();
  if (now < next_keepalive_) return;
  next_keepalive_ = now + options_.watch_keepalive;
  if (counts_stale_) CountCluster();
  // Without a leader nobody can say that the state is the newest.
  if (IsReady()) hub_.Keepalive(state_.index());
}

void RaftNode::CountCluster() {
  counts_ = {};
  counts_stale_ = false;
  for (const auto& [id, node] : state_.nodes()) {
    ++(node.session_id() != 0 ? counts_.nodes_online : counts_.nodes_offline);
  }
  for (const auto& [name, topic] : state_.topics()) {
    ++counts_.topics;
    counts_.partitions += topic.partitions_size();
    for (const pb::PartitionState& partition : topic.partitions()) {
      if (partition.leader() == 0) ++counts_.leaderless_partitions;
      if (partition.isr_size() < partition.replicas_size()) ++counts_.under_replicated_partitions;
    }
  }
}

bool RaftNode::IsReady() const {
  if (storage_failed_ || core_->leader().value() == 0 || state_.cluster_id().is_nil()) return false;
  // A new leader knows what is committed once an entry of its own term is.
  if (core_->is_leader() && applied_term_ != core_->term()) return false;
  const raft::CoreStatus status = core_->status();
  return status.applied == status.committed;
}

void RaftNode::PublishStatus() {
  NodeStatus status;
  status.core = core_->status();
  const auto leader = addresses_.find(status.core.soft.leader);
  if (leader != addresses_.end()) status.leader_address = leader->second;
  status.cluster_id = state_.cluster_id();
  status.live = !storage_failed_;
  status.ready = IsReady();
  status.proposals_pending = static_cast<int64_t>(pending_.size());
  status.watchers = static_cast<int64_t>(hub_.watcher_count());
  status.counts = counts_;
  bool changed = false;
  {
    MutexLock lock(&mu_);
    changed = status.live != status_.live || status.ready != status_.ready;
    status_ = status;
  }
  if (changed && options_.on_health) options_.on_health(status.live, status.ready);
}

void RaftNode::AnswerTransfers() {
  if (transfers_.empty()) return;
  absl::Status outcome;
  if (core_->is_leader()) {
    if (core_->status().transferring_to.value() != 0) return;
    outcome = MakeError(Reason::kTimedOut, "the node did not catch up in time, the leader stays");
  } else if (core_->leader().value() == 0 && !storage_failed_) {
    return;  // The election is under way.
  }
  std::vector<StatusCallback> answered;
  answered.swap(transfers_);
  for (const StatusCallback& done : answered) done(outcome);
}

// True when a stopping node need not wait any longer for another one to take the lead.
bool RaftNode::HandedOver() {
  if (storage_failed_ || !core_->is_leader()) return true;
  const MonotonicTime now = options_.clock->MonotonicNow();
  if (hand_over_until_.has_value()) return now >= *hand_over_until_;
  const raft::CoreStatus status = core_->status();
  const raft::FollowerStatus* target = nullptr;
  for (const raft::FollowerStatus& follower : status.followers) {
    if (follower.learner || !follower.active) continue;
    if (target == nullptr || follower.match > target->match) target = &follower;
  }
  if (target == nullptr || !core_->TransferLeadership(target->node).ok()) return true;
  hand_over_until_ = now + kHandOverMax;
  return false;
}

void RaftNode::FinishStopping() {
  const absl::Status stopping = MakeError(Reason::kShuttingDown, "the metadata node is stopping");
  // With a quorum elsewhere an entry under way may still be committed.
  FailPending(NotLeader("unknown"));
  for (const StatusCallback& done : transfers_) done(NotLeader("unknown"));
  transfers_.clear();
  hub_.CloseAll(stopping);
}

absl::Status RaftNode::NotLeader(absl::string_view outcome) const {
  ErrorMetadata metadata = {{"outcome", std::string(outcome)}};
  if (storage_failed_) {
    return MakeError(Reason::kMetadataUnavailable, "this metadata node's disk has failed",
                     metadata);
  }
  const NodeId leader = core_->leader();
  const auto address = addresses_.find(leader);
  if (leader != options_.raft.self && address != addresses_.end()) {
    metadata["leader"] = address->second;
    return MakeError(Reason::kMetadataUnavailable, absl::StrCat("metadata node ", leader, " leads"),
                     metadata);
  }
  return MakeError(Reason::kMetadataUnavailable, "the metadata service has no leader now",
                   metadata);
}

}  // namespace falaj::metadata
