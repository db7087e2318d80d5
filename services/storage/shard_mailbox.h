// ShardMailbox holds what a store shard has been asked for, and the shard's baton: whoever has it
// is the one thread that touches the shard's partitions, until it passes it on.
//
//            ┌── TakeAll(): the shard's own thread, which waits for something to do ──┐
//   Put() ──▶│                                                                        ├─▶ Pass()
//            └── TryTakeAll(): who has put something, if nobody is at work ───────────┘
//
// For the thread-safety analysis the mailbox is a lock, and the shard's core is what it guards. It
// is none that anybody but the shard's own thread waits for: who finds the baton taken leaves what
// it has put to the one that has it.
//
// Invariants: what was put is never left lying unseen: who passes the baton on, with something in
// the mailbox that came meanwhile, wakes the shard's thread. What is taken is taken in the order in
// which it was put, but for the catch-up lane, of which only a little is taken at a time.
//
// Threads: any. Nothing blocks but TakeAll().
#ifndef SERVICES_STORAGE_SHARD_MAILBOX_H_
#define SERVICES_STORAGE_SHARD_MAILBOX_H_

#include <deque>
#include <functional>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "libs/base/mutex.h"
#include "libs/log/log_store.h"
#include "services/storage/replication.h"
#include "services/storage/shard_tasks.h"

namespace falaj::storage {

class ShardCore;

using ShardCommand = std::function<void(ShardCore* core)>;
// Concerns one partition. What is placed of others may stay so: many such make one round.
struct PartitionCommand {
  log::PartitionKey key;
  ShardCommand command;
};
using ShardItem =
    std::variant<AppendTask, ReplicateTask, ProgressTask, PartitionCommand, ShardCommand>;

class ABSL_LOCKABLE ShardMailbox {
 public:
  // False, and nothing is kept, once the mailbox takes no more of that kind. Putting wakes nobody:
  // see Wake().
  bool PutAppend(AppendTask task);
  bool PutLagging(ReplicateTask task);  // Of the catch-up lane.
  bool Put(ShardItem item);
  bool PutAll(std::vector<ProgressTask> tasks);
  // Has the shard's thread look into the mailbox.
  void Wake();

  // Waits for something to do and for the baton, and takes both. False: there is nothing more to
  // do, and never will be; the caller has the baton all the same.
  bool TakeAll(std::vector<ShardItem>* items) ABSL_EXCLUSIVE_LOCK_FUNCTION();
  // False if there is nothing to do, somebody is at it, or there is something of the catch-up lane,
  // which the shard's thread must come to: it is woken then.
  bool TryTakeAll(std::vector<ShardItem>* items) ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true);
  // For who has taken what it must leave to the shard's thread.
  void PutBack(std::vector<ShardItem>* items) ABSL_EXCLUSIVE_LOCKS_REQUIRED(this);
  void Pass() ABSL_UNLOCK_FUNCTION();

  // No more appends. False: so it was before.
  bool Close();
  // No more of anything. What is there is still taken; unless it is to be abandoned.
  void Stop();
  void Abandon();

 private:
  bool IsEmpty() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return items_.empty() && lagging_.empty();
  }

  Mutex mu_;
  CondVar wake_;
  std::vector<ShardItem> items_ ABSL_GUARDED_BY(mu_);
  std::deque<ReplicateTask> lagging_ ABSL_GUARDED_BY(mu_);
  bool baton_taken_ ABSL_GUARDED_BY(mu_) = false;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;     // No more appends.
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;   // No more of anything.
  bool abandoned_ ABSL_GUARDED_BY(mu_) = false;  // Not even what is queued.
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_SHARD_MAILBOX_H_
