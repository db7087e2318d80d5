#include "libs/cluster/request_checks.h"

#include <string>

#include "absl/strings/str_cat.h"

#include "libs/base/ids.h"
#include "libs/base/status.h"

namespace falaj::cluster {

absl::Status InvalidField(absl::string_view field, absl::string_view rule) {
  return MakeError(Reason::kInvalidRequest, absl::StrCat(field, " ", rule),
                   {{"field", std::string(field)}});
}

absl::Status NodeNotFound(int32_t node_id) {
  return MakeError(Reason::kNodeNotFound, absl::StrCat("no storage node ", node_id),
                   {{"node", absl::StrCat(node_id)}});
}

absl::Status CheckUuid(absl::string_view field, absl::string_view bytes, bool may_be_empty) {
  if (bytes.size() == Uuid::kSize || (may_be_empty && bytes.empty())) return absl::OkStatus();
  return InvalidField(field, "must be 16 bytes");
}

}  // namespace falaj::cluster
