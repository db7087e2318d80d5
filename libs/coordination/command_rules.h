// What can be said of a request by looking at it alone: a service refuses early with these, and the
// state machine, which decides, asks them again.
//
// Every error names the field at fault in its metadata key "field", what it held in "value" and the
// bound in "limit", where there are such.
#ifndef LIBS_COORDINATION_COMMAND_RULES_H_
#define LIBS_COORDINATION_COMMAND_RULES_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "falaj/internal/v1/coordination.pb.h"
#include "falaj/v1/coordination_service.pb.h"

namespace falaj::coordination {

// INVALID_REQUEST (a field is missing, malformed or out of its range), INVALID_PATH,
// ZNODE_TOO_LARGE, PATH_RESERVED. The error of an operation of a multi has its number, from 0, in
// "operation".
absl::Status ValidateCommand(const internal::v1::CoordinationCommand& command);

// INVALID_REQUEST, INVALID_PATH.
absl::Status ValidateWatch(const v1::WatchZnodesRequest& request);
// INVALID_PATH.
absl::Status ValidateReadPath(absl::string_view path);
// INVALID_PATH, INVALID_REQUEST.
absl::Status ValidateList(const v1::ListChildrenRequest& request);
// INVALID_REQUEST: 1 s to 10 min.
absl::Status ValidateSessionTimeout(int64_t timeout_ms);
// INVALID_REQUEST if the handle has no session id. Whether it is right is for CheckSession.
absl::Status ValidateSessionHandle(const v1::SessionHandle& session);

// The error of the operation numbered so in a multi: says which in message and metadata.
absl::Status AtOperation(const absl::Status& status, int operation);

// QUOTA_EXCEEDED, naming the limit in "field".
absl::Status QuotaExceeded(absl::string_view limit_name, int64_t value, int64_t limit);

// How large a page of children is asked for. Requires: ValidateList is ok.
int32_t ChildrenPageSize(const v1::ListChildrenRequest& request);

// The WriteOptions of a command, or null if there are none: kinds that have none, or none set.
const v1::WriteOptions* OptionsOf(const internal::v1::CoordinationCommand& command);
// The session a command names, or null.
const v1::SessionHandle* SessionOf(const internal::v1::CoordinationCommand& command);

}  // namespace falaj::coordination

#endif  // LIBS_COORDINATION_COMMAND_RULES_H_
