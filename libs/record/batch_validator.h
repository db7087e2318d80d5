// The check at the door: whether a batch that a producer sent may enter the log.
#ifndef LIBS_RECORD_BATCH_VALIDATOR_H_
#define LIBS_RECORD_BATCH_VALIDATOR_H_

#include "absl/status/statusor.h"

#include "libs/base/bytes.h"
#include "libs/record/batch_header.h"
#include "libs/record/limits.h"

namespace falaj::record {

// Checks everything a reader of the log relies on and returns the header:
//   size: the batch is exactly as long as it says, within limits.batch_bytes_max
//   header: magic 2, a known codec, no unknown attribute, at least one record, last offset delta =
//     count - 1, producer id, epoch and sequence either all -1 or none negative
//   CRC-32C
//   records: as many as the header says, offset deltas 0, 1, 2, ..., lengths and headers
//   consistent,
//     filling the batch exactly; the largest timestamp is the header's. A compressed batch is
//     decompressed for this, within limits.decompressed_bytes_max.
// Base offset and leader epoch are the leader's to write and may hold anything.
//
// Works on scattered bytes as they are; nothing is copied but single records that lie across two
// pieces, and the records of a compressed, scattered batch.
//
// Returns kInvalidArgument: RECORD_TOO_LARGE with limit_bytes and size_bytes; INVALID_BATCH with
// field, value and (where there is one) limit. kUnimplemented (UNSUPPORTED) for transactional
// batches.
absl::StatusOr<BatchHeader> ValidateBatch(const Bytes& batch, const Limits& limits);

}  // namespace falaj::record

#endif  // LIBS_RECORD_BATCH_VALIDATOR_H_
