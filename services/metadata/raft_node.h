#ifndef SERVICES_METADATA_RAFT_NODE_H_
#define SERVICES_METADATA_RAFT_NODE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/log/raft_log.h"
#include "libs/telemetry/registry.h"
#include "services/metadata/baton.h"
#include "services/metadata/metadata_node.h"
#include "services/metadata/node_status.h"
#include "services/metadata/round_meter.h"
#include "services/metadata/round_timer.h"

namespace falaj::metadata {

// RaftNode runs a MetadataNode on a real machine: a thread that takes in what was posted, in
// rounds, and carries out the effects: the disk, the messages to the other nodes, the answers. A
// second one makes snapshots while the first goes on.
//
// With nothing posted the thread sleeps until something is due: a heartbeat, an election, the end
// of a session. Answers that only say that all is well, or how far a follower is, do not wake it.
//
// MetadataServer owns one; the gRPC services post work to it and are called back from its rounds.
// All proposals of a round share one write and one fsync; while that runs, the next round's gather.
// Entries leave for the other nodes before this node's own write of them, and what is committed is
// applied and answered before the next write.
//
// A disk that is slow for once does not stop the rounds: if a write takes more than some ms a third
// thread, the relief, runs them (baton.h), and what they ask to store gathers and is the next
// write. What promises it leaves after that, as ever. A snapshot of the leader ends the relief, as
// nothing may be applied before it is stored. So does time: a node whose disk hangs stands still
// after 100 ms, is missed by the others, and has not seen the time go by (RoundTimer).
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
    // Carries a message to another metadata node, or drops it. From the rounds; must not block.
    std::function<void(raft::pb::RaftMessage message)> send;
    Clock* clock = nullptr;  // Not owned.
  };
  // Runs in a round and must not block. If it is refused, `node` is null and the status
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
  // For tests: nobody runs rounds while the disk works.
  bool relief_sleeps() const { return baton_.relief_sleeps(); }

 private:
  // What is measured here and not by the MetadataNode.
  struct Metrics {
    explicit Metrics(telemetry::Registry* registry);
    telemetry::Histogram* sync_seconds;
    telemetry::Histogram* snapshot_seconds;
    telemetry::Counter* relief_rounds;
  };

  RaftNode(const Options& options, std::unique_ptr<log::RaftLog> log,
           telemetry::Registry* registry);

  bool Enqueue(Task* task, std::optional<raft::AnswerTo> answer, bool also_stopping,
               absl::Status* refused);

  // Wakes whoever runs the rounds now.
  void Wake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // The threads.
  void Run();
  void RunRelief();

  // Of the node's thread.
  bool Round() ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_);
  void SleepUnlessNeeded(bool stopping) ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_);
  void DrainReady() ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_);
  absl::Status Store(const raft::Ready& ready) ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_);
  // Gives the baton up for as long as `write` takes, which goes into `seconds` unless that is null.
  absl::Status OnDisk(Baton::Relief relief, telemetry::Histogram* seconds,
                      absl::FunctionRef<absl::Status()> write)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_);
  void StorageFailed(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_);
  void BeginSnapshot() ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_);
  void FinishSnapshot() ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_);
  bool HandedOver() ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_);

  // Of the relief.
  struct Rest {
    MonotonicTime after;         // This round,
    MonotonicTime relief_until;  // and in this absence of the node's thread.
    MonotonicTime until;
    raft::Answers awaited;
  };
  void ReliefRound() ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_);
  Rest BeginRest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_);
  bool RestUnlessNeeded(const Rest& rest);

  // Of every round.
  void BeginRound() ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_);
  bool RunTasks(absl::FunctionRef<bool()> enough) ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_);
  bool AwaitsInstall() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_) {
    return gathered_.has_value() && gathered_->snapshot.has_value();
  }
  void TakeReady() ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_);
  void Send(std::vector<raft::pb::RaftMessage> messages) ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_);
  void MeasureRoundTrip(int32_t peer, MonotonicTime answered) ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_);
  void PublishStatus() ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_);
  void TellFounding(const raft::CoreStatus& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_);

  const Options options_;
  telemetry::Registry* const registry_;
  const std::unique_ptr<falaj::log::RaftLog> log_;  // Of the node's thread, as RaftLog has it.
  Metrics metrics_;

  // Held by whoever runs a round; not while the disk works. Taken before mu_.
  Baton baton_;
  std::unique_ptr<MetadataNode> node_ ABSL_PT_GUARDED_BY(baton_);
  RoundTimer timer_ ABSL_GUARDED_BY(baton_);
  RoundMeter meter_ ABSL_GUARDED_BY(baton_);
  // What is to be stored next: of all Readies that were taken since the present write began.
  std::optional<raft::Ready> gathered_ ABSL_GUARDED_BY(baton_);
  MonotonicTime next_publication_ ABSL_GUARDED_BY(baton_);
  bool told_ready_ ABSL_GUARDED_BY(baton_) = false;
  LogIndex told_applied_ ABSL_GUARDED_BY(baton_);
  std::vector<NodeId> told_awaited_ ABSL_GUARDED_BY(baton_);  // Founders.
  bool told_refusal_ ABSL_GUARDED_BY(baton_) = false;
  // Set once the node is stopping and led.
  std::optional<MonotonicTime> hand_over_until_ ABSL_GUARDED_BY(baton_);
  struct Heartbeat {
    MonotonicTime sent;
    telemetry::Histogram* round_trip = nullptr;
    bool answered = true;
  };
  std::map<int32_t, Heartbeat> heartbeats_ ABSL_GUARDED_BY(baton_);  // The last one to each peer.

  mutable Mutex mu_;
  CondVar wake_;
  CondVar wake_relief_;
  bool relief_rests_ ABSL_GUARDED_BY(mu_) = false;  // Between two of its rounds.
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mu_);
  bool needed_ ABSL_GUARDED_BY(mu_) = false;   // Something wants a round now.
  raft::Answers queued_ ABSL_GUARDED_BY(mu_);  // In tasks_.
  // As of the last round. Written by who has the baton, too: it is judged from what the core says.
  raft::Answers awaited_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  NodeStatus status_ ABSL_GUARDED_BY(mu_);
  // A snapshot that was written, waiting for the node's thread to make it the current one.
  struct Written {
    absl::Status status;
    raft::Snapshot snapshot;
    LogIndex first_kept;
  };
  std::optional<Written> written_ ABSL_GUARDED_BY(mu_);

  std::thread thread_;
  std::thread relief_thread_;
  std::thread snapshot_thread_;  // At most one at a time; joined by thread_.
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_RAFT_NODE_H_
