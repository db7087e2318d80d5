#include "libs/log/slab_directory.h"

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
  EXPECT_NE(of(absl::InfiniteDuration(), 1), of(absl::InfiniteDuration(), 0));
  EXPECT_TRUE(IsSizeClass(of(absl::InfiniteDuration(), 1)));
  EXPECT_EQ(RetentionClassAge(of(absl::Hours(1), 0)), absl::Hours(2));
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
    return directory.PlanRetention(kA, {.age = age, .size_bytes = bytes}, now, Offset(limit));
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
  EXPECT_EQ(directory.PlanRetention(kA, second, 6000, Offset(100)), std::nullopt);
  EXPECT_EQ(directory.PlanRetention(kA, second, 6001, Offset(100)), Offset(10));
}

}  // namespace
}  // namespace falaj::log
