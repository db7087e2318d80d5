#include "services/metadata/metadata_node.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "libs/coordination/command_rules.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;

const telemetry::Labels kGroup = {{"raft_group", "metadata"}};
constexpr absl::Duration kWatchPatience = absl::Seconds(2);  // A watch may take that long to begin.
constexpr absl::Duration kConfirmPatienceMin = absl::Seconds(1);  // Some heartbeats.
// How long followers may not know of what is committed: a client that writes again as soon as it is
// answered needs some 0.1 ms.
constexpr absl::Duration kRideMax = absl::Microseconds(300);

std::string DrawUuid(Random* random) { return std::string(random->NextUuid().bytes()); }

bool TakesPart(bool storage_failed, const raft::RaftCore& core) {
  return !storage_failed && core.refusal().empty();
}

telemetry::Counter* AddSnapshots(telemetry::Registry* registry, const char* direction) {
  return registry->AddCounter("falaj_raft_snapshots_total", "Snapshots made or received.",
                              {{"raft_group", "metadata"}, {"direction", direction}});
}

// Whether the index that a watcher goes on from is of the history of now.
absl::Status CheckHistory(const cluster::ClusterState& cluster,
                          const pb::WatchClusterRequest& request) {
  const uint64_t recoveries = cluster.recoveries();
  if (request.after_index() == 0 || request.recoveries() == recoveries) return absl::OkStatus();
  return MakeError(Reason::kWatchCompacted,
                   absl::StrCat("the quorum has been recovered ", recoveries, " times, not ",
                                request.recoveries(), ": begin with a snapshot"));
}

}  // namespace

MetadataNode::Metrics::Metrics(telemetry::Registry* registry)
    : leader_changes(registry->AddCounter("falaj_raft_leader_changes_total",
                                          "Changes of leader this node has seen.", kGroup)),
      proposals_failed(registry->AddCounter("falaj_raft_proposals_failed_total",
                                            "Commands that did not reach the log.", kGroup)),
      snapshots_saved(AddSnapshots(registry, "saved")),
      snapshots_received(AddSnapshots(registry, "received")),
      sessions_expired(registry->AddCounter("falaj_cluster_sessions_expired_total",
                                            "Sessions ended for want of a heartbeat.")),
      elections(registry->AddCounter(
          "falaj_cluster_elections_total",
          "Partitions that got another leader, counted by the metadata leader.")),
      unclean_elections(registry->AddCounter("falaj_cluster_unclean_elections_total",
                                             "Partitions that got a leader that may lack committed "
                                             "records, counted by the metadata leader.")),
      preferred_elections(registry->AddCounter(
          "falaj_cluster_preferred_elections_total",
          "Leads given back to preferred leaders without anybody's asking, counted by the metadata "
          "leader.")),
      isr_shrinks(registry->AddCounter(
          "falaj_cluster_isr_shrinks_total",
          "Times a partition had fewer replicas in sync, counted by the metadata leader.")),
      isr_expands(registry->AddCounter(
          "falaj_cluster_isr_expands_total",
          "Times a partition had more replicas in sync, counted by the metadata leader.")),
      commit_seconds(registry->AddHistogram("falaj_raft_commit_seconds",
                                            "From proposal to applied entry.", kGroup)) {}

MetadataNode::MetadataNode(const Options& options, MonotonicTime now, telemetry::Registry* registry)
    : options_(options),
      metrics_(registry),
      preferred_leaders_(options.preferred_leaders),
      hub_(options.watches),
      znode_hub_(options.znode_watches),
      random_(options.random_seed),
      now_(now),
      last_round_(now),
      next_keepalive_(now + options.watch_keepalive),
      confirmed_(now) {}

MetadataNode::~MetadataNode() = default;

absl::StatusOr<std::unique_ptr<MetadataNode>> MetadataNode::Create(const Options& options,
                                                                   raft::Restored restored,
                                                                   MonotonicTime now,
                                                                   telemetry::Registry* registry) {
  auto node = std::unique_ptr<MetadataNode>(new MetadataNode(options, now, registry));
  FALAJ_RETURN_IF_ERROR(node->Load(restored.snapshot));
  if (node->HasBug(raft::PlantedBug::kDuplicateApplyAfterRestart)) {
    node->ApplyAgain(restored.entries, LogIndex(restored.snapshot.meta.index()));
  }
  FALAJ_ASSIGN_OR_RETURN(node->core_, raft::RaftCore::Create(options.raft, std::move(restored)));
  node->FollowMembership();
  return node;
}

void MetadataNode::Tick(MonotonicTime now, int64_t wall_ms, int ticks) {
  now_ = now;
  wall_ms_ = wall_ms;
  for (int i = 0; i < ticks; ++i) core_->Tick();
}

// What EndRound() has begun and not finished, or would find since the last one.
bool MetadataNode::IsUnsettled() const {
  if (!transfers_.empty() || told_ready_ != IsReady()) return true;
  if (told_live_ != TakesPart(storage_failed_, *core_)) return true;
  if (storage_failed_) return false;
  const bool asks = catch_up_ == CatchUp::kUnknown && core_->leader() != NodeId();
  return asks || (Leads() && !addresses_.all_recorded() && IsReady());
}

MonotonicTime MetadataNode::WakeBy() const {
  if (IsUnsettled()) return now_;
  MonotonicTime first = std::min(next_keepalive_, reads_.NextDeadline());
  first = std::min(first, campaigns_.NextLook());
  const bool ends_sessions = !storage_failed_ && core_->transferring_to() == NodeId();
  return ends_sessions ? std::min(first, sessions_.NextLook()) : first;
}

// Followers hear of what is committed with the next entries, if there are some soon.
MonotonicTime MetadataNode::HurryBy() {
  if (!core_->OwesCommits()) {
    tell_commits_by_.reset();
  } else if (!tell_commits_by_.has_value()) {
    tell_commits_by_ = now_ + kRideMax;
  }
  return tell_commits_by_.value_or(MonotonicTime{std::numeric_limits<int64_t>::max()});
}

void MetadataNode::TellCommits() {
  if (tell_commits_by_.has_value() && now_ >= *tell_commits_by_) core_->TellCommits();
}

void MetadataNode::EndRound() {
  ExpireSessions();
  ElectUncleanly();
  ElectPreferredLeaders();
  // An answer that came while the node waited for its disk is in this round, and not yet told: so
  // only those whose time was up in the round before.
  reads_.Expire(std::exchange(last_round_, now_));
  campaigns_.Expire(now_);
  CheckCaughtUp();
  TellCommits();
  RecordMembers();
  AnswerTransfers();
  KeepWatchesAlive();
  PublishHealth();
}

void MetadataNode::Execute(pb::ClusterCommand command, ExecuteCallback done) {
  if (!Leads() || !KnowsHistory()) return done(NotLeader("none"));
  if (command.command_case() == pb::ClusterCommand::COMMAND_NOT_SET) {
    return done(MakeError(Reason::kInvalidRequest, "command must be set", {{"field", "command"}}));
  }
  StampCommand(&command);
  if (command.has_coordination()) {
    const absl::Status valid = coordination::ValidateCommand(command.coordination());
    if (!valid.ok()) return done(valid);
    TouchWriter(command.coordination());
  }
  Propose(command, std::move(done));
}

void MetadataNode::Propose(const pb::ClusterCommand& command, ExecuteCallback done) {
  const absl::StatusOr<raft::EntryId> entry = core_->Propose(command.SerializeAsString());
  if (!entry.ok()) {
    metrics_.proposals_failed->Add();
    const bool elsewhere = ReasonOf(entry.status()) == Reason::kMetadataUnavailable;
    if (done) done(elsewhere ? NotLeader("none") : entry.status());
    return;
  }
  pending_[entry->index] = {entry->term, now_, std::move(done)};
}

// Whatever depends on time or chance is drawn here, once, so that all nodes apply the same.
void MetadataNode::StampCommand(pb::ClusterCommand* command) {
  command->set_time_ms(wall_ms_);
  if (command->has_create_topic() && command->create_topic().topic_id().empty()) {
    command->mutable_create_topic()->set_topic_id(DrawUuid(&random_));
  }
  if (command->has_coordination() && command->coordination().has_open_session()) {
    command->mutable_coordination()->mutable_open_session()->set_secret(
        options_.draw_secret ? options_.draw_secret() : DrawUuid(&random_));
  }
}

// A session that writes lives.
void MetadataNode::TouchWriter(const pb::CoordinationCommand& command) {
  const v1::SessionHandle* const session = coordination::SessionOf(command);
  if (session == nullptr || !state_.coordination().CheckSession(*session).ok()) return;
  sessions_.Touch(SessionId(session->session_id()), now_);
}

// A leader knows who is alive once it has applied an entry of its own term, and so all before it.
bool MetadataNode::KnowsSessions() const {
  return Leads() && was_leader_ && applied_term_ == core_->term();
}

absl::Status MetadataNode::Heartbeat(SessionId session) {
  if (!KnowsSessions()) return NotLeader("none");
  if (sessions_.Touch(session, now_)) return absl::OkStatus();
  return MakeError(Reason::kSessionExpired, absl::StrCat("session ", session, " has ended"),
                   {{"session", absl::StrCat(session)}});
}

absl::Status MetadataNode::Hold(SessionId session, std::shared_ptr<SessionHolder> holder) {
  FALAJ_RETURN_IF_ERROR(Heartbeat(session));
  holders_.Put(session, std::move(holder));
  return absl::OkStatus();
}

void MetadataNode::HoldBroke(SessionId session, const SessionHolder* holder) {
  if (holders_.Remove(session, holder)) sessions_.Doubt(session, options_.broken_hold_grace, now_);
}

absl::StatusOr<absl::Duration> MetadataNode::KeepSession(const v1::SessionHandle& session) {
  if (!KnowsSessions()) return NotLeader("none");
  const SessionId id(session.session_id());
  FALAJ_RETURN_IF_ERROR(state_.coordination().CheckSession(session));
  FALAJ_RETURN_IF_ERROR(Heartbeat(id));
  return sessions_.TimeoutOf(id);
}

void MetadataNode::Read(const PendingReads::Options& options, PendingReads::Callback done) {
  if (storage_failed_ || !KnowsHistory()) return done(NotLeader("none"));
  if (!options.linearizable && options.min_index <= state_.index()) return done(absl::OkStatus());
  // The node's own questions are none of these: however many wait, it must know where it stands.
  if (reads_.size() + campaigns_.size() >= options_.waiting_max) {
    return done(MakeError(Reason::kQuotaExceeded,
                          absl::StrCat("more than ", options_.waiting_max, " requests wait"),
                          {{"limit", absl::StrCat(options_.waiting_max)}}));
  }
  if (!options.linearizable) {
    return reads_.AddConfirmed(options.min_index, options.deadline, std::move(done));
  }
  AskQuorum(options, std::move(done));
}

void MetadataNode::AskQuorum(const PendingReads::Options& options, PendingReads::Callback done) {
  if (core_->leader() == NodeId()) return done(NotLeader("none"));
  const uint64_t id = reads_.AddUnconfirmed(options, std::move(done));
  const absl::Status asked = core_->ReadIndex(id, options.patience);
  if (asked.ok()) return;
  const bool elsewhere = ReasonOf(asked) == Reason::kMetadataUnavailable;
  reads_.Drop(id, elsewhere ? NotLeader("none") : asked);
}

void MetadataNode::Campaign(v1::CampaignRequest request, MonotonicTime deadline,
                            std::function<bool()> given_up, CampaignCallback done) {
  if (reads_.size() + campaigns_.size() >= options_.waiting_max) {
    return done(MakeError(Reason::kQuotaExceeded,
                          absl::StrCat("more than ", options_.waiting_max, " requests wait"),
                          {{"limit", absl::StrCat(options_.waiting_max)}}));
  }
  std::string path = request.path();
  const SessionId session(request.session().session_id());
  pb::ClusterCommand command;
  *command.mutable_coordination()->mutable_campaign() = std::move(request);
  Execute(std::move(command),
          [this, path = std::move(path), session, deadline, given_up = std::move(given_up),
           done = std::move(done)](absl::StatusOr<pb::ExecuteResponse> stood) mutable {
            if (!stood.ok()) return done(std::move(stood).status());
            CampaignQueue::Candidate candidate;
            candidate.response = stood->coordination().campaign();
            candidate.election_path = std::move(path);
            candidate.session = session;
            candidate.deadline = deadline;
            candidate.given_up = std::move(given_up);
            candidate.done = std::move(done);
            campaigns_.Add(std::move(candidate), state_.coordination(), state_.index());
          });
}

void MetadataNode::Watch(const pb::WatchClusterRequest& request, std::shared_ptr<Watcher> watcher,
                         StatusCallback done) {
  if (!IsReady()) return done(NotLeader("none"));
  const Uuid& cluster_id = state_.cluster().cluster_id();
  if (!request.cluster_id().empty() && request.cluster_id() != cluster_id.bytes()) {
    return done(MakeError(Reason::kClusterMismatch, "this is another cluster",
                          {{"cluster_id", cluster_id.ToString()}}));
  }
  const absl::Status same = CheckHistory(state_.cluster(), request);
  if (!same.ok()) return done(same);
  // Nobody may be shown an older state than another node has shown him: a storage node would drop
  // the partitions that it does not have yet. Who goes on from an index waits until it is applied
  // here; who wants a snapshot, perhaps because he could not go on, gets one of now.
  PendingReads::Options options;
  options.linearizable = request.after_index() == 0;
  options.min_index = LogIndex(request.after_index());
  options.deadline = now_ + kWatchPatience;
  Read(options,
       [this, request, watcher = std::move(watcher), done = std::move(done)](absl::Status status) {
         if (status.ok()) status = CheckHistory(state_.cluster(), request);
         if (status.ok()) status = hub_.Add(state_.cluster(), request.after_index(), watcher);
         done(status);
       });
}

void MetadataNode::WatchZnodes(v1::WatchZnodesRequest request, MonotonicTime deadline,
                               std::shared_ptr<coordination::ZnodeWatcher> watcher,
                               StatusCallback done) {
  const absl::Status valid = coordination::ValidateWatch(request);
  if (!valid.ok()) return done(valid);
  // A watcher that comes from another node may be ahead of this one; a new one wants the present.
  PendingReads::Options options;
  options.linearizable = request.after_index() == 0;
  options.min_index = LogIndex(request.after_index());
  options.deadline = deadline;
  Read(options, [this, request = std::move(request), watcher = std::move(watcher),
                 done = std::move(done)](const absl::Status& readable) {
    done(readable.ok() ? znode_hub_.Add(state_.index(), request, watcher) : readable);
  });
}

void MetadataNode::Transfer(NodeId target, StatusCallback done) {
  if (!Leads()) return done(NotLeader("none"));
  const absl::Status begun = core_->TransferLeadership(target);
  if (!begun.ok()) return done(begun);
  transfers_.push_back(std::move(done));
}

absl::Status MetadataNode::Step(const raft::pb::RaftMessage& message) {
  if (storage_failed_) return absl::OkStatus();
  return core_->Step(message);
}

void MetadataNode::ExpireSessions() {
  const bool follower_clock = HasBug(raft::PlantedBug::kSessionExpiredByFollowerClock);
  if (storage_failed_ || !(core_->is_leader() || follower_clock)) return;
  // Nothing can be proposed while the lead is handed over: whoever leads then sees to it.
  if (core_->transferring_to() != NodeId()) return;
  for (SessionId session : sessions_.TakeExpired(now_)) {
    pb::ClusterCommand command;
    command.mutable_end_session()->set_session_id(session.value());
    if (!core_->is_leader()) {  // The planted bug.
      state_.Apply(state_.index(), command);
      continue;
    }
    StampCommand(&command);
    Propose(command, [this, session](const auto& response) {
      if (!response.ok()) return sessions_.PutBack(session);
      log::Warning("a session has expired", {{"session", session}});
      metrics_.sessions_expired->Add();
    });
  }
}

void MetadataNode::ElectUncleanly() {
  // Who has not applied all that was committed before it led may take the past for the present.
  if (!KnowsSessions() || core_->transferring_to() != NodeId()) return;
  const auto due = unclean_elections_.TakeDue(state_.cluster(), now_);
  if (!due.has_value()) return;
  pb::ClusterCommand command;
  *command.mutable_elect_uncleanly() = *due;
  StampCommand(&command);
  Propose(command, [due](const auto& response) {
    if (!response.ok()) return;  // They are due again.
    for (const pb::UncleanElection& election : due->elections()) {
      log::Warning("a leader was to be elected that may lack committed records",
                   {{"topic_id", Uuid::FromBytes(election.topic_id()).value_or(Uuid()).ToString()},
                    {"partition", election.partition()}});
    }
  });
}

void MetadataNode::ElectPreferredLeaders() {
  if (!KnowsSessions() || core_->transferring_to() != NodeId()) return;
  for (pb::ElectLeadersCommand& due : preferred_leaders_.TakeDue(state_.cluster(), now_)) {
    pb::ClusterCommand command;
    *command.mutable_elect_leaders() = std::move(due);
    StampCommand(&command);
    const std::vector<int32_t> wished(command.elect_leaders().partitions().begin(),
                                      command.elect_leaders().partitions().end());
    Propose(command, [this, wished](const auto& response) {
      if (!response.ok()) return;  // The next look finds them again.
      int64_t given_back = 0;
      for (const int32_t index : wished) {
        if (index >= response->topic().partitions_size()) continue;
        const pb::PartitionState& partition = response->topic().partitions(index);
        if (partition.leader() == partition.replicas(0)) ++given_back;
      }
      metrics_.preferred_elections->Add(given_back);
      log::Info("preferred leaders have their leads back",
                {{"topic", response->topic().name()}, {"partitions", given_back}});
    });
  }
}

// Asks a new leader once how far the log was committed; what is applied from there on is current.
void MetadataNode::CheckCaughtUp() {
  if (storage_failed_ || catch_up_ != CatchUp::kUnknown || core_->leader() == NodeId()) return;
  catch_up_ = CatchUp::kAsked;
  PendingReads::Options options;
  options.deadline = now_ + absl::Seconds(1);
  AskQuorum(options, [this, number = ++catch_up_asked_, asked = now_](const absl::Status& status) {
    if (number != catch_up_asked_) return;  // What an earlier leader said.
    catch_up_ = status.ok() ? CatchUp::kDone : CatchUp::kUnknown;
    if (status.ok()) confirmed_ = std::max(confirmed_, asked);
  });
}

bool MetadataNode::IsReady() const {
  if (storage_failed_ || core_->leader() == NodeId()) return false;
  if (state_.cluster().cluster_id().is_nil() || catch_up_ != CatchUp::kDone) return false;
  if (!KnowsHistory()) return false;
  // That something is committed and not applied yet says nothing: it is so in every round that
  // commits, until its end, and while the disk is behind.
  return now_ - confirmed_ <= options_.unconfirmed_max;
}

void MetadataNode::AnswerTransfers() {
  if (transfers_.empty()) return;
  absl::Status outcome;
  if (core_->is_leader()) {
    if (core_->transferring_to() != NodeId()) return;
    outcome = MakeError(Reason::kTimedOut, "the node did not catch up in time, the leader stays");
  } else if (core_->leader() == NodeId() && !storage_failed_) {
    return;  // The election is under way.
  }
  if (storage_failed_) outcome = NotLeader("unknown");
  std::vector<StatusCallback> answered;
  answered.swap(transfers_);
  for (const StatusCallback& done : answered) done(outcome);
}

void MetadataNode::KeepWatchesAlive() {
  if (now_ < next_keepalive_) return;
  next_keepalive_ = now_ + options_.watch_keepalive;
  if (counts_stale_) CountCluster();
  if (now_ - confirmed_ > options_.unconfirmed_max) {
    hub_.CloseAll(NotLeader("none"));
    znode_hub_.CloseAll(NotLeader("none"));
  }
  if (!storage_failed_ && core_->leader() != NodeId()) Confirm();
}

// Only the leader can say that the state is the newest, and a node that hears its leader need not
// be heard by it: then it gets no entries, and must not keep its watchers. Nobody waits for the
// answer, so it comes with the heartbeats there are. On slow disks that takes a while; an answer is
// worth waiting for as long as it keeps the node ready until the next one comes.
void MetadataNode::Confirm() {
  PendingReads::Options options;
  options.deadline = now_ + std::max(options_.unconfirmed_max - options_.watch_keepalive,
                                     std::max(options_.watch_keepalive, kConfirmPatienceMin));
  options.patience = raft::ReadPatience::kNextHeartbeat;
  AskQuorum(options, [this, asked = now_](const absl::Status& status) {
    if (!status.ok()) return;
    confirmed_ = std::max(confirmed_, asked);  // Of what came since the answer says nothing.
    if (!IsReady()) return;
    hub_.Keepalive(state_.index());
    znode_hub_.Keepalive(state_.index());
  });
}

void MetadataNode::CountCluster() {
  counts_ = {};
  counts_stale_ = false;
  for (const auto& [id, node] : state_.cluster().nodes()) {
    ++(node.session_id() != 0 ? counts_.nodes_online : counts_.nodes_offline);
    counts_.nodes_draining += node.draining() ? 1 : 0;
  }
  for (const auto& [name, topic] : state_.cluster().topics()) {
    ++counts_.topics;
    counts_.partitions += topic.partitions_size();
    for (const pb::PartitionState& partition : topic.partitions()) {
      if (partition.leader() == 0) ++counts_.leaderless_partitions;
      const int settled = partition.replicas_size() - partition.adding_replicas_size();
      if (partition.isr_size() < settled) ++counts_.under_replicated_partitions;
      if (partition.isr_size() < topic.settings().min_in_sync_replicas()) {
        ++counts_.under_min_in_sync_partitions;
      }
      if (partition.target_replicas_size() > 0) ++counts_.reassigning_partitions;
    }
  }
}

void MetadataNode::CountChanges(const pb::ClusterDelta& delta) {
  const PartitionChanges::Counts counts = changes_.Take(delta);
  if (!core_->is_leader()) return;  // Once for the whole quorum.
  metrics_.elections->Add(counts.elections);
  metrics_.unclean_elections->Add(counts.unclean_elections);
  metrics_.isr_shrinks->Add(counts.isr_shrinks);
  metrics_.isr_expands->Add(counts.isr_expands);
}

void MetadataNode::PublishHealth() {
  const bool live = TakesPart(storage_failed_, *core_);
  const bool ready = IsReady();
  if (live == told_live_ && ready == told_ready_) return;
  told_live_ = live;
  told_ready_ = ready;
  if (options_.on_health) options_.on_health(live, ready);
}

NodeStatus MetadataNode::Status() const {
  NodeStatus status;
  status.core = core_->status();
  status.addresses = addresses_.all();
  status.leader_address = addresses_.Of(status.core.soft.leader);
  status.cluster_id = state_.cluster().cluster_id();
  status.live = TakesPart(storage_failed_, *core_);
  status.ready = IsReady();
  status.proposals_pending = static_cast<int64_t>(pending_.size());
  status.reads_pending = static_cast<int64_t>(reads_.size());
  status.candidates_waiting = static_cast<int64_t>(campaigns_.size());
  status.watchers = static_cast<int64_t>(hub_.watcher_count());
  status.znode_watchers = static_cast<int64_t>(znode_hub_.watcher_count());
  status.sessions = state_.coordination().session_count();
  status.znodes = state_.coordination().znode_count();
  status.znode_bytes = state_.coordination().data_bytes();
  status.counts = counts_;
  return status;
}

void MetadataNode::Stop() {
  // With a quorum elsewhere an entry under way may still be committed.
  FailPending(NotLeader("unknown"));
  std::vector<StatusCallback> transfers;
  transfers.swap(transfers_);
  for (const StatusCallback& done : transfers) done(NotLeader("unknown"));
  const absl::Status stopping = MakeError(Reason::kShuttingDown, "the metadata node is stopping");
  reads_.FailAll(stopping);
  holders_.CloseAll(stopping);
  hub_.CloseAll(stopping);
  znode_hub_.CloseAll(stopping);
}

absl::Status MetadataNode::NotLeader(absl::string_view outcome) const {
  ErrorMetadata metadata = {{"outcome", std::string(outcome)}};
  if (storage_failed_) {
    return MakeError(Reason::kMetadataUnavailable, "this metadata node's disk has failed",
                     metadata);
  }
  const NodeId leader = core_->leader();
  const std::string address = addresses_.Of(leader);
  if (leader != options_.raft.self && !address.empty()) {
    metadata["leader"] = address;
    return MakeError(Reason::kMetadataUnavailable, absl::StrCat("metadata node ", leader, " leads"),
                     metadata);
  }
  return MakeError(Reason::kMetadataUnavailable, "the metadata service has no leader now",
                   metadata);
}

}  // namespace falaj::metadata
