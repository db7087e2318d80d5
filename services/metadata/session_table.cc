#include "services/metadata/session_table.h"

#include <set>

namespace falaj::metadata {

void SessionTable::Put(SessionId session, absl::Duration timeout, MonotonicTime now) {
  sessions_[session] = {timeout, now + timeout, false};
}

void SessionTable::RemoveAllBut(const std::vector<SessionId>& alive) {
  const std::set<SessionId> kept(alive.begin(), alive.end());
  std::erase_if(sessions_, [&kept](const auto& entry) { return kept.count(entry.first) == 0; });
}

bool SessionTable::Touch(SessionId session, MonotonicTime now) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end() || found->second.reported) return false;
  found->second.deadline = now + found->second.timeout;
  return true;
}

std::vector<SessionId> SessionTable::TakeExpired(MonotonicTime now) {
  std::vector<SessionId> expired;
  for (auto& [id, session] : sessions_) {
    if (session.reported || now < session.deadline) continue;
    session.reported = true;
    expired.push_back(id);
  }
  return expired;
}

void SessionTable::PutBack(SessionId session) {
  const auto found = sessions_.find(session);
  if (found != sessions_.end()) found->second.reported = false;
}

void SessionTable::Extend(absl::Duration pause) {
  for (auto& [id, session] : sessions_) session.deadline = session.deadline + pause;
}

}  // namespace falaj::metadata
