#include "libs/log/disk_watch.h"

#include "gtest/gtest.h"

#include "libs/base/status.h"

namespace falaj::log {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

// A disk of 1,000 GiB whose free space the test sets.
class DiskWatchTest : public testing::Test {
 protected:
  DiskLevel LevelAt(int64_t free_bytes) {
    space_ = DiskSpace{.total_bytes = total_, .free_bytes = free_bytes};
    EXPECT_TRUE(watch_.Poll().ok());
    return watch_.level();
  }

  int64_t total_ = 1000 * kGiB;
  absl::StatusOr<DiskSpace> space_;
  DiskWatch watch_{"/data",
                   {.warn = {.free_percent = 15, .free_bytes = 0},
                    .soft = {.free_percent = 5, .free_bytes = 5 * kGiB},
                    .hard = {.free_percent = 0, .free_bytes = 1 * kGiB}},
                   [this](const std::string&) { return space_; }};
};

TEST_F(DiskWatchTest, LevelsFollowTheFreeSpace) {
  EXPECT_EQ(LevelAt(500 * kGiB), DiskLevel::kOk);
  EXPECT_EQ(LevelAt(149 * kGiB), DiskLevel::kWarn);
  EXPECT_EQ(LevelAt(49 * kGiB), DiskLevel::kSoft);
  EXPECT_EQ(LevelAt(kGiB - 1), DiskLevel::kHard);
  EXPECT_EQ(LevelAt(500 * kGiB), DiskLevel::kOk);
  EXPECT_EQ(watch_.space().free_bytes, 500 * kGiB);
}

TEST_F(DiskWatchTest, ALevelEndsOnlyATenthAboveItsWatermark) {
  EXPECT_EQ(LevelAt(50 * kGiB), DiskLevel::kWarn);
  EXPECT_EQ(LevelAt(49 * kGiB), DiskLevel::kSoft);
  EXPECT_EQ(LevelAt(54 * kGiB), DiskLevel::kSoft) << "above 5 %, but not above 5.5 %";
  EXPECT_EQ(LevelAt(56 * kGiB), DiskLevel::kWarn);
  EXPECT_EQ(LevelAt(160 * kGiB), DiskLevel::kWarn);
  EXPECT_EQ(LevelAt(166 * kGiB), DiskLevel::kOk);
  EXPECT_EQ(LevelAt(160 * kGiB), DiskLevel::kOk);
}

TEST_F(DiskWatchTest, BytesCountForAtMostATenthOfASmallDisk) {
  total_ = 10 * kGiB;
  EXPECT_EQ(LevelAt(2 * kGiB), DiskLevel::kOk) << "5 GiB would be half of this disk";
  EXPECT_EQ(LevelAt(kGiB - 1), DiskLevel::kHard);
}

TEST_F(DiskWatchTest, KeepsTheLevelWhenTheDiskCannotBeAsked) {
  EXPECT_EQ(LevelAt(10 * kGiB), DiskLevel::kSoft);
  space_ = MakeError(Reason::kInternal, "no answer");
  EXPECT_FALSE(watch_.Poll().ok());
  EXPECT_EQ(watch_.level(), DiskLevel::kSoft);
}

TEST(ReadDiskSpaceTest, AnswersForARealDirectoryOnly) {
  const absl::StatusOr<DiskSpace> space = ReadDiskSpace(testing::TempDir());
  ASSERT_TRUE(space.ok()) << space.status();
  EXPECT_GT(space->total_bytes, 0);
  EXPECT_LE(space->free_bytes, space->total_bytes);
  EXPECT_EQ(ReasonOf(ReadDiskSpace("/no/such/directory").status()), Reason::kInvalidRequest);
}

TEST(HasLittleRoomTest, AlsoIfNobodyKnows) {
  EXPECT_FALSE(HasLittleRoom(DiskSpace{.free_bytes = kLittleRoomBytes}));
  EXPECT_TRUE(HasLittleRoom(DiskSpace{.free_bytes = kLittleRoomBytes - 1}));
  EXPECT_TRUE(HasLittleRoom(ReadDiskSpace("/no/such/directory")));
}

TEST(WantsRoomTest, BelowATenthOfTheDisk) {
  constexpr int64_t kTotal = 100 * kLittleRoomBytes;
  EXPECT_FALSE(WantsRoom(DiskSpace{.total_bytes = kTotal, .free_bytes = kTotal / 10}));
  EXPECT_TRUE(WantsRoom(DiskSpace{.total_bytes = kTotal, .free_bytes = kTotal / 10 - 1}));
  EXPECT_TRUE(WantsRoom(ReadDiskSpace("/no/such/directory")));
}

}  // namespace
}  // namespace falaj::log
