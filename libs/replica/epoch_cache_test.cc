#include "libs/replica/epoch_cache.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace falaj::replica {
namespace {

using ::testing::ElementsAre;

EpochEntry Entry(int32_t epoch, int64_t start) { return {LeaderEpoch{epoch}, Offset{start}}; }
EpochEnd End(int32_t epoch, int64_t end) { return {LeaderEpoch{epoch}, Offset{end}}; }

EpochCache Sample() {
  EpochCache cache;
  cache.Assign(Entry(2, 10));
  cache.Assign(Entry(4, 20));
  cache.Assign(Entry(7, 50));
  return cache;
}

TEST(EpochCacheTest, AssignReplacesAnEpochThatWroteNothing) {
  EpochCache cache = Sample();
  cache.Assign(Entry(9, 50));
  EXPECT_THAT(cache.entries(), ElementsAre(Entry(2, 10), Entry(4, 20), Entry(9, 50)));
}

TEST(EpochCacheTest, AssignDropsEntriesItContradicts) {
  EpochCache cache = Sample();
  cache.Assign(Entry(4, 15));
  EXPECT_THAT(cache.entries(), ElementsAre(Entry(2, 10), Entry(4, 15)));
}

TEST(EpochCacheTest, TruncateSuffixForgetsEpochsThatBeganThere) {
  EpochCache cache = Sample();
  cache.TruncateSuffix(Offset{50});
  EXPECT_THAT(cache.entries(), ElementsAre(Entry(2, 10), Entry(4, 20)));
  cache.TruncateSuffix(Offset{0});
  EXPECT_TRUE(cache.entries().empty());
  EXPECT_EQ(cache.Latest(), std::nullopt);
}

TEST(EpochCacheTest, TruncatePrefixKeepsTheEpochThatHoldsTheStart) {
  EpochCache cache = Sample();
  cache.TruncatePrefix(Offset{5});
  EXPECT_EQ(cache.entries().size(), 3u);
  cache.TruncatePrefix(Offset{30});
  EXPECT_THAT(cache.entries(), ElementsAre(Entry(4, 30), Entry(7, 50)));
  cache.TruncatePrefix(Offset{50});
  EXPECT_THAT(cache.entries(), ElementsAre(Entry(7, 50)));
}

TEST(EpochCacheTest, EpochAtKnowsWhoseARecordIs) {
  const EpochCache cache = Sample();
  EXPECT_EQ(cache.EpochAt(Offset{9}), std::nullopt);
  EXPECT_EQ(cache.EpochAt(Offset{10}), LeaderEpoch{2});
  EXPECT_EQ(cache.EpochAt(Offset{19}), LeaderEpoch{2});
  EXPECT_EQ(cache.EpochAt(Offset{20}), LeaderEpoch{4});
  EXPECT_EQ(cache.EpochAt(Offset{59}), LeaderEpoch{7});
}

TEST(EpochCacheTest, EndOfFollowsKip101And279) {
  const EpochCache cache = Sample();
  const Offset log_end{60};
  EXPECT_EQ(cache.EndOf(LeaderEpoch{7}, log_end), End(7, 60));
  EXPECT_EQ(cache.EndOf(LeaderEpoch{8}, log_end), std::nullopt);
  EXPECT_EQ(cache.EndOf(LeaderEpoch{1}, log_end), End(1, 10));
  EXPECT_EQ(cache.EndOf(LeaderEpoch{2}, log_end), End(2, 20));
  EXPECT_EQ(cache.EndOf(LeaderEpoch{5}, log_end), End(4, 50));
  EXPECT_EQ(EpochCache().EndOf(LeaderEpoch{0}, log_end), std::nullopt);
}

TEST(EpochCacheTest, AReaderOfALogThatIsGoneIsToldWhereItParts) {
  EpochCache cache;
  cache.Assign({LeaderEpoch(1), Offset(0)});
  cache.Assign({LeaderEpoch(2), Offset(10)});
  cache.Assign({LeaderEpoch(5), Offset(20)});
  const auto parts_at = [&cache](int32_t epoch, int64_t offset) {
    return cache.PartsAt(LeaderEpoch(epoch), Offset(offset), Offset(30));
  };
  // It has read what is here, up to the end of an epoch and of the log.
  EXPECT_EQ(parts_at(1, 10), std::nullopt);
  EXPECT_EQ(parts_at(2, 11), std::nullopt);
  EXPECT_EQ(parts_at(2, 20), std::nullopt);
  EXPECT_EQ(parts_at(5, 30), std::nullopt);
  // Its epoch went further where it read than it does here.
  EXPECT_EQ(parts_at(2, 21), (EpochEnd{LeaderEpoch(2), Offset(20)}));
  EXPECT_EQ(parts_at(5, 31), (EpochEnd{LeaderEpoch(5), Offset(30)}));
  // Its epoch is none of this log.
  EXPECT_EQ(parts_at(3, 25), (EpochEnd{LeaderEpoch(2), Offset(20)}));
  EXPECT_EQ(parts_at(4, 15), (EpochEnd{LeaderEpoch(2), Offset(15)})) << "never past what it read";
  // The beginning has been deleted: nothing is known, and nothing said.
  cache.TruncatePrefix(Offset(12));
  EXPECT_EQ(parts_at(1, 12), std::nullopt);
  EXPECT_EQ(parts_at(2, 20), std::nullopt);
}

}  // namespace
}  // namespace falaj::replica
