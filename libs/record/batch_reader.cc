#include "libs/record/batch_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/record/batch_error.h"
#include "libs/record/compression.h"
#include "libs/record/record_walk.h"
#include "libs/record/varint.h"

namespace falaj::record {
namespace {

absl::Status CorruptAt(size_t position, absl::string_view why) {
  return MakeError(Reason::kCorruptRecord, absl::StrCat("at byte ", position, ": ", why),
                   {{"position", absl::StrCat(position)}});
}

}  // namespace

absl::StatusOr<BatchReader> BatchReader::Open(const Bytes& batch, const Limits& limits) {
  FALAJ_ASSIGN_OR_RETURN(const BatchHeader header, ParseBatchHeader(batch));
  if (header.size_bytes() != batch.size()) {
    return InvalidBatch("batch_length", header.batch_length, "the bytes here make it",
                        static_cast<int64_t>(batch.size() - kBatchLengthOffset));
  }
  Bytes records = batch.Subrange(kBatchHeaderSize, batch.size() - kBatchHeaderSize).Flatten();
  if (header.codec() != Codec::kNone && header.record_count > 0) {
    FALAJ_ASSIGN_OR_RETURN(
        records, Decompress(header.codec(), records.view(), limits.decompressed_bytes_max));
  }
  return BatchReader(header, std::move(records));
}

BatchReader::BatchReader(const BatchHeader& header, Bytes records)
    : header_(header),
      records_(std::move(records)),
      at_(records_.view().data()),
      end_(at_ + records_.size()) {}

bool BatchReader::Next(RecordView* record) {
  if (!status_.ok()) return false;
  if (read_ == header_.record_count) {
    if (at_ != end_) status_ = InvalidBatch("records", end_ - at_, "bytes behind the last record");
    return false;
  }
  int32_t length = 0;
  RecordFields fields;
  const char* wrong = "record length";
  if (ReadVarint(&at_, end_, &length) && length >= 0 && length <= end_ - at_) {
    wrong = ParseRecord(absl::string_view(at_, static_cast<size_t>(length)), &fields);
  }
  if (wrong == nullptr &&
      (fields.offset_delta < least_delta_ || fields.offset_delta > header_.last_offset_delta)) {
    wrong = "offset delta";
  }
  if (wrong != nullptr) {
    status_ = InvalidBatch("records", read_, absl::StrCat("malformed ", wrong));
    return false;
  }
  at_ += length;
  ++read_;
  least_delta_ = int64_t{fields.offset_delta} + 1;
  record->offset = header_.base_offset + fields.offset_delta;
  record->timestamp_ms =
      header_.append_time()
          ? header_.max_timestamp_ms
          : static_cast<int64_t>(static_cast<uint64_t>(header_.base_timestamp_ms) +
                                 static_cast<uint64_t>(fields.timestamp_delta));
  record->key = fields.key;
  record->value = fields.value;
  record->header_range = fields.headers;
  return true;
}

absl::StatusOr<std::optional<Bytes>> BatchIterator::Next() {
  const size_t left = run_.size() - position_;
  if (left == 0) return std::optional<Bytes>();
  if (left < kBatchHeaderSize) return CorruptAt(position_, "a batch header is cut off");
  char head[kBatchHeaderSize];
  run_.CopyTo(position_, kBatchHeaderSize, head);
  const auto header = ParseBatchHeader(absl::string_view(head, kBatchHeaderSize));
  if (!header.ok()) return CorruptAt(position_, header.status().message());
  if (header->size_bytes() > left) return CorruptAt(position_, "a batch is cut off");
  header_ = *header;
  Bytes batch = run_.Subrange(position_, header_.size_bytes());
  position_ += header_.size_bytes();
  return std::optional<Bytes>(std::move(batch));
}

absl::StatusOr<BatchHeader> VerifyStoredBatch(const Bytes& batch) {
  const auto header = ParseBatchHeader(batch);
  if (!header.ok()) return CorruptAt(0, header.status().message());
  if (header->size_bytes() != batch.size()) return CorruptAt(0, "the batch has another length");
  const uint32_t crc = ComputeBatchCrc(batch);
  if (crc != header->crc) {
    return MakeError(Reason::kCorruptRecord,
                     absl::StrCat("the batch at offset ", header->base_offset, " has checksum ",
                                  crc, " and says ", header->crc),
                     {{"offset", absl::StrCat(header->base_offset)}});
  }
  return *header;
}

absl::StatusOr<std::optional<TimedOffset>> FirstRecordAtOrAfter(const Bytes& batch,
                                                                int64_t timestamp_ms,
                                                                const Limits& limits) {
  FALAJ_ASSIGN_OR_RETURN(const BatchHeader header, ParseBatchHeader(batch));
  if (header.control() || header.max_timestamp_ms < timestamp_ms) {
    return std::optional<TimedOffset>();
  }
  FALAJ_ASSIGN_OR_RETURN(BatchReader reader, BatchReader::Open(batch, limits));
  RecordView record;
  while (reader.Next(&record)) {
    if (record.timestamp_ms < timestamp_ms) continue;
    return std::optional<TimedOffset>({record.offset, record.timestamp_ms});
  }
  FALAJ_RETURN_IF_ERROR(reader.status());
  return std::optional<TimedOffset>();
}

}  // namespace falaj::record
