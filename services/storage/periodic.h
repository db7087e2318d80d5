// Periodic runs a piece of work again and again on a thread of its own, with a pause in between,
// until it is stopped; Stop() and the destructor wait for the work under way.
//
// With a longer pause for idle times the work comes that seldom unless Nudge() says that there is
// some: then a whole number of short pauses after the last one, so that what else comes up
// meanwhile is done with it.
//
// Threads: any.
#ifndef SERVICES_STORAGE_PERIODIC_H_
#define SERVICES_STORAGE_PERIODIC_H_

#include <functional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"

namespace falaj::storage {

class Periodic {
 public:
  Periodic(absl::Duration pause, std::function<void()> work)
      : Periodic(pause, pause, std::move(work)) {}
  Periodic(absl::Duration pause, absl::Duration idle_pause, std::function<void()> work)
      : pause_(pause),
        idle_pause_(idle_pause),
        work_(std::move(work)),
        thread_([this] { Run(); }) {}
  ~Periodic() { Stop(); }
  Periodic(const Periodic&) = delete;
  Periodic& operator=(const Periodic&) = delete;

  // There is work. Does nothing after Stop().
  void Nudge() {
    MutexLock lock(&mu_);
    if (!std::exchange(nudged_, true)) changed_.NotifyAll();
  }

  // Idempotent, but by one thread.
  void Stop() {
    {
      MutexLock lock(&mu_);
      stopping_ = true;
    }
    changed_.NotifyAll();
    if (thread_.joinable()) thread_.join();
  }

 private:
  void Run() {
    while (true) {
      work_();
      const MonotonicTime done = Clock::Real()->MonotonicNow();
      const auto passed = [done] { return Clock::Real()->MonotonicNow() - done; };
      MutexLock lock(&mu_);
      while (!stopping_ && !nudged_ && passed() < idle_pause_) {
        changed_.WaitFor(&mu_, idle_pause_ - passed());
      }
      // A spurious wake-up only makes the work come early.
      if (!stopping_ && nudged_) changed_.WaitFor(&mu_, pause_ - passed() % pause_);
      if (stopping_) return;
      nudged_ = false;
    }
  }

  const absl::Duration pause_;
  const absl::Duration idle_pause_;
  const std::function<void()> work_;
  Mutex mu_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool nudged_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // Last.
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_PERIODIC_H_
