#include "libs/record/control_batch.h"

#include <optional>
#include <string>

#include "libs/record/batch_builder.h"
#include "libs/record/batch_error.h"
#include "libs/record/batch_reader.h"
#include "libs/record/big_endian.h"

namespace falaj::record {
namespace {

constexpr size_t kControlKeySize = 4;  // Version int16, type int16.

}  // namespace

Bytes MakeLeaderChangeBatch(Offset base_offset, LeaderEpoch leader_epoch, NodeId leader,
                            int64_t timestamp_ms) {
  char key[kControlKeySize];
  StoreBigEndian(int16_t{0}, key);
  StoreBigEndian(static_cast<int16_t>(ControlType::kLeaderChange), key + 2);
  // Version, leader id; then two empty compact arrays (voters, granting voters) and no tagged
  // field.
  char value[9] = {0, 0, 0, 0, 0, 0, 1, 1, 0};
  StoreBigEndian(leader.value(), value + 2);
  BatchBuilder builder;
  builder.Add(timestamp_ms, absl::string_view(key, sizeof(key)),
              absl::string_view(value, sizeof(value)));
  // One small uncompressed record: there is nothing that Build() could refuse.
  return builder
      .Build({.flags = kControlBit, .base_offset = base_offset, .leader_epoch = leader_epoch})
      .value();
}

absl::StatusOr<ControlType> ReadControlType(const Bytes& batch) {
  FALAJ_ASSIGN_OR_RETURN(BatchReader reader, BatchReader::Open(batch, {}));
  if (!reader.header().control()) {
    return InvalidBatch("attributes", reader.header().attributes, "this is no control batch");
  }
  RecordView record;
  if (!reader.Next(&record)) {
    FALAJ_RETURN_IF_ERROR(reader.status());
    return InvalidBatch("record_count", 0, "a control batch has", 1);
  }
  if (!record.key.has_value() || record.key->size() < kControlKeySize) {
    return InvalidBatch("records", 0, "a control record's key has at least",
                        int64_t{kControlKeySize});
  }
  return static_cast<ControlType>(LoadBigEndian<int16_t>(record.key->data() + 2));
}

}  // namespace falaj::record
