#include "libs/log/key_format.h"

#include "gtest/gtest.h"

namespace falaj::log {
namespace {

TEST(KeyFormatTest, KeysSortByPartitionThenOffset) {
  EXPECT_EQ(DataKey(LocalPartitionId(0x01020304), Offset(0x05060708)),
            std::string("D\x01\x02\x03\x04\0\0\0\0\x05\x06\x07\x08", kDataKeySize));
  EXPECT_LT(DataKey(LocalPartitionId(1), Offset(255)), DataKey(LocalPartitionId(1), Offset(256)));
  EXPECT_LT(DataKey(LocalPartitionId(255), Offset(9)), DataKey(LocalPartitionId(256), Offset(0)));
  EXPECT_EQ(ParseDataKey(DataKey(LocalPartitionId(7), Offset(8)), LocalPartitionId(7)), Offset(8));
  EXPECT_EQ(ParseDataKey(DataKey(LocalPartitionId(7), Offset(8)), LocalPartitionId(6)),
            std::nullopt);
}

TEST(KeyFormatTest, RowsComeBackAsTheyWere) {
  PartitionRow row;
  row.key = {.topic = Uuid::FromRandomBits(1, 2), .partition = PartitionIndex(3)};
  row.retention = {.age = absl::Hours(5), .size_bytes = 6};
  row.log_start = Offset(7);
  row.high_watermark = Offset(8);
  row.end_seen = Offset(9);
  row.max_timestamp_ms = -10;
  row.running_bytes = 11;
  const auto parsed = ParsePartitionRow(EncodePartitionRow(row));
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->key, row.key);
  EXPECT_EQ(parsed->retention.age, row.retention.age);
  EXPECT_EQ(parsed->end_seen, row.end_seen);
  EXPECT_EQ(parsed->max_timestamp_ms, -10);
  EXPECT_EQ(parsed->running_bytes, 11);
  row.retention.age = absl::InfiniteDuration();
  EXPECT_EQ(ParsePartitionRow(EncodePartitionRow(row))->retention.age, absl::InfiniteDuration());

  const DirectoryEntry entry = {.first = Offset(1),
                                .end = Offset(2),
                                .slab = SlabId(3),
                                .start_bytes = 4,
                                .bytes = 5,
                                .running_max_ts = 6,
                                .max_ts = 7,
                                .span_max = 8,
                                .sealed = true};
  const auto key = ParseMetaKey(DirectoryRowKey(LocalPartitionId(9), entry.first, entry.slab));
  ASSERT_TRUE(key.has_value());
  EXPECT_EQ(key->letter, 'I');
  EXPECT_EQ(key->partition, LocalPartitionId(9));
  DirectoryEntry back{.first = key->first, .slab = key->slab};
  ASSERT_TRUE(ParseDirectoryRow(EncodeDirectoryRow(entry), &back));
  EXPECT_EQ(back, entry);
}

record::ProducerWindow MakeWindow(int64_t base, int32_t sequence, int batches) {
  record::ProducerWindow window;
  for (int i = 0; i < batches; ++i) {
    window.Push(ProducerEpoch(3), {.base = Offset(base),
                                   .append_time_ms = 1'700'000'000'000 - 40 * i,
                                   .base_sequence = Sequence(sequence),
                                   .record_count = 100 + i});
    base = window.end_offset().value() + 1000;
    sequence = window.next_sequence().value();
  }
  return window;
}

TEST(KeyFormatTest, ProducerRowsComeBackAsTheyWereAndAreSmall) {
  const std::string key = ProducerRowKey(LocalPartitionId(9), ProducerId(1'000'000'007));
  EXPECT_TRUE(key.starts_with(ProducerRowPrefix(LocalPartitionId(9))));
  const auto parsed_key = ParseMetaKey(key);
  ASSERT_TRUE(parsed_key.has_value());
  EXPECT_EQ(parsed_key->letter, kProducerLetter);
  EXPECT_EQ(parsed_key->partition, LocalPartitionId(9));
  EXPECT_EQ(parsed_key->producer, ProducerId(1'000'000'007));
  EXPECT_LT(ProducerRowKey(LocalPartitionId(8), ProducerId(INT64_MAX)),
            ProducerRowPrefix(LocalPartitionId(9)));
  for (const int batches : {1, 3, 5}) {
    const record::ProducerHistory history(MakeWindow(1'000'000'000, 5000, batches),
                                          MakeWindow(0, INT32_MAX - 150, batches - 1), Offset(77));
    const std::string row = EncodeProducerRow(history);
    EXPECT_LE(key.size() + row.size(), 110u);
    const auto parsed = ParseProducerRow(row);
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(*parsed, history);
  }
}

TEST(KeyFormatTest, RefusesProducerRowsThatAreNone) {
  const record::ProducerHistory history(MakeWindow(5, 0, 5), MakeWindow(5, 0, 2), Offset(7));
  const std::string row = EncodeProducerRow(history);
  ASSERT_TRUE(ParseProducerRow(row).has_value());
  for (size_t size = 0; size < row.size(); ++size) {
    EXPECT_FALSE(ParseProducerRow(row.substr(0, size)).has_value()) << size;
  }
  EXPECT_FALSE(ParseProducerRow(row + "x").has_value());
  std::string newer = row;
  newer[0] = 2;
  EXPECT_FALSE(ParseProducerRow(newer).has_value());
  std::string larger = row;
  larger[1] = 12;  // Six batches, zig-zag.
  EXPECT_FALSE(ParseProducerRow(larger).has_value());
  EXPECT_FALSE(ParseProducerRow(EncodeProducerRow(record::ProducerHistory())).has_value());
  EXPECT_FALSE(ParseMetaKey(ProducerRowPrefix(LocalPartitionId(9))).has_value());
  // Whatever the bytes, the answer is a history or none.
  for (size_t i = 0; i < row.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = row;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      const auto parsed = ParseProducerRow(damaged);
      EXPECT_FALSE(parsed.has_value() && parsed->window().empty()) << i << "/" << bit;
    }
  }
}

TEST(KeyFormatTest, RefusesForeignBytes) {
  const std::string row = EncodePartitionRow(PartitionRow());
  EXPECT_FALSE(ParsePartitionRow(row.substr(1)).has_value());
  EXPECT_FALSE(ParsePartitionRow(row + "x").has_value());
  EXPECT_FALSE(ParsePartitionRow("").has_value());
  std::string newer = row;
  newer[0] = 2;
  EXPECT_FALSE(ParsePartitionRow(newer).has_value());
  EXPECT_FALSE(ParseMetaKey("").has_value());
  EXPECT_FALSE(ParseMetaKey("Zabcd").has_value());
  EXPECT_FALSE(ParseMetaKey("P123").has_value());
  EXPECT_FALSE(ParseStoredHeader("short").has_value());
  const auto header = EncodeStoredHeader({.base = Offset(1), .length = 5});
  const std::string value(header.data(), header.size());
  EXPECT_TRUE(ParseStoredHeader(value + "12345").has_value());
  EXPECT_FALSE(ParseStoredHeader(value + "1234").has_value());
  RetentionClass cls = 0;
  SlabId slab;
  EXPECT_TRUE(ParseSlabName(SlabName(3, SlabId(12)), &cls, &slab));
  EXPECT_EQ(cls, 3);
  EXPECT_EQ(slab, SlabId(12));
  for (const char* name : {"slab", "slab/1", "slab/x/1", "slab/1/x", "other/1/2", "slab/999/1"}) {
    EXPECT_FALSE(ParseSlabName(name, &cls, &slab)) << name;
  }
}

}  // namespace
}  // namespace falaj::log
