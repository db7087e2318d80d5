// ReaderPool runs what must read the disk, so that neither a gRPC thread nor an appender does.
//
// The storage server owns one for all its shards. Work beyond the bound of the queue is refused,
// never blocked on. The destructor runs what is queued, then returns.
//
// Threads: Run() from any.
#ifndef SERVICES_STORAGE_READER_POOL_H_
#define SERVICES_STORAGE_READER_POOL_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "libs/base/mutex.h"

namespace falaj::storage {

class ReaderPool {
 public:
  ReaderPool(int threads, size_t queue_max) : queue_max_(queue_max) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
  }
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

 private:
  void Work() {
    while (true) {
      std::function<void()> work;
      {
        MutexLock lock(&mu_);
        while (queue_.empty() && !stopping_) filled_.Wait(&mu_);
        if (queue_.empty()) return;
        work = std::move(queue_.front());
        queue_.pop_front();
      }
      work();
    }
  }

  const size_t queue_max_;
  Mutex mu_;
  CondVar filled_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mu_);
  std::vector<std::thread> threads_;
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_READER_POOL_H_
