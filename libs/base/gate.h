// Gate answers the two questions of a shutdown: how do we stop new work from coming in, and when is
// the work that had come in finished? Work enters through Enter() and leaves when its Pass is
// destroyed; Close() refuses further entries and waits for the passes that are out.
//
//   if (auto pass = gate.Enter()) { ... }   else return MakeError(Reason::kShuttingDown, ...);
//
// Threads: any. Close() must not be called by a holder of a Pass (it would wait for itself).
#ifndef LIBS_BASE_GATE_H_
#define LIBS_BASE_GATE_H_

#include <cstdint>
#include <utility>

#include "absl/base/thread_annotations.h"

#include "libs/base/mutex.h"

namespace falaj {

class Gate {
 public:
  class Pass {
   public:
    Pass() = default;
    Pass(Pass&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Pass& operator=(Pass&& other) noexcept {
      std::swap(gate_, other.gate_);
      return *this;
    }
    ~Pass() {
      if (gate_ != nullptr) gate_->Leave();
    }
    explicit operator bool() const { return gate_ != nullptr; }

   private:
    friend class Gate;
    explicit Pass(Gate* gate) : gate_(gate) {}
    Gate* gate_ = nullptr;
  };

  // Returns an empty Pass once the gate is closed.
  [[nodiscard]] Pass Enter() {
    MutexLock lock(&mu_);
    if (closed_) return Pass();
    ++inside_;
    return Pass(this);
  }
  // Refuses new entries and blocks until everybody inside has left. May be called again.
  void Close() {
    MutexLock lock(&mu_);
    closed_ = true;
    while (inside_ > 0) empty_.Wait(&mu_);
  }

 private:
  void Leave() {
    MutexLock lock(&mu_);
    if (--inside_ == 0) empty_.NotifyAll();
  }

  Mutex mu_;
  CondVar empty_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  int64_t inside_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace falaj

#endif  // LIBS_BASE_GATE_H_
