// The values people type and read: durations with days, byte sizes with units, points in time.
#ifndef SERVICES_CLI_VALUES_H_
#define SERVICES_CLI_VALUES_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace falaj::cli {

// "90s", "1h30m", "7d", "0". INVALID_REQUEST otherwise.
absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text);
// "1024", "64k", "16KiB", "1.5GiB", "10MB": decimal units with B, binary ones otherwise.
absl::StatusOr<int64_t> ParseBytes(absl::string_view text);
// RFC 3339, Unix seconds or milliseconds, "now", or a duration ago: "-2h".
absl::StatusOr<absl::Time> ParseTime(absl::string_view text, absl::Time now);

std::string FormatBytes(double bytes);                // "1.2 MB".
std::string FormatCount(int64_t count);               // "1,204".
std::string PrettyDuration(absl::Duration duration);  // "7d", "1h30m", "keep" for zero.
std::string PrettyTime(absl::Time time);              // RFC 3339, UTC, milliseconds.

}  // namespace falaj::cli

#endif  // SERVICES_CLI_VALUES_H_
