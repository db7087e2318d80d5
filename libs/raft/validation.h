// What RaftCore refuses to work with: messages and restored states that contradict themselves.
#ifndef LIBS_RAFT_VALIDATION_H_
#define LIBS_RAFT_VALIDATION_H_

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "falaj/internal/v1/raft.pb.h"

#include "libs/base/ids.h"
#include "libs/raft/membership.h"
#include "libs/raft/ready.h"

namespace falaj::raft {

// Returns INVALID_REQUEST if the message is not for `self` or its fields cannot be.
absl::Status CheckMessage(const pb::RaftMessage& message, NodeId self);

// Returns CORRUPT_RECORD if hard state, snapshot and entries do not fit together.
absl::Status CheckRestored(const Restored& restored);

// The memberships that entries behind the snapshot bring, by index. CORRUPT_RECORD if one is
// malformed.
absl::StatusOr<std::vector<std::pair<LogIndex, Membership>>> MembershipChangesIn(
    const Restored& restored);

}  // namespace falaj::raft

#endif  // LIBS_RAFT_VALIDATION_H_
