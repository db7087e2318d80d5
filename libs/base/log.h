// Structured logs: one line per event on standard error, JSON for machines or text for people.
//
//   log::Info("partition opened", {{"topic", name}, {"partition", index}, {"log_end_offset",
//   end}});
//
// The message is a constant sentence; everything that varies is a field. Secrets and record
// payloads are never logged. Values are escaped, so no input can forge a line.
//
// Threads: any. Lines are written whole. Nothing is logged on a path that runs per record or per
// batch.
#ifndef LIBS_BASE_LOG_H_
#define LIBS_BASE_LOG_H_

#include <initializer_list>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace falaj::log {

enum class Level { kDebug, kInfo, kWarning, kError, kOff };  // kOff: as level_min only.
enum class Format { kJson, kText };

struct Options {
  Format format = Format::kJson;
  Level level_min = Level::kInfo;
  std::string component;  // "metadata", "storage", "gateway"; a field of every line.
};

// Field is one key and its value. Numbers and booleans stay bare in JSON, everything else is a
// quoted string.
class Field {
 public:
  template <typename T>
  requires std::is_arithmetic_v<T> Field(absl::string_view key, T value)
      : key_(key), quoted_(false) {
    if constexpr (std::is_same_v<T, bool>) {
      value_ = value ? "true" : "false";
    } else {
      value_ = absl::StrCat(value);
    }
  }
  Field(absl::string_view key, absl::string_view value) : key_(key), value_(value), quoted_(true) {}
  Field(absl::string_view key, const char* value) : Field(key, absl::string_view(value)) {}
  Field(absl::string_view key, const std::string& value) : Field(key, absl::string_view(value)) {}
  Field(absl::string_view key, const absl::Status& status)
      : key_(key),
        value_(status.ToString(absl::StatusToStringMode::kWithNoExtraData)),
        quoted_(true) {}
  template <typename T>
  requires requires(T id) {
    typename T::rep;
    id.value();
  }
  Field(absl::string_view key, T id) : Field(key, id.value()) {}

  absl::string_view key() const { return key_; }
  const std::string& value() const { return value_; }
  bool quoted() const { return quoted_; }

 private:
  absl::string_view key_;  // A literal at every call site.
  std::string value_;
  bool quoted_;
};

using Fields = std::initializer_list<Field>;

// Call once at start-up, before other threads log. Without it: JSON, info and above.
void Configure(const Options& options);

void Write(Level level, absl::string_view message, Fields fields);
inline void Debug(absl::string_view message, Fields fields = {}) {
  Write(Level::kDebug, message, fields);
}
inline void Info(absl::string_view message, Fields fields = {}) {
  Write(Level::kInfo, message, fields);
}
inline void Warning(absl::string_view message, Fields fields = {}) {
  Write(Level::kWarning, message, fields);
}
inline void Error(absl::string_view message, Fields fields = {}) {
  Write(Level::kError, message, fields);
}

// The line Write() would print, for tests. `time_text` stands for the time stamp.
std::string FormatLine(const Options& options, absl::string_view time_text, Level level,
                       absl::string_view message, Fields fields);

}  // namespace falaj::log

#endif  // LIBS_BASE_LOG_H_
