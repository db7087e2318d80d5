#include "libs/record/batch_builder.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/container/inlined_vector.h"

#include "libs/base/crc32c.h"
#include "libs/base/status.h"
#include "libs/record/batch_error.h"
#include "libs/record/compression.h"
#include "libs/record/varint.h"

namespace falaj::record {
namespace {

// The length a key, value or header value is encoded with.
int64_t NullableSize(std::optional<absl::string_view> field) {
  return field.has_value() ? static_cast<int64_t>(field->size()) : -1;
}

size_t EncodedSize(std::optional<absl::string_view> field) {
  return VarintSize(NullableSize(field)) + (field.has_value() ? field->size() : 0);
}

std::optional<absl::string_view> View(const std::optional<std::string>& field) {
  if (!field.has_value()) return std::nullopt;
  return absl::string_view(*field);
}

void Append(std::optional<absl::string_view> field, std::string* out) {
  char size[kVarlongSizeMax];
  out->append(size, static_cast<size_t>(WriteVarint(size, NullableSize(field)) - size));
  if (field.has_value()) out->append(field->data(), field->size());
}

}  // namespace

BatchBuilder::BatchBuilder() : BatchBuilder(kBatchHeaderSize) {}

BatchBuilder::BatchBuilder(size_t expected_bytes) : expected_bytes_(expected_bytes) { Clear(); }

void BatchBuilder::Clear() {
  buffer_.clear();
  buffer_.reserve(expected_bytes_);
  buffer_.resize(kBatchHeaderSize);
  record_count_ = 0;
  base_timestamp_ms_ = -1;
  max_timestamp_ms_ = -1;
}

void BatchBuilder::BeginRecord(int64_t timestamp_ms, std::optional<absl::string_view> key,
                               std::optional<absl::string_view> value, size_t headers_bytes,
                               size_t header_count) {
  if (record_count_ == 0) {
    base_timestamp_ms_ = timestamp_ms;
    max_timestamp_ms_ = timestamp_ms;
  }
  max_timestamp_ms_ = std::max(max_timestamp_ms_, timestamp_ms);
  // Unsigned, so that timestamps further apart than int64 wrap as their reader's sum does.
  const auto timestamp_delta = static_cast<int64_t>(static_cast<uint64_t>(timestamp_ms) -
                                                    static_cast<uint64_t>(base_timestamp_ms_));
  const int64_t offset_delta = record_count_++;
  const auto headers = static_cast<int64_t>(header_count);
  const size_t size = 1 + VarintSize(timestamp_delta) + VarintSize(offset_delta) +
                      EncodedSize(key) + EncodedSize(value) + VarintSize(headers) + headers_bytes;
  char head[3 * kVarlongSizeMax + 1];
  char* p = WriteVarint(head, static_cast<int64_t>(size));
  *p++ = 0;  // Attributes.
  p = WriteVarint(p, timestamp_delta);
  p = WriteVarint(p, offset_delta);
  buffer_.append(head, static_cast<size_t>(p - head));
  Append(key, &buffer_);
  Append(value, &buffer_);
  p = WriteVarint(head, headers);
  buffer_.append(head, static_cast<size_t>(p - head));
}

void BatchBuilder::Add(int64_t timestamp_ms, std::optional<absl::string_view> key,
                       std::optional<absl::string_view> value,
                       absl::Span<const HeaderView> headers) {
  size_t headers_bytes = 0;
  for (const HeaderView& header : headers) {
    headers_bytes += EncodedSize(header.key) + EncodedSize(header.value);
  }
  BeginRecord(timestamp_ms, key, value, headers_bytes, headers.size());
  for (const HeaderView& header : headers) {
    Append(header.key, &buffer_);
    Append(header.value, &buffer_);
  }
}

void BatchBuilder::Add(const Record& record) {
  absl::InlinedVector<HeaderView, 8> headers;
  for (const Header& header : record.headers) headers.push_back({header.key, View(header.value)});
  Add(record.timestamp_ms, View(record.key), View(record.value), headers);
}

void BatchBuilder::Add(const RecordView& record) {
  const absl::string_view headers = record.headers().encoded();
  BeginRecord(record.timestamp_ms, record.key, record.value, headers.size(),
              static_cast<size_t>(record.headers().size()));
  buffer_.append(headers.data(), headers.size());
}

size_t BatchBuilder::RecordSizeBound(const Record& record) {
  size_t bytes = record.key.has_value() ? record.key->size() : 0;
  if (record.value.has_value()) bytes += record.value->size();
  for (const Header& header : record.headers) {
    bytes += header.key.size() + (header.value.has_value() ? header.value->size() : 0);
  }
  return RecordSizeBound(bytes, record.headers.size());
}

absl::StatusOr<Bytes> BatchBuilder::Build(const BuildOptions& options) {
  constexpr size_t kSizeMax = std::numeric_limits<int32_t>::max();
  if (empty()) return InvalidBatch("record_count", 0, "must be at least", 1);
  if (buffer_.size() > kSizeMax) {
    return InvalidBatch("size", static_cast<int64_t>(buffer_.size()), "must be at most",
                        int64_t{kSizeMax});
  }
  Codec codec = options.codec;
  if (codec != Codec::kNone) {
    std::string compressed(kBatchHeaderSize, '\0');
    const absl::string_view records = absl::string_view(buffer_).substr(kBatchHeaderSize);
    FALAJ_RETURN_IF_ERROR(Compress(codec, records, &compressed));
    if (compressed.size() < buffer_.size()) {
      compressed.shrink_to_fit();  // Its room was for the worst case, and a batch may live long.
      buffer_ = std::move(compressed);
    } else {
      codec = Codec::kNone;
    }
  }
  BatchHeader header;
  header.base_offset = options.base_offset;
  header.batch_length = static_cast<int32_t>(buffer_.size() - kBatchLengthOffset);
  header.leader_epoch = options.leader_epoch;
  header.attributes = static_cast<int16_t>(options.flags | static_cast<int16_t>(codec));
  header.last_offset_delta = record_count_ - 1;
  header.base_timestamp_ms = base_timestamp_ms_;
  header.max_timestamp_ms = max_timestamp_ms_;
  header.producer_id = options.producer_id;
  header.producer_epoch = options.producer_epoch;
  header.base_sequence = options.base_sequence;
  header.record_count = record_count_;
  EncodeBatchHeader(header, buffer_.data());
  header.crc = crc32c::Of(absl::string_view(buffer_).substr(kBatchCrcStart));
  EncodeBatchHeader(header, buffer_.data());
  Bytes batch = Bytes::Own(std::move(buffer_));
  Clear();
  return batch;
}

}  // namespace falaj::record
