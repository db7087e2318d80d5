// The codecs Falaj reads but does not write. Private to libs/record; Decompress() is the way in.
#ifndef LIBS_RECORD_LEGACY_CODECS_H_
#define LIBS_RECORD_LEGACY_CODECS_H_

#include <cstddef>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "libs/base/bytes.h"

namespace falaj::record {

// One or more gzip members.
absl::StatusOr<Bytes> DecompressGzip(absl::string_view data, size_t bytes_max);

// A raw snappy block, or blocks in the framing of the xerial library, which Java clients use:
// "\x82SNAPPY\0", two int32 versions, then blocks, each after its int32 size.
absl::StatusOr<Bytes> DecompressSnappy(absl::string_view data, size_t bytes_max);

}  // namespace falaj::record

#endif  // LIBS_RECORD_LEGACY_CODECS_H_
