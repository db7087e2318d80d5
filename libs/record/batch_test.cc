// Batches written and read by this library: round trips, the leader's edits, runs, time lookup.
#include "gtest/gtest.h"

#include "libs/base/random.h"
#include "libs/record/batch_builder.h"
#include "libs/record/batch_reader.h"
#include "libs/record/batch_validator.h"
#include "libs/record/control_batch.h"
#include "libs/record/testing/batches.h"

namespace falaj::record {
namespace {

using testing_batches::Build;
using testing_batches::Decode;
using testing_batches::RandomRecords;
using testing_batches::Scatter;

TEST(Batch, RoundTripsRandomRecordsWithEveryWrittenCodec) {
  Random random(1);
  for (int round = 0; round < 100; ++round) {
    const std::vector<Record> records = RandomRecords(&random, 1 + random.Below(60));
    for (const Codec codec : {Codec::kNone, Codec::kLz4, Codec::kZstd}) {
      const Bytes batch = Build(records, {.codec = codec});
      const auto header = ValidateBatch(batch, Limits());
      ASSERT_TRUE(header.ok()) << header.status();
      EXPECT_EQ(header->record_count, static_cast<int32_t>(records.size()));
      EXPECT_EQ(Decode(batch), records);
    }
  }
}

TEST(Batch, ReadsTheSameHoweverScattered) {
  Random random(2);
  for (int round = 0; round < 100; ++round) {
    const std::vector<Record> records = RandomRecords(&random, 20);
    for (const Codec codec : {Codec::kNone, Codec::kZstd}) {
      const Bytes whole = Build(records, {.codec = codec});
      const Bytes scattered = Scatter(whole, &random, 1 + random.Below(200));
      const auto header = ValidateBatch(scattered, Limits());
      ASSERT_TRUE(header.ok()) << header.status();
      EXPECT_EQ(*header, *ParseBatchHeader(whole));
      EXPECT_EQ(Decode(scattered), records);
    }
  }
}

TEST(Batch, ViewsReencodeToTheSameBytes) {
  Random random(3);
  const Bytes batch = Build(RandomRecords(&random, 50), {});
  BatchBuilder builder;
  ASSERT_TRUE(
      ForEachRecord(batch, Limits(), [&](const RecordView& view) { builder.Add(view); }).ok());
  EXPECT_EQ(builder.size_bytes(), batch.size());
  EXPECT_EQ(builder.Build({})->ToString(), batch.ToString());
}

TEST(Batch, SizeBoundIsNeverExceeded) {
  Random random(4);
  BatchBuilder builder;
  for (const Record& record : RandomRecords(&random, 500)) {
    const size_t before = builder.size_bytes();
    builder.Add(record);
    EXPECT_LE(builder.size_bytes() - before, BatchBuilder::RecordSizeBound(record));
  }
}

TEST(Batch, StaysUncompressedIfCompressionSavesNothing) {
  const Bytes batch = Build({{.key = "k", .value = "v", .headers = {}, .timestamp_ms = 1}},
                            {.codec = Codec::kZstd});
  EXPECT_EQ(ParseBatchHeader(batch)->codec(), Codec::kNone);
}

TEST(Batch, EmptyOrReadOnlyCodecIsNotBuilt) {
  BatchBuilder builder;
  EXPECT_EQ(ReasonOf(builder.Build({}).status()), Reason::kInvalidBatch);
  builder.Add(1, "k", "v");
  EXPECT_EQ(ReasonOf(builder.Build({.codec = Codec::kGzip}).status()), Reason::kUnsupported);
  EXPECT_TRUE(builder.Build({}).ok());
  EXPECT_TRUE(builder.empty());
}

TEST(Batch, StampingSharesTheRecordsAndKeepsTheChecksum) {
  Random random(5);
  const Bytes batch = Build(RandomRecords(&random, 10), {});
  const Bytes stamped = StampBatch(batch, Offset(1'000'000'000'000), LeaderEpoch(7));
  ASSERT_EQ(stamped.size(), batch.size());
  EXPECT_EQ(stamped.pieces().back().data(), batch.view().data() + kBatchPrefixSize);
  const auto header = VerifyStoredBatch(stamped);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->base_offset, Offset(1'000'000'000'000));
  EXPECT_EQ(header->leader_epoch, LeaderEpoch(7));
  EXPECT_EQ(header->last_offset(), Offset(1'000'000'000'009));
  EXPECT_EQ(header->next_offset(), Offset(1'000'000'000'010));
}

TEST(Batch, AppendTimeReplacesEveryTimestamp) {
  Random random(6);
  const Bytes batch = Build(RandomRecords(&random, 10), {.codec = Codec::kLz4});
  const Bytes rewritten = RewriteTimestamps(Scatter(batch, &random, 30), 1'800'000'000'000);
  const auto header = VerifyStoredBatch(rewritten);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_TRUE(header->append_time());
  EXPECT_EQ(header->max_timestamp_ms, 1'800'000'000'000);
  for (const Record& record : Decode(rewritten)) EXPECT_EQ(record.timestamp_ms, 1'800'000'000'000);
}

TEST(BatchIterator, CutsARunIntoItsBatches) {
  Random random(7);
  Bytes run;
  std::vector<std::string> batches;
  for (int i = 0; i < 20; ++i) {
    const Bytes batch = Build(RandomRecords(&random, 1 + random.Below(5)), {});
    batches.push_back(batch.ToString());
    run = Bytes::Concat(run, batch);
  }
  for (const Bytes& form : {run, run.Flatten(), Scatter(run, &random, 100)}) {
    BatchIterator iterator(form);
    for (const std::string& expected : batches) {
      const auto batch = iterator.Next();
      ASSERT_TRUE(batch.ok()) << batch.status();
      ASSERT_TRUE(batch->has_value());
      EXPECT_EQ((*batch)->ToString(), expected);
      EXPECT_EQ(iterator.header().size_bytes(), expected.size());
    }
    EXPECT_FALSE((*iterator.Next()).has_value());
  }
}

TEST(BatchIterator, ReportsWhateverIsNotAWholeBatch) {
  Random random(8);
  const std::string one = Build(RandomRecords(&random, 3), {}).ToString();
  for (size_t size = 1; size < one.size(); ++size) {
    BatchIterator iterator(Bytes::Own(one + one.substr(0, size)));
    ASSERT_TRUE(iterator.Next().ok());
    EXPECT_EQ(ReasonOf(iterator.Next().status()), Reason::kCorruptRecord) << size;
    EXPECT_EQ(ReasonOf(iterator.Next().status()), Reason::kCorruptRecord) << "and again";
  }
}

TEST(StoredBatch, AnyChangedByteBehindThePrefixIsFound) {
  Random random(9);
  const std::string good = Build(RandomRecords(&random, 3), {}).ToString();
  for (size_t i = kBatchPrefixSize; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << random.Below(8)));
    EXPECT_EQ(ReasonOf(VerifyStoredBatch(Bytes::Own(bad)).status()), Reason::kCorruptRecord) << i;
  }
}

TEST(FirstRecordAtOrAfter, FindsTheFirstInOffsetOrder) {
  std::vector<Record> records;
  for (const int64_t timestamp_ms : {100, 300, 200, 400}) {
    records.push_back({.key = {}, .value = "v", .headers = {}, .timestamp_ms = timestamp_ms});
  }
  const Bytes batch = StampBatch(Build(records, {}), Offset(50), LeaderEpoch(0));
  const auto find = [&](int64_t t) { return *FirstRecordAtOrAfter(batch, t, Limits()); };
  EXPECT_EQ(find(0), (TimedOffset{Offset(50), 100}));
  EXPECT_EQ(find(100), (TimedOffset{Offset(50), 100}));
  EXPECT_EQ(find(101), (TimedOffset{Offset(51), 300}));
  EXPECT_EQ(find(301), (TimedOffset{Offset(53), 400}));
  EXPECT_EQ(find(401), std::nullopt);
  const Bytes append_time = RewriteTimestamps(batch, 1000);
  EXPECT_EQ(*FirstRecordAtOrAfter(append_time, 1000, Limits()), (TimedOffset{Offset(50), 1000}));
}

TEST(LeaderChangeBatch, HasKafkasBytes) {
  const Bytes batch = MakeLeaderChangeBatch(Offset(42), LeaderEpoch(3), NodeId(258), 1'000);
  const auto header = VerifyStoredBatch(batch);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_TRUE(header->control());
  EXPECT_EQ(header->base_offset, Offset(42));
  EXPECT_EQ(header->leader_epoch, LeaderEpoch(3));
  EXPECT_EQ(header->record_count, 1);
  const std::vector<Record> records = Decode(batch);
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].key, std::string("\0\0\0\2", 4));
  EXPECT_EQ(records[0].value, std::string("\0\0\0\0\1\2\1\1\0", 9));
  EXPECT_EQ(*ReadControlType(batch), ControlType::kLeaderChange);
  EXPECT_EQ(*FirstRecordAtOrAfter(batch, 0, Limits()), std::nullopt);
}

TEST(LeaderChangeBatch, OrdinaryBatchIsNoControlBatch) {
  Random random(10);
  const Bytes batch = Build(RandomRecords(&random, 1), {});
  EXPECT_EQ(ReasonOf(ReadControlType(batch).status()), Reason::kInvalidBatch);
}

}  // namespace
}  // namespace falaj::record
