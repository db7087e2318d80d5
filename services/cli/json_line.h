// JsonLine builds one JSON object, field by field, in the order they are added: what `-o json`
// prints and `bench --json` writes. Strings that are not UTF-8 have their bad bytes replaced.
#ifndef SERVICES_CLI_JSON_LINE_H_
#define SERVICES_CLI_JSON_LINE_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace falaj::cli {

// A JSON string literal, quotes included.
std::string JsonString(absl::string_view text);

class JsonLine {
 public:
  JsonLine& Add(absl::string_view key, absl::string_view value);
  JsonLine& Add(absl::string_view key, const char* value) {
    return Add(key, absl::string_view(value));
  }
  JsonLine& Add(absl::string_view key, int64_t value);
  JsonLine& Add(absl::string_view key, int value) { return Add(key, static_cast<int64_t>(value)); }
  JsonLine& Add(absl::string_view key, double value);
  JsonLine& Add(absl::string_view key, bool value);
  JsonLine& AddNull(absl::string_view key);
  // `json` is JSON already: an object, an array, a number.
  JsonLine& AddRaw(absl::string_view key, absl::string_view json);

  std::string ToString() const { return "{" + fields_ + "}"; }

 private:
  std::string fields_;
};

}  // namespace falaj::cli

#endif  // SERVICES_CLI_JSON_LINE_H_
