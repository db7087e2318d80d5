#ifndef SERVICES_STORAGE_RATE_LIMIT_H_
#define SERVICES_STORAGE_RATE_LIMIT_H_

#include <algorithm>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"

namespace falaj::storage {

// RateLimit is so many bytes a second for work whose size is known only when it is done: whoever
// begins finds the account above zero and is charged afterwards, which may leave it below. What is
// not used is saved for 20 ms only, so that the pace is even. Work that never ends unless it is
// faster than something else earns what that takes on top.
//
// A leader's replica streams share one, for what followers that lag read from its disk, so that
// live traffic keeps the better part of disk and processor; what is produced earns as much.
// Threads: any.
class RateLimit {
 public:
  // 0: no limit.
  explicit RateLimit(int64_t bytes_per_second) : bytes_per_second_(bytes_per_second) {}

  // How long to wait before beginning; zero: begin.
  [[nodiscard]] absl::Duration UntilMayBegin(MonotonicTime now) {
    if (bytes_per_second_ == 0) return absl::ZeroDuration();
    MutexLock lock(&mu_);
    const double rate = static_cast<double>(bytes_per_second_);
    if (now.ns > filled_.ns) {
      balance_ = std::min(balance_ + rate * absl::ToDoubleSeconds(now - filled_), rate / 50);
      filled_ = now;
    }
    if (balance_ > 0) return absl::ZeroDuration();
    // At least as long as it takes to earn a byte: else rounding would have it asked at once.
    return absl::Seconds((1 - balance_) / rate);
  }
  void Earn(int64_t bytes) { Charge(-bytes); }
  void Charge(int64_t bytes) {
    if (bytes_per_second_ == 0) return;
    MutexLock lock(&mu_);
    balance_ -= static_cast<double>(bytes);
  }

 private:
  const int64_t bytes_per_second_;
  Mutex mu_;
  double balance_ ABSL_GUARDED_BY(mu_) = 0;
  MonotonicTime filled_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_RATE_LIMIT_H_
