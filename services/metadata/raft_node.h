#ifndef SERVICES_METADATA_RAFT_NODE_H_
#define SERVICES_METADATA_RAFT_NODE_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/log/raft_log.h"
#include "libs/telemetry/registry.h"
#include "services/metadata/metadata_node.h"
#include "services/metadata/node_status.h"
#include "services/metadata/round_timer.h"

namespace falaj::metadata {

// RaftNode runs a MetadataNode on a real machine: one thread that takes in what was posted, in
// rounds, and carries out the effects: the disk, the messages to the other nodes, the answers. A
// second thread makes snapshots while the first goes on.
//
// With nothing posted the thread sleeps until something is due: a heartbeat, an election, the end
// of a session. Answers that only say that all is well, or how far a follower is, do not wake it.
//
// MetadataServer owns one; the gRPC services post work to it and are called back from its thread.
// All proposals of a round share one write and one fsync; while that runs, the next round's gather.
// Entries leave for the other nodes before this node's own write of them, and what is committed is
// applied and answered before the next write.
//
// Failures: after a disk error the node takes no further part (MetadataNode::StorageFailed). Stop()
// hands the lead over if it has it and answers everything that was taken in.
//
// Threads: Post, Step and status from any; Start and Stop from one.
class RaftNode {
 public:
  struct Options {
    MetadataNode::Options node;
    absl::Duration tick = absl::Milliseconds(30);
    size_t queue_max = 10'000;
    // Carries a message to another metadata node, or drops it. From the node's thread; must not
    // block.
    std::function<void(raft::pb::RaftMessage message)> send;
    Clock* clock = nullptr;  // Not owned.
  };
  // Runs on the node's thread and must not block. If it is refused, `node` is null and the status
  // says why: QUOTA_EXCEEDED or SHUTTING_DOWN; it is then called by Post() itself.
  using Task = std::function<void(MetadataNode* node, const absl::Status& refused)>;

  // Returns CORRUPT_RECORD if what the log holds contradicts itself.
  static absl::StatusOr<std::unique_ptr<RaftNode>> Create(const Options& options,
                                                          std::unique_ptr<log::RaftLog> log,
                                                          telemetry::Registry* registry);
  ~RaftNode();
  RaftNode(const RaftNode&) = delete;
  RaftNode& operator=(const RaftNode&) = delete;

  void Start();
  // Refuses new work, hands the lead over if it has it (up to a second), answers what was taken in.
  // Idempotent.
  void Stop();

  void Post(Task task);
  // Takes in a message of another metadata node; drops it if too much is queued.
  void Step(raft::pb::RaftMessage message);
  // The stream over which that node's messages came has broken.
  void PeerBroke(NodeId node);
  // As of the last round but for a tick, and not older than the last applied entry but for a
  // moment.
  NodeStatus status() const;
  NodeId id() const { return options_.node.raft.self; }
  const Clock& clock() const { return *options_.clock; }

 private:
  // What is measured here and not by the MetadataNode.
  struct Metrics {
    explicit Metrics(telemetry::Registry* registry);
    telemetry::Histogram* sync_seconds;
    telemetry::Histogram* round_seconds;
    telemetry::Gauge* round_longest_seconds;
    telemetry::Gauge* round_longest_off_disk_seconds;
    telemetry::Histogram* snapshot_seconds;
  };

  RaftNode(const Options& options, std::unique_ptr<log::RaftLog> log,
           telemetry::Registry* registry);

  bool Enqueue(Task* task, std::optional<raft::AnswerTo> answer, bool also_stopping,
               absl::Status* refused);

  // All below: on the thread.
  void Run();
  bool RunTasks();
  void BeginRound();
  void SleepUnlessNeeded(bool stopping);
  void DrainReady();
  void Send(std::vector<raft::pb::RaftMessage> messages);
  absl::Status Store(const raft::Ready& ready);
  absl::Duration TimeOnDisk(MonotonicTime begin);
  void BeginSnapshot();
  void FinishSnapshot();
  void MeasureRound();
  void MeasureRoundTrip(int32_t peer, MonotonicTime answered);
  void PublishStatus();
  void TellFounding(const raft::CoreStatus& status);
  bool HandedOver();

  const Options options_;
  telemetry::Registry* const registry_;
  const std::unique_ptr<falaj::log::RaftLog> log_;
  Metrics metrics_;

  // Of the thread.
  std::unique_ptr<MetadataNode> node_;
  RoundTimer timer_;
  absl::Duration on_disk_;  // Of the present round.
  struct Longest {
    absl::Duration present;  // Of the present window...
    absl::Duration before;   // ...and of the one before it.
  };
  Longest longest_round_;
  Longest longest_off_disk_;     // Without the time on disk.
  MonotonicTime longest_until_;  // The present window's end.
  MonotonicTime next_publication_;
  bool told_ready_ = false;
  LogIndex told_applied_;
  std::vector<NodeId> told_awaited_;  // Founders.
  bool told_refusal_ = false;
  std::optional<MonotonicTime> hand_over_until_;  // Set once the node is stopping and led.
  struct Heartbeat {
    MonotonicTime sent;
    telemetry::Histogram* round_trip = nullptr;
    bool answered = true;
  };
  std::map<int32_t, Heartbeat> heartbeats_;  // The last one to each peer.

  mutable Mutex mu_;
  CondVar wake_;
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mu_);
  bool needed_ ABSL_GUARDED_BY(mu_) = false;    // Something wants a round now.
  raft::Answers queued_ ABSL_GUARDED_BY(mu_);   // In tasks_.
  raft::Answers awaited_ ABSL_GUARDED_BY(mu_);  // As of the last round.
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  NodeStatus status_ ABSL_GUARDED_BY(mu_);
  // A snapshot that was written, waiting for the thread to make it the current one.
  struct Written {
    absl::Status status;
    raft::Snapshot snapshot;
    LogIndex first_kept;
  };
  std::optional<Written> written_ ABSL_GUARDED_BY(mu_);

  std::thread thread_;
  std::thread snapshot_thread_;  // At most one at a time; joined by thread_.
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_RAFT_NODE_H_
