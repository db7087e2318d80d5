#include "libs/record/partitioner.h"

#include <map>

#include "gtest/gtest.h"

namespace falaj::record {
namespace {

struct Vector {
  const char* key;
  int32_t hash;
  int32_t of_twelve;  // -1: not published.
};

// From Kafka's UtilsTest.
constexpr Vector kVectors[] = {
    {"21", -973932308, 0},
    {"foobar", -790332482, 6},
    {"abc", 479470107, 3},
    {"a-little-bit-long-string", -985981536, 8},
    {"a-little-bit-longer-string", -1486304829, 11},
    {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971, 5},
    {"", 275646681, -1},
};

TEST(Murmur2, MatchesThePublishedVectors) {
  for (const Vector& vector : kVectors) {
    EXPECT_EQ(static_cast<int32_t>(Murmur2(vector.key)), vector.hash) << vector.key;
  }
}

TEST(PartitionForKey, MatchesKafkasPlacement) {
  for (const Vector& vector : kVectors) {
    if (vector.of_twelve < 0) continue;
    EXPECT_EQ(PartitionForKey(vector.key, 12), PartitionIndex(vector.of_twelve)) << vector.key;
  }
}

TEST(Murmur2, BytesAreNotSignExtended) {
  EXPECT_EQ(Murmur2("\x80\xff\xfe\x81\xff\x90\xa0"), 4046405225u);
}

std::vector<PartitionIndex> Partitions(int32_t count) {
  std::vector<PartitionIndex> partitions;
  for (int32_t i = 0; i < count; ++i) partitions.emplace_back(i);
  return partitions;
}

TEST(StickyPartitioner, StaysUntilTheBatchSizeIsReachedAtABatchBoundary) {
  StickyPartitioner sticky(Random(1), {.switch_bytes = 1000});
  sticky.SetPartitions(Partitions(1'000'000));  // So many that the same one twice is a bug.
  const PartitionIndex first = sticky.current();
  sticky.Appended(999, /*batch_complete=*/true);
  EXPECT_EQ(sticky.current(), first);
  sticky.Appended(1, /*batch_complete=*/false);
  EXPECT_EQ(sticky.current(), first);
  sticky.Appended(1, /*batch_complete=*/true);
  EXPECT_NE(sticky.current(), first);
}

TEST(StickyPartitioner, LeavesAtTwiceTheBatchSizeWhateverTheBatch) {
  StickyPartitioner sticky(Random(2), {.switch_bytes = 1000});
  sticky.SetPartitions(Partitions(1'000'000));
  const PartitionIndex first = sticky.current();
  sticky.Appended(1999, /*batch_complete=*/false);
  EXPECT_EQ(sticky.current(), first);
  sticky.Appended(1, /*batch_complete=*/false);
  EXPECT_NE(sticky.current(), first);
}

TEST(StickyPartitioner, LeavesAPartitionThatIsNoLongerOffered) {
  StickyPartitioner sticky(Random(3), {});
  sticky.SetPartitions({PartitionIndex(4)});
  sticky.SetPartitions({PartitionIndex(3), PartitionIndex(4)});
  EXPECT_EQ(sticky.current(), PartitionIndex(4));
  sticky.SetPartitions({PartitionIndex(3)});
  EXPECT_EQ(sticky.current(), PartitionIndex(3));
}

TEST(StickyPartitioner, SpreadsEvenlyAndRepeatsWithItsSeed) {
  std::map<int32_t, int> visits;
  StickyPartitioner a(Random(4), {.switch_bytes = 1});
  StickyPartitioner b(Random(4), {.switch_bytes = 1});
  a.SetPartitions(Partitions(10));
  b.SetPartitions(Partitions(10));
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_EQ(a.current(), b.current());
    ++visits[a.current().value()];
    a.Appended(1, true);
    b.Appended(1, true);
  }
  ASSERT_EQ(visits.size(), 10u);
  for (const auto& [partition, count] : visits) EXPECT_NEAR(count, 1000, 200) << partition;
}

}  // namespace
}  // namespace falaj::record
