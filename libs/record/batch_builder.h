// BatchBuilder turns records into one encoded batch.
//
//   BatchBuilder builder;
//   for (const Record& record : records) builder.Add(record);
//   FALAJ_ASSIGN_OR_RETURN(Bytes batch, builder.Build({.codec = Codec::kLz4}));
//
// It is used by the client's producer, by the gateway for plain records, and by the leader for
// control batches. Records are encoded into one buffer as they come, so that size_bytes() is the
// exact size of the uncompressed batch at any time; Build() compresses that buffer, or hands it
// over as it is, and leaves the builder empty for the next batch.
//
// Threads: one at a time.
#ifndef LIBS_RECORD_BATCH_BUILDER_H_
#define LIBS_RECORD_BATCH_BUILDER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "libs/base/bytes.h"
#include "libs/base/ids.h"
#include "libs/record/batch_header.h"
#include "libs/record/record.h"

namespace falaj::record {

class BatchBuilder {
 public:
  // What a batch says besides its records.
  struct BuildOptions {
    Codec codec = Codec::kNone;  // kNone, kLz4 or kZstd.
    int16_t flags = 0;           // Attribute bits besides the codec.
    Offset base_offset{0};
    LeaderEpoch leader_epoch{-1};
    ProducerId producer_id{-1};
    ProducerEpoch producer_epoch{-1};
    Sequence base_sequence{-1};
  };

  BatchBuilder();
  // Reserves room for a batch of `expected_bytes`, to spare the growth of the buffer.
  explicit BatchBuilder(size_t expected_bytes);

  void Add(const Record& record);
  void Add(const RecordView& record);  // The view's offset is ignored.
  void Add(int64_t timestamp_ms, std::optional<absl::string_view> key,
           std::optional<absl::string_view> value, absl::Span<const HeaderView> headers = {});

  bool empty() const { return record_count_ == 0; }
  int32_t record_count() const { return record_count_; }
  // Of the batch so far, header included, before compression.
  size_t size_bytes() const { return buffer_.size(); }
  int64_t max_timestamp_ms() const { return max_timestamp_ms_; }

  // The most that Add() can add to size_bytes() for a record with keys, values and headers of so
  // many bytes in all.
  static size_t RecordSizeBound(size_t payload_bytes, size_t header_count) {
    return payload_bytes + kRecordOverheadMax + header_count * kHeaderOverheadMax;
  }
  static size_t RecordSizeBound(const Record& record);

  // The encoded batch; the builder is empty afterwards. If compression saves nothing the batch is
  // left uncompressed and says so. Returns kInvalidArgument (INVALID_BATCH) if there are no records
  // or more than 2 GiB of them, kUnimplemented (UNSUPPORTED) for gzip and snappy.
  absl::StatusOr<Bytes> Build(const BuildOptions& options);
  // Drops the records added so far.
  void Clear();

 private:
  // Varints of length, timestamp delta, offset delta, key and value length, header count;
  // attributes.
  static constexpr size_t kRecordOverheadMax = 5 + 10 + 5 + 5 + 5 + 5 + 1;
  static constexpr size_t kHeaderOverheadMax = 5 + 5;

  // Writes the record up to its headers; `headers_bytes` of encoded headers must follow.
  void BeginRecord(int64_t timestamp_ms, std::optional<absl::string_view> key,
                   std::optional<absl::string_view> value, size_t headers_bytes,
                   size_t header_count);

  const size_t expected_bytes_;
  std::string buffer_;  // Room for the header, then the records.
  int32_t record_count_ = 0;
  int64_t base_timestamp_ms_ = -1;
  int64_t max_timestamp_ms_ = -1;
};

}  // namespace falaj::record

#endif  // LIBS_RECORD_BATCH_BUILDER_H_
