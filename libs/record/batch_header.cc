#include "libs/record/batch_header.h"

#include <algorithm>
#include <string>

#include "libs/base/crc32c.h"
#include "libs/record/batch_error.h"
#include "libs/record/big_endian.h"

namespace falaj::record {
namespace {

constexpr absl::string_view kCodecNames[] = {"none", "gzip", "snappy", "lz4", "zstd"};

}  // namespace

absl::string_view CodecName(Codec codec) {
  const auto index = static_cast<size_t>(codec);
  return index < std::size(kCodecNames) ? kCodecNames[index] : "unknown";
}

std::optional<Codec> CodecFromName(absl::string_view name) {
  for (size_t i = 0; i < std::size(kCodecNames); ++i) {
    if (kCodecNames[i] == name) return static_cast<Codec>(i);
  }
  return std::nullopt;
}

absl::StatusOr<BatchHeader> ParseBatchHeader(absl::string_view data) {
  if (data.size() < kBatchHeaderSize) {
    return InvalidBatch("size", static_cast<int64_t>(data.size()), "a batch has at least",
                        int64_t{kBatchHeaderSize});
  }
  const char* p = data.data();
  BatchHeader header;
  header.base_offset = Offset(LoadBigEndian<int64_t>(p));
  header.batch_length = LoadBigEndian<int32_t>(p + 8);
  header.leader_epoch = LeaderEpoch(LoadBigEndian<int32_t>(p + 12));
  header.magic = LoadBigEndian<int8_t>(p + 16);
  header.crc = LoadBigEndian<uint32_t>(p + 17);
  header.attributes = LoadBigEndian<int16_t>(p + 21);
  header.last_offset_delta = LoadBigEndian<int32_t>(p + 23);
  header.base_timestamp_ms = LoadBigEndian<int64_t>(p + 27);
  header.max_timestamp_ms = LoadBigEndian<int64_t>(p + 35);
  header.producer_id = ProducerId(LoadBigEndian<int64_t>(p + 43));
  header.producer_epoch = ProducerEpoch(LoadBigEndian<int16_t>(p + 51));
  header.base_sequence = Sequence(LoadBigEndian<int32_t>(p + 53));
  header.record_count = LoadBigEndian<int32_t>(p + 57);
  if (header.magic != kBatchMagic) {
    return InvalidBatch("magic", header.magic, "the only format read is", kBatchMagic);
  }
  constexpr int64_t kLengthMin = kBatchHeaderSize - kBatchLengthOffset;
  if (header.batch_length < kLengthMin) {
    return InvalidBatch("batch_length", header.batch_length, "must be at least", kLengthMin);
  }
  if (header.record_count < 0) {
    return InvalidBatch("record_count", header.record_count, "must be at least", 0);
  }
  if (header.last_offset_delta < 0) {
    return InvalidBatch("last_offset_delta", header.last_offset_delta, "must be at least", 0);
  }
  return header;
}

absl::StatusOr<BatchHeader> ParseBatchHeader(const Bytes& data) {
  char head[kBatchHeaderSize];
  const size_t size = std::min(data.size(), kBatchHeaderSize);
  data.CopyTo(0, size, head);
  return ParseBatchHeader(absl::string_view(head, size));
}

void EncodeBatchHeader(const BatchHeader& header, char out[kBatchHeaderSize]) {
  StoreBigEndian(header.base_offset.value(), out);
  StoreBigEndian(header.batch_length, out + 8);
  StoreBigEndian(header.leader_epoch.value(), out + 12);
  StoreBigEndian(header.magic, out + 16);
  StoreBigEndian(header.crc, out + 17);
  StoreBigEndian(header.attributes, out + 21);
  StoreBigEndian(header.last_offset_delta, out + 23);
  StoreBigEndian(header.base_timestamp_ms, out + 27);
  StoreBigEndian(header.max_timestamp_ms, out + 35);
  StoreBigEndian(header.producer_id.value(), out + 43);
  StoreBigEndian(header.producer_epoch.value(), out + 51);
  StoreBigEndian(header.base_sequence.value(), out + 53);
  StoreBigEndian(header.record_count, out + 57);
}

uint32_t ComputeBatchCrc(const Bytes& batch) {
  uint32_t crc = 0;
  size_t skip = kBatchCrcStart;
  for (absl::string_view piece : batch.pieces()) {
    const size_t skipped = std::min(skip, piece.size());
    skip -= skipped;
    piece.remove_prefix(skipped);
    if (!piece.empty()) crc = crc32c::Extend(crc, piece);
  }
  return crc;
}

std::array<char, kBatchPrefixSize> MakeBatchPrefix(Offset base_offset, int32_t batch_length,
                                                   LeaderEpoch leader_epoch) {
  std::array<char, kBatchPrefixSize> prefix;
  StoreBigEndian(base_offset.value(), prefix.data());
  StoreBigEndian(batch_length, prefix.data() + 8);
  StoreBigEndian(leader_epoch.value(), prefix.data() + 12);
  return prefix;
}

Bytes StampBatch(const Bytes& batch, Offset base_offset, LeaderEpoch leader_epoch) {
  const auto length = static_cast<int32_t>(batch.size() - kBatchLengthOffset);
  const auto prefix = MakeBatchPrefix(base_offset, length, leader_epoch);
  return Bytes::Concat(Bytes::Copy(absl::string_view(prefix.data(), prefix.size())),
                       batch.Subrange(kBatchPrefixSize, batch.size() - kBatchPrefixSize));
}

Bytes RewriteTimestamps(const Bytes& batch, int64_t append_time_ms) {
  std::string head(kBatchHeaderSize, '\0');
  batch.CopyTo(0, kBatchHeaderSize, head.data());
  const auto attributes = LoadBigEndian<int16_t>(head.data() + 21);
  StoreBigEndian(static_cast<int16_t>(attributes | kAppendTimeBit), head.data() + 21);
  StoreBigEndian(append_time_ms, head.data() + 35);
  const Bytes records = batch.Subrange(kBatchHeaderSize, batch.size() - kBatchHeaderSize);
  uint32_t crc = crc32c::Of(absl::string_view(head).substr(kBatchCrcStart));
  for (absl::string_view piece : records.pieces()) crc = crc32c::Extend(crc, piece);
  StoreBigEndian(crc, head.data() + 17);
  return Bytes::Concat(Bytes::Own(std::move(head)), records);
}

}  // namespace falaj::record
