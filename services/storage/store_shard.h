// StoreShard is one LogStore, the partition replicas in it, and the one thread that touches them.
//
// Everything that changes a partition arrives in the shard's mailbox. The thread takes all that is
// there, asks the replicas (libs/replica) what to write, writes it as one atomic Round with at most
// one sync, and only then publishes high watermarks, fills the tail cache, wakes long polls and
// answers producers: group commit by nature, without a timer. The longer a write takes, the more
// the next one carries.
//
//   Append, Assign, ... ──▶ mailbox ──▶ replicas ──▶ Round ──▶ LogStore::Commit
//                                                                  │
//          answers ◀── long polls ◀── tail cache ◀── high watermarks ┘
//
// A round that followers wait for and that is to be synced is shown to them once it is written, so
// that their disks work at the same time as this one's. It counts as held here after the sync.
//
// Invariants: nothing is answered, published or cached before the round that holds it is committed;
// a batch is answered exactly once; batches of a partition are appended in the order of Append().
//
// Threads: the public methods from any thread; they only queue. Answers and callbacks come on the
// shard's thread and must not block.
//
// Failures: DISK_FULL refuses the round, leaves nothing of it, and the next round tries again; a
// round that has been shown stays, and its sync is tried again. Any other failed write turns the
// shard into failed() for good: it refuses writes with STORAGE_FAILED, reads go on, it begins no
// reign any more, proposes no ISR, and what has been shown and not synced goes offline.
#ifndef SERVICES_STORAGE_STORE_SHARD_H_
#define SERVICES_STORAGE_STORE_SHARD_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "libs/base/bytes.h"
#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/log/log_store.h"
#include "libs/log/tail_cache.h"
#include "libs/replica/replica.h"
#include "services/storage/known_history.h"
#include "services/storage/partition.h"
#include "services/storage/replication.h"
#include "services/storage/shard_tasks.h"
#include "services/storage/storage_metrics.h"

namespace falaj::storage {

class StoreShard {
 public:
  struct Options {
    int32_t index = 0;
    NodeId node;
    int64_t round_bytes_max = int64_t{4} << 20;
    int64_t mailbox_bytes_max = int64_t{256} << 20;
    replica::PlantedBug planted_bug = replica::PlantedBug::kNone;  // For tests that must fail.
  };

  // Neither is owned; they outlive the shard.
  struct Parts {
    log::LogStore* store = nullptr;
    log::TailCache* tail_cache = nullptr;
    StorageMetrics* metrics = nullptr;
    Clock* clock = nullptr;
    ReplicaOutbox* outbox = nullptr;  // Null: there are no other nodes.
    KnownHistory* history = nullptr;  // Null: the quorum is never recovered.
  };

  StoreShard(const Options& options, const Parts& parts);
  // Stops as Stop() does, without a checkpoint.
  ~StoreShard();
  StoreShard(const StoreShard&) = delete;
  StoreShard& operator=(const StoreShard&) = delete;

  // Returns QUOTA_EXCEEDED if the mailbox is full, SHUTTING_DOWN after Stop(); the sink is then not
  // called.
  absl::Status Append(AppendTask task);

  // Opens the partition if the shard does not host it, and makes it what the cluster wants. What
  // fails for want of disk, a sync too, is tried again by RetryAssignments().
  void Assign(Assignment assignment);
  void RetryAssignments();
  // The partition is on other nodes now: it is dropped.
  void Unassign(const log::PartitionKey& key);
  void DropTopic(const TopicId& topic);
  // Drops every partition in the store that is not in `assigned`, nor in quarantine. If
  // `recoveries` is news, the quorum has been recovered, they are all quarantined instead.
  void DropExcept(absl::flat_hash_set<log::PartitionKey> assigned, uint64_t recoveries);
  // Tells what the store holds, once all that is under way is written. If `recoveries` is news,
  // also lets go of all that the shard hosts, so that nothing is acknowledged any more that it does
  // not tell.
  using StoredCallback = std::function<void(std::vector<log::StoredPartition>)>;
  void TellStored(uint64_t recoveries, StoredCallback done);

  // Moves the log start up to `before` and calls back once that is on disk here and at every
  // in-sync replica: whoever leads next has it. SHUTTING_DOWN if the shard stops before, or has
  // stopped.
  using TruncateDone = std::function<void(absl::StatusOr<Offset> log_start)>;
  void TruncatePrefix(std::shared_ptr<Partition> partition, LeaderEpoch epoch, Offset before,
                      TruncateDone done);
  // The same for retention: never above the high watermark, whoever leads.
  void Retain(std::shared_ptr<Partition> partition, Offset before);
  // Forgets producers that have been silent for long.
  void ExpireProducers();
  // Writes the high watermarks that have moved since the last time.
  void CheckpointHighWatermarks();

  // ---- Replication (store_shard_replication.cc) ----

  // Answers a follower's attach, on the shard's thread.
  using AttachDone = std::function<void(absl::StatusOr<replica::AttachAnswer>)>;
  void AttachFollower(std::shared_ptr<Partition> partition, replica::AttachFollower attach,
                      AttachDone done);
  void TakeProgress(std::vector<ProgressTask> tasks);
  void FollowerLeft(const log::PartitionKey& key, replica::FollowerLeft left);
  // From the leader of a partition. Of what this node no longer follows nothing is left.
  void AttachAnswered(const log::PartitionKey& key, const replica::AttachAnswered& answer);
  void Replicate(ReplicateTask task);
  // The leader wants the partition to attach on this stream instead.
  void MoveTo(const log::PartitionKey& key, const Source& source);
  // Asks the leader again: of one partition, as its attach on this stream is over or was refused;
  // of all whose leader this is; of all that are not attached, unless an answer is under way.
  void Reattach(const log::PartitionKey& key, const Source& source);
  void ReattachTo(NodeId leader);
  void ReattachDetached();
  void CheckIsrs();  // Who has fallen behind?
  void IsrAnswered(const log::PartitionKey& key, replica::IsrAnswered answer);

  // Null if the shard does not host it.
  std::shared_ptr<Partition> Find(const log::PartitionKey& key) const;
  std::vector<std::shared_ptr<Partition>> List() const;

  // A record of the partition is damaged on disk. If others have it, it is dropped here and fetched
  // anew from them, once they lead (store_shard_damage.cc).
  void Damaged(std::shared_ptr<Partition> partition);

  // Answers batches that wait for other replicas longer than their timeout.
  void ExpireHeld();
  // Waits until no batch waits for an answer. False: some still do.
  bool WaitUntilAnswered(absl::Duration patience);
  // Waits until every follower here is attached to its leader, if it has one. False: some are not.
  bool WaitUntilAttached(absl::Duration patience);

  // Runs `command` on the shard's thread after everything queued before it. Returns false, and
  // never runs it, once the shard has stopped.
  bool Post(std::function<void()> command);
  bool failed() const { return failed_.load(); }
  // As after a failed write, which the shard has not met yet: its thread may hang in one. The store
  // must refuse writes, too.
  void Fail() { failed_.store(true); }
  int64_t queued_bytes() const { return queued_bytes_.load(); }

  // Takes no more appends, finishes what is queued, writes a last, synced checkpoint, ends the
  // thread.
  void Stop();

 private:
  struct Hosted;
  // Somebody waits until this is so; becomes true under mu_.
  struct Awaited {
    std::function<bool()> condition;
    std::shared_ptr<bool> is_so;
  };
  // A log start that has moved here, and not yet at every in-sync replica.
  struct Truncation {
    log::PartitionKey key;
    LeaderEpoch epoch;
    Offset before;
    MonotonicTime deadline;
    TruncateDone done;
  };
  using Command = std::function<void()>;
  // Concerns one partition. What is placed of others may stay so: many such make one round.
  struct PartitionCommand {
    log::PartitionKey key;
    Command command;
  };
  using Item = std::variant<AppendTask, ReplicateTask, ProgressTask, PartitionCommand, Command>;

  void Run();
  bool TakeItems(std::vector<Item>* items);
  void TakeLagging(std::vector<Item>* items) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Put(Item item);
  void Wake();  // The shard's thread, at the end of the caller's turn.
  void Take(AppendTask task);
  void Take(ReplicateTask task);
  void Take(ProgressTask task);
  void Take(PartitionCommand command);
  void Take(Command command);
  bool PostFor(const log::PartitionKey& key, Command command);
  // Feeds a replica an input that it may find out of date.
  void Feed(Hosted* hosted, const replica::Input& input);
  Hosted* FindHosted(const log::PartitionKey& key);
  void SendToOthers(Hosted* hosted);
  absl::Status CutSuffix(Hosted* hosted);
  void GiveUp(Hosted* hosted, const absl::Status& status);
  void Refuse(const AppendTask& task, absl::Status status);
  void Answer(const replica::Reply& reply);
  void Send(const std::shared_ptr<AppendSink>& sink, AppendAnswer answer);
  void FlushSinks();
  void AnswerTruncations();
  // Waits for what only the shard's thread can see; looked at after each of its turns.
  bool WaitUntil(std::function<bool()> condition, absl::Duration patience);
  void TellWhatHasComeTrue();

  void Apply(const Assignment& assignment);
  void Lead(Hosted* hosted, const Assignment& assignment);
  absl::StatusOr<Hosted*> Host(const Assignment& assignment);
  absl::Status ChangeSettings(Hosted* hosted, const Assignment& assignment);
  void SyncWritten(Hosted* hosted);
  void Unhost(const log::PartitionKey& key);
  // Ends what the replica does; `last` is what others see of it from now on.
  void LetGo(Hosted* hosted, const PartitionState& last);
  void DropHosted(const log::PartitionKey& key);
  void Quarantine(const absl::flat_hash_set<log::PartitionKey>& assigned, uint64_t recoveries);
  bool IsNews(uint64_t recoveries) const;
  bool IsQuarantined(const log::PartitionKey& key) const;

  void MarkDamaged(Hosted* hosted);
  void ReportDamage(Hosted* hosted);
  void ReportDamageAgain(Hosted* hosted, MonotonicTime now);
  void ReattachIfDetached(Hosted* hosted, MonotonicTime now);
  // Remembers the partition for WatchedPartitions() if time may change something about it.
  void Watch(Hosted* hosted);
  // Those that periodic work has to look at: of thousands, mostly none.
  std::vector<Hosted*> WatchedPartitions();
  void CheckIsr(Hosted* hosted, MonotonicTime now);
  bool MayBeginAnew(const Hosted& hosted, const Assignment& assignment) const;
  absl::StatusOr<Hosted*> BeginAnew(Hosted* hosted, const Assignment& assignment);

  void Place(Hosted* hosted, const replica::Placement& place, Bytes batch,
             int64_t max_timestamp_ms);
  void Gather(Hosted* hosted);  // Adds what a step wants persisted to the round.
  void GatherProducers(Hosted* hosted);
  void Checkpoint(bool sync);
  absl::StatusOr<Offset> Truncate(const log::PartitionKey& key, LeaderEpoch epoch, Offset before);
  void Commit();
  // Writes the round, and lets followers have what is written before it is synced.
  absl::Status WriteRound(bool sync, MonotonicTime start);
  void ShowWritten(MonotonicTime start);
  void FillTailCache(MonotonicTime start);
  void Finish(Hosted* hosted, const absl::Status& committed, bool synced);
  absl::Status NameFailure(const absl::Status& status) const;
  void Publish(Hosted* hosted);

  const Options options_;
  log::LogStore* const store_;
  log::TailCache* const tail_cache_;
  StorageMetrics* const metrics_;
  Clock* const clock_;
  ReplicaOutbox* const outbox_;
  KnownHistory* const history_;

  mutable Mutex mu_;
  const std::shared_ptr<CondVar> filled_ = std::make_shared<CondVar>();  // Also turns have it.
  CondVar come_true_;
  std::vector<Item> mailbox_ ABSL_GUARDED_BY(mu_);
  std::deque<ReplicateTask> lagging_ ABSL_GUARDED_BY(mu_);  // Of the catch-up lane: a few a turn.
  bool closed_ ABSL_GUARDED_BY(mu_) = false;                // No more appends.
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;              // No more of anything.
  bool abandoned_ ABSL_GUARDED_BY(mu_) = false;             // Not even what is queued.
  absl::flat_hash_map<log::PartitionKey, std::shared_ptr<Partition>> shared_ ABSL_GUARDED_BY(mu_);
  std::atomic<int64_t> queued_bytes_ = 0;
  std::atomic<bool> failed_ = false;

  // Of the shard's thread only.
  absl::flat_hash_map<log::PartitionKey, std::unique_ptr<Hosted>> hosted_;
  absl::flat_hash_map<log::PartitionKey, Assignment> unapplied_;  // Wait for RetryAssignments().
  absl::flat_hash_set<log::PartitionKey> watched_;                // Some may be gone.
  absl::flat_hash_map<uint64_t, HeldAppend> held_;                // By token.
  std::vector<Awaited> awaited_;
  std::vector<Truncation> truncations_;
  uint64_t next_token_ = 1;
  uint64_t attach_id_ = 0;  // No replica that was here before has asked under a larger number.
  log::Round round_;
  int64_t round_bytes_ = 0;
  bool round_sync_ = false;
  bool round_begins_epochs_ = false;
  bool round_written_ = false;    // It is in the store, and followers may have it: not yet synced.
  std::vector<Hosted*> touched_;  // By the round.
  std::vector<std::shared_ptr<AppendSink>> unflushed_;
  std::vector<std::pair<Source, int64_t>> consumed_;  // By the round: bytes.

  std::thread thread_;  // Last: everything it uses is made before it and outlives it.
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_STORE_SHARD_H_
