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
// not used is saved for a tenth of a second.
//
// A leader's replica streams share one, for what followers that lag read from its disk, so that
// live traffic keeps the disk's better part. Threads: any.
class RateLimit {
 public:
  // 0: no limit.
  explicit RateLimit(int64_t bytes_per_second) : bytes_per_second_(bytes_per_second) {}

  [[nodiscard]] bool MayBegin(MonotonicTime now) {
    if (bytes_per_second_ == 0) return true;
    MutexLock lock(&mu_);
    const double rate = static_cast<double>(bytes_per_second_);
    if (now.ns > filled_.ns) {
      balance_ = std::min(balance_ + rate * absl::ToDoubleSeconds(now - filled_), rate / 10);
      filled_ = now;
    }
    return balance_ > 0;
  }
  void Charge(int64_t bytes) {
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
