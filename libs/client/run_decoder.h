// RunDecoder takes a records frame of a Consume stream apart and decodes its batches into a
// RecordRun.
//
// It checks each batch's CRC before it believes anything else in it, skips records below the offset
// asked for (a batch comes whole) and batches that carry control records only.
#ifndef LIBS_CLIENT_RUN_DECODER_H_
#define LIBS_CLIENT_RUN_DECODER_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "falaj/v1/consumer_service.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/ids.h"
#include "libs/client/consumer.h"

namespace falaj::client {

// RecordsFrame is PartitionRecords with its payload still as it came.
struct RecordsFrame {
  std::string topic;
  PartitionIndex partition;
  Offset high_watermark;
  Offset log_start_offset;
  Offset next_offset;
  int64_t size_bytes = 0;
  absl::Status error;
  Bytes batches;
};

// ConsumeFrame is one frame of the stream: one of the two, or neither (progress, or a newer kind).
struct ConsumeFrame {
  std::optional<v1::ConsumeStreamOpened> opened;
  std::optional<RecordsFrame> records;
};

// kInternal if the gateway sent something that is not a ConsumeResponse.
absl::StatusOr<ConsumeFrame> ParseConsumeFrame(const Bytes& message);

class RunDecoder {
 public:
  // Decodes the records at `from` and above. CORRUPT_RECORD if a batch is damaged.
  static absl::StatusOr<RecordRun> Decode(RecordsFrame frame, Offset from);
  // Base offset of the first batch; next_offset if there is none.
  static Offset FirstOffset(const RecordsFrame& frame);
};

}  // namespace falaj::client

#endif  // LIBS_CLIENT_RUN_DECODER_H_
