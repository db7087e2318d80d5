// The errors of this library, with everything that varies in the metadata. Private to libs/record.
#ifndef LIBS_RECORD_BATCH_ERROR_H_
#define LIBS_RECORD_BATCH_ERROR_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "libs/base/status.h"

namespace falaj::record {

// INVALID_BATCH: `field` holds `value`, which is wrong for the reason `why` gives.
inline absl::Status InvalidBatch(absl::string_view field, int64_t value, absl::string_view why) {
  return MakeError(Reason::kInvalidBatch, absl::StrCat("batch ", field, " ", value, ": ", why),
                   {{"field", std::string(field)}, {"value", absl::StrCat(value)}});
}

// The same where a number tells what would have been right.
inline absl::Status InvalidBatch(absl::string_view field, int64_t value, absl::string_view why,
                                 int64_t limit) {
  return MakeError(Reason::kInvalidBatch,
                   absl::StrCat("batch ", field, " ", value, ": ", why, " ", limit),
                   {{"field", std::string(field)},
                    {"value", absl::StrCat(value)},
                    {"limit", absl::StrCat(limit)}});
}

// RECORD_TOO_LARGE.
inline absl::Status BatchTooLarge(absl::string_view what, size_t size_bytes, size_t limit_bytes) {
  return MakeError(
      Reason::kRecordTooLarge,
      absl::StrCat(what, " of ", size_bytes, " bytes or more, over the limit of ", limit_bytes),
      {{"limit_bytes", absl::StrCat(limit_bytes)}, {"size_bytes", absl::StrCat(size_bytes)}});
}

}  // namespace falaj::record

#endif  // LIBS_RECORD_BATCH_ERROR_H_
