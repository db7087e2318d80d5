// ByteBudget counts the bytes a gateway holds for its clients and tells streams when to stop
// reading.
//
// What has arrived is always counted, even above the limit: refusing it would lose it. The limit
// works by withholding the next read: a stream that finds the budget exceeded() asks to be called
// once there is room, and HTTP/2 flow control stops its sender meanwhile. So the overshoot is at
// most one message a stream.
//
// Threads: any. Callbacks run on the thread that made room, with no lock held.
#ifndef SERVICES_GATEWAY_BYTE_BUDGET_H_
#define SERVICES_GATEWAY_BYTE_BUDGET_H_

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "libs/base/mutex.h"

namespace falaj::gateway {

class ByteBudget {
 public:
  explicit ByteBudget(int64_t limit_bytes) : limit_bytes_(limit_bytes) {}

  void Add(int64_t bytes) {
    MutexLock lock(&mu_);
    used_bytes_ += bytes;
  }

  void Remove(int64_t bytes) {
    std::vector<std::function<void()>> waiters;
    {
      MutexLock lock(&mu_);
      used_bytes_ -= bytes;
      if (used_bytes_ < limit_bytes_) waiters = std::exchange(waiters_, {});
    }
    for (const auto& waiter : waiters) waiter();
  }

  // True if there is room. Otherwise `resume` is called, once, when there is.
  bool HasRoomOrWait(std::function<void()> resume) {
    MutexLock lock(&mu_);
    if (used_bytes_ < limit_bytes_) return true;
    waiters_.push_back(std::move(resume));
    return false;
  }

  bool full() const {
    MutexLock lock(&mu_);
    return used_bytes_ >= limit_bytes_;
  }
  int64_t used_bytes() const {
    MutexLock lock(&mu_);
    return used_bytes_;
  }

 private:
  const int64_t limit_bytes_;
  mutable Mutex mu_;
  int64_t used_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<std::function<void()>> waiters_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_BYTE_BUDGET_H_
