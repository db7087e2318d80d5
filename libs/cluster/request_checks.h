// What every command is checked for in the same way.
#ifndef LIBS_CLUSTER_REQUEST_CHECKS_H_
#define LIBS_CLUSTER_REQUEST_CHECKS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace falaj::cluster {

// INVALID_REQUEST with the metadata key "field"; the message is "`field` `rule`".
absl::Status InvalidField(absl::string_view field, absl::string_view rule);
// NODE_NOT_FOUND with the metadata key "node".
absl::Status NodeNotFound(int32_t node_id);
// Returns INVALID_REQUEST unless `bytes` are the 16 of a UUID.
absl::Status CheckUuid(absl::string_view field, absl::string_view bytes, bool may_be_empty);

}  // namespace falaj::cluster

#endif  // LIBS_CLUSTER_REQUEST_CHECKS_H_
