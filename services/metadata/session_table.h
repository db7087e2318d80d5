#ifndef SERVICES_METADATA_SESSION_TABLE_H_
#define SERVICES_METADATA_SESSION_TABLE_H_

#include <map>
#include <vector>

#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"

namespace falaj::metadata {

// SessionTable tells the leader which sessions have gone without a heartbeat for too long.
//
// RaftNode keeps it in step with the cluster state: every session of the state is in it, with a
// full timeout when this node becomes leader. An expired session is only *reported*; it ends when
// the EndSession entry that RaftNode then proposes is applied.
//
// Threads: none; one thread at a time. Times are arguments.
class SessionTable {
 public:
  // A session begins, or begins anew with a full timeout.
  void Put(SessionId session, absl::Duration timeout, MonotonicTime now);
  // Forgets every session that is not in `alive`.
  void RemoveAllBut(const std::vector<SessionId>& alive);
  void Clear() { sessions_.clear(); }
  size_t size() const { return sessions_.size(); }

  // A heartbeat has come. False if the session is unknown or was reported as expired.
  bool Touch(SessionId session, MonotonicTime now);
  // Sessions whose time is over, each reported once.
  std::vector<SessionId> TakeExpired(MonotonicTime now);
  // The reported session could not be ended (the proposal was refused): report it again.
  void PutBack(SessionId session);
  // This process stood still for so long: heartbeats may be waiting in its sockets, so everybody
  // gets that time on top.
  void Extend(absl::Duration pause);

 private:
  struct Session {
    absl::Duration timeout;
    MonotonicTime deadline;
    bool reported = false;
  };
  std::map<SessionId, Session> sessions_;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_SESSION_TABLE_H_
