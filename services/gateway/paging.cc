#include "services/gateway/paging.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "libs/base/status.h"

namespace falaj::gateway {
namespace {

constexpr int kPageSizeDefault = 50;
constexpr int kPageSizeMax = 1000;

}  // namespace

absl::StatusOr<int> PageSize(int32_t requested) {
  if (requested < 0) {
    return MakeError(Reason::kInvalidRequest, absl::StrCat("page_size ", requested, " is negative"),
                     {{"field", "page_size"}, {"value", absl::StrCat(requested)}});
  }
  return requested == 0 ? kPageSizeDefault : std::min(requested, kPageSizeMax);
}

std::string MakePageToken(absl::string_view list, absl::string_view last_key) {
  return absl::WebSafeBase64Escape(absl::StrCat(list, ":", last_key));
}

absl::StatusOr<std::string> ParsePageToken(absl::string_view list, absl::string_view token) {
  if (token.empty()) return std::string();
  std::string text;
  if (absl::WebSafeBase64Unescape(token, &text)) {
    absl::string_view key = text;
    if (absl::ConsumePrefix(&key, absl::StrCat(list, ":"))) return std::string(key);
  }
  return MakeError(Reason::kInvalidRequest, "page_token is not one this list gave out",
                   {{"field", "page_token"}});
}

}  // namespace falaj::gateway
