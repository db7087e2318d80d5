#include "services/cli/values.h"

#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

#include "libs/base/status.h"

namespace falaj::cli {
namespace {

absl::Status Bad(absl::string_view what, absl::string_view text, absl::string_view examples) {
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("'", text, "' is not a ", what, "; examples: ", examples),
                   {{"value", std::string(text)}});
}

constexpr std::pair<const char*, double> kUnits[] = {{"KiB", 1024.0},
                                                     {"MiB", 1048576.0},
                                                     {"GiB", 1073741824.0},
                                                     {"TiB", 1099511627776.0},
                                                     {"KB", 1e3},
                                                     {"kB", 1e3},
                                                     {"MB", 1e6},
                                                     {"GB", 1e9},
                                                     {"TB", 1e12},
                                                     {"k", 1024.0},
                                                     {"K", 1024.0},
                                                     {"M", 1048576.0},
                                                     {"G", 1073741824.0},
                                                     {"T", 1099511627776.0},
                                                     {"B", 1.0}};

}  // namespace

absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text) {
  absl::string_view rest = text;
  absl::Duration days;
  if (const size_t d = rest.find('d'); d != absl::string_view::npos) {
    double count = 0;
    if (!absl::SimpleAtod(rest.substr(0, d), &count) || !std::isfinite(count) ||
        std::abs(count) > 1e6) {
      return Bad("duration", text, "90s, 1h30m, 7d");
    }
    days = absl::Hours(24) * count;
    rest.remove_prefix(d + 1);
    if (rest.empty()) return days;
  }
  absl::Duration duration;
  if (!absl::ParseDuration(rest, &duration) || duration == absl::InfiniteDuration()) {
    return Bad("duration", text, "90s, 1h30m, 7d");
  }
  return days + duration;
}

absl::StatusOr<int64_t> ParseBytes(absl::string_view text) {
  absl::string_view number = text;
  double unit = 1;
  for (const auto& [name, factor] : kUnits) {
    if (!absl::ConsumeSuffix(&number, name)) continue;
    unit = factor;
    break;
  }
  double count = 0;
  if (!absl::SimpleAtod(absl::StripSuffix(number, " "), &count) || !(count >= 0) ||
      count * unit > 9e18) {
    return Bad("size", text, "1024, 64k, 16KiB, 10MB");
  }
  return static_cast<int64_t>(count * unit);
}

absl::StatusOr<absl::Time> ParseTime(absl::string_view text, absl::Time now) {
  if (text == "now") return now;
  int64_t number = 0;
  if (absl::SimpleAtoi(text, &number) && number >= 0) {
    constexpr int64_t kFirstMilliseconds = 100'000'000'000;  // As seconds it is the year 5138.
    return number >= kFirstMilliseconds ? absl::FromUnixMillis(number)
                                        : absl::FromUnixSeconds(number);
  }
  if (absl::ConsumePrefix(&text, "-")) {
    FALAJ_ASSIGN_OR_RETURN(const absl::Duration ago, ParseDuration(text));
    return now - ago;
  }
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, text, &time, &error)) return time;
  if (absl::ParseTime("%Y-%m-%d", text, absl::UTCTimeZone(), &time, &error)) return time;
  return Bad("time", text, "2026-01-31T12:00:00Z, 2026-01-31, 1767225600, -2h, now");
}

std::string FormatBytes(double bytes) {
  constexpr std::array<const char*, 5> kNames = {"B", "kB", "MB", "GB", "TB"};
  size_t unit = 0;
  while (bytes >= 999.95 && unit + 1 < kNames.size()) {
    bytes /= 1000;
    ++unit;
  }
  return absl::StrFormat("%.*f %s", unit == 0 ? 0 : 1, bytes, kNames[unit]);
}

std::string FormatCount(int64_t count) {
  std::string digits = absl::StrCat(count);
  const size_t first = count < 0 ? 1 : 0;
  for (size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, 1, ',');
  }
  return digits;
}

std::string PrettyDuration(absl::Duration duration) {
  if (duration == absl::ZeroDuration()) return "0";
  const int64_t days = duration / absl::Hours(24);
  const absl::Duration rest = duration - absl::Hours(24) * days;
  if (days == 0) return absl::FormatDuration(rest);
  return absl::StrCat(days, "d", rest == absl::ZeroDuration() ? "" : absl::FormatDuration(rest));
}

std::string PrettyTime(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
}

}  // namespace falaj::cli
