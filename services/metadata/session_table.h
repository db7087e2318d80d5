#ifndef SERVICES_METADATA_SESSION_TABLE_H_
#define SERVICES_METADATA_SESSION_TABLE_H_

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "services/metadata/round_timer.h"

namespace falaj::metadata {

// SessionTable tells the leader which sessions have gone without a sign of life for too long.
//
// MetadataNode keeps it in step with the state machine: every session of the state is in it, with a
// full timeout when this node becomes leader. An expired session is only *reported*; it ends when
// the entry that MetadataNode then proposes is applied.
//
// A sign of life costs a lookup, and looking for expired sessions costs nothing while there are
// none: each session is looked at when its timeout may be over, not at every sign of life.
//
// Threads: none; one thread at a time. Times are arguments.
class SessionTable {
 public:
  // A session begins, or begins anew with a full timeout.
  void Put(SessionId session, absl::Duration timeout, MonotonicTime now);
  // A session has ended. No effect if it is unknown.
  void Remove(SessionId session);
  void Clear();
  size_t size() const { return sessions_.size(); }

  // A sign of life has come. False if the session is unknown or was reported as expired.
  bool Touch(SessionId session, MonotonicTime now);
  // The process behind it seems to have died: unless a sign of life comes, its time is over after
  // `grace`. No effect if it has been silent for half of its timeout, more than it is between two
  // heartbeats: then the connection may have been given up because the process stands still, and
  // that it may do for the whole timeout.
  void Doubt(SessionId session, absl::Duration grace, MonotonicTime now);
  // The timeout of a session; zero if it is unknown.
  absl::Duration TimeoutOf(SessionId session) const;
  // Sessions whose time is over, each reported once, by id.
  std::vector<SessionId> TakeExpired(MonotonicTime now);
  // When there may be something to take; kForever if there is no session.
  MonotonicTime NextLook() const {
    return agenda_.empty() ? kForever : agenda_.begin()->first + stood_still_;
  }
  // The reported session could not be ended (the proposal was refused): report it again.
  void PutBack(SessionId session);
  // This process stood still for so long: signs of life may be waiting in its sockets, so everybody
  // gets that time on top.
  void Extend(absl::Duration pause) { stood_still_ = stood_still_ + pause; }

 private:
  struct Session {
    absl::Duration timeout;
    MonotonicTime deadline;
    MonotonicTime look_at;  // Its place in agenda_; not after the deadline.
    bool reported = false;
  };

  // Deadlines are in time without the pauses.
  MonotonicTime WithoutPauses(MonotonicTime now) const { return now + -stood_still_; }

  std::map<SessionId, Session> sessions_;
  std::set<std::pair<MonotonicTime, SessionId>> agenda_;  // When to look at whom.
  absl::Duration stood_still_;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_SESSION_TABLE_H_
