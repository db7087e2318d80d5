// MetadataNode: what comes of the Raft core's effects: the state machine, answers, watches,
// snapshots.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "services/metadata/metadata_node.h"

namespace falaj::metadata {

namespace pb = ::falaj::internal::v1;

raft::Snapshot SnapshotJob::Build() const {
  return raft::FinishSnapshot(meta, Bytes::Own(state.SerializeSnapshot()));
}

absl::Status MetadataNode::Prepare(const raft::Ready& ready) {
  prepared_.reset();
  if (!ready.snapshot.has_value()) return absl::OkStatus();
  pb::MetadataSnapshot snapshot;
  if (!snapshot.ParseFromString(ready.snapshot->data.ToString())) {
    return MakeError(Reason::kCorruptRecord, "the leader's snapshot cannot be read");
  }
  FALAJ_ASSIGN_OR_RETURN(prepared_, MetadataState::FromSnapshot(snapshot));
  return absl::OkStatus();
}

void MetadataNode::Persisted(const raft::Ready& ready) {
  core_->Persisted(ready.number);
  const bool members_changed = std::any_of(
      ready.entries.begin(), ready.entries.end(),
      [](const pb::RaftEntry& entry) { return entry.type() == pb::RAFT_ENTRY_TYPE_MEMBERSHIP; });
  if (members_changed || prepared_.has_value()) FollowMembership();
  if (!prepared_.has_value()) return;
  state_ = *std::exchange(prepared_, std::nullopt);
  state_.PlantBug(options_.raft.planted_bug);
  hub_.Reset(state_.index());
  znode_hub_.Reset(state_.index());
  changes_.Reset(state_.cluster());
  counts_stale_ = true;
  metrics_.snapshots_received->Add();
  log::Info("snapshot received", {{"index", state_.index()}});
}

void MetadataNode::Apply(const raft::Ready& ready) {
  if (ready.soft_state.has_value()) OnSoftState(*ready.soft_state);
  for (const pb::RaftEntry& entry : ready.committed_entries) ApplyEntry(entry);
  if (!ready.committed_entries.empty()) {
    core_->Applied(LogIndex(ready.committed_entries.back().index()));
  }
  for (const raft::ReadState& read : ready.reads) reads_.Confirm(read.request_id, read.index);
  for (uint64_t id : ready.dropped_reads) reads_.Drop(id, NotLeader("none"));
  reads_.Applied(state_.index());
}

absl::Status MetadataNode::Load(const raft::Snapshot& snapshot) {
  state_.PlantBug(options_.raft.planted_bug);
  if (snapshot.meta.index() == 0) return absl::OkStatus();
  pb::MetadataSnapshot state;
  if (!state.ParseFromString(snapshot.data.ToString())) {
    return MakeError(Reason::kCorruptRecord, "the metadata snapshot cannot be read");
  }
  FALAJ_ASSIGN_OR_RETURN(state_, MetadataState::FromSnapshot(state));
  state_.PlantBug(options_.raft.planted_bug);
  hub_.Reset(state_.index());
  znode_hub_.Reset(state_.index());
  changes_.Reset(state_.cluster());
  return absl::OkStatus();
}

// A planted bug: entries that the snapshot holds already, because the log keeps some behind it.
void MetadataNode::ApplyAgain(const std::vector<pb::RaftEntry>& entries, LogIndex last) {
  for (const pb::RaftEntry& entry : entries) {
    pb::ClusterCommand command;
    if (LogIndex(entry.index()) > last || entry.type() != pb::RAFT_ENTRY_TYPE_COMMAND) continue;
    if (command.ParseFromString(entry.data())) state_.Apply(LogIndex(entry.index()), command);
  }
  state_.Skip(last);
}

void MetadataNode::ApplyEntry(const pb::RaftEntry& entry) {
  const LogIndex index(entry.index());
  applied_term_ = Term(entry.term());
  pb::ClusterCommand command;
  if (entry.type() != pb::RAFT_ENTRY_TYPE_COMMAND) {
    state_.Skip(index);
    pb::ExecuteResponse response;  // For who changed the membership.
    response.set_index(index.value());
    return Answer(entry, std::move(response));
  }
  if (!command.ParseFromString(entry.data())) {
    // Every node sees the same bytes, so every node skips it.
    log::Error("an entry of the metadata log is not a command", {{"index", index}});
    state_.Skip(index);
    return Answer(entry, MakeError(Reason::kInternal, "the command cannot be read"));
  }
  MetadataState::Applied applied = state_.Apply(index, command);
  FollowSessions(applied);
  Publish(&applied, index);
  Answer(entry, std::move(applied.response));
}

void MetadataNode::Publish(MetadataState::Applied* applied, LogIndex index) {
  const pb::ClusterDelta& delta = applied->cluster;
  if (delta.recoveries() != 0) {
    log::Warning("the quorum was recovered: partitions wait for what their replicas hold",
                 {{"recoveries", delta.recoveries()}});
  }
  if (delta.nodes_size() + delta.topics_size() + delta.deleted_topics_size() > 0 ||
      delta.recoveries() != 0) {
    counts_stale_ = true;
    CountChanges(delta);
    hub_.Publish(std::move(applied->cluster));
  }
  if (applied->znodes.empty()) return;
  const bool skipped = HasBug(raft::PlantedBug::kWatchSkipsAnEntry) && index.value() % 16 == 0;
  if (!skipped) znode_hub_.Publish(index, applied->znodes);
  if (campaigns_.empty()) return;
  for (const coordination::ZnodeChange& change : applied->znodes) {
    if (change.type != v1::ZNODE_EVENT_TYPE_DELETED) continue;
    campaigns_.Removed(std::string(change.znode->path()), state_.coordination(), index);
  }
}

void MetadataNode::FollowSessions(const MetadataState::Applied& applied) {
  if (!core_->is_leader() && !HasBug(raft::PlantedBug::kSessionExpiredByFollowerClock)) return;
  if (applied.ended.has_value()) {
    sessions_.Remove(*applied.ended);
    holders_.Close(*applied.ended, MakeError(Reason::kSessionExpired, "the session has ended"));
  }
  if (!applied.opened.has_value()) return;
  const coordination::Session* session = state_.coordination().FindSession(*applied.opened);
  if (session == nullptr) return;
  sessions_.Put(*applied.opened, absl::Milliseconds(session->timeout_ms), now_);
}

void MetadataNode::Answer(const pb::RaftEntry& entry,
                          absl::StatusOr<pb::ExecuteResponse> response) {
  const auto found = pending_.find(LogIndex(entry.index()));
  if (found == pending_.end()) return;
  Pending pending = std::move(found->second);
  pending_.erase(found);
  if (pending.term != Term(entry.term())) response = NotLeader("none");  // Overwritten.
  metrics_.commit_seconds->Observe(now_ - pending.proposed);
  if (pending.done) pending.done(std::move(response));
}

void MetadataNode::OnSoftState(const raft::SoftState& soft) {
  if (soft.leader != known_leader_ || soft.leader == NodeId()) {
    catch_up_ = CatchUp::kUnknown;
    ++catch_up_asked_;
  }
  if (soft.leader != known_leader_ && soft.leader != NodeId()) {
    metrics_.leader_changes->Add();
    log::Info("the metadata service has a leader",
              {{"leader", soft.leader}, {"term", soft.term}, {"self", options_.raft.self}});
  }
  known_leader_ = soft.leader;
  const bool leads = soft.role == raft::Role::kLeader;
  if (leads && !was_leader_) BeginLeading();
  if (!leads && was_leader_) StopLeading();
  was_leader_ = leads;
  FollowMembership();
}

void MetadataNode::BeginLeading() {
  // Signs of life went to the leader before this one: everybody starts with a full timeout.
  sessions_.Clear();
  for (const auto& [id, session] : state_.coordination().sessions()) {
    sessions_.Put(id, absl::Milliseconds(session->timeout_ms), now_);
  }
  const auto propose = [this](pb::ClusterCommand command) {
    StampCommand(&command);
    Propose(command, nullptr);
  };
  pb::ClusterCommand command;
  if (state_.cluster().cluster_id().is_nil()) {
    command.mutable_init_cluster()->set_cluster_id(std::string(options_.cluster_id.bytes()));
    propose(command);
  }
  if (KnowsHistory()) return;
  command.mutable_begin_history()->set_recoveries(options_.recoveries);
  propose(std::move(command));
}

bool MetadataNode::HandOver() {
  if (!Leads()) return true;
  if (hand_over_begun_) return core_->transferring_to() == NodeId();
  const raft::CoreStatus status = core_->status();
  const raft::FollowerStatus* target = nullptr;
  for (const raft::FollowerStatus& follower : status.followers) {
    if (follower.learner || !follower.active) continue;
    if (target == nullptr || follower.match > target->match) target = &follower;
  }
  if (target == nullptr || !core_->TransferLeadership(target->node).ok()) return true;
  hand_over_begun_ = true;
  return false;
}

void MetadataNode::StopLeading() {
  if (!HasBug(raft::PlantedBug::kSessionExpiredByFollowerClock)) sessions_.Clear();
  unclean_elections_.Clear();
  preferred_leaders_.Clear();
  own_change_ = LogIndex();
  holders_.CloseAll(NotLeader("none"));
  FailPending(NotLeader("unknown"));
}

void MetadataNode::FailPending(const absl::Status& status) {
  std::map<LogIndex, Pending> failed;
  failed.swap(pending_);
  metrics_.proposals_failed->Add(static_cast<int64_t>(failed.size()));
  for (auto& [index, pending] : failed) {
    if (pending.done) pending.done(status);
  }
  campaigns_.FailAll(status);
  for (auto& [change, done] : std::exchange(changes_waiting_, {})) done(NotLeader("none"));
}

void MetadataNode::StorageFailed(const absl::Status& status) {
  log::Error("the metadata log cannot be written, this node takes no further part",
             {{"error", status}});
  storage_failed_ = true;
  core_->StorageFailed();
  sessions_.Clear();
  // What was under way may be on disk or not.
  FailPending(NotLeader("unknown"));
  reads_.FailAll(NotLeader("none"));
  holders_.CloseAll(NotLeader("none"));
  hub_.CloseAll(NotLeader("none"));
  znode_hub_.CloseAll(NotLeader("none"));
  PublishHealth();
}

std::optional<SnapshotJob> MetadataNode::TakeSnapshotJob() {
  if (storage_failed_ || snapshot_under_way_ || !core_->SnapshotDue()) return std::nullopt;
  absl::StatusOr<pb::RaftSnapshot> meta = core_->DescribeSnapshot(state_.index());
  if (!meta.ok()) {
    log::Error("cannot make a snapshot", {{"error", meta.status()}});
    return std::nullopt;
  }
  snapshot_under_way_ = true;
  return SnapshotJob{*std::move(meta), state_, core_->FirstIndexToKeep(state_.index())};
}

void MetadataNode::SnapshotStored(std::optional<raft::Snapshot> snapshot) {
  snapshot_under_way_ = false;
  if (!snapshot.has_value() || storage_failed_) return;
  const uint64_t index = snapshot->meta.index();
  const int64_t size = snapshot->meta.size_bytes();
  const absl::Status compacted = core_->Compact(*std::move(snapshot));
  if (!compacted.ok()) log::Error("cannot compact the log", {{"error", compacted}});
  metrics_.snapshots_saved->Add();
  log::Info("snapshot saved", {{"index", index}, {"size_bytes", size}});
}

}  // namespace falaj::metadata
