// Record batches as librdkafka writes them: the proof that our batch format is Kafka's, not only
// our own idea of it.
//
// A librdkafka producer talks to librdkafka's mock cluster through a socket relay in this process,
// which keeps what the producer sends; the batches are then cut out of the Produce requests.
#ifndef TESTS_INTEROP_LIBRDKAFKA_CAPTURE_H_
#define TESTS_INTEROP_LIBRDKAFKA_CAPTURE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "libs/record/record.h"

namespace falaj::interop {

// The records that every captured batch holds, in order: null and empty keys, values and header
// values, repeated and non-ASCII header keys, a timestamp before the first one's, long and
// incompressible values.
std::vector<record::Record> GoldenRecords();

struct CaptureOptions {
  std::string codec;        // "none", "gzip", "snappy", "lz4" or "zstd".
  bool idempotent = false;  // With producer id, epoch and sequence.
};

// The batches that a librdkafka producer sends for GoldenRecords(), one after another. Blocks for
// about a second.
absl::StatusOr<std::string> CaptureBatches(const CaptureOptions& options);

}  // namespace falaj::interop

#endif  // TESTS_INTEROP_LIBRDKAFKA_CAPTURE_H_
