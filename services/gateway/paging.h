// Pages of a list that is ordered by a key: sizes and tokens as AIP-158 has them. Pure.
#ifndef SERVICES_GATEWAY_PAGING_H_
#define SERVICES_GATEWAY_PAGING_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace falaj::gateway {

// 0 means 50; more than 1,000 means 1,000; INVALID_REQUEST if negative.
absl::StatusOr<int> PageSize(int32_t requested);

// A token that says "go on after this key", opaque to clients; `list` keeps tokens of different
// lists apart.
std::string MakePageToken(absl::string_view list, absl::string_view last_key);
// The key to go on after; empty for an empty token. INVALID_REQUEST if the token is not one of this
// list.
absl::StatusOr<std::string> ParsePageToken(absl::string_view list, absl::string_view token);

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_PAGING_H_
