// RetryTimers runs functions on one of gRPC's threads after a while, and can be closed: whoever
// waits for a second attempt must not outlive the gateway.
//
// The server owns one; streams and appenders reach it through GatewayParts. Threads: any. A
// function runs with no lock held and must not call Close().
//
// Close() runs what is waiting at once and waits until it has returned; from then on RunAfter()
// refuses. Callers take a refusal as "no second attempt" and answer what they hold.
#ifndef SERVICES_GATEWAY_RETRY_TIMER_H_
#define SERVICES_GATEWAY_RETRY_TIMER_H_

#include <grpcpp/alarm.h>

#include <functional>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"

namespace falaj::gateway {

class RetryTimers {
 public:
  RetryTimers() = default;
  ~RetryTimers() { Close(); }
  RetryTimers(const RetryTimers&) = delete;
  RetryTimers& operator=(const RetryTimers&) = delete;

  // Runs `run` once, after `delay` or when Close() is called. False: closed, `run` never runs.
  bool RunAfter(absl::Duration delay, std::function<void()> run) {
    auto timer = std::make_unique<Timer>();
    Timer* const raw = timer.get();
    raw->run = std::move(run);
    MutexLock lock(&mu_);
    if (closed_) return false;
    waiting_[raw] = std::move(timer);
    // Under the lock, so that Close() finds no alarm that is not set. Alarms fire on a thread of
    // gRPC's, never inside Set() or Cancel().
    raw->alarm.Set(absl::ToChronoTime(Clock::Real()->Now() + delay),
                   [this, raw](bool /*fired*/) { Fire(raw); });
    return true;
  }

  bool closed() const {
    MutexLock lock(&mu_);
    return closed_;
  }

  void Close() {
    MutexLock lock(&mu_);
    closed_ = true;
    for (const auto& [raw, timer] : waiting_) timer->alarm.Cancel();
    while (!waiting_.empty() || running_ > 0) idle_.Wait(&mu_);
  }

 private:
  struct Timer {
    grpc::Alarm alarm;
    std::function<void()> run;
  };

  void Fire(Timer* raw) {
    std::unique_ptr<Timer> timer;
    {
      MutexLock lock(&mu_);
      const auto it = waiting_.find(raw);
      timer = std::move(it->second);
      waiting_.erase(it);
      ++running_;
    }
    timer->run();
    timer.reset();
    MutexLock lock(&mu_);
    --running_;
    idle_.NotifyAll();
  }

  mutable Mutex mu_;
  CondVar idle_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  int running_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_map<Timer*, std::unique_ptr<Timer>> waiting_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_RETRY_TIMER_H_
