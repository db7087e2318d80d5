// ByteBudget bounds the bytes a producer holds: Acquire() blocks, or refuses, while the limit is
// reached. A request larger than the whole budget is let through alone, so that nothing waits for
// ever.
//
// Threads: any.
#ifndef LIBS_CLIENT_BYTE_BUDGET_H_
#define LIBS_CLIENT_BYTE_BUDGET_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"

namespace falaj::client {

class ByteBudget {
 public:
  explicit ByteBudget(int64_t limit) : limit_(limit) {}

  bool TryAcquire(int64_t bytes) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return TakeIfRoom(bytes);
  }
  // Returns false if there was no room in time.
  bool Acquire(int64_t bytes, absl::Duration timeout, const Clock* clock) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    if (TakeIfRoom(bytes)) return true;
    const MonotonicTime deadline = clock->MonotonicNow() + timeout;
    ++waiters_;
    bool taken = false;
    while (!taken) {
      const absl::Duration left = deadline - clock->MonotonicNow();
      if (left <= absl::ZeroDuration()) break;
      room_.WaitFor(&mu_, left);
      taken = TakeIfRoom(bytes);
    }
    --waiters_;
    return taken;
  }
  void Release(int64_t bytes) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    used_ -= bytes;
    if (waiters_ > 0) room_.NotifyAll();
  }
  int64_t used() const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return used_;
  }

 private:
  bool TakeIfRoom(int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (used_ > 0 && used_ + bytes > limit_) return false;
    used_ += bytes;
    return true;
  }

  const int64_t limit_;
  mutable Mutex mu_;
  CondVar room_;
  int waiters_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t used_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace falaj::client

#endif  // LIBS_CLIENT_BYTE_BUDGET_H_
