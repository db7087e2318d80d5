// ReadDeadlines tells reads that have waited for news as long as they wanted to.
//
// Nearly every read that waits is woken by news long before, so what matters is what a deadline
// costs that never comes: here two entries in a tree under one lock. (An alarm of gRPC's costs the
// wake-up of a thread of gRPC's to cancel it.) The one thread sleeps until the earliest deadline
// there was when it fell asleep, or for ever if there was none.
//
// The storage server owns one. Threads: any. Whoever waits is told on the thread of this class, and
// must not block it. The destructor tells nobody.
#ifndef SERVICES_STORAGE_READ_DEADLINES_H_
#define SERVICES_STORAGE_READ_DEADLINES_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"

namespace falaj::storage {

class ReadDeadlines {
 public:
  class Waiting {
   public:
    virtual ~Waiting() = default;
    virtual void OnDeadline() = 0;  // Must not block.
  };

  ReadDeadlines() : thread_([this] { Run(); }) {}
  ~ReadDeadlines() {
    {
      MutexLock lock(&mu_);
      stopping_ = true;
    }
    changed_.NotifyAll();
    thread_.join();
  }
  ReadDeadlines(const ReadDeadlines&) = delete;
  ReadDeadlines& operator=(const ReadDeadlines&) = delete;

  // Tells `waiting` when `deadline` (of Clock::Real()) has passed, unless it is removed before.
  void Add(MonotonicTime deadline, const std::shared_ptr<Waiting>& waiting) {
    MutexLock lock(&mu_);
    waiting_.emplace(std::make_pair(deadline, waiting.get()), waiting);
    if (deadline >= sleeps_until_) return;
    sleeps_until_ = deadline;
    changed_.NotifyAll();
  }
  // It may be being told.
  void Remove(MonotonicTime deadline, Waiting* waiting) {
    MutexLock lock(&mu_);
    waiting_.erase({deadline, waiting});
  }

 private:
  static constexpr MonotonicTime kNever{std::numeric_limits<int64_t>::max()};

  void Run() {
    while (const std::shared_ptr<Waiting> late = AwaitOne()) late->OnDeadline();
  }
  // Null: stopping.
  std::shared_ptr<Waiting> AwaitOne() {
    MutexLock lock(&mu_);
    while (!stopping_) {
      const MonotonicTime now = Clock::Real()->MonotonicNow();
      if (!waiting_.empty() && waiting_.begin()->first.first <= now) {
        const std::shared_ptr<Waiting> late = waiting_.begin()->second.lock();
        waiting_.erase(waiting_.begin());
        if (late != nullptr) return late;
        continue;
      }
      sleeps_until_ = waiting_.empty() ? kNever : waiting_.begin()->first.first;
      if (sleeps_until_ == kNever) {
        changed_.Wait(&mu_);
      } else {
        changed_.WaitFor(&mu_, sleeps_until_ - now);
      }
    }
    return nullptr;
  }

  Mutex mu_;
  CondVar changed_;
  absl::btree_map<std::pair<MonotonicTime, Waiting*>, std::weak_ptr<Waiting>> waiting_
      ABSL_GUARDED_BY(mu_);
  MonotonicTime sleeps_until_ ABSL_GUARDED_BY(mu_);  // In the past: awake.
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // Last.
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_READ_DEADLINES_H_
