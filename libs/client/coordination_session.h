// CoordinationSession is a session of CoordinationService that stays alive as long as this object:
// a thread of its own sends a sign of life every quarter of the timeout.
//
//   live ── SESSION_EXPIRED, or no answer to any sign of life sent within the timeout ──▶ lost
//     └── Close() ──▶ closed
//
// Lost is counted from when the last answered sign of life was *sent*, by this machine's clock. The
// service counts from when it came, so it never ends a session that is not lost here already (as
// long as the clocks run at about the same speed). What must stop when the session ends can rely on
// that: it is told no later than anybody else could take over. Lost is for good, even if the
// service turns out to know the session still.
//
// Ownership: uses a Coordination it does not own, which outlives it. The destructor closes.
// Threads: all methods from any thread. The callback runs once, on the session's thread, with no
// lock held; it must not destroy the session.
#ifndef LIBS_CLIENT_COORDINATION_SESSION_H_
#define LIBS_CLIENT_COORDINATION_SESSION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "falaj/v1/coordination_service.pb.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/client/coordination.h"

namespace falaj::client {

class CoordinationSession {
 public:
  struct Options {
    absl::Duration timeout = absl::Seconds(10);  // 1 s to 10 min.
    // Told when the session is lost, and why.
    std::function<void(const absl::Status&)> on_lost;
  };

  static absl::StatusOr<std::unique_ptr<CoordinationSession>> Open(Coordination* coordination,
                                                                   Options options);
  ~CoordinationSession();
  CoordinationSession(const CoordinationSession&) = delete;
  CoordinationSession& operator=(const CoordinationSession&) = delete;

  int64_t id() const { return handle_.session_id(); }
  const v1::SessionHandle& handle() const { return handle_; }
  absl::Duration timeout() const { return timeout_; }  // In force.
  Coordination* coordination() const { return coordination_; }

  // For one write: the session and a request id of its own. A write that is repeated after an
  // error must carry the same options again.
  v1::WriteOptions NextWrite();

  // OK while live; why it is lost afterwards.
  absl::Status status() const;
  // Waits until the session is lost or closed, at most `limit`. True if it is.
  bool WaitUntilEnded(absl::Duration limit);

  // Ends the session, and with it all its ephemeral znodes and candidacies. If the service cannot
  // be reached, its own clock ends the session.
  absl::Status Close();

 private:
  CoordinationSession(Coordination* coordination, Options options,
                      const v1::OpenSessionResponse& opened, MonotonicTime sent);

  void KeepAlive();
  // One sign of life. Returns how long to wait before the next one.
  absl::Duration SendSign();
  void Lose(const absl::Status& why);

  Coordination* const coordination_;
  const Options options_;
  const v1::SessionHandle handle_;
  const absl::Duration timeout_;

  mutable Mutex mu_;
  CondVar changed_;
  uint64_t next_request_id_ ABSL_GUARDED_BY(mu_) = 1;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status lost_ ABSL_GUARDED_BY(mu_);       // OK: not lost.
  MonotonicTime answered_ ABSL_GUARDED_BY(mu_);  // When the last answered sign was sent.
  std::thread thread_;
};

}  // namespace falaj::client

#endif  // LIBS_CLIENT_COORDINATION_SESSION_H_
