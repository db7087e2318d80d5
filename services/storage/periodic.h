// Periodic runs a piece of work again and again on a thread of its own, with a pause in between,
// until it is destroyed; the destructor waits for the work under way.
#ifndef SERVICES_STORAGE_PERIODIC_H_
#define SERVICES_STORAGE_PERIODIC_H_

#include <functional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

#include "libs/base/mutex.h"

namespace falaj::storage {

class Periodic {
 public:
  Periodic(absl::Duration pause, std::function<void()> work)
      : pause_(pause), work_(std::move(work)), thread_([this] { Run(); }) {}
  ~Periodic() {
    {
      MutexLock lock(&mu_);
      stopping_ = true;
    }
    stop_.NotifyAll();
    thread_.join();
  }
  Periodic(const Periodic&) = delete;
  Periodic& operator=(const Periodic&) = delete;

 private:
  void Run() {
    while (true) {
      work_();
      MutexLock lock(&mu_);
      // A spurious wake-up only makes the work come early.
      if (!stopping_) stop_.WaitFor(&mu_, pause_);
      if (stopping_) return;
    }
  }

  const absl::Duration pause_;
  const std::function<void()> work_;
  Mutex mu_;
  CondVar stop_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // Last.
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_PERIODIC_H_
