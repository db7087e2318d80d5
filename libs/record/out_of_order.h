// What a refusal with OUT_OF_ORDER_SEQUENCE tells the producer, or whoever sends for it.
#ifndef LIBS_RECORD_OUT_OF_ORDER_H_
#define LIBS_RECORD_OUT_OF_ORDER_H_

#include "absl/status/status.h"

namespace falaj::record {

enum class OutOfOrder {
  kNo,       // Another error, or none.
  kMissing,  // Batches before this one are missing: it is certainly not in the log.
  // The leader is past these sequences, but does not remember the batch as one of the newest: it
  // was appended, nobody knows where.
  kPassed,
  // The leader does not know the producer (any more): it cannot say whether the batch was appended.
  kUnknownProducer,
};

// Reads the metadata the leader has put into the error.
OutOfOrder ReadOutOfOrder(const absl::Status& status);

}  // namespace falaj::record

#endif  // LIBS_RECORD_OUT_OF_ORDER_H_
