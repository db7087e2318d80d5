// The 61-byte header of a record batch (Kafka's batch format v2), and the edits a leader makes to
// it without touching the records.
//
//   0 base offset 8 | 8 batch length 4 | 12 leader epoch 4 | 16 magic 1 | 17 crc 4 | 21 attributes
//   2 23 last offset delta 4 | 27 base timestamp 8 | 35 max timestamp 8 | 43 producer id 8 51
//   producer epoch 2 | 53 base sequence 4 | 57 record count 4 | 61 records, as one compressed run
//
// All big-endian. The CRC-32C covers byte 21 to the end, so the first 16 bytes are the leader's to
// write: base offset and leader epoch are stamped there and nothing is summed again.
#ifndef LIBS_RECORD_BATCH_HEADER_H_
#define LIBS_RECORD_BATCH_HEADER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "libs/base/bytes.h"
#include "libs/base/ids.h"

namespace falaj::record {

inline constexpr size_t kBatchHeaderSize = 61;
inline constexpr size_t kBatchPrefixSize = 16;    // Base offset, batch length, leader epoch.
inline constexpr size_t kBatchLengthOffset = 12;  // Batch length counts the bytes from here on.
inline constexpr size_t kBatchCrcStart = 21;      // The checksum covers the bytes from here on.
inline constexpr int8_t kBatchMagic = 2;

// The codecs by their number in the attributes.
enum class Codec : int8_t { kNone = 0, kGzip = 1, kSnappy = 2, kLz4 = 3, kZstd = 4 };

absl::string_view CodecName(Codec codec);  // "none", "gzip", "snappy", "lz4", "zstd".
std::optional<Codec> CodecFromName(absl::string_view name);

// Bits of BatchHeader::attributes.
inline constexpr int16_t kCodecMask = 0x07;
inline constexpr int16_t kAppendTimeBit = 0x08;
inline constexpr int16_t kTransactionalBit = 0x10;
inline constexpr int16_t kControlBit = 0x20;
inline constexpr int16_t kDeleteHorizonBit = 0x40;
inline constexpr int16_t kKnownAttributes = 0x7f;

struct BatchHeader {
  Offset base_offset;
  int32_t batch_length = 0;  // Of the batch without its first 12 bytes.
  LeaderEpoch leader_epoch{-1};
  int8_t magic = kBatchMagic;
  uint32_t crc = 0;
  int16_t attributes = 0;
  int32_t last_offset_delta = 0;
  int64_t base_timestamp_ms = -1;
  int64_t max_timestamp_ms = -1;
  ProducerId producer_id{-1};
  ProducerEpoch producer_epoch{-1};
  Sequence base_sequence{-1};
  int32_t record_count = 0;

  Codec codec() const { return static_cast<Codec>(attributes & kCodecMask); }  // May be unknown.
  bool append_time() const { return (attributes & kAppendTimeBit) != 0; }
  bool transactional() const { return (attributes & kTransactionalBit) != 0; }
  bool control() const { return (attributes & kControlBit) != 0; }
  Offset last_offset() const { return base_offset + last_offset_delta; }
  Offset next_offset() const { return base_offset + (int64_t{last_offset_delta} + 1); }
  // Of the whole batch. Requires batch_length >= 0, which ParseBatchHeader() ensures.
  size_t size_bytes() const { return static_cast<size_t>(batch_length) + kBatchLengthOffset; }

  friend bool operator==(const BatchHeader&, const BatchHeader&) = default;
};

// Reads a header from the first bytes of a batch; what follows is not looked at. Returns
// kInvalidArgument (INVALID_BATCH) if there are fewer than 61 bytes, the magic is not 2, the batch
// length cannot hold a header, or a count or delta is negative. That is all it checks: see
// ValidateBatch() and VerifyStoredBatch().
absl::StatusOr<BatchHeader> ParseBatchHeader(absl::string_view data);
absl::StatusOr<BatchHeader> ParseBatchHeader(const Bytes& data);

// Writes the header as it is, crc included.
void EncodeBatchHeader(const BatchHeader& header, char out[kBatchHeaderSize]);

// The checksum that belongs into the header of `batch`. Requires batch.size() >= kBatchHeaderSize.
uint32_t ComputeBatchCrc(const Bytes& batch);

// The first 16 bytes of a batch.
std::array<char, kBatchPrefixSize> MakeBatchPrefix(Offset base_offset, int32_t batch_length,
                                                   LeaderEpoch leader_epoch);

// The batch at its place in the log: a new prefix, the rest shared with `batch`. No payload is
// copied and the CRC stays right. Requires a batch with a valid length.
Bytes StampBatch(const Bytes& batch, Offset base_offset, LeaderEpoch leader_epoch);

// The batch with the leader's time for every record (topics with append time): attribute bit 3 set,
// max timestamp replaced, CRC computed anew. The records are shared, not copied. Requires a valid
// batch.
Bytes RewriteTimestamps(const Bytes& batch, int64_t append_time_ms);

}  // namespace falaj::record

#endif  // LIBS_RECORD_BATCH_HEADER_H_
