// OpenCalls are the calls of a server that would go on for ever, or for long: streams and long
// polls. A server that stops asks each of them to end, so that clients hear why, and at once,
// instead of being cut off when the grace is over.
//
//   class Watch : public grpc::ServerWriteReactor<...>, public rpc::StoppableCall { ... };
//   calls->Add(this);     // Before gRPC sees the reactor.
//   calls->Remove(this);  // In OnDone(), before it is deleted, with no lock of its own held.
//   calls->StopAll();     // Before ServerHost::Stop().
//
// Threads: any. The lock is held while Stop() runs, so that nobody is deleted meanwhile: Stop()
// takes the call's own lock inside it, and never the other way round.
#ifndef LIBS_RPC_OPEN_CALLS_H_
#define LIBS_RPC_OPEN_CALLS_H_

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"

#include "libs/base/mutex.h"

namespace falaj::rpc {

class StoppableCall {
 public:
  // Ends the call with SHUTTING_DOWN once what it has begun is answered; takes nothing new. Must
  // not block. May be called before the reactor has been given to gRPC.
  virtual void Stop() = 0;

 protected:
  ~StoppableCall() = default;
};

class OpenCalls {
 public:
  void Add(StoppableCall* call) {
    MutexLock lock(&mu_);
    calls_.insert(call);
    if (stopping_) call->Stop();
  }
  void Remove(StoppableCall* call) {
    MutexLock lock(&mu_);
    calls_.erase(call);
  }
  // Of those that come later, too.
  void StopAll() {
    MutexLock lock(&mu_);
    stopping_ = true;
    for (StoppableCall* call : calls_) call->Stop();
  }

 private:
  Mutex mu_;
  absl::flat_hash_set<StoppableCall*> calls_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace falaj::rpc

#endif  // LIBS_RPC_OPEN_CALLS_H_
