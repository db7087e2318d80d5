#include "services/storage/shard_mailbox.h"

#include <cstdint>
#include <iterator>
#include <utility>

namespace falaj::storage {
namespace {

// Of the catch-up lane in one turn, or one task: what a live batch waits for at most.
constexpr int64_t kLaggingBytesMax = int64_t{256} << 10;

}  // namespace

bool ShardMailbox::PutAppend(AppendTask task) {
  MutexLock lock(&mu_);
  if (closed_) return false;
  items_.emplace_back(std::move(task));
  return true;
}

bool ShardMailbox::PutLagging(ReplicateTask task) {
  MutexLock lock(&mu_);
  if (stopping_) return false;
  lagging_.push_back(std::move(task));
  return true;
}

bool ShardMailbox::Put(ShardItem item) {
  MutexLock lock(&mu_);
  if (stopping_) return false;
  items_.push_back(std::move(item));
  return true;
}

bool ShardMailbox::PutAll(std::vector<ProgressTask> tasks) {
  MutexLock lock(&mu_);
  if (stopping_) return false;
  for (ProgressTask& task : tasks) items_.emplace_back(std::move(task));
  return true;
}

void ShardMailbox::Wake() { wake_.NotifyOne(); }

bool ShardMailbox::TakeAll(std::vector<ShardItem>* items) {
  MutexLock lock(&mu_);
  while (baton_taken_ || (IsEmpty() && !stopping_)) wake_.Wait(&mu_);
  baton_taken_ = true;
  if (abandoned_ || (items_.empty() && stopping_)) return false;
  items->swap(items_);
  // What is live waits for no more than this, however many leaders this node copies from. A task is
  // never taken before what came before it, and may be taken after what came later: the attach id
  // tells if that has made it void.
  for (int64_t bytes = 0; !lagging_.empty() && bytes < kLaggingBytesMax; lagging_.pop_front()) {
    bytes += lagging_.front().bytes;
    items->emplace_back(std::move(lagging_.front()));
  }
  return true;
}

bool ShardMailbox::TryTakeAll(std::vector<ShardItem>* items) {
  MutexLock lock(&mu_);
  if (baton_taken_ || IsEmpty() || abandoned_) return false;
  if (!lagging_.empty()) {
    wake_.NotifyOne();
    return false;
  }
  baton_taken_ = true;
  items->swap(items_);
  return true;
}

void ShardMailbox::PutBack(std::vector<ShardItem>* items) {
  MutexLock lock(&mu_);
  if (items_.empty()) return items_.swap(*items);
  items_.insert(items_.begin(), std::make_move_iterator(items->begin()),
                std::make_move_iterator(items->end()));
  items->clear();
}

void ShardMailbox::Pass() {
  {
    MutexLock lock(&mu_);
    baton_taken_ = false;
    if (IsEmpty() && !stopping_) return;
  }
  wake_.NotifyOne();
}

bool ShardMailbox::Close() {
  MutexLock lock(&mu_);
  return !std::exchange(closed_, true);
}

void ShardMailbox::Stop() {
  MutexLock lock(&mu_);
  closed_ = stopping_ = true;
}

void ShardMailbox::Abandon() {
  {
    MutexLock lock(&mu_);
    closed_ = stopping_ = abandoned_ = true;
  }
  wake_.NotifyOne();
}

}  // namespace falaj::storage
