#include "libs/log/slab_directory.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace falaj::log {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const LocalPartitionId kA(1);
const LocalPartitionId kB(2);

DirectoryEntry Entry(int64_t first, int64_t end, uint64_t slab, int64_t bytes = 100) {
  return {.first = Offset(first), .end = Offset(end), .slab = SlabId(slab), .bytes = bytes};
}

TEST(SlabDirectoryTest, RetentionsFallIntoClasses) {
  const auto of = [](absl::Duration age, int64_t bytes) {
    return RetentionClassOf({.age = age, .size_bytes = bytes});
  };
  EXPECT_EQ(of(absl::Seconds(1), 0), of(absl::Minutes(10), 0));
  EXPECT_NE(of(absl::Minutes(10), 0), of(absl::Minutes(11), 0));
  EXPECT_EQ(of(absl::Hours(24 * 7), 0), of(absl::Hours(24 * 14), 0));
  EXPECT_EQ(of(absl::Hours(24 * 365), 0), of(absl::InfiniteDuration(), 0));
  EXPECT_EQ(RetentionClassAge(of(absl::Hours(1), 0)), absl::Hours(2));
  EXPECT_EQ(RetentionClassAge(of(absl::InfiniteDuration(), 0)), absl::InfiniteDuration());
}

TEST(SlabDirectoryTest, RetentionsLimitedBySizeHaveClassesOfTheirOwn) {
  constexpr int64_t kGiB = int64_t{1} << 30;
  std::set<int> classes;
  for (const absl::Duration age : {absl::Minutes(1), absl::Hours(1), absl::Hours(10),
                                   absl::Hours(30), absl::Hours(200), absl::InfiniteDuration()}) {
    for (const int64_t bytes : {int64_t{0}, int64_t{1}, kGiB, 32 * kGiB - 1, 32 * kGiB}) {
      const RetentionClass cls = RetentionClassOf({.age = age, .size_bytes = bytes});
      classes.insert(cls);
      EXPECT_EQ(IsSizeClass(cls), bytes > 0 && bytes < 32 * kGiB);
      EXPECT_GE(RetentionClassAge(cls), age);
      EXPECT_EQ(RetentionClassAge(cls),
                RetentionClassAge(RetentionClassOf({.age = age, .size_bytes = 0})));
    }
  }
  EXPECT_EQ(classes.size(), 18u);
  // Slabs of it may lie on disk.
  EXPECT_FALSE(classes.contains(6));
  EXPECT_TRUE(IsSizeClass(6));
  EXPECT_EQ(RetentionClassAge(6), absl::InfiniteDuration());
}

TEST(SlabDirectoryTest, SlabsOfAClassLimitedBySizeAreAThirtySecondOfIt) {
  constexpr int64_t kMiB = 1 << 20;
  const auto of = [](int64_t limit, int64_t live) {
    const RetentionClass cls =
        RetentionClassOf({.age = absl::InfiniteDuration(), .size_bytes = limit});
    return SlabBytesMax(cls, live, 2048 * kMiB) / kMiB;
  };
  EXPECT_EQ(of(0, 1), 2048);
  EXPECT_EQ(of(100 * kMiB, 100 * kMiB), 16) << "not smaller";
  EXPECT_EQ(of(100 * kMiB, 3200 * kMiB), 100) << "of many partitions";
  EXPECT_EQ(of(100 * kMiB, 100'000 * kMiB), 256) << "not larger";
  EXPECT_EQ(of(2048 * kMiB, 0), 64);
  EXPECT_EQ(of(2048 * kMiB, 1'000'000 * kMiB), 2048);
  EXPECT_EQ(of(64 * 1024 * kMiB, 0), 2048) << "a slab is little of so much";
}

TEST(SlabDirectoryTest, ASlabDiesWhenSealedAndUnused) {
  SlabDirectory directory;
  directory.AddSlab({.id = SlabId(1), .cls = 0});
  directory.Append(kA, Entry(0, 10, 1));
  directory.Append(kB, Entry(0, 5, 1));
  EXPECT_EQ(directory.OpenSlab(0), SlabId(1));
  EXPECT_EQ(directory.OpenSlab(1), std::nullopt);
  directory.SealSlab(SlabId(1), 1000);
  EXPECT_EQ(directory.OpenSlab(0), std::nullopt);
  EXPECT_TRUE(directory.Entries(kA)[0].sealed);
  EXPECT_THAT(directory.DeadSlabs(), IsEmpty());
  EXPECT_EQ(directory.CountBelow(kA, Offset(9)), 0u);
  EXPECT_EQ(directory.CountBelow(kA, Offset(10)), 1u);
  directory.RemoveFirst(kA, 1);
  EXPECT_EQ(directory.FindSlab(SlabId(1))->live_bytes, 100);
  directory.RemovePartition(kB);
  EXPECT_THAT(directory.DeadSlabs(), ElementsAre(SlabId(1)));
}

TEST(SlabDirectoryTest, ASlabIsBehindEndsWhenSealedOrWhenALogGoesOnElsewhere) {
  SlabDirectory directory;
  for (const uint64_t id : {1, 2, 3}) directory.AddSlab({.id = SlabId(id), .cls = 0});
  directory.Append(kA, Entry(0, 10, 1));
  directory.Append(kB, Entry(0, 5, 2));
  EXPECT_THAT(directory.SlabsBehindEnds(), IsEmpty());
  directory.Append(kB, Entry(5, 9, 3));  // Its retention has changed.
  EXPECT_THAT(directory.SlabsBehindEnds(), ElementsAre(SlabId(2)));
  directory.SealSlab(SlabId(1), 5);
  EXPECT_THAT(directory.SlabsBehindEnds(), ElementsAre(SlabId(1), SlabId(2)));
}

TEST(SlabDirectoryTest, AnOpenSlabNeverDies) {
  SlabDirectory directory;
  directory.AddSlab({.id = SlabId(1), .cls = 0});
  EXPECT_THAT(directory.DeadSlabs(), IsEmpty());
}

TEST(SlabDirectoryTest, RetentionGivesUpWholeSealedEntriesFromTheFront) {
  SlabDirectory directory;
  for (uint64_t slab = 1; slab <= 3; ++slab) directory.AddSlab({.id = SlabId(slab), .cls = 0});
  for (int i = 0; i < 3; ++i) {
    DirectoryEntry entry = Entry(i * 10, i * 10 + 10, static_cast<uint64_t>(i + 1));
    entry.max_ts = 1000 * (i + 1);
    directory.Append(kA, entry);
  }
  directory.SealSlab(SlabId(1), 1500);
  directory.SealSlab(SlabId(2), 2500);
  const auto plan = [&](absl::Duration age, int64_t bytes, int64_t now, int64_t limit = 100) {
    return directory.PlanRetention(kA, {.age = age, .size_bytes = bytes}, now, Offset(limit)).start;
  };
  EXPECT_EQ(plan(absl::Seconds(1), 0, 2000), std::nullopt);
  EXPECT_EQ(plan(absl::Seconds(1), 0, 2001), Offset(10));
  EXPECT_EQ(plan(absl::Seconds(1), 0, 9000), Offset(20)) << "the open slab stays";
  EXPECT_EQ(plan(absl::Seconds(1), 0, 9000, 15), Offset(10));
  EXPECT_EQ(plan(absl::InfiniteDuration(), 200, 9000), Offset(10));
  EXPECT_EQ(plan(absl::InfiniteDuration(), 201, 9000), std::nullopt);
  EXPECT_EQ(plan(absl::InfiniteDuration(), 0, 1'000'000'000), std::nullopt);
}

TEST(SlabDirectoryTest, RecordsWithoutATimestampAgeFromWhenTheirSlabWasSealed) {
  SlabDirectory directory;
  directory.AddSlab({.id = SlabId(1), .cls = 0});
  directory.Append(kA, Entry(0, 10, 1));
  directory.SealSlab(SlabId(1), 5000);
  const RetentionPolicy second = {.age = absl::Seconds(1), .size_bytes = 0};
  EXPECT_EQ(directory.PlanRetention(kA, second, 6000, Offset(100)).start, std::nullopt);
  EXPECT_EQ(directory.PlanRetention(kA, second, 6001, Offset(100)).start, Offset(10));
}

TEST(SlabDirectoryTest, RetentionWaitsForAnOpenSlabThatIsOlderThanThePolicyOrNotNeededForIt) {
  SlabDirectory directory;
  directory.AddSlab({.id = SlabId(1), .cls = 0, .created_ms = 1000});
  directory.AddSlab({.id = SlabId(2), .cls = 1, .created_ms = 2000});
  directory.Append(kA, Entry(0, 10, 1));
  directory.Append(kA, Entry(10, 20, 2));
  const auto plan = [&](absl::Duration age, int64_t bytes, int64_t now, int64_t limit = 100) {
    const RetentionPlan found =
        directory.PlanRetention(kA, {.age = age, .size_bytes = bytes}, now, Offset(limit));
    EXPECT_EQ(found.start, std::nullopt);
    return found.waits_for;
  };
  EXPECT_EQ(plan(absl::Seconds(1), 0, 2000), std::nullopt);
  EXPECT_EQ(plan(absl::Seconds(1), 0, 2001), SlabId(1));
  EXPECT_EQ(plan(absl::Seconds(1), 0, 2001, 5), std::nullopt) << "nothing to be won";
  EXPECT_EQ(plan(absl::InfiniteDuration(), 101, 9000), std::nullopt);
  EXPECT_EQ(plan(absl::InfiniteDuration(), 100, 9000), SlabId(1));
  directory.RemoveFirst(kA, 1);
  EXPECT_EQ(plan(absl::InfiniteDuration(), 1, 9000), std::nullopt) << "the newest is kept";
}

TEST(SlabDirectoryTest, WhatLiesBelowTheLogStartIsNotAlive) {
  SlabDirectory directory;
  directory.AddSlab({.id = SlabId(1), .cls = 3});
  directory.AddSlab({.id = SlabId(2), .cls = 3});
  directory.Append(kA, Entry(100, 200, 1, 1000));
  directory.Append(kA, Entry(200, 300, 2, 1000));
  EXPECT_EQ(directory.LiveBytes(3), 2000);
  directory.NoteLogStart(kA, Offset(175));
  EXPECT_EQ(directory.FindSlab(SlabId(1))->live_bytes, 250);
  directory.NoteLogStart(kA, Offset(50));
  EXPECT_EQ(directory.FindSlab(SlabId(1))->live_bytes, 1000);
  directory.NoteLogStart(kA, Offset(199));
  directory.RemoveFirst(kA, 1);
  EXPECT_EQ(directory.FindSlab(SlabId(1))->live_bytes, 0);
  directory.NoteLogStart(kA, Offset(250));
  DirectoryEntry longer = directory.Entries(kA).back();
  longer.bytes += 100;
  directory.ReplaceLast(kA, longer);
  EXPECT_EQ(directory.LiveBytes(3), 600);
  EXPECT_EQ(directory.LiveBytes(4), 0);
  directory.RemovePartition(kA);
  EXPECT_EQ(directory.LiveBytes(3), 0);
}

class TakeAtATimeTest : public testing::Test {
 protected:
  static constexpr int64_t kMiB = 1 << 20;
  static constexpr int64_t kTable = 64 * kMiB;
  // Of an entry of 1,000 offsets in a slab that holds `others` besides.
  static size_t Take(int64_t bytes, int64_t others, int64_t from = 0, int64_t limit = 1000,
                     size_t bytes_max = 16 * kMiB) {
    SlabInfo slab;
    slab.bytes = bytes + others;
    return TakeAtATime(Entry(0, 1000, 1, bytes), slab, kTable, Offset(from), Offset(limit),
                       bytes_max);
  }
};

TEST_F(TakeAtATimeTest, IsAMebibyteForWhoReadsMuchOfFewPartitions) {
  EXPECT_EQ(Take(100 * kMiB, 0), 1 * kMiB);
  EXPECT_EQ(Take(300 * kMiB, 1500 * kMiB), 1 * kMiB) << "a sixth of each table";
}

TEST_F(TakeAtATimeTest, IsNoMoreThanTheReadCanGive) {
  EXPECT_EQ(Take(100 * kMiB, 0, 0, 1000, 512 << 10), 512 << 10);
  EXPECT_EQ(Take(100 * kMiB, 0, 995), 512 << 10) << "half a hundredth is left";
  EXPECT_EQ(Take(100 * kMiB, 0, 0, 1), 0) << "a block or two";
  EXPECT_EQ(Take(100 << 10, 0), 0);
  EXPECT_EQ(Take(0, 0), 0);
}

TEST_F(TakeAtATimeTest, IsASmallPartOfWhatATableHasOfIt) {
  EXPECT_EQ(Take(20 * kMiB, 1260 * kMiB), 256 << 10) << "20 tables, a mebibyte in each";
  EXPECT_EQ(Take(2 * kMiB, 2046 * kMiB), 0) << "a thousand partitions";
}

}  // namespace
}  // namespace falaj::log
