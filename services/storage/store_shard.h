// StoreShard is one LogStore and the partition replicas in it: everything that changes one of them
// is asked for here, waits in the shard's mailbox, and is done by one thread at a time.
//
//   Append, Assign, ... ──▶ ShardMailbox ──▶ ShardCore::WorkOff ──▶ LogStore, answers, long polls
//
// Mostly that is the shard's own thread. But to wake a thread costs more than to write a record,
// and whoever sends one record at a time waits for it: so a thread that has put something, and is
// at the end of its turn (libs/base/turn.h), works it off itself, if nobody is at work, and all
// there is is quick (ShardCore::IsQuick): few small batches that need no sync, acknowledgements.
// If that turns out to take long, the shard's thread does it for the next while.
//
// Invariants: see ShardCore; one thread at a time has the mailbox's baton and touches the core. A
// disk that does not answer holds up one thread per shard at most: others find the baton taken and
// go their way. If that is one of gRPC's, another one takes its place (rpc::MayBlock).
//
// Threads: the public methods from any thread; they only queue, but for Stop() and WaitUntil...().
// Answers and callbacks come on the thread that works, and must not block.
//
// Failures: see ShardCore.
#ifndef SERVICES_STORAGE_STORE_SHARD_H_
#define SERVICES_STORAGE_STORE_SHARD_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/gate.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/log/log_store.h"
#include "libs/replica/replica.h"
#include "services/storage/partition.h"
#include "services/storage/replication.h"
#include "services/storage/shard_core.h"
#include "services/storage/shard_mailbox.h"
#include "services/storage/shard_tasks.h"

namespace falaj::storage {

class StoreShard {
 public:
  using Options = ShardCore::Options;
  using Parts = ShardCore::Parts;

  StoreShard(const Options& options, const Parts& parts);
  // Stops as Stop() does, without a checkpoint. Nobody may call anything any more.
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
  void TellStored(uint64_t recoveries, ShardCore::StoredCallback done);

  // Moves the log start up to `before` and calls back once that is on disk here and at every
  // in-sync replica: whoever leads next has it. SHUTTING_DOWN if the shard stops before, or has
  // stopped.
  void TruncatePrefix(const std::shared_ptr<Partition>& partition, LeaderEpoch epoch, Offset before,
                      const ShardCore::TruncateDone& done);
  // The same for retention: never above the high watermark, whoever leads.
  void Retain(const std::shared_ptr<Partition>& partition, Offset before);
  // Forgets producers that have been silent for long.
  void ExpireProducers();
  // Writes the high watermarks that have moved since the last time.
  void CheckpointHighWatermarks();

  // ---- Replication ----

  // Answers a follower's attach, on the thread that works.
  void AttachFollower(const std::shared_ptr<Partition>& partition,
                      const replica::AttachFollower& attach, const ShardCore::AttachDone& done);
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
  std::shared_ptr<Partition> Find(const log::PartitionKey& key) const {
    return front_.partitions.Find(key);
  }
  std::vector<std::shared_ptr<Partition>> List() const { return front_.partitions.List(); }

  // A record of the partition is damaged on disk. If others have it, it is dropped here and fetched
  // anew from them, once they lead (shard_core_damage.cc).
  void Damaged(std::shared_ptr<Partition> partition);

  // Answers batches that wait for other replicas longer than their timeout.
  void ExpireHeld();
  // Waits until no batch waits for an answer. False: some still do.
  bool WaitUntilAnswered(absl::Duration patience);
  // Waits until every follower here is attached to its leader, if it has one. False: some are not.
  bool WaitUntilAttached(absl::Duration patience);

  // Runs `command` on the thread that works, after everything queued before it. Returns false, and
  // never runs it, once the shard has stopped.
  bool Post(std::function<void()> command);
  bool failed() const { return front_.failed.load(); }
  // As after a failed write, which the shard has not met yet: its thread may hang in one. The store
  // must refuse writes, too.
  void Fail() { front_.failed.store(true); }
  int64_t queued_bytes() const { return front_.queued_bytes.load(); }

  // Takes no more appends, finishes what is queued, writes a last, synced checkpoint, ends the
  // thread.
  void Stop();

 private:
  void Run();
  // Has what was put worked off: by the shard's own thread at once, if it is that one's anyway, or
  // at the end of this thread's turn.
  void WorkSoon(int64_t bytes = 0);
  void WorkHere();
  bool Ask(ShardCommand command);
  bool AskFor(const log::PartitionKey& key, ShardCommand command);
  // Waits for what only who works can see; looked at after each turn.
  bool WaitUntil(ShardCore::Condition condition, absl::Duration patience);

  const int64_t mailbox_bytes_max_;
  ShardFront front_;
  ShardMailbox mailbox_;
  ShardCore core_ ABSL_GUARDED_BY(mailbox_);
  MonotonicTime not_here_before_ ABSL_GUARDED_BY(mailbox_);  // By the real clock.

  Gate turns_;  // Around every end of a turn that is still to come.
  Mutex mu_;
  CondVar come_true_;

  std::thread thread_;  // Last: everything it uses is made before it and outlives it.
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_STORE_SHARD_H_
