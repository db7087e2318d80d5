#include "libs/rpc/callback_threads.h"

#include <grpc/grpc.h>
#include <grpc/support/time.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/version_info.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <list>
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

// One thread that runs callbacks.
struct CallbackThread {
  std::atomic<bool> replaced = false;    // Another one has taken its place.
  std::optional<MonotonicTime> blocked;  // Since when it has been at something that may block.
};

struct CallbackQueue {
  Mutex mu;
  grpc::CompletionQueue* queue ABSL_GUARDED_BY(mu) = nullptr;
  std::list<CallbackThread> threads ABSL_GUARDED_BY(mu);
};

CallbackQueue* GetCallbackQueue() {
  static auto* const queue = new CallbackQueue;  // As long as its threads.
  return queue;
}

// This thread, if it runs callbacks; it belongs to the queue, `blocked` to the queue's mutex.
thread_local CallbackThread* this_thread = nullptr;

// As gRPC does it: the functor is the whole of the event, the C++ side is finished by it.
void RunTurn(const CallbackThread& thread, grpc_completion_queue* queue, const Clock& clock) {
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
    if (!end.has_value() && !turn.empty()) end = clock.MonotonicNow() + kTurnMax;
  } while (!thread.replaced.load() && (!end.has_value() || clock.MonotonicNow() < *end));
}

void RunCallbacks(CallbackQueue* shared, std::list<CallbackThread>::iterator thread,
                  grpc_completion_queue* queue) {
  pthread_setname_np(pthread_self(), "falaj-rpc");
  this_thread = &*thread;
  while (!thread->replaced.load()) RunTurn(*thread, queue, *Clock::Real());
  MutexLock lock(&shared->mu);
  shared->threads.erase(thread);
}

void StartThread(CallbackQueue* shared) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shared->mu) {
  const auto thread = shared->threads.emplace(shared->threads.end());
  grpc_completion_queue* const queue = shared->queue->cq();
  std::thread([shared, thread, queue] { RunCallbacks(shared, thread, queue); }).detach();
}

grpc::CompletionQueue* GetOrStart() {
  CallbackQueue* const shared = GetCallbackQueue();
  MutexLock lock(&shared->mu);
  if (shared->queue != nullptr) return shared->queue;
  shared->queue = new grpc::CompletionQueue;
  const unsigned count = std::clamp(std::thread::hardware_concurrency() / 2, 1U, kThreadsMax);
  for (unsigned i = 0; i < count; ++i) StartThread(shared);
  return shared->queue;
}

}  // namespace

void StartCallbackThreads() { GetOrStart(); }

MayBlock::MayBlock() {
  if (this_thread == nullptr) return;
  const MonotonicTime now = Clock::Real()->MonotonicNow();
  MutexLock lock(&GetCallbackQueue()->mu);
  this_thread->blocked = now;
}

MayBlock::~MayBlock() {
  if (this_thread == nullptr) return;
  MutexLock lock(&GetCallbackQueue()->mu);
  this_thread->blocked.reset();
}

int ReplaceHeldUp(absl::Duration limit) {
  const MonotonicTime now = Clock::Real()->MonotonicNow();
  CallbackQueue* const shared = GetCallbackQueue();
  MutexLock lock(&shared->mu);
  int held_up = 0;
  for (CallbackThread& thread : shared->threads) {
    if (!thread.blocked.has_value() || now - *thread.blocked < limit) continue;
    if (!thread.replaced.exchange(true)) ++held_up;
  }
  for (int i = 0; i < held_up; ++i) StartThread(shared);
  return held_up;
}

}  // namespace falaj::rpc

namespace grpc {

CompletionQueue* CompletionQueue::CallbackAlternativeCQ() { return falaj::rpc::GetOrStart(); }

void CompletionQueue::ReleaseCallbackAlternativeCQ(CompletionQueue* /*cq*/) {}

}  // namespace grpc
