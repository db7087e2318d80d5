#ifndef SERVICES_METADATA_RAFT_NODE_H_
#define SERVICES_METADATA_RAFT_NODE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "falaj/internal/v1/metadata_service.pb.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/base/random.h"
#include "libs/cluster/cluster_state.h"
#include "libs/log/raft_log.h"
#include "libs/raft/raft_core.h"
#include "libs/telemetry/registry.h"
#include "services/metadata/node_status.h"
#include "services/metadata/session_table.h"
#include "services/metadata/watch_hub.h"

namespace falaj::metadata {

// RaftNode is the shell around the Raft core and the cluster state: one thread that owns both, the
// Raft log on disk, the session timers and the watches.
//
// MetadataServer owns one; the gRPC service posts work to it and is called back from its thread.
// Each round of the thread takes in everything that was posted, lets the core tick, and carries out
// the core's effects in the order raft::Ready prescribes; entries leave for the other nodes before
// this one's own write of them. All proposals of a round share one write
// and one fsync; while that runs, the next round's proposals gather.
//
// Invariants:
//   a command is answered after its entry is on disk, committed and applied
//   a session ends by an entry of the log, which only the leader proposes
//   callbacks run on the node's thread, once each, and must not block
//
// Failures: after a disk error the node refuses everything, ends its watches and reports that it is
// no longer live; what was answered before is on disk. Stop() answers everything that was taken in.
//
// Threads: Execute, Heartbeat, Watch, Step and status from any; Start and Stop from one.
class RaftNode {
 public:
  struct Options {
    raft::Options raft;
    absl::Duration tick = absl::Milliseconds(10);
    absl::Duration watch_keepalive = absl::Seconds(1);
    size_t queue_max = 10'000;
    WatchHub::Options watches;
    // Carries a message to another metadata node, or drops it. From the node's thread; must not
    // block.
    std::function<void(internal::v1::RaftMessage message)> send;
    Clock* clock = nullptr;  // Not owned.
    // Told of NodeStatus::live and ready when one changes; from the node's thread.
    std::function<void(bool live, bool ready)> on_health;
  };
  using ExecuteCallback = std::function<void(absl::StatusOr<internal::v1::ExecuteResponse>)>;
  using StatusCallback = std::function<void(absl::Status)>;

  // Restores the core and the cluster state from the log. Returns CORRUPT_RECORD if they
  // contradict themselves.
  static absl::StatusOr<std::unique_ptr<RaftNode>> Create(const Options& options,
                                                          std::unique_ptr<log::RaftLog> log,
                                                          telemetry::Registry* registry);
  ~RaftNode();
  RaftNode(const RaftNode&) = delete;
  RaftNode& operator=(const RaftNode&) = delete;

  void Start();
  // Refuses new work, hands the lead over if it has it (up to a second), finishes or refuses what
  // was taken in, ends all watches. Idempotent.
  void Stop();

  // Calls back with METADATA_UNAVAILABLE if this node does not lead: metadata "leader" (address, if
  // known) and "outcome": "none" if the command certainly had no effect, else "unknown".
  // QUOTA_EXCEEDED if too much is queued; SHUTTING_DOWN; else the state machine's answer.
  void Execute(internal::v1::ClusterCommand command, ExecuteCallback done);
  // Calls back with SESSION_EXPIRED, or as above.
  void Heartbeat(SessionId session, StatusCallback done);
  // Calls back when the watch has begun, or with why it did not: WATCH_COMPACTED,
  // CLUSTER_MISMATCH, QUOTA_EXCEEDED, or as above.
  void Watch(internal::v1::WatchClusterRequest request, std::shared_ptr<Watcher> watcher,
             StatusCallback done);
  // Hands the lead to `target`; calls back once another node leads. INVALID_REQUEST, TIMED_OUT if
  // it did not catch up in time (this node goes on leading), or METADATA_UNAVAILABLE as above.
  void Transfer(NodeId target, StatusCallback done);
  // Takes in a message of another metadata node; drops it if too much is queued.
  void Step(internal::v1::RaftMessage message);
  // Where clients and the other nodes find the metadata nodes, this one included.
  void SetAddresses(std::map<NodeId, std::string> addresses);
  NodeStatus status() const;
  NodeId id() const { return options_.raft.self; }

 private:
  using Task = std::function<void()>;
  struct Pending {
    Term term;
    MonotonicTime proposed;
    ExecuteCallback done;  // May be null: nobody waits.
  };
  struct Metrics {
    explicit Metrics(telemetry::Registry* registry);
    telemetry::Counter* leader_changes;
    telemetry::Counter* proposals_failed;
    telemetry::Counter* snapshots;
    telemetry::Counter* sessions_expired;
    telemetry::Histogram* commit_seconds;
  };

  RaftNode(const Options& options, std::unique_ptr<log::RaftLog> log,
           telemetry::Registry* registry);

  // Returns SHUTTING_DOWN or QUOTA_EXCEEDED; the task is not taken then. `also_stopping`: taken
  // even so, since it is needed to hand the lead over.
  absl::Status Post(Task task, bool also_stopping = false);

  // All below: on the thread.
  void Run();
  bool RunTasks();
  void TickDue();
  void Propose(internal::v1::ClusterCommand command, ExecuteCallback done);
  void StampCommand(internal::v1::ClusterCommand* command);
  void ExpireSessions();
  void DrainReady();
  void Send(std::vector<raft::pb::RaftMessage>* messages);
  absl::Status StoreReady(const raft::Ready& ready);
  void ApplyEntry(const raft::pb::RaftEntry& entry);
  void Answer(const raft::pb::RaftEntry& entry,
              absl::StatusOr<internal::v1::ExecuteResponse> response);
  void OnSoftState(const raft::SoftState& soft);
  void BeginLeading();
  void KeepSessions(const internal::v1::ClusterDelta& delta);
  absl::Status LoadSnapshot(const raft::Snapshot& snapshot);
  void MaybeSnapshot();
  void FailStorage(const absl::Status& status);
  void FailPending(const absl::Status& status);
  void KeepWatchesAlive();
  void CountCluster();
  void PublishStatus();
  void AnswerTransfers();
  bool HandedOver();
  void FinishStopping();
  bool IsReady() const;
  absl::Status NotLeader(absl::string_view outcome) const;

  const Options options_;
  const std::unique_ptr<falaj::log::RaftLog> log_;
  Metrics metrics_;

  // Of the thread.
  std::map<NodeId, std::string> addresses_;
  std::unique_ptr<raft::RaftCore> core_;
  cluster::ClusterState state_;
  SessionTable sessions_;
  WatchHub hub_;
  Random random_;
  std::map<LogIndex, Pending> pending_;
  std::vector<StatusCallback> transfers_;  // Wait for another leader.
  ClusterCounts counts_;
  bool counts_stale_ = true;
  bool storage_failed_ = false;
  bool was_leader_ = false;
  NodeId known_leader_;
  Term applied_term_;  // Of the last applied entry.
  MonotonicTime last_round_;
  MonotonicTime next_tick_;
  MonotonicTime next_keepalive_;
  std::optional<MonotonicTime> hand_over_until_;  // Set once the node is stopping and led.

  mutable Mutex mu_;
  CondVar wake_;
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  NodeStatus status_ ABSL_GUARDED_BY(mu_);

  std::thread thread_;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_RAFT_NODE_H_
