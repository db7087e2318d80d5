#include "services/cli/json_line.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

namespace falaj::cli {

std::string JsonString(absl::string_view text) {
  const nlohmann::json value(std::string(text.data(), text.size()));
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

JsonLine& JsonLine::AddRaw(absl::string_view key, absl::string_view json) {
  absl::StrAppend(&fields_, fields_.empty() ? "" : ",", JsonString(key), ":", json);
  return *this;
}

JsonLine& JsonLine::Add(absl::string_view key, absl::string_view value) {
  return AddRaw(key, JsonString(value));
}
JsonLine& JsonLine::Add(absl::string_view key, int64_t value) {
  return AddRaw(key, absl::StrCat(value));
}
JsonLine& JsonLine::Add(absl::string_view key, double value) {
  return AddRaw(key, std::isfinite(value) ? absl::StrFormat("%.6g", value) : "null");
}
JsonLine& JsonLine::Add(absl::string_view key, bool value) {
  return AddRaw(key, value ? "true" : "false");
}
JsonLine& JsonLine::AddNull(absl::string_view key) { return AddRaw(key, "null"); }

}  // namespace falaj::cli
