// The codecs of record batches: what is between header and end of a batch, as one compressed run.
//
// Written: lz4 (frame format, independent blocks, as Kafka's Java client demands) and zstd. Read:
// those two, gzip, and snappy both as a raw block and in the xerial framing of Java clients.
// Decompression takes a limit and never holds more than that (plus the codec's own window, which is
// bounded too): input that would exceed it is refused, however small it is.
//
// Threads: any. lz4 and zstd keep one context per thread, because making one costs more than
// decoding a small batch.
#ifndef LIBS_RECORD_COMPRESSION_H_
#define LIBS_RECORD_COMPRESSION_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "libs/base/bytes.h"
#include "libs/record/batch_header.h"

namespace falaj::record {

// Appends `data`, compressed, to `out`. Returns kUnimplemented (UNSUPPORTED) for gzip and snappy,
// which Falaj reads only; `out` may then hold anything behind its old end.
absl::Status Compress(Codec codec, absl::string_view data, std::string* out);

// Returns the decompressed bytes. The whole input must be consumed. Returns kInvalidArgument:
// INVALID_BATCH (field "codec" or "records") if the codec is unknown or the data is not what the
// codec writes; RECORD_TOO_LARGE with limit_bytes if the result would exceed `bytes_max`.
// With Codec::kNone this is a copy; callers that need not copy do not call.
absl::StatusOr<Bytes> Decompress(Codec codec, absl::string_view data, size_t bytes_max);

}  // namespace falaj::record

#endif  // LIBS_RECORD_COMPRESSION_H_
