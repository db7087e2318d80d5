// Control batches: one record that Falaj writes about the log itself, never shown to applications.
#ifndef LIBS_RECORD_CONTROL_BATCH_H_
#define LIBS_RECORD_CONTROL_BATCH_H_

#include <cstdint>

#include "absl/status/statusor.h"

#include "libs/base/bytes.h"
#include "libs/base/ids.h"

namespace falaj::record {

// The second number in a control record's key.
enum class ControlType : int16_t {
  kAbort = 0,
  kCommit = 1,
  kLeaderChange = 2,
  kSnapshotHeader = 3,
  kSnapshotFooter = 4,
  kKraftVersion = 5,
  kKraftVoters = 6,
};

// The batch a new leader appends at the start of its epoch. The value is Kafka's
// LeaderChangeMessage version 0 (leader id, no voters).
Bytes MakeLeaderChangeBatch(Offset base_offset, LeaderEpoch leader_epoch, NodeId leader,
                            int64_t timestamp_ms);

// The type of a control batch's record. Returns kInvalidArgument (INVALID_BATCH) if the batch is
// not a control batch or its record is malformed.
absl::StatusOr<ControlType> ReadControlType(const Bytes& batch);

}  // namespace falaj::record

#endif  // LIBS_RECORD_CONTROL_BATCH_H_
