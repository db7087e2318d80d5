#ifndef SERVICES_METADATA_SESSION_HOLDERS_H_
#define SERVICES_METADATA_SESSION_HOLDERS_H_

#include <map>
#include <memory>
#include <utility>

#include "absl/status/status.h"

#include "libs/base/ids.h"
#include "libs/base/status.h"

namespace falaj::metadata {

// SessionHolder is a call that a process keeps open for as long as it lives.
class SessionHolder {
 public:
  virtual ~SessionHolder() = default;
  // It holds nothing any more. May come after the call has ended.
  virtual void Close(const absl::Status& status) = 0;
};

// SessionHolders knows which call holds which session, so that the end of a call that has been
// replaced, or of one that this node has ended itself, is not taken for the death of a process.
//
// Threads: none; one thread at a time.
class SessionHolders {
 public:
  // `holder` takes the place of the one before it, if any.
  void Put(SessionId session, std::shared_ptr<SessionHolder> holder) {
    std::shared_ptr<SessionHolder>& held = holders_[session];
    if (held != nullptr)
      held->Close(MakeError(Reason::kCancelled, "another call holds the session now"));
    held = std::move(holder);
  }
  // False: the session is not held by this call.
  [[nodiscard]] bool Remove(SessionId session, const SessionHolder* holder) {
    const auto found = holders_.find(session);
    if (found == holders_.end() || found->second.get() != holder) return false;
    holders_.erase(found);
    return true;
  }
  void Close(SessionId session, const absl::Status& status) {
    const auto found = holders_.find(session);
    if (found == holders_.end()) return;
    found->second->Close(status);
    holders_.erase(found);
  }
  void CloseAll(const absl::Status& status) {
    for (const auto& [session, holder] : holders_) holder->Close(status);
    holders_.clear();
  }

 private:
  std::map<SessionId, std::shared_ptr<SessionHolder>> holders_;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_SESSION_HOLDERS_H_
