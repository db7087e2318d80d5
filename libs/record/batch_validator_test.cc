// What may not enter the log: every way a producer's batch can be wrong.
#include "libs/record/batch_validator.h"

#include "gtest/gtest.h"

#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/record/batch_reader.h"
#include "libs/record/big_endian.h"
#include "libs/record/compression.h"
#include "libs/record/control_batch.h"
#include "libs/record/testing/batches.h"

namespace falaj::record {
namespace {

using testing_batches::Build;
using testing_batches::RandomRecords;
using testing_batches::Scatter;
using testing_batches::Tamper;

Bytes GoodBatch(Codec codec = Codec::kNone) {
  Random random(1);
  return Build(RandomRecords(&random, 10), {.codec = codec});
}

// One uncompressed batch around hand-written records.
Bytes BatchAround(absl::string_view records, int32_t count, Codec codec = Codec::kNone) {
  BatchHeader header;
  header.batch_length =
      static_cast<int32_t>(kBatchHeaderSize - kBatchLengthOffset + records.size());
  header.attributes = static_cast<int16_t>(codec);
  header.last_offset_delta = count - 1;
  header.base_timestamp_ms = 0;
  header.max_timestamp_ms = 0;
  header.record_count = count;
  std::string batch(kBatchHeaderSize, '\0');
  EncodeBatchHeader(header, batch.data());
  batch.append(records.data(), records.size());
  testing_batches::FixCrc(&batch);
  return Bytes::Own(std::move(batch));
}

// The field an INVALID_BATCH error names; the reason's name for other errors, "OK" for none.
std::string Refusal(const Bytes& batch, const Limits& limits = Limits()) {
  const absl::Status status = ValidateBatch(batch, limits).status();
  if (status.ok()) return "OK";
  if (ReasonOf(status) != Reason::kInvalidBatch) return std::string(ReasonName(ReasonOf(status)));
  ErrorMetadata metadata = MetadataOf(status);
  EXPECT_FALSE(metadata["value"].empty()) << status;
  return metadata["field"];
}

template <typename T>
Bytes WithField(size_t position, T value) {
  return Tamper(GoodBatch(), [=](std::string* b) { StoreBigEndian(value, b->data() + position); });
}

TEST(ValidateBatch, FlippingAnyBitIsRefusedButForWhatTheLeaderWrites) {
  const std::string good = GoodBatch().ToString();
  for (size_t i = 0; i < good.size(); ++i) {
    const bool leaders = i < 8 || (i >= 12 && i < 16);
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      EXPECT_EQ(ValidateBatch(Bytes::Own(bad), Limits()).ok(), leaders) << i << "." << bit;
    }
  }
}

TEST(ValidateBatch, EveryTruncationIsRefused) {
  const std::string good = GoodBatch().ToString();
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_EQ(Refusal(Bytes::Copy(absl::string_view(good).substr(0, size))),
              size < kBatchHeaderSize ? "size" : "batch_length");
  }
  EXPECT_EQ(Refusal(Bytes::Own(good + "x")), "batch_length");
}

TEST(ValidateBatch, EachWrongHeaderFieldIsNamed) {
  ASSERT_EQ(Refusal(GoodBatch()), "OK");
  EXPECT_EQ(Refusal(WithField<int32_t>(8, 48)), "batch_length");
  EXPECT_EQ(Refusal(WithField<int32_t>(8, -1)), "batch_length");
  EXPECT_EQ(Refusal(WithField<int32_t>(8, 0x7fffffff)), "batch_length");
  EXPECT_EQ(Refusal(WithField<int8_t>(16, 1)), "magic");
  for (const char codec : {'\5', '\6', '\7'}) {
    EXPECT_EQ(Refusal(WithField(22, codec)), "codec");
  }
  EXPECT_EQ(Refusal(WithField<int16_t>(21, kAppendTimeBit)), "attributes");
  EXPECT_EQ(Refusal(WithField<int16_t>(21, kTransactionalBit)), "UNSUPPORTED");
  EXPECT_EQ(Refusal(WithField<int16_t>(21, kControlBit)), "attributes");
  EXPECT_EQ(Refusal(WithField<int16_t>(21, kDeleteHorizonBit)), "attributes");
  EXPECT_EQ(Refusal(WithField<int16_t>(21, 0x80)), "attributes");
  EXPECT_EQ(Refusal(WithField<int16_t>(21, std::numeric_limits<int16_t>::min())), "attributes");
  EXPECT_EQ(Refusal(WithField<int32_t>(23, 10)), "last_offset_delta");
  EXPECT_EQ(Refusal(WithField<int32_t>(23, -1)), "last_offset_delta");
  EXPECT_EQ(Refusal(WithField<int64_t>(35, 5)), "max_timestamp");
  EXPECT_EQ(Refusal(WithField<int32_t>(57, 0)), "record_count");
  EXPECT_EQ(Refusal(WithField<int32_t>(57, -1)), "record_count");
  EXPECT_EQ(Refusal(WithField<int32_t>(57, std::numeric_limits<int32_t>::max())),
            "last_offset_delta");
  EXPECT_EQ(Refusal(MakeLeaderChangeBatch(Offset(0), LeaderEpoch(0), NodeId(1), 0)), "attributes");
}

TEST(ValidateBatch, AWrongCountIsFoundByTheRecords) {
  for (const int32_t count : {9, 11, std::numeric_limits<int32_t>::max()}) {
    const Bytes bad = Tamper(GoodBatch(), [=](std::string* b) {
      StoreBigEndian(count - 1, b->data() + 23);
      StoreBigEndian(count, b->data() + 57);
    });
    EXPECT_EQ(Refusal(bad), "records") << count;
  }
}

TEST(ValidateBatch, ProducerFieldsAreAllSetOrNone) {
  const auto with = [](int64_t id, int16_t epoch, int32_t sequence) {
    Random random(2);
    return Refusal(Build(RandomRecords(&random, 2), {.producer_id = ProducerId(id),
                                                     .producer_epoch = ProducerEpoch(epoch),
                                                     .base_sequence = Sequence(sequence)}));
  };
  EXPECT_EQ(with(-1, -1, -1), "OK");
  EXPECT_EQ(with(0, 0, 0), "OK");
  EXPECT_EQ(with(77, 5, std::numeric_limits<int32_t>::max()), "OK");
  EXPECT_EQ(with(-2, 0, 0), "producer_id");
  EXPECT_EQ(with(-1, 0, -1), "producer_id");
  EXPECT_EQ(with(-1, -1, 0), "producer_id");
  EXPECT_EQ(with(1, -1, 0), "producer_epoch");
  EXPECT_EQ(with(1, 0, -1), "base_sequence");
}

// A record: length, attributes, timestamp delta, offset delta, null key, null value, no headers.
std::string Rec(const std::string& body) {
  return std::string(1, static_cast<char>(body.size() * 2)) + body;
}
const std::string kPlain("\0\0\0\1\1\0", 6);

TEST(ValidateBatch, MalformedRecordsAreRefused) {
  ASSERT_EQ(Refusal(BatchAround(Rec(kPlain), 1)), "OK");
  const std::string bodies[] = {
      std::string(),
      std::string("\0", 1),
      std::string("\0\0\2\1\1\0", 6),          // Offset delta 1 for the first record.
      std::string("\0\0\1\1\1\0", 6),          // Offset delta -1.
      std::string("\0\0\0\3\1\0", 6),          // Key length -2.
      std::string("\0\0\0\x7e\1\0", 6),        // Key longer than the record.
      std::string("\0\0\0\1\3\0", 6),          // Value length -2.
      std::string("\0\0\0\1\1\1", 6),          // Header count -1.
      std::string("\0\0\0\1\1\2", 6),          // A header that is not there.
      std::string("\0\0\0\1\1\2\1\1", 8),      // Header key of length -1.
      std::string("\0\0\0\1\1\2\0\3", 8),      // Header value of length -2.
      std::string("\0\0\0\1\1\0x", 7),         // Bytes behind the headers.
      std::string("\0\0\0\1\1\2\2\xff\1", 9),  // Header key that is not UTF-8.
      std::string("\0\3\0\1\1\0", 6),          // Timestamp -2.
      "\xff" + std::string(11, '\xff'),        // Varints that never end.
  };
  for (const std::string& body : bodies) {
    const Bytes bad = BatchAround(Rec(body), 1);
    EXPECT_EQ(Refusal(bad), "records") << testing::PrintToString(body);
    Random random(3);
    EXPECT_EQ(Refusal(Scatter(bad, &random, 2)), "records") << testing::PrintToString(body);
  }
  EXPECT_EQ(Refusal(BatchAround("", 1)), "records");
  EXPECT_EQ(Refusal(BatchAround("\x01", 1)), "records") << "record length -1";
  EXPECT_EQ(Refusal(BatchAround(Rec(kPlain) + "x", 1)), "records");
  EXPECT_EQ(Refusal(BatchAround("\xfe\xff\xff\xff\x0f" + kPlain, 1)), "records") << "2 GiB record";
  EXPECT_EQ(Refusal(BatchAround(Rec(kPlain) + Rec(kPlain), 2)), "records") << "same offset twice";
}

TEST(ValidateBatch, CompressedRecordsAreCheckedToo) {
  std::string records;
  ASSERT_TRUE(Compress(Codec::kZstd, Rec(kPlain) + "trailing", &records).ok());
  EXPECT_EQ(Refusal(BatchAround(records, 1, Codec::kZstd)), "records");
  for (const Codec codec : {Codec::kGzip, Codec::kSnappy, Codec::kLz4, Codec::kZstd}) {
    EXPECT_EQ(Refusal(BatchAround(Rec(kPlain), 1, codec)), "records") << CodecName(codec);
  }
}

TEST(ValidateBatch, OversizedBatchesAndBombsNameTheirLimits) {
  const Bytes batch = GoodBatch();
  const absl::Status large = ValidateBatch(batch, {.batch_bytes_max = batch.size() - 1}).status();
  EXPECT_EQ(ReasonOf(large), Reason::kRecordTooLarge);
  EXPECT_EQ(MetadataOf(large)["size_bytes"], absl::StrCat(batch.size()));
  EXPECT_EQ(MetadataOf(large)["limit_bytes"], absl::StrCat(batch.size() - 1));
  EXPECT_EQ(Refusal(batch, {.batch_bytes_max = batch.size()}), "OK");

  for (const Codec codec : {Codec::kLz4, Codec::kZstd}) {
    const Bytes bomb =
        Build({{.key = {}, .value = std::string(32 << 20, 'b'), .headers = {}, .timestamp_ms = 0}},
              {.codec = codec});
    ASSERT_LT(bomb.size(), Limits().batch_bytes_max);
    EXPECT_EQ(Refusal(bomb), "RECORD_TOO_LARGE") << CodecName(codec);
    EXPECT_EQ(ReasonOf(BatchReader::Open(bomb, Limits()).status()), Reason::kRecordTooLarge);
  }
}

TEST(BatchReader, NeverTrustsDamagedBytes) {
  Random random(4);
  for (const Codec codec : {Codec::kNone, Codec::kLz4, Codec::kZstd}) {
    const std::string good = GoodBatch(codec).ToString();
    for (int round = 0; round < 3000; ++round) {
      std::string bad = good;
      for (uint64_t changes = 1 + random.Below(4); changes > 0; --changes) {
        bad[random.Below(bad.size())] = static_cast<char>(random.Next());
      }
      bad.resize(random.Below(4) == 0 ? random.Below(bad.size()) : bad.size());
      size_t payload = 0;
      // Whatever comes out, it must not reach outside the batch (the address sanitizer watches).
      IgnoreError(ForEachRecord(Bytes::Own(bad), Limits(),
                                [&](const RecordView& view) {
                                  payload += view.ToRecord().value.value_or("").size();
                                }),
                  "damaged on purpose");
      EXPECT_LE(payload, Limits().decompressed_bytes_max);
    }
  }
}

}  // namespace
}  // namespace falaj::record
