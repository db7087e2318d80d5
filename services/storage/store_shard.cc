#include "services/storage/store_shard.h"

#include <utility>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/base/turn.h"
#include "libs/rpc/callback_threads.h"

namespace falaj::storage {
namespace {

// What took longer here was kept by the disk, or by somebody who had the store wait for it. Then
// the thread is not to be kept again for a while: it gives no more than a fiftieth of its time.
constexpr absl::Duration kQuickMax = absl::Milliseconds(1);
constexpr int kPauseFactor = 50;

}  // namespace

StoreShard::StoreShard(const Options& options, const Parts& parts)
    : mailbox_bytes_max_(options.mailbox_bytes_max),
      core_(options, parts, &front_),
      thread_([this] { Run(); }) {}

StoreShard::~StoreShard() {
  mailbox_.Abandon();
  turns_.Close();
  if (thread_.joinable()) thread_.join();
}

void StoreShard::Run() {
  std::vector<ShardItem> items;
  while (true) {
    const bool more = mailbox_.TakeAll(&items);
    if (more) {
      core_.WorkOff(&items);
    } else {
      core_.End();
    }
    mailbox_.Pass();
    if (!more) return;
  }
}

void StoreShard::WorkSoon(int64_t bytes) {
  // What a large turn brings is written while it still brings more.
  if (bytes > ShardCore::kQuickBytesMax) return mailbox_.Wake();
  // Outside of a turn the caller may hold what the work needs, and may not have the time.
  if (!Turn::IsOpen()) return mailbox_.Wake();
  if (Turn::IsDue(this)) return;
  auto pass = std::make_shared<Gate::Pass>(turns_.Enter());
  if (!*pass) return;
  Turn::AtEnd(this, [this, pass = std::move(pass)] { WorkHere(); });
}

void StoreShard::WorkHere() {
  std::vector<ShardItem> items;
  if (!mailbox_.TryTakeAll(&items)) return;
  const Clock* const clock = Clock::Real();
  const MonotonicTime start = clock->MonotonicNow();
  ShardCore::Woken woken;
  if (start >= not_here_before_ && core_.IsQuick(items)) {
    const rpc::MayBlock may_block;
    core_.WorkOffHere(&items, &woken);
    const MonotonicTime end = clock->MonotonicNow();
    if (end - start > kQuickMax) not_here_before_ = end + (end - start) * kPauseFactor;
  } else {
    mailbox_.PutBack(&items);
  }
  mailbox_.Pass();
  for (const std::shared_ptr<Partition::Waiter>& waiter : woken) waiter->Wake(GoOn::kHere);
}

bool StoreShard::Ask(ShardCommand command) {
  if (!mailbox_.Put(std::move(command))) return false;
  WorkSoon();
  return true;
}

bool StoreShard::AskFor(const log::PartitionKey& key, ShardCommand command) {
  if (!mailbox_.Put(PartitionCommand{key, std::move(command)})) return false;
  WorkSoon();
  return true;
}

bool StoreShard::Post(std::function<void()> command) {
  return Ask([command = std::move(command)](ShardCore*) { command(); });
}

absl::Status StoreShard::Append(AppendTask task) {
  const int64_t bytes = static_cast<int64_t>(task.batch.size());
  if (front_.queued_bytes.load() + bytes > mailbox_bytes_max_) {
    return WithRetryAfter(
        MakeError(Reason::kQuotaExceeded, "the storage node has too many batches waiting"),
        absl::Milliseconds(100));
  }
  front_.queued_bytes.fetch_add(bytes);
  if (!mailbox_.PutAppend(std::move(task))) {
    front_.queued_bytes.fetch_sub(bytes);
    return MakeError(Reason::kShuttingDown, "the storage node is stopping");
  }
  WorkSoon(bytes);
  return absl::OkStatus();
}

void StoreShard::Assign(Assignment assignment) {
  const log::PartitionKey key = assignment.key;
  AskFor(key, [assignment = std::move(assignment)](ShardCore* core) { core->Apply(assignment); });
}

void StoreShard::RetryAssignments() {
  Ask([](ShardCore* core) { core->RetryAssignments(); });
}

void StoreShard::Unassign(const log::PartitionKey& key) {
  Ask([key](ShardCore* core) { core->Unassign(key); });
}

void StoreShard::DropTopic(const TopicId& topic) {
  Ask([topic](ShardCore* core) { core->DropTopic(topic); });
}

void StoreShard::DropExcept(absl::flat_hash_set<log::PartitionKey> assigned, uint64_t recoveries) {
  Ask([assigned = std::move(assigned), recoveries](ShardCore* core) {
    core->DropExcept(assigned, recoveries);
  });
}

void StoreShard::TellStored(uint64_t recoveries, ShardCore::StoredCallback done) {
  Ask([recoveries, done = std::move(done)](ShardCore* core) {
    core->TellStored(recoveries, done);
  });
}

void StoreShard::TruncatePrefix(const std::shared_ptr<Partition>& partition, LeaderEpoch epoch,
                                Offset before, const ShardCore::TruncateDone& done) {
  const bool asked = Ask([key = partition->key(), epoch, before, done](ShardCore* core) {
    core->TruncatePrefix(key, epoch, before, done);
  });
  if (!asked) done(MakeError(Reason::kShuttingDown, "the storage node is stopping"));
}

void StoreShard::Retain(const std::shared_ptr<Partition>& partition, Offset before) {
  Ask([key = partition->key(), before](ShardCore* core) { core->Retain(key, before); });
}

void StoreShard::ExpireProducers() {
  Ask([](ShardCore* core) { core->ExpireProducers(); });
}

void StoreShard::CheckpointHighWatermarks() {
  Ask([](ShardCore* core) { core->Checkpoint(/*sync=*/false); });
}

void StoreShard::AttachFollower(const std::shared_ptr<Partition>& partition,
                                const replica::AttachFollower& attach,
                                const ShardCore::AttachDone& done) {
  const log::PartitionKey key = partition->key();
  const bool asked = AskFor(
      key, [key, attach, done](ShardCore* core) { core->AttachFollower(key, attach, done); });
  if (!asked) done(MakeError(Reason::kShuttingDown, "the storage node is stopping"));
}

void StoreShard::TakeProgress(std::vector<ProgressTask> tasks) {
  if (mailbox_.PutAll(std::move(tasks))) WorkSoon();
}

void StoreShard::FollowerLeft(const log::PartitionKey& key, replica::FollowerLeft left) {
  AskFor(key, [key, left](ShardCore* core) { core->FollowerLeft(key, left); });
}

void StoreShard::AttachAnswered(const log::PartitionKey& key,
                                const replica::AttachAnswered& answer) {
  AskFor(key, [key, answer](ShardCore* core) { core->AttachAnswered(key, answer); });
}

void StoreShard::Replicate(ReplicateTask task) {
  const bool live = task.source.lane == Lane::kLive;
  const int64_t bytes = task.bytes;
  if (live ? mailbox_.Put(std::move(task)) : mailbox_.PutLagging(std::move(task))) WorkSoon(bytes);
}

void StoreShard::MoveTo(const log::PartitionKey& key, const Source& source) {
  AskFor(key, [key, source](ShardCore* core) { core->MoveTo(key, source); });
}

void StoreShard::Reattach(const log::PartitionKey& key, const Source& source) {
  AskFor(key, [key, source](ShardCore* core) { core->Reattach(key, source); });
}

void StoreShard::ReattachTo(NodeId leader) {
  Ask([leader](ShardCore* core) { core->ReattachTo(leader); });
}

void StoreShard::ReattachDetached() {
  Ask([](ShardCore* core) { core->ReattachDetached(); });
}

void StoreShard::CheckIsrs() {
  Ask([](ShardCore* core) { core->CheckIsrs(); });
}

void StoreShard::IsrAnswered(const log::PartitionKey& key, replica::IsrAnswered answer) {
  AskFor(key, [key, answer](ShardCore* core) { core->IsrAnswered(key, answer); });
}

void StoreShard::Damaged(std::shared_ptr<Partition> partition) {
  const log::PartitionKey key = partition->key();
  AskFor(key, [partition = std::move(partition)](ShardCore* core) { core->Damaged(partition); });
}

void StoreShard::ExpireHeld() {
  Ask([](ShardCore* core) { core->ExpireHeld(); });
}

bool StoreShard::WaitUntilAnswered(absl::Duration patience) {
  return WaitUntil(&ShardCore::IsAllAnswered, patience);
}

bool StoreShard::WaitUntilAttached(absl::Duration patience) {
  return WaitUntil(&ShardCore::IsAllAttached, patience);
}

bool StoreShard::WaitUntil(ShardCore::Condition condition, absl::Duration patience) {
  const MonotonicTime until = Clock::Real()->MonotonicNow() + patience;
  const auto is_so = std::make_shared<bool>(false);
  const bool asked = Ask([this, condition, is_so](ShardCore* core) {
    core->TellWhen(condition, [this, is_so] {
      MutexLock lock(&mu_);
      *is_so = true;
      come_true_.NotifyAll();
    });
  });
  if (!asked) return true;
  mailbox_.Wake();  // It is waited for here, not at the end of a turn.
  MutexLock lock(&mu_);
  while (!*is_so) {
    const absl::Duration left = until - Clock::Real()->MonotonicNow();
    if (left <= absl::ZeroDuration()) return false;
    come_true_.WaitFor(&mu_, left);
  }
  return true;
}

void StoreShard::Stop() {
  if (!mailbox_.Close()) return;
  Ask([this](ShardCore* core) {
    core->Checkpoint(/*sync=*/true);
    mailbox_.Stop();
  });
  mailbox_.Wake();  // It is waited for here, not at the end of a turn.
  thread_.join();
}

}  // namespace falaj::storage
