// Taking one encoded record apart. Private to libs/record: BatchReader and ValidateBatch() share
// it.
#ifndef LIBS_RECORD_RECORD_WALK_H_
#define LIBS_RECORD_RECORD_WALK_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

#include "libs/record/record.h"

namespace falaj::record {

// A record as it is encoded, relative to its batch.
struct RecordFields {
  int64_t timestamp_delta = 0;
  int32_t offset_delta = 0;
  std::optional<absl::string_view> key;
  std::optional<absl::string_view> value;
  HeaderRange headers;
};

// Parses `body`, one record without its length, which the record must fill exactly. Returns the
// name of the field that is malformed, or nullptr; the views point into `body`.
const char* ParseRecord(absl::string_view body, RecordFields* fields);

}  // namespace falaj::record

#endif  // LIBS_RECORD_RECORD_WALK_H_
