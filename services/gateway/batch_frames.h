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

// The first of the batches: as many as fit into `bytes_max`, at least one. Sets `next_offset` to
// the offset after them. CORRUPT_RECORD if they do not come apart.
absl::StatusOr<Bytes> FirstBatches(const Bytes& batches, int64_t bytes_max, Offset* next_offset);

// Decodes batches to records from `asked` on, in messages of about `run_bytes_max` so that clients
// take them (batches may be compressed a hundredfold), and no more than `runs_max` of them. Each is
// a copy of `description` with its records, its next_offset, and the size of the batches that
// begin in it. At least one message. CORRUPT_RECORD if a checksum fails.
absl::StatusOr<std::vector<v1::PartitionRecords>> DecodeRuns(
    const Bytes& batches, Offset asked, const v1::PartitionRecords& description,
    size_t run_bytes_max, size_t runs_max);

// A length-delimited field `field` holding `message` with `batches` as its field 15, without
// copying the batches: the bytes to put in front of them. With `field` zero, the message stands
// alone.
std::string FramePrefix(int field, const v1::PartitionRecords& message, size_t batches_size);

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_BATCH_FRAMES_H_
