#include "services/metadata/session_table.h"

#include <algorithm>

namespace falaj::metadata {

void SessionTable::Put(SessionId session, absl::Duration timeout, MonotonicTime now) {
  Remove(session);
  const MonotonicTime deadline = WithoutPauses(now) + timeout;
  sessions_[session] = {timeout, deadline, deadline, false};
  agenda_.emplace(deadline, session);
}

void SessionTable::Remove(SessionId session) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return;
  agenda_.erase({found->second.look_at, session});
  sessions_.erase(found);
}

void SessionTable::Clear() {
  sessions_.clear();
  agenda_.clear();
}

bool SessionTable::Touch(SessionId session, MonotonicTime now) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end() || found->second.reported) return false;
  found->second.deadline = WithoutPauses(now) + found->second.timeout;
  return true;
}

void SessionTable::Doubt(SessionId session, absl::Duration grace, MonotonicTime now) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end() || found->second.reported) return;
  Session& doubted = found->second;
  const MonotonicTime running = WithoutPauses(now);
  const absl::Duration left = doubted.deadline - running;
  if (left < doubted.timeout / 2 || left <= grace) return;
  agenda_.erase({doubted.look_at, session});
  doubted.deadline = running + grace;
  doubted.look_at = doubted.deadline;
  agenda_.emplace(doubted.look_at, session);
}

absl::Duration SessionTable::TimeoutOf(SessionId session) const {
  const auto found = sessions_.find(session);
  return found == sessions_.end() ? absl::ZeroDuration() : found->second.timeout;
}

std::vector<SessionId> SessionTable::TakeExpired(MonotonicTime now) {
  const MonotonicTime running = WithoutPauses(now);
  std::vector<SessionId> expired;
  while (!agenda_.empty() && agenda_.begin()->first <= running) {
    const SessionId id = agenda_.begin()->second;
    agenda_.erase(agenda_.begin());
    Session& session = sessions_.at(id);
    if (session.deadline > running) {
      session.look_at = session.deadline;
      agenda_.emplace(session.look_at, id);
    } else {
      session.reported = true;
      expired.push_back(id);
    }
  }
  std::sort(expired.begin(), expired.end());
  return expired;
}

void SessionTable::PutBack(SessionId session) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end() || !found->second.reported) return;
  found->second.reported = false;
  found->second.look_at = found->second.deadline;
  agenda_.emplace(found->second.look_at, session);
}

}  // namespace falaj::metadata
