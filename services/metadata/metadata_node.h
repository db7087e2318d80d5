#ifndef SERVICES_METADATA_METADATA_NODE_H_
#define SERVICES_METADATA_METADATA_NODE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "falaj/internal/v1/metadata_service.pb.h"
#include "falaj/v1/coordination_service.pb.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/base/random.h"
#include "libs/coordination/znode_watch_hub.h"
#include "libs/raft/raft_core.h"
#include "libs/telemetry/registry.h"
#include "services/metadata/campaign_queue.h"
#include "services/metadata/member_addresses.h"
#include "services/metadata/metadata_state.h"
#include "services/metadata/node_status.h"
#include "services/metadata/partition_changes.h"
#include "services/metadata/pending_reads.h"
#include "services/metadata/preferred_leaders.h"
#include "services/metadata/session_holders.h"
#include "services/metadata/session_table.h"
#include "services/metadata/unclean_elections.h"
#include "services/metadata/watch_hub.h"

namespace falaj::metadata {

// A snapshot to be made and stored while the node goes on: see MetadataNode::TakeSnapshotJob().
struct SnapshotJob {
  raft::pb::RaftSnapshot meta;
  MetadataState state;  // As of meta.index().
  LogIndex first_kept;  // The oldest entry the log keeps behind it.
  // Serialises the state. Takes its time: from any thread.
  raft::Snapshot Build() const;
};

// MetadataNode is everything one metadata node decides: the Raft core, the state machine it drives,
// the sessions' timers, and who waits for what. It has no thread, clock, disk or socket: times are
// arguments, effects are returned. RaftNode runs it on a real machine, tests/simulation on a
// simulated one.
//
// A round:
//
//   node->Tick(now, wall_ms);
//   node->Execute(...), node->Read(...), node->Step(...)    // Whatever has come in.
//   node->EndRound();
//   while (node->HasReady()) {                              // The order of raft::Ready.
//     raft::Ready ready = node->TakeReady();
//     Send(ready.messages);
//     if (!ready.snapshot) node->Apply(ready);              // It was stored by earlier ones.
//     absl::Status stored = node->Prepare(ready);
//     if (stored.ok()) stored = log->Persist(ready);      // Meanwhile more rounds: raft::Join().
//     if (!stored.ok()) { node->StorageFailed(stored); break; }
//     node->Tick(now, wall_ms, 0);                          // If that took time.
//     node->Persisted(ready);
//     Send(ready.messages_after_persist);
//     if (ready.snapshot) node->Apply(ready);
//   }
//   if (auto job = node->TakeSnapshotJob()) ...             // In the background.
//
// Invariants:
//   a command is answered after its entry is on disk, committed and applied
//   a session ends by an entry of the log, which only the leader proposes
//   a linearizable read sees everything that was committed when it came
//   every callback is called exactly once, from within one of these calls; by Stop() at the latest
//
// Failures: after StorageFailed() the node refuses everything and ends its watches.
//
// Threads: none; one thread at a time.
class MetadataNode {
 public:
  struct Options {
    raft::Options raft;  // A planted bug in it may be one of this class.
    Uuid cluster_id;     // What the first leader names the cluster.
    // Recoveries of the quorum the log's directory knows. Nothing begins before the log does, too.
    uint64_t recoveries = 0;
    uint64_t random_seed = 1;
    // Draws the secret of a session. Unset: from random_seed, for tests only: one tells the others.
    std::function<std::string()> draw_secret;
    absl::Duration watch_keepalive = absl::Seconds(1);
    // Without its leader's word for so long a node is not ready. Longer than most elections.
    absl::Duration unconfirmed_max = absl::Seconds(3);
    // How long a session lives on after the call that held it has broken.
    absl::Duration broken_hold_grace = absl::Milliseconds(250);
    PreferredLeaders::Options preferred_leaders;  // By default they get nothing back by themselves.
    WatchHub::Options watches;
    coordination::ZnodeWatchHub::Options znode_watches;
    size_t waiting_max = 100'000;  // Reads and candidates; further ones are refused.
    // Told of NodeStatus::live and ready when one changes.
    std::function<void(bool live, bool ready)> on_health;
    // Told of the members' addresses, when they are known and when they change.
    std::function<void(const std::map<NodeId, std::string>& addresses)> on_addresses;
  };
  using ExecuteCallback = std::function<void(absl::StatusOr<internal::v1::ExecuteResponse>)>;
  using StatusCallback = std::function<void(absl::Status)>;
  using CampaignCallback = std::function<void(absl::StatusOr<v1::CampaignResponse>)>;

  // Restores the state machine and the core. Returns CORRUPT_RECORD if they contradict themselves.
  static absl::StatusOr<std::unique_ptr<MetadataNode>> Create(const Options& options,
                                                              raft::Restored restored,
                                                              MonotonicTime now,
                                                              telemetry::Registry* registry);
  ~MetadataNode();
  MetadataNode(const MetadataNode&) = delete;
  MetadataNode& operator=(const MetadataNode&) = delete;

  // `ticks` units of Raft's time have passed, and it is now `now`, or `wall_ms` by the wall clock.
  void Tick(MonotonicTime now, int64_t wall_ms, int ticks);
  // When the next round is due if nothing comes in, to be asked after each: RoundTimer::Due. A
  // time of the past: something waits for the next round.
  int TicksUntilDue() const { return core_->TicksUntilDue(); }
  MonotonicTime WakeBy() const;
  MonotonicTime HurryBy();
  // This process stood still for so long; nobody's session suffers for it.
  void StoodStill(absl::Duration pause) { sessions_.Extend(pause); }
  // Ends what is over: sessions, deadlines, transfers.
  void EndRound();

  // Executes a command. Calls back with METADATA_UNAVAILABLE if this node does not lead: metadata
  // "leader" (address, if known) and "outcome": "none" if the command certainly had no effect, else
  // "unknown". QUOTA_EXCEEDED; else the state machine's answer.
  void Execute(internal::v1::ClusterCommand command, ExecuteCallback done);
  // A sign of life of a storage node. SESSION_EXPIRED, or METADATA_UNAVAILABLE as above.
  absl::Status Heartbeat(SessionId session);
  // As Heartbeat(); from then on the end of `holder` is a sign of death. There is one holder for
  // each session, the newest; the others are closed.
  absl::Status Hold(SessionId session, std::shared_ptr<SessionHolder> holder);
  // The call has ended without our doing. No effect if another one holds the session.
  void HoldBroke(SessionId session, const SessionHolder* holder);
  // A sign of life of a client's session; returns its timeout. SESSION_MISMATCH, too.
  absl::StatusOr<absl::Duration> KeepSession(const v1::SessionHandle& session);
  // Calls back when the state may be read: METADATA_UNAVAILABLE, QUOTA_EXCEEDED, TIMED_OUT.
  void Read(const PendingReads::Options& options, PendingReads::Callback done);
  // Stands for election; calls back when it is won, or with SESSION_EXPIRED or ZNODE_NOT_FOUND if
  // the candidacy ends before. `given_up`, unless null, is true once nobody waits for the answer.
  void Campaign(v1::CampaignRequest request, MonotonicTime deadline, std::function<bool()> given_up,
                CampaignCallback done);

  // Calls back when the watch has begun, or with why it did not: WATCH_COMPACTED,
  // CLUSTER_MISMATCH, QUOTA_EXCEEDED, METADATA_UNAVAILABLE, TIMED_OUT if this node lags behind
  // what the watcher has seen. Snapshots are linearizable.
  void Watch(const internal::v1::WatchClusterRequest& request, std::shared_ptr<Watcher> watcher,
             StatusCallback done);
  void WatchZnodes(v1::WatchZnodesRequest request, MonotonicTime deadline,
                   std::shared_ptr<coordination::ZnodeWatcher> watcher, StatusCallback done);

  // Hands the lead to `target`; calls back once another node leads. NODE_LAGS, INVALID_REQUEST,
  // TIMED_OUT if it did not catch up in time (this node goes on leading), or METADATA_UNAVAILABLE.
  void Transfer(NodeId target, StatusCallback done);
  // Calls back with the index of the committed entry. MEMBERSHIP_CHANGING, NODE_LAGS,
  // NODE_NOT_FOUND, INVALID_REQUEST, or METADATA_UNAVAILABLE.
  void ChangeMembership(const raft::MembershipChange& change, ExecuteCallback done);
  // Takes in a message of another metadata node. INVALID_REQUEST, without effect, if it is none.
  absl::Status Step(const raft::pb::RaftMessage& message);
  // The connection over which another metadata node's messages came has broken.
  void PeerBroke(NodeId node) { core_->Doubt(node); }
  // Where nodes are, by the operator's word; goes before what the membership says.
  void SetAddresses(std::map<NodeId, std::string> addresses);

  bool HasReady() { return !storage_failed_ && core_->HasReady(); }
  raft::Ready TakeReady() { return core_->TakeReady(); }
  // Reads the snapshot a Ready brings, before it is stored. CORRUPT_RECORD.
  absl::Status Prepare(const raft::Ready& ready);
  void Persisted(const raft::Ready& ready);
  void Apply(const raft::Ready& ready);
  void StorageFailed(const absl::Status& status);

  // A snapshot that is due now, or nullopt; one at a time.
  std::optional<SnapshotJob> TakeSnapshotJob();
  // The snapshot of the job under way is stored; or it could not be (null), and will be due again.
  void SnapshotStored(std::optional<raft::Snapshot> snapshot);

  // If it leads, begins to hand over to the most advanced follower, once. True: nobody to wait for.
  bool HandOver();
  // Answers everybody who waits, ends all watches.
  void Stop();

  NodeStatus Status() const;
  const raft::RaftCore& core() const { return *core_; }
  const MetadataState& state() const { return state_; }
  LogIndex newest_change() const { return hub_.newest(); }  // See WatchHub.
  bool IsReady() const;

 private:
  struct Pending {
    Term term;
    MonotonicTime proposed;
    ExecuteCallback done;  // May be null: nobody waits.
  };
  struct Metrics {
    explicit Metrics(telemetry::Registry* registry);
    telemetry::Counter* leader_changes;
    telemetry::Counter* proposals_failed;
    telemetry::Counter* snapshots_saved;
    telemetry::Counter* snapshots_received;
    telemetry::Counter* sessions_expired;
    telemetry::Counter* elections;
    telemetry::Counter* unclean_elections;
    telemetry::Counter* preferred_elections;
    telemetry::Counter* isr_shrinks;
    telemetry::Counter* isr_expands;
    telemetry::Histogram* commit_seconds;
  };

  MetadataNode(const Options& options, MonotonicTime now, telemetry::Registry* registry);

  bool HasBug(raft::PlantedBug bug) const { return options_.raft.planted_bug == bug; }
  bool Leads() const { return !storage_failed_ && core_->is_leader(); }
  bool KnowsSessions() const;
  bool KnowsHistory() const { return state_.cluster().recoveries() >= options_.recoveries; }
  bool IsUnsettled() const;
  absl::Status NotLeader(absl::string_view outcome) const;

  void Propose(const internal::v1::ClusterCommand& command, ExecuteCallback done);
  void StampCommand(internal::v1::ClusterCommand* command);
  void TouchWriter(const internal::v1::CoordinationCommand& command);
  void ExpireSessions();
  void ElectUncleanly();
  void ElectPreferredLeaders();
  void RecordMembers();
  absl::Status ProposeOwn(const raft::MembershipChange& change);
  void TellCommits();
  void AnswerTransfers();
  void KeepWatchesAlive();
  void AskQuorum(const PendingReads::Options& options, PendingReads::Callback done);
  void Confirm();
  void CheckCaughtUp();
  void CountCluster();
  void CountChanges(const internal::v1::ClusterDelta& delta);
  void PublishHealth();

  absl::Status Load(const raft::Snapshot& snapshot);
  void ApplyAgain(const std::vector<raft::pb::RaftEntry>& entries, LogIndex last);
  void ApplyEntry(const raft::pb::RaftEntry& entry);
  void Publish(MetadataState::Applied* applied, LogIndex index);
  void FollowSessions(const MetadataState::Applied& applied);
  void Answer(const raft::pb::RaftEntry& entry,
              absl::StatusOr<internal::v1::ExecuteResponse> response);
  void OnSoftState(const raft::SoftState& soft);
  void BeginLeading();
  void StopLeading();
  void FollowMembership();
  void FailPending(const absl::Status& status);

  const Options options_;
  Metrics metrics_;
  std::unique_ptr<raft::RaftCore> core_;
  MetadataState state_;
  std::optional<MetadataState> prepared_;  // Read from the snapshot of the Ready under way.
  SessionTable sessions_;
  SessionHolders holders_;  // While it leads.
  UncleanElections unclean_elections_;
  PreferredLeaders preferred_leaders_;
  WatchHub hub_;
  coordination::ZnodeWatchHub znode_hub_;
  PendingReads reads_;
  CampaignQueue campaigns_;
  Random random_;
  MonotonicTime now_;         // Of the last Tick().
  MonotonicTime last_round_;  // Then EndRound() was last called.
  int64_t wall_ms_ = 0;

  std::map<LogIndex, Pending> pending_;
  std::vector<StatusCallback> transfers_;  // Wait for another leader.
  MemberAddresses addresses_;
  LogIndex own_change_;  // The latest change of the membership that nobody asked for.
  std::vector<std::pair<raft::MembershipChange, ExecuteCallback>> changes_waiting_;  // For that.
  PartitionChanges changes_;
  ClusterCounts counts_;
  bool counts_stale_ = true;
  bool storage_failed_ = false;
  bool was_leader_ = false;
  bool snapshot_under_way_ = false;
  bool hand_over_begun_ = false;
  NodeId known_leader_;
  Term applied_term_;  // Of the last applied entry.
  // With what the present leader knew to be committed when this node learned of it.
  enum class CatchUp { kUnknown, kAsked, kDone } catch_up_ = CatchUp::kUnknown;
  uint64_t catch_up_asked_ = 0;  // How often: answers to earlier questions do not count.
  std::optional<MonotonicTime> tell_commits_by_;
  MonotonicTime next_keepalive_;
  MonotonicTime confirmed_;  // Then the state was the newest, by the leader's word.
  bool told_live_ = true;
  bool told_ready_ = false;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_METADATA_NODE_H_
