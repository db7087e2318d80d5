// What a storage node's Read answer becomes on its way to a client: taken apart by hand so that
// batches stay slices, then either wrapped again untouched or decoded to plain records.
#ifndef SERVICES_GATEWAY_BATCH_FRAMES_H_
#define SERVICES_GATEWAY_BATCH_FRAMES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "falaj/v1/record.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/ids.h"

namespace falaj::gateway {

// One partition's part of a Read answer. `batches` shares the message it came in.
struct PartitionRead {
  Offset high_watermark;
  Offset log_start;
  Offset next_offset;
  absl::Status error;  // OK if the partition was read.
  Bytes batches;
};

// Takes a ReadResponse apart; kInternal if it is malformed.
absl::StatusOr<std::vector<PartitionRead>> ParseReadResponse(const Bytes& message);
// The same for the outcome of a call: its error is passed on.
absl::StatusOr<std::vector<PartitionRead>> ParseReadAnswer(const absl::StatusOr<Bytes>& answer);

// Makes a PartitionRecords message of what was read at `asked`, all fields but the payload filled
// in.
v1::PartitionRecords DescribeRead(absl::string_view topic, PartitionIndex partition, Offset asked,
                                  const PartitionRead& read);

// Decodes batches to records from `asked` on; CORRUPT_RECORD if a checksum fails.
absl::Status DecodeRecords(const Bytes& batches, Offset asked, v1::PartitionRecords* out);

// A length-delimited field `field` holding `message` with `batches` as its field 15, without
// copying the batches: the bytes to put in front of them. With `field` zero, the message stands
// alone.
std::string FramePrefix(int field, const v1::PartitionRecords& message, size_t batches_size);

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_BATCH_FRAMES_H_
