#include "libs/record/batch_validator.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "libs/base/status.h"
#include "libs/record/batch_error.h"
#include "libs/record/compression.h"
#include "libs/record/record_walk.h"
#include "libs/record/utf8.h"
#include "libs/record/varint.h"

namespace falaj::record {
namespace {

// The last millisecond of the year 9999, where protobuf's timestamps end too.
constexpr int64_t kTimestampMaxMs = 253'402'300'799'999;

// RecordCursor cuts scattered bytes into records by their lengths. A record that lies across pieces
// is copied into one buffer, all others are seen where they are.
class RecordCursor {
 public:
  explicit RecordCursor(const Bytes& records) : pieces_(records.pieces()), left_(records.size()) {}

  size_t left() const { return left_; }

  // Sets `body` to the next record without its length, valid until the next call. False if the
  // length is malformed or exceeds what is left.
  bool Next(absl::string_view* body) {
    char copy[kVarintSizeMax];
    const size_t ahead = std::min(left_, kVarintSizeMax);
    const char* start = nullptr;
    if (piece_ < pieces_.size() && pieces_[piece_].size() - at_ >= ahead) {
      start = pieces_[piece_].data() + at_;
    } else {
      Copy(piece_, at_, ahead, copy);
      start = copy;
    }
    const char* p = start;
    int32_t length = 0;
    if (!ReadVarint(&p, start + ahead, &length) || length < 0) return false;
    Skip(static_cast<size_t>(p - start));
    const auto size = static_cast<size_t>(length);
    if (size > left_) return false;
    if (size == 0) {
      *body = absl::string_view();
    } else if (pieces_[piece_].size() - at_ >= size) {
      *body = pieces_[piece_].substr(at_, size);
    } else {
      scratch_.resize(size);
      Copy(piece_, at_, size, scratch_.data());
      *body = scratch_;
    }
    Skip(size);
    return true;
  }

 private:
  void Copy(size_t piece, size_t at, size_t size, char* out) const {
    for (; size > 0; ++piece, at = 0) {
      const absl::string_view part = pieces_[piece].substr(at, size);
      out = std::copy(part.begin(), part.end(), out);
      size -= part.size();
    }
  }

  void Skip(size_t size) {
    left_ -= size;
    at_ += size;
    while (piece_ < pieces_.size() && at_ >= pieces_[piece_].size())
      at_ -= pieces_[piece_++].size();
  }

  const Bytes::Pieces& pieces_;
  size_t left_;
  size_t piece_ = 0;
  size_t at_ = 0;  // Within the piece; never its end.
  std::string scratch_;
};

absl::Status CheckAttributes(const BatchHeader& header) {
  if (header.transactional()) {
    return MakeError(Reason::kUnsupported, "transactional batches are not supported",
                     {{"field", "attributes"}, {"value", absl::StrCat(header.attributes)}});
  }
  if (header.control()) {
    return InvalidBatch("attributes", header.attributes, "only the cluster writes control batches");
  }
  // Append time and delete horizon are the storage node's to set.
  if ((header.attributes & ~kCodecMask) != 0) {
    return InvalidBatch("attributes", header.attributes, "a producer may set none beyond the codec",
                        kCodecMask);
  }
  if (header.codec() > Codec::kZstd) {
    return InvalidBatch("codec", static_cast<int64_t>(header.codec()), "the last known one is",
                        static_cast<int64_t>(Codec::kZstd));
  }
  return absl::OkStatus();
}

absl::Status CheckProducer(const BatchHeader& header) {
  const int64_t id = header.producer_id.value();
  const int16_t epoch = header.producer_epoch.value();
  const int32_t sequence = header.base_sequence.value();
  if (id == -1 && epoch == -1 && sequence == -1) return absl::OkStatus();
  constexpr absl::string_view kRule =
      "producer id, epoch and base sequence are all -1 or all not negative";
  if (id < 0) return InvalidBatch("producer_id", id, kRule);
  if (epoch < 0) return InvalidBatch("producer_epoch", epoch, kRule);
  if (sequence < 0) return InvalidBatch("base_sequence", sequence, kRule);
  return absl::OkStatus();
}

absl::Status CheckHeader(const BatchHeader& header, size_t size_bytes) {
  if (header.size_bytes() != size_bytes) {
    return InvalidBatch("batch_length", header.batch_length, "the bytes sent make it",
                        static_cast<int64_t>(size_bytes - kBatchLengthOffset));
  }
  FALAJ_RETURN_IF_ERROR(CheckAttributes(header));
  if (header.record_count < 1) {
    return InvalidBatch("record_count", header.record_count, "must be at least", 1);
  }
  if (header.last_offset_delta != header.record_count - 1) {
    return InvalidBatch("last_offset_delta", header.last_offset_delta,
                        "must be record count - 1 =", int64_t{header.record_count} - 1);
  }
  return CheckProducer(header);
}

absl::Status BadRecord(int32_t index, absl::string_view why) {
  return InvalidBatch("records", index, absl::StrCat("this record has a wrong ", why));
}

// Checks record `index` and raises `max_timestamp_ms` to its timestamp.
absl::Status CheckRecord(const BatchHeader& header, int32_t index, absl::string_view body,
                         int64_t* max_timestamp_ms) {
  RecordFields fields;
  if (const char* wrong = ParseRecord(body, &fields); wrong != nullptr) {
    return BadRecord(index, wrong);
  }
  if (fields.offset_delta != index) return BadRecord(index, "offset delta");
  int64_t timestamp_ms = 0;
  if (__builtin_add_overflow(header.base_timestamp_ms, fields.timestamp_delta, &timestamp_ms) ||
      timestamp_ms < -1 || timestamp_ms > kTimestampMaxMs) {
    return BadRecord(index, "timestamp");
  }
  *max_timestamp_ms = std::max(*max_timestamp_ms, timestamp_ms);
  for (const HeaderView& view : fields.headers) {
    if (!IsUtf8(view.key)) return BadRecord(index, "header key, which must be UTF-8");
  }
  return absl::OkStatus();
}

absl::Status CheckRecords(const BatchHeader& header, const Bytes& records) {
  RecordCursor cursor(records);
  absl::string_view body;
  int64_t max_timestamp_ms = -1;
  for (int32_t i = 0; i < header.record_count; ++i) {
    if (!cursor.Next(&body)) return BadRecord(i, "record length");
    FALAJ_RETURN_IF_ERROR(CheckRecord(header, i, body, &max_timestamp_ms));
  }
  if (cursor.left() != 0) {
    return InvalidBatch("records", static_cast<int64_t>(cursor.left()),
                        "bytes behind the last record; the record count is", header.record_count);
  }
  if (max_timestamp_ms != header.max_timestamp_ms) {
    return InvalidBatch("max_timestamp", header.max_timestamp_ms, "the records' largest is",
                        max_timestamp_ms);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BatchHeader> ValidateBatch(const Bytes& batch, const Limits& limits) {
  if (batch.size() > limits.batch_bytes_max) {
    return BatchTooLarge("a batch", batch.size(), limits.batch_bytes_max);
  }
  FALAJ_ASSIGN_OR_RETURN(const BatchHeader header, ParseBatchHeader(batch));
  FALAJ_RETURN_IF_ERROR(CheckHeader(header, batch.size()));
  const uint32_t crc = ComputeBatchCrc(batch);
  if (crc != header.crc) {
    return InvalidBatch("crc", header.crc, "the bytes sent have checksum", crc);
  }
  Bytes records = batch.Subrange(kBatchHeaderSize, batch.size() - kBatchHeaderSize);
  if (header.codec() != Codec::kNone) {
    const Bytes compressed = records.Flatten();
    FALAJ_ASSIGN_OR_RETURN(
        records, Decompress(header.codec(), compressed.view(), limits.decompressed_bytes_max));
  }
  FALAJ_RETURN_IF_ERROR(CheckRecords(header, records));
  return header;
}

}  // namespace falaj::record
