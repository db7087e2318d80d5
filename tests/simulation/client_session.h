#ifndef TESTS_SIMULATION_CLIENT_SESSION_H_
#define TESTS_SIMULATION_CLIENT_SESSION_H_

#include <cstdint>
#include <functional>
#include <optional>

#include "falaj/v1/coordination_service.pb.h"

#include "libs/base/ids.h"
#include "tests/simulation/caller.h"
#include "tests/simulation/event_queue.h"
#include "tests/simulation/replay.h"

namespace falaj::simulation {

// ClientSession is a client's session: opened when it is needed, kept alive from then on, opened
// anew when it has ended. A client that falls silent (its process died) lets it expire.
class ClientSession {
 public:
  // Nothing is owned.
  ClientSession(const World& world, Caller* caller, SimTime timeout)
      : world_(world), caller_(caller), timeout_(timeout) {}

  // The session in use, or null while there is none; then one is being opened.
  const v1::SessionHandle* handle();
  SessionId id() const { return SessionId(handle_ ? handle_->session_id() : 0); }
  // Rises with every call within a session.
  uint64_t NextRequest() { return ++last_request_; }

  // The client was told that the session has ended.
  void Lost(SessionId session);
  // Forgets the session without a word.
  void FallSilent();

 private:
  void Open();
  void KeepLater();
  void Keep();

  const World world_;
  Caller* const caller_;
  const SimTime timeout_;
  std::optional<v1::SessionHandle> handle_;
  uint64_t last_request_ = 0;
  bool opening_ = false;
};

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_CLIENT_SESSION_H_
