#include "libs/log/tail_cache.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/random.h"

namespace falaj::log {
namespace {

const TailKey kFirst = {.shard = 0, .partition = LocalPartitionId(1)};
const TailKey kSecond = {.shard = 0, .partition = LocalPartitionId(2)};
const Offset kNoEnd(INT64_MAX);

TailCache::Batch Batch(int64_t base, int64_t last, Bytes bytes) {
  return {Offset(base), Offset(last), MonotonicTime{base}, std::move(bytes)};
}

TEST(TailCacheTest, HandsOutARunOfBatchesFromTheOneThatHoldsTheOffset) {
  TailCache cache({.bytes_max = 1 << 20});
  cache.Insert(kFirst, Batch(10, 12, Bytes::Copy("aaa")));
  cache.Insert(kFirst, Batch(13, 13, Bytes::Copy("b")));
  cache.Insert(kFirst, Batch(14, 19, Bytes::Copy("cc")));
  const auto all = cache.Lookup(kFirst, Offset(11), kNoEnd, 1000);
  ASSERT_TRUE(all.has_value());
  EXPECT_EQ(all->batches.ToString(), "aaabcc");
  EXPECT_EQ(all->next_offset, Offset(20));
  EXPECT_EQ(all->last_batch, 4u) << "'cc' begins there";
  const auto limited = cache.Lookup(kFirst, Offset(10), Offset(15), 1000);
  EXPECT_EQ(limited->batches.ToString(), "aaab");
  EXPECT_EQ(limited->next_offset, Offset(14));
  const auto few_bytes = cache.Lookup(kFirst, Offset(10), kNoEnd, 1);
  EXPECT_EQ(few_bytes->batches.ToString(), "aaa") << "the first batch comes whole";
  EXPECT_EQ(few_bytes->last_batch, 0u);
}

TEST(TailCacheTest, SaysWhetherItHoldsAllUpToTheLimitInSoManyBytes) {
  TailCache cache({.bytes_max = 1 << 20});
  EXPECT_FALSE(cache.Holds(kFirst, Offset(10), Offset(20), 100));
  cache.Insert(kFirst, Batch(10, 12, Bytes::Copy("aaa")));
  cache.Insert(kFirst, Batch(13, 13, Bytes::Copy("b")));
  cache.Insert(kFirst, Batch(14, 19, Bytes::Copy("cc")));
  EXPECT_TRUE(cache.Holds(kFirst, Offset(10), Offset(20), 6));
  EXPECT_FALSE(cache.Holds(kFirst, Offset(10), Offset(20), 5));
  EXPECT_TRUE(cache.Holds(kFirst, Offset(12), Offset(14), 4)) << "from within the first batch";
  EXPECT_TRUE(cache.Holds(kFirst, Offset(13), Offset(20), 3));
  EXPECT_FALSE(cache.Holds(kFirst, Offset(9), Offset(20), 100)) << "it begins later";
  EXPECT_FALSE(cache.Holds(kFirst, Offset(10), Offset(21), 100)) << "it ends before";
  EXPECT_TRUE(cache.Holds(kFirst, Offset(20), Offset(20), 0)) << "nothing is asked for";
}

TEST(TailCacheTest, CountsWhatItHoldsAlsoAfterBothEndsWereCut) {
  TailCache cache({.bytes_max = 9000});
  Random random(3);
  std::map<int64_t, size_t> model;  // By offset; each batch has one.
  int64_t end = 0;
  for (int step = 0; step < 2000; ++step) {
    if (random.Below(5) == 0) {
      const int64_t cut = random.Between(std::max<int64_t>(0, end - 3), end);
      cache.TruncateSuffix(kFirst, Offset(cut));
      model.erase(model.lower_bound(cut), model.end());
      end = cut;
    }
    const auto size = static_cast<size_t>(random.Between(1, 300));
    cache.Insert(kFirst, Batch(end, end, Bytes::Copy(std::string(size, 'x'))));
    model[end++] = size;
    // What was evicted the cache itself says.
    while (!cache.Holds(kFirst, Offset(model.begin()->first), Offset(end), SIZE_MAX)) {
      model.erase(model.begin());
    }
    const int64_t from = random.Between(model.begin()->first, end);
    const int64_t limit = random.Between(from, end);
    size_t bytes = 0;
    for (int64_t offset = from; offset < limit; ++offset) bytes += model.at(offset);
    ASSERT_TRUE(cache.Holds(kFirst, Offset(from), Offset(limit), bytes));
    if (bytes > 0) {
      ASSERT_FALSE(cache.Holds(kFirst, Offset(from), Offset(limit), bytes - 1));
    }
  }
}

TEST(TailCacheTest, SaysWhenEachBatchOfARunWasAppended) {
  TailCache cache({.bytes_max = 1 << 20});
  for (int i = 0; i < 4; ++i) {
    cache.Insert(kFirst, {Offset(i), Offset(i), MonotonicTime{100 + i}, Bytes::Copy("x")});
  }
  const auto run = cache.Lookup(kFirst, Offset(1), Offset(3), 1000);
  ASSERT_TRUE(run.has_value());
  EXPECT_THAT(run->appended, testing::ElementsAre(MonotonicTime{101}, MonotonicTime{102}));
  EXPECT_TRUE(cache.Lookup(kFirst, Offset(4), kNoEnd, 1000)->appended.empty());
}

TEST(TailCacheTest, MissesWhatItDoesNotHoldAndHitsEmptyAtTheEnd) {
  TailCache cache({.bytes_max = 1 << 20});
  EXPECT_FALSE(cache.Lookup(kFirst, Offset(0), kNoEnd, 10).has_value());
  cache.Insert(kFirst, Batch(10, 12, Bytes::Copy("aaa")));
  EXPECT_FALSE(cache.Lookup(kFirst, Offset(9), kNoEnd, 10).has_value());
  EXPECT_FALSE(cache.Lookup(kFirst, Offset(14), kNoEnd, 10).has_value());
  EXPECT_FALSE(cache.Lookup(kSecond, Offset(10), kNoEnd, 10).has_value());
  const auto end = cache.Lookup(kFirst, Offset(13), kNoEnd, 10);
  ASSERT_TRUE(end.has_value());
  EXPECT_TRUE(end->batches.empty());
  EXPECT_EQ(end->next_offset, Offset(13));
  EXPECT_EQ(cache.stats().hits, 1);
  EXPECT_EQ(cache.stats().misses, 4);
}

TEST(TailCacheTest, EvictsInTheOrderOfInsertionOverAllPartitions) {
  TailCache cache({.bytes_max = 3000});
  const std::string kilobyte(800, 'x');
  cache.Insert(kFirst, Batch(0, 0, Bytes::Copy(kilobyte)));
  cache.Insert(kSecond, Batch(0, 0, Bytes::Copy(kilobyte)));
  cache.Insert(kSecond, Batch(1, 1, Bytes::Copy(kilobyte)));
  cache.Insert(kSecond, Batch(2, 2, Bytes::Copy(kilobyte)));
  EXPECT_FALSE(cache.Lookup(kFirst, Offset(0), kNoEnd, 1).has_value());
  EXPECT_TRUE(cache.Lookup(kSecond, Offset(0), kNoEnd, 1).has_value());
  cache.Insert(kFirst, Batch(1, 1, Bytes::Copy(kilobyte)));
  EXPECT_FALSE(cache.Lookup(kSecond, Offset(0), kNoEnd, 1).has_value());
  EXPECT_TRUE(cache.Lookup(kSecond, Offset(1), kNoEnd, 1).has_value());
  EXPECT_LE(cache.stats().bytes, 3000);
  EXPECT_EQ(cache.stats().batches, 3);
}

TEST(TailCacheTest, KeepsOnlyADenseTail) {
  TailCache cache({.bytes_max = 1 << 20});
  cache.Insert(kFirst, Batch(0, 4, Bytes::Copy("old")));
  cache.Insert(kFirst, Batch(9, 9, Bytes::Copy("new")));
  EXPECT_FALSE(cache.Lookup(kFirst, Offset(0), kNoEnd, 100).has_value());
  EXPECT_EQ(cache.Lookup(kFirst, Offset(9), kNoEnd, 100)->batches.ToString(), "new");
}

TEST(TailCacheTest, ABatchLargerThanTheBudgetLeavesNothingBehind) {
  TailCache cache({.bytes_max = 1000});
  cache.Insert(kFirst, Batch(0, 0, Bytes::Copy("small")));
  cache.Insert(kFirst, Batch(1, 1, Bytes::Copy(std::string(5000, 'x'))));
  EXPECT_FALSE(cache.Lookup(kFirst, Offset(0), kNoEnd, 100).has_value());
  EXPECT_EQ(cache.stats().bytes, 0);
}

TEST(TailCacheTest, CopiesSmallBatchesAndSharesLargeOnes) {
  TailCache cache({.bytes_max = 1 << 20, .copy_below = 100});
  const Bytes small = Bytes::Copy(std::string(99, 's'));
  const Bytes large = Bytes::Copy(std::string(100, 'l'));
  cache.Insert(kFirst, Batch(0, 0, small));
  cache.Insert(kSecond, Batch(0, 0, large));
  const auto copied = cache.Lookup(kFirst, Offset(0), kNoEnd, 1);
  const auto shared = cache.Lookup(kSecond, Offset(0), kNoEnd, 1);
  EXPECT_NE(copied->batches.view().data(), small.view().data());
  EXPECT_EQ(shared->batches.view().data(), large.view().data());
}

TEST(TailCacheTest, ForgetsTruncatedBatchesAndDroppedPartitions) {
  TailCache cache({.bytes_max = 1 << 20});
  for (int i = 0; i < 5; ++i) cache.Insert(kFirst, Batch(i, i, Bytes::Copy("x")));
  cache.TruncateSuffix(kFirst, Offset(3));
  cache.TruncatePrefix(kFirst, Offset(1));
  EXPECT_FALSE(cache.Lookup(kFirst, Offset(0), kNoEnd, 100).has_value());
  EXPECT_EQ(cache.Lookup(kFirst, Offset(1), kNoEnd, 100)->next_offset, Offset(3));
  cache.Insert(kFirst, Batch(3, 3, Bytes::Copy("y")));
  EXPECT_EQ(cache.Lookup(kFirst, Offset(1), kNoEnd, 100)->batches.ToString(), "xxy");
  cache.Drop(kFirst);
  EXPECT_FALSE(cache.Lookup(kFirst, Offset(1), kNoEnd, 100).has_value());
  EXPECT_EQ(cache.stats().bytes, 0);
}

TEST(TailCacheTest, DroppedPartitionsDoNotAccumulateMemory) {
  // Stale places in the order of insertion are swept; eviction still finds the oldest live batch.
  TailCache cache({.bytes_max = 100'000});
  for (int i = 0; i < 20'000; ++i) {
    const TailKey key = {.shard = 0, .partition = LocalPartitionId(static_cast<uint32_t>(i))};
    cache.Insert(key, Batch(0, 0, Bytes::Copy("x")));
    if (i % 2 == 0) cache.Drop(key);
  }
  EXPECT_LE(cache.stats().bytes, 100'000);
  const TailKey last = {.shard = 0, .partition = LocalPartitionId(19'999)};
  EXPECT_TRUE(cache.Lookup(last, Offset(0), kNoEnd, 1).has_value());
}

}  // namespace
}  // namespace falaj::log
