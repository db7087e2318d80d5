// One session, and the answers it has been given.
#ifndef LIBS_COORDINATION_SESSION_H_
#define LIBS_COORDINATION_SESSION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "falaj/internal/v1/coordination.pb.h"

#include "libs/base/ids.h"
#include "libs/coordination/content_hash.h"

namespace falaj::coordination {

// What a request with a request_id was answered, kept for its repetition.
struct SavedAnswer {
  uint64_t request_id = 0;
  SharedBytes encoded;  // An internal.v1.SavedResult.
};

// Session is one version of a live session. Immutable, shared by the copies of the state. When it
// was last heard of is not here: that is for the leader's timers, and no part of the state machine.
struct Session {
  SessionId id;        // The index of the entry that opened it.
  std::string secret;  // 16 bytes; empty for a storage node's session, which no client can use.
  int32_t timeout_ms = 0;
  std::vector<SavedAnswer> answers;  // Rising by request id, at most kSavedAnswersMax.

  bool is_storage_node() const { return secret.empty(); }
  // The answer to `request_id`, or null.
  const SavedAnswer* FindAnswer(uint64_t request_id) const;
  // True if an answer to it may have been kept once, and is not any more.
  bool IsTooOld(uint64_t request_id) const;
  int64_t saved_bytes() const;
  // Compares in constant time.
  bool HasSecret(absl::string_view claimed) const;
  uint64_t Hash() const;
};
using SessionPtr = std::shared_ptr<const Session>;

// An answer in the form it is kept in, and back.
SavedAnswer SaveAnswer(uint64_t request_id,
                       const absl::StatusOr<internal::v1::CoordinationResult>& result);
absl::StatusOr<internal::v1::CoordinationResult> LoadAnswer(const SavedAnswer& answer);

}  // namespace falaj::coordination

#endif  // LIBS_COORDINATION_SESSION_H_
