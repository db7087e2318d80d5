// Limits on the batches a process accepts.
#ifndef LIBS_RECORD_LIMITS_H_
#define LIBS_RECORD_LIMITS_H_

#include <cstddef>

namespace falaj::record {

// `batch_bytes_max` is the topic's setting (at most 8 MiB). `decompressed_bytes_max` is what one
// batch may grow to in memory: 16 MiB, twice the largest batch there is and sixteen times the
// default one. Clients that bound their batches before compression never come near it; a bomb is
// refused before it takes more.
struct Limits {
  size_t batch_bytes_max = 1'048'588;  // 1 MiB and a little, as Kafka's max.message.bytes.
  size_t decompressed_bytes_max = size_t{16} << 20;
};

}  // namespace falaj::record

#endif  // LIBS_RECORD_LIMITS_H_
