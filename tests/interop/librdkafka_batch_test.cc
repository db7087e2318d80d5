// Batches that librdkafka wrote, read by us: from files captured once, and live.
#include <fstream>
#include <sstream>

#include "gtest/gtest.h"

#include "libs/record/batch_builder.h"
#include "libs/record/batch_reader.h"
#include "libs/record/batch_validator.h"
#include "tests/interop/librdkafka_capture.h"

namespace falaj::interop {
namespace {

using record::BatchBuilder;
using record::BatchHeader;
using record::BatchReader;
using record::Codec;
using record::Record;
using record::RecordView;

std::string ReadGolden(const std::string& name) {
  const std::string path = "tests/testdata/batches/librdkafka-" + name + ".bin";
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path << " (tests run from the repository root)";
  std::stringstream content;
  content << file.rdbuf();
  return content.str();
}

std::vector<Record> Decode(const Bytes& batch) {
  std::vector<Record> records;
  Offset expected(0);
  const absl::Status read =
      record::ForEachRecord(batch, record::Limits(), [&](const RecordView& view) {
        EXPECT_EQ(view.offset, expected);
        ++expected;
        records.push_back(view.ToRecord());
      });
  EXPECT_TRUE(read.ok()) << read;
  return records;
}

void ExpectGolden(const Bytes& batch, Codec codec) {
  const auto header = record::ValidateBatch(batch, record::Limits());
  ASSERT_TRUE(header.ok()) << header.status();
  const std::vector<Record> golden = GoldenRecords();
  EXPECT_EQ(header->codec(), codec);
  EXPECT_EQ(header->base_offset, Offset(0));
  EXPECT_EQ(header->record_count, static_cast<int32_t>(golden.size()));
  EXPECT_EQ(header->base_timestamp_ms, golden[0].timestamp_ms);
  EXPECT_EQ(header->max_timestamp_ms, golden[0].timestamp_ms + 70'000);
  EXPECT_FALSE(header->append_time());
  EXPECT_TRUE(record::VerifyStoredBatch(batch).ok());
  const std::vector<Record> decoded = Decode(batch);
  ASSERT_EQ(decoded.size(), golden.size());
  for (size_t i = 0; i < golden.size(); ++i) EXPECT_EQ(decoded[i], golden[i]) << "record " << i;
}

class LibrdkafkaBatch : public testing::TestWithParam<const char*> {};

TEST_P(LibrdkafkaBatch, GoldenFileHoldsTheRecords) {
  const Bytes batch = Bytes::Own(ReadGolden(GetParam()));
  ExpectGolden(batch, *record::CodecFromName(GetParam()));
}

TEST_P(LibrdkafkaBatch, LiveProducerWritesWhatWeRead) {
  const auto captured = CaptureBatches({.codec = GetParam()});
  ASSERT_TRUE(captured.ok()) << captured.status();
  ExpectGolden(Bytes::Copy(*captured), *record::CodecFromName(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Codecs, LibrdkafkaBatch,
                         testing::Values("none", "gzip", "snappy", "lz4", "zstd"),
                         [](const auto& codec) { return codec.param; });

// Encodes the golden records with everything else as in `header`.
Bytes EncodeAs(const BatchHeader& header) {
  BatchBuilder builder;
  for (const Record& record : GoldenRecords()) builder.Add(record);
  return builder
      .Build({.base_offset = header.base_offset,
              .leader_epoch = header.leader_epoch,
              .producer_id = header.producer_id,
              .producer_epoch = header.producer_epoch,
              .base_sequence = header.base_sequence})
      .value();
}

TEST(LibrdkafkaEncoding, OursIsTheSameByteForByte) {
  for (const char* name : {"none", "idempotent"}) {
    const std::string golden = ReadGolden(name);
    const auto header = record::ParseBatchHeader(golden);
    ASSERT_TRUE(header.ok()) << header.status();
    EXPECT_EQ(EncodeAs(*header).ToString(), golden) << name;
  }
}

TEST(LibrdkafkaEncoding, IdempotentProducerIsRead) {
  const Bytes batch = Bytes::Own(ReadGolden("idempotent"));
  ExpectGolden(batch, Codec::kNone);
  const auto header = record::ParseBatchHeader(batch);
  ASSERT_TRUE(header.ok());
  EXPECT_GE(header->producer_id.value(), 0);
  EXPECT_EQ(header->producer_epoch, ProducerEpoch(0));
  EXPECT_EQ(header->base_sequence, Sequence(0));
}

}  // namespace
}  // namespace falaj::interop
