#include "services/cli/offset_range.h"

#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/client/consumer.h"
#include "services/cli/values.h"

namespace falaj::cli {
namespace {

absl::StatusOr<OffsetPoint> ParsePoint(absl::string_view text, absl::Time now) {
  if (text == "start" || text == "beginning") return OffsetPoint{client::AtStart(), 0};
  if (text == "end") return OffsetPoint{client::AtEnd(), 0};
  if (int64_t number = 0; absl::SimpleAtoi(text, &number) && text[0] != '+') {
    if (number >= 0) return OffsetPoint{client::AtOffset(Offset(number)), 0};
    return OffsetPoint{client::AtEnd(), -number};
  }
  absl::string_view rest = text;
  if (absl::ConsumePrefix(&rest, "@")) {
    FALAJ_ASSIGN_OR_RETURN(const absl::Time time, ParseTime(rest, now));
    return OffsetPoint{client::AtTime(time), 0};
  }
  if (absl::ConsumePrefix(&rest, "+") || absl::ConsumePrefix(&rest, "-")) {
    FALAJ_ASSIGN_OR_RETURN(const absl::Duration duration, ParseDuration(rest));
    return OffsetPoint{client::AtTime(now - duration), 0};
  }
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("'", text, "' is not an offset; examples: start, end, 500, -10, ",
                                "@2026-01-31T12:00:00Z, +15m, 500:600"),
                   {{"field", "offset"}});
}

// A time may contain colons ("@2026-01-31T12:00:00Z:end"): the separator is one that leaves two
// valid points. "@12:..." style times are not accepted, so at most one split succeeds with an end.
absl::StatusOr<OffsetRange> ParseSplit(absl::string_view text, size_t colon, absl::Time now) {
  const absl::string_view left = text.substr(0, colon);
  const absl::string_view right = text.substr(colon + 1);
  OffsetRange range;
  FALAJ_ASSIGN_OR_RETURN(range.begin, ParsePoint(left.empty() ? "start" : left, now));
  if (right.empty()) return range;
  FALAJ_ASSIGN_OR_RETURN(OffsetPoint end, ParsePoint(right, now));
  range.end = std::move(end);
  return range;
}

}  // namespace

absl::StatusOr<OffsetRange> ParseOffsetRange(absl::string_view text, absl::Time now) {
  absl::StatusOr<OffsetPoint> whole = ParsePoint(text, now);
  if (whole.ok()) return OffsetRange{*std::move(whole), std::nullopt};
  for (size_t colon = text.find(':'); colon != absl::string_view::npos;
       colon = text.find(':', colon + 1)) {
    absl::StatusOr<OffsetRange> range = ParseSplit(text, colon, now);
    if (range.ok()) return range;
  }
  return whole.status();
}

}  // namespace falaj::cli
