// ByteBudget bounds the bytes that requests may hold in memory at the same time.
//
// Bytes are taken without waiting and may go over the limit once, by the message that has already
// arrived; who takes asks over_limit() before inviting more, and leaves a callback to be told when
// there is room again. That is how a gRPC stream stops reading without losing what it has read.
//
// Threads: any. Callbacks run on the thread that gives bytes back, outside the lock; they must not
// block.
#ifndef SERVICES_STORAGE_BYTE_BUDGET_H_
#define SERVICES_STORAGE_BYTE_BUDGET_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "libs/base/mutex.h"

namespace falaj::storage {

class ByteBudget {
 public:
  explicit ByteBudget(int64_t limit_bytes) : limit_bytes_(limit_bytes) {}

  void Take(int64_t bytes) { used_.fetch_add(bytes); }
  // Takes only if it stays within the limit, or if nothing is in use.
  bool TryTake(int64_t bytes) {
    const int64_t before = used_.fetch_add(bytes);
    if (before == 0 || before + bytes <= limit_bytes_) return true;
    Give(bytes);
    return false;
  }
  void Give(int64_t bytes) {
    const int64_t left = used_.fetch_sub(bytes) - bytes;
    if (left < limit_bytes_ && waiting_.load()) Tell();
  }

  bool over_limit() const { return used_.load() >= limit_bytes_; }
  int64_t used_bytes() const { return used_.load(); }

  // Returns false if there is room now; else `resume` will be called once, when there is.
  bool WaitForRoom(std::function<void()> resume) {
    MutexLock lock(&mu_);
    waiting_.store(true);  // Before the check: a Give() after it will look.
    if (!over_limit()) {
      if (callbacks_.empty()) waiting_.store(false);
      return false;
    }
    callbacks_.push_back(std::move(resume));
    return true;
  }

 private:
  void Tell() {
    std::vector<std::function<void()>> ready;
    {
      MutexLock lock(&mu_);
      ready.swap(callbacks_);
      waiting_.store(false);
    }
    for (const std::function<void()>& resume : ready) resume();
  }

  const int64_t limit_bytes_;
  std::atomic<int64_t> used_ = 0;
  std::atomic<bool> waiting_ = false;
  Mutex mu_;
  std::vector<std::function<void()>> callbacks_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_BYTE_BUDGET_H_
