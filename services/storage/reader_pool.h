// ReaderPool runs what must read the disk, so that neither a gRPC thread nor an appender does.
//
// The storage server owns one for all its shards, one that never blocks, and one for followers that
// lag, which keeps to a pace and stands behind everything else that wants the processor. Work
// beyond the bound of the queue is refused, never blocked on. The destructor runs what is queued,
// at no pace, then returns.
//
// Threads: Run() from any.
#ifndef SERVICES_STORAGE_READER_POOL_H_
#define SERVICES_STORAGE_READER_POOL_H_

#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "libs/base/clock.h"
#include "libs/base/log.h"
#include "libs/base/mutex.h"
#include "services/storage/rate_limit.h"

namespace falaj::storage {

class ReaderPool {
 public:
  ReaderPool(int threads, size_t queue_max) : ReaderPool(threads, queue_max, nullptr) {}
  // One thread, in the background, that begins no work before `pace` allows it; the work charges
  // it. Not owned; outlives this.
  ReaderPool(RateLimit* pace, size_t queue_max) : ReaderPool(1, queue_max, pace) {}
  ~ReaderPool() {
    {
      MutexLock lock(&mu_);
      stopping_ = true;
    }
    filled_.NotifyAll();
    for (std::thread& thread : threads_) thread.join();
  }
  ReaderPool(const ReaderPool&) = delete;
  ReaderPool& operator=(const ReaderPool&) = delete;

  // Returns false if the queue is full.
  bool Run(std::function<void()> work) {
    {
      MutexLock lock(&mu_);
      if (queue_.size() >= queue_max_) return false;
      queue_.push_back(std::move(work));
    }
    filled_.NotifyOne();
    return true;
  }

  // Lowers the priority of the calling thread, for good: a quarter of the weight of one that
  // serves. On Linux a nice value is a thread's own.
  static void StepBack() {
    if (setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), 6) == 0) return;
    log::Warning("cannot lower the priority of a thread that reads in the background",
                 {{"errno", errno}});
  }

 private:
  ReaderPool(int threads, size_t queue_max, RateLimit* pace) : queue_max_(queue_max), pace_(pace) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
  }

  void Work() {
    if (pace_ != nullptr) StepBack();
    while (true) {
      std::function<void()> work;
      {
        MutexLock lock(&mu_);
        while (queue_.empty() && !stopping_) filled_.Wait(&mu_);
        if (queue_.empty()) return;
        if (pace_ != nullptr) AwaitPace();
        work = std::move(queue_.front());
        queue_.pop_front();
      }
      work();
    }
  }

  void AwaitPace() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    while (!stopping_) {
      const absl::Duration wait = pace_->UntilMayBegin(Clock::Real()->MonotonicNow());
      if (wait <= absl::ZeroDuration()) return;
      filled_.WaitFor(&mu_, wait);
    }
  }

  const size_t queue_max_;
  RateLimit* const pace_;  // Null: as fast as it goes.
  Mutex mu_;
  CondVar filled_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mu_);
  std::vector<std::thread> threads_;
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_READER_POOL_H_
