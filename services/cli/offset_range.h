// `consume -o`: where to begin and where to stop.
//
//   start | end        the first record kept | only what comes from now on
//   500                offset 500 of every partition
//   -10                the last 10 records of every partition
//   @TIME              the first record of that time or later (RFC 3339, Unix seconds or ms, -2h)
//   +15m               the last 15 minutes
//   A:B                from A up to, and not including, B; either may be left out
#ifndef SERVICES_CLI_OFFSET_RANGE_H_
#define SERVICES_CLI_OFFSET_RANGE_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "falaj/v1/record.pb.h"

namespace falaj::cli {

// OffsetPoint is one end of the range: a target the server can translate, and a number of records
// to step back from it.
struct OffsetPoint {
  v1::OffsetTarget target;
  int64_t back = 0;
};

struct OffsetRange {
  OffsetPoint begin;
  std::optional<OffsetPoint> end;
};

// INVALID_REQUEST if the text is none of the above.
absl::StatusOr<OffsetRange> ParseOffsetRange(absl::string_view text, absl::Time now);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_OFFSET_RANGE_H_
