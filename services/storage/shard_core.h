// ShardCore is what a store shard does with what it is asked for: it asks the replicas
// (libs/replica) what to write, writes it as one atomic Round with at most one sync, and only then
// publishes high watermarks, fills the tail cache, wakes long polls and answers producers: group
// commit by nature, without a timer. The longer a write takes, the more the next one carries.
//
//   items ──▶ replicas ──▶ Round ──▶ LogStore::Commit
//                                           │
//   answers ◀── long polls ◀── tail cache ◀── high watermarks
//
// A round that followers wait for and that is to be synced is shown to them once it is written, so
// that their disks work at the same time as this one's. It counts as held here after the sync.
//
// StoreShard owns one. Threads: none; one at a time, whoever has the shard's baton. What all
// threads may see of it is in a ShardFront. Answers and callbacks come on that thread and must not
// block.
//
// Invariants: nothing is answered, published or cached before the round that holds it is committed;
// a batch is answered exactly once; batches of a partition are appended in the order of the items.
//
// Failures: DISK_FULL refuses the round, leaves nothing of it, and the next round tries again; a
// round that has been shown stays, and its sync is tried again. Any other failed write turns the
// shard into failed() for good: it refuses writes with STORAGE_FAILED, reads go on, it begins no
// reign any more, proposes no ISR, and what has been shown and not synced goes offline.
//
// Files: shard_core.cc rounds and batches, _assignments.cc what the cluster wants, _replication.cc
// other nodes, _answers.cc who waits, _drop.cc partitions that leave, _damage.cc damaged records.
#ifndef SERVICES_STORAGE_SHARD_CORE_H_
#define SERVICES_STORAGE_SHARD_CORE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "libs/base/bytes.h"
#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/log/log_store.h"
#include "libs/log/tail_cache.h"
#include "libs/replica/replica.h"
#include "services/storage/known_history.h"
#include "services/storage/partition.h"
#include "services/storage/partition_table.h"
#include "services/storage/replication.h"
#include "services/storage/shard_mailbox.h"
#include "services/storage/shard_tasks.h"
#include "services/storage/storage_metrics.h"

namespace falaj::storage {

// What any thread may see of a shard, and change.
struct ShardFront {
  PartitionTable partitions;
  std::atomic<bool> failed = false;
  std::atomic<int64_t> queued_bytes = 0;  // Of batches in the mailbox.
};

class ShardCore {
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
  using StoredCallback = std::function<void(std::vector<log::StoredPartition>)>;
  using TruncateDone = std::function<void(absl::StatusOr<Offset> log_start)>;
  using AttachDone = std::function<void(absl::StatusOr<replica::AttachAnswer>)>;
  using Condition = bool (ShardCore::*)() const;
  using Woken = std::vector<std::shared_ptr<Partition::Waiter>>;

  // More than this is not quick, whatever it is.
  static constexpr int64_t kQuickBytesMax = int64_t{8} << 10;

  ShardCore(const Options& options, const Parts& parts, ShardFront* front);
  ~ShardCore();
  ShardCore(const ShardCore&) = delete;
  ShardCore& operator=(const ShardCore&) = delete;

  // One turn: takes the items in, in order, and commits. Leaves none.
  void WorkOff(std::vector<ShardItem>* items);
  // The same for who has little time: a few long polls that wait for what it brings are put into
  // `woken` instead of being woken.
  void WorkOffHere(std::vector<ShardItem>* items, Woken* woken);
  // Whether they are few and small, none waits for a sync, and none does anything but move records:
  // with a disk that works it takes less time than to wake a thread.
  bool IsQuick(const std::vector<ShardItem>& items) const;
  // Nothing comes any more.
  void End();
  // Calls back at the end of the first turn after which the condition holds.
  void TellWhen(Condition condition, std::function<void()> tell);
  bool IsAllAnswered() const { return held_.empty(); }
  bool IsAllAttached() const;

  // What StoreShard's methods of the same names say.
  void Apply(const Assignment& assignment);
  void RetryAssignments();
  void Unassign(const log::PartitionKey& key);
  void DropTopic(const TopicId& topic);
  void DropExcept(const absl::flat_hash_set<log::PartitionKey>& assigned, uint64_t recoveries);
  void TellStored(uint64_t recoveries, const StoredCallback& done);
  void TruncatePrefix(const log::PartitionKey& key, LeaderEpoch epoch, Offset before,
                      const TruncateDone& done);
  void Retain(const log::PartitionKey& key, Offset before);
  void ExpireProducers();
  void Checkpoint(bool sync);
  void AttachFollower(const log::PartitionKey& key, replica::AttachFollower attach,
                      const AttachDone& done);
  void FollowerLeft(const log::PartitionKey& key, replica::FollowerLeft left);
  void AttachAnswered(const log::PartitionKey& key, const replica::AttachAnswered& answer);
  void MoveTo(const log::PartitionKey& key, const Source& source);
  void Reattach(const log::PartitionKey& key, const Source& source);
  void ReattachTo(NodeId leader);
  void ReattachDetached();
  void CheckIsrs();
  void IsrAnswered(const log::PartitionKey& key, replica::IsrAnswered answer);
  void Damaged(const std::shared_ptr<Partition>& partition);
  void ExpireHeld();

 private:
  struct Hosted;
  // Somebody waits until this is so.
  struct Awaited {
    Condition condition;
    std::function<void()> tell;
  };
  // A log start that has moved here, and not yet at every in-sync replica.
  struct Truncation {
    log::PartitionKey key;
    LeaderEpoch epoch;
    Offset before;
    MonotonicTime deadline;
    TruncateDone done;
  };

  bool failed() const { return front_->failed.load(); }
  void Take(AppendTask task);
  void Take(ReplicateTask task);
  void Take(ProgressTask task);
  void Take(PartitionCommand command);
  void Take(ShardCommand command);
  // Adds what it writes to `bytes`.
  bool IsQuick(const ShardItem& item, int64_t* bytes) const;
  // Feeds a replica an input that it may find out of date.
  void Feed(Hosted* hosted, const replica::Input& input);
  Hosted* FindHosted(const log::PartitionKey& key) const;
  void SendToOthers(Hosted* hosted);
  absl::Status CutSuffix(Hosted* hosted);
  void GiveUp(Hosted* hosted, const absl::Status& status);
  void Refuse(const AppendTask& task, absl::Status status);
  void Answer(const replica::Reply& reply);
  void Send(const std::shared_ptr<AppendSink>& sink, AppendAnswer answer);
  void FlushSinks();
  void AnswerTruncations();
  void TellWhatHasComeTrue();

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
  absl::StatusOr<Offset> Truncate(const log::PartitionKey& key, LeaderEpoch epoch, Offset before);
  void Commit();
  // Writes the round, and lets followers have what is written before it is synced.
  absl::Status WriteRound(bool sync, MonotonicTime start);
  void ShowWritten(MonotonicTime start);
  void FillTailCache(MonotonicTime start);
  void Finish(Hosted* hosted, const absl::Status& committed, bool synced);
  absl::Status NameFailure(const absl::Status& status) const;
  void Publish(Hosted* hosted);
  void Publish(Hosted* hosted, const PartitionState& state);

  const Options options_;
  log::LogStore* const store_;
  log::TailCache* const tail_cache_;
  StorageMetrics* const metrics_;
  Clock* const clock_;
  ReplicaOutbox* const outbox_;
  KnownHistory* const history_;
  ShardFront* const front_;

  absl::flat_hash_map<log::PartitionKey, std::unique_ptr<Hosted>> hosted_;
  absl::flat_hash_map<log::PartitionKey, Assignment> unapplied_;  // Wait for RetryAssignments().
  absl::flat_hash_set<log::PartitionKey> watched_;                // Some may be gone.
  absl::flat_hash_map<uint64_t, HeldAppend> held_;                // By token.
  std::vector<Awaited> awaited_;
  std::vector<Truncation> truncations_;
  uint64_t next_token_ = 1;
  uint64_t attach_id_ = 0;       // No replica that was here before has asked under a larger number.
  Woken* woken_here_ = nullptr;  // In this turn; null: all are woken.
  log::Round round_;
  int64_t round_bytes_ = 0;
  bool round_sync_ = false;
  bool round_begins_epochs_ = false;
  bool round_written_ = false;    // It is in the store, and followers may have it: not yet synced.
  std::vector<Hosted*> touched_;  // By the round.
  std::vector<std::shared_ptr<AppendSink>> unflushed_;
  std::vector<std::pair<Source, int64_t>> consumed_;  // By the round: bytes.
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_SHARD_CORE_H_
