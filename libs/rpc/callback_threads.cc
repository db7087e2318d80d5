#include "libs/rpc/callback_threads.h"

#include <grpc/grpc.h>
#include <grpc/support/time.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/version_info.h>
#include <pthread.h>

#include <algorithm>
#include <optional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/turn.h"

#if GRPC_CPP_VERSION_MAJOR != 1 || GRPC_CPP_VERSION_MINOR != 51
#error "Look whether this gRPC still needs, and still has, what is replaced here."
#endif

namespace falaj::rpc {
namespace {

constexpr unsigned kThreadsMax = 16;
// How long others may wait for the end of a turn: some messages. What is behind them does not delay
// what is done.
constexpr absl::Duration kTurnMax = absl::Microseconds(200);

struct CallbackQueue {
  Mutex mu;
  grpc::CompletionQueue* queue ABSL_GUARDED_BY(mu) = nullptr;
};

CallbackQueue* GetCallbackQueue() {
  static auto* const queue = new CallbackQueue;  // As long as its threads.
  return queue;
}

// As gRPC does it: the functor is the whole of the event, the C++ side is finished by it.
void RunCallbacks(grpc_completion_queue* queue) {
  pthread_setname_np(pthread_self(), "falaj-rpc");
  Clock* const clock = Clock::Real();
  while (true) {
    Turn turn;
    std::optional<MonotonicTime> end;  // Once somebody waits for it.
    do {
      // Then it looks for more, but does not wait for it.
      const gpr_timespec deadline =
          turn.empty() ? gpr_inf_future(GPR_CLOCK_MONOTONIC) : gpr_inf_past(GPR_CLOCK_MONOTONIC);
      const grpc_event event = grpc_completion_queue_next(queue, deadline, nullptr);
      if (event.type != GRPC_OP_COMPLETE) break;
      auto* const functor = static_cast<grpc_completion_queue_functor*>(event.tag);
      functor->functor_run(functor, event.success);
      if (!end.has_value() && !turn.empty()) end = clock->MonotonicNow() + kTurnMax;
    } while (!end.has_value() || clock->MonotonicNow() < *end);
  }
}

grpc::CompletionQueue* GetOrStart() {
  CallbackQueue* const shared = GetCallbackQueue();
  MutexLock lock(&shared->mu);
  if (shared->queue != nullptr) return shared->queue;
  shared->queue = new grpc::CompletionQueue;
  const unsigned count = std::clamp(std::thread::hardware_concurrency() / 2, 1U, kThreadsMax);
  for (unsigned i = 0; i < count; ++i) {
    std::thread([queue = shared->queue->cq()] { RunCallbacks(queue); }).detach();
  }
  return shared->queue;
}

}  // namespace

void StartCallbackThreads() { GetOrStart(); }

}  // namespace falaj::rpc

namespace grpc {

CompletionQueue* CompletionQueue::CallbackAlternativeCQ() { return falaj::rpc::GetOrStart(); }

void CompletionQueue::ReleaseCallbackAlternativeCQ(CompletionQueue* /*cq*/) {}

}  // namespace grpc
