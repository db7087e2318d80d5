#include "libs/record/out_of_order.h"

#include <cstdint>

#include "absl/strings/numbers.h"

#include "libs/base/status.h"

namespace falaj::record {

OutOfOrder ReadOutOfOrder(const absl::Status& status) {
  if (ReasonOf(status) != Reason::kOutOfOrderSequence) return OutOfOrder::kNo;
  ErrorMetadata metadata = MetadataOf(status);
  uint32_t expected = 0;
  uint32_t got = 0;
  // What cannot be read proves nothing.
  if (metadata["unknown_producer"] == "true" ||
      !absl::SimpleAtoi(metadata["expected_sequence"], &expected) ||
      !absl::SimpleAtoi(metadata["got_sequence"], &got)) {
    return OutOfOrder::kUnknownProducer;
  }
  // Sequences go round at 2^31: the shorter way tells which is ahead.
  constexpr uint32_t kSequences = uint32_t{1} << 31;
  const uint32_t ahead = (got - expected) % kSequences;
  return ahead < kSequences / 2 ? OutOfOrder::kMissing : OutOfOrder::kPassed;
}

}  // namespace falaj::record
