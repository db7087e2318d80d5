// Reading encoded batches: BatchReader walks the records of one batch, BatchIterator the batches of
// a run, and two functions answer what storage and gateway ask of a stored batch.
//
//   BatchIterator batches(run);
//   while (true) {
//     FALAJ_ASSIGN_OR_RETURN(std::optional<Bytes> batch, batches.Next());
//     if (!batch.has_value()) break;
//     FALAJ_RETURN_IF_ERROR(ForEachRecord(*batch, limits, [](const RecordView& record) { ... }));
//   }
//
// Nothing here trusts its input: whatever the bytes, the answer is records or a Status. For batches
// a producer sends, ValidateBatch() (batch_validator.h) says more and is stricter.
#ifndef LIBS_RECORD_BATCH_READER_H_
#define LIBS_RECORD_BATCH_READER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "libs/base/bytes.h"
#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/record/batch_header.h"
#include "libs/record/limits.h"
#include "libs/record/record.h"

namespace falaj::record {

// BatchReader yields the records of one batch as views, in offset order.
//
// An uncompressed batch in one piece is read where it lies; a scattered one is copied once, a
// compressed one decompressed once. Offsets and timestamps are absolute; with append time every
// record has the batch's max timestamp. The CRC is not checked: VerifyStoredBatch() does.
//
// The views point into records(), which the reader keeps alive; copy that Bytes to keep them
// longer. Threads: one at a time.
class BatchReader {
 public:
  // Returns kInvalidArgument: INVALID_BATCH if the header is malformed, the batch is not exactly as
  // long as it says, or cannot be decompressed; RECORD_TOO_LARGE if decompressing would exceed
  // limits.decompressed_bytes_max. limits.batch_bytes_max is not looked at.
  static absl::StatusOr<BatchReader> Open(const Bytes& batch, const Limits& limits);

  const BatchHeader& header() const { return header_; }
  // The decompressed records.
  const Bytes& records() const { return records_; }

  // Sets `record` to the next record, or returns false: at the end, or at a malformed record, which
  // status() tells.
  bool Next(RecordView* record);
  // OK, or why Next() stopped early: kInvalidArgument (INVALID_BATCH).
  const absl::Status& status() const { return status_; }

 private:
  BatchReader(const BatchHeader& header, Bytes records);

  BatchHeader header_;
  Bytes records_;  // In one piece.
  const char* at_ = nullptr;
  const char* end_ = nullptr;
  int32_t read_ = 0;         // Records yielded so far.
  int64_t least_delta_ = 0;  // Of the next record: deltas rise, with gaps after compaction.
  absl::Status status_;
};

// Calls `visit(const RecordView&)` for each record of the batch. Errors as BatchReader's.
template <typename Visit>
absl::Status ForEachRecord(const Bytes& batch, const Limits& limits, Visit visit) {
  FALAJ_ASSIGN_OR_RETURN(BatchReader reader, BatchReader::Open(batch, limits));
  RecordView record;
  while (reader.Next(&record)) visit(static_cast<const RecordView&>(record));
  return reader.status();
}

// BatchIterator cuts a run of concatenated batches, as a read returns them, into batches that share
// its owner. It looks at headers only. Threads: one at a time.
class BatchIterator {
 public:
  explicit BatchIterator(Bytes run) : run_(std::move(run)) {}

  // The next batch, or nullopt at the end of the run. Returns kDataLoss (CORRUPT_RECORD) if what
  // follows is not a whole batch with a well-formed header, now and ever after.
  absl::StatusOr<std::optional<Bytes>> Next();
  // Of the batch that Next() last returned.
  const BatchHeader& header() const { return header_; }

 private:
  Bytes run_;
  size_t position_ = 0;
  BatchHeader header_;
};

// Checks the header, the length and the CRC of a batch that was accepted before (read from disk, or
// sent by a leader), and returns its header. Returns kDataLoss (CORRUPT_RECORD) if it is damaged.
absl::StatusOr<BatchHeader> VerifyStoredBatch(const Bytes& batch);

// A record found by its time.
struct TimedOffset {
  Offset offset;
  int64_t timestamp_ms = -1;

  friend bool operator==(const TimedOffset&, const TimedOffset&) = default;
};

// The first record of the batch whose timestamp is at or after `timestamp_ms`; nullopt if there is
// none, or the batch is a control batch. Errors as BatchReader's.
absl::StatusOr<std::optional<TimedOffset>> FirstRecordAtOrAfter(const Bytes& batch,
                                                                int64_t timestamp_ms,
                                                                const Limits& limits);

}  // namespace falaj::record

#endif  // LIBS_RECORD_BATCH_READER_H_
