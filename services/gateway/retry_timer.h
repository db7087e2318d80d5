// RunAfter() runs a function on one of gRPC's threads after a while. It cannot be taken back: the
// function must keep alive what it needs and check whether it still matters.
#ifndef SERVICES_GATEWAY_RETRY_TIMER_H_
#define SERVICES_GATEWAY_RETRY_TIMER_H_

#include <grpcpp/alarm.h>

#include <functional>
#include <memory>
#include <utility>

#include "absl/time/time.h"

#include "libs/base/clock.h"

namespace falaj::gateway {

inline void RunAfter(absl::Duration delay, std::function<void()> run) {
  auto alarm = std::make_shared<grpc::Alarm>();
  grpc::Alarm* const raw = alarm.get();
  // The callback owns the alarm and the alarm the callback: taking the alarm out when it fires ends
  // the cycle.
  raw->Set(absl::ToChronoTime(Clock::Real()->Now() + delay),
           [alarm = std::move(alarm), run = std::move(run)](bool /*fired*/) mutable {
             const std::shared_ptr<grpc::Alarm> last = std::move(alarm);
             std::exchange(run, nullptr)();
           });
}

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_RETRY_TIMER_H_
