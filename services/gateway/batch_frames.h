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
  LeaderEpoch last_epoch{-1};  // Of the record before next_offset; -1: not known.
  absl::Status error;          // OK if the partition was read.
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

// Keeps the first of the batches that were read: as many as fit into `bytes_max`, at least one.
// CORRUPT_RECORD if they do not come apart.
absl::Status KeepFirstBatches(int64_t bytes_max, PartitionRead* read);

// How much DecodeRuns() may make of what it is given.
struct RunLimits {
  size_t run_bytes_max = 0;       // Of one message.
  size_t runs_max = 1;            // Messages.
  bool first_comes_whole = true;  // A record larger than a message makes one of its own.
};

// Decodes batches to records from `asked` on, in messages that clients take: a batch may be 8 MiB
// large, or compressed a hundredfold, and is cut between two records wherever a limit is reached.
// The rest is for whoever asks again at next_offset. Each message is a copy of `description` with
// its records, its next_offset, the leader epoch of the record before that, and the size of the
// batches whose records begin in it (a batch that is asked for again in the middle counts again).
// At least one message, without records and epoch if not even the first one fits. CORRUPT_RECORD if
// a checksum fails.
absl::StatusOr<std::vector<v1::PartitionRecords>> DecodeRuns(
    const Bytes& batches, Offset asked, const v1::PartitionRecords& description,
    const RunLimits& limits);

// A length-delimited field `field` holding `message` with `batches` as its field 15, without
// copying the batches: the bytes to put in front of them. With `field` zero, the message stands
// alone.
std::string FramePrefix(int field, const v1::PartitionRecords& message, size_t batches_size);

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_BATCH_FRAMES_H_
