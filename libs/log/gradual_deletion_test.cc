#include "libs/log/gradual_deletion.h"

#include <atomic>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/testing/temp_directory.h"

namespace falaj::log {
namespace {

constexpr int64_t kPieceSize = DeletionQueue::kPieceBytes;

TEST(DeletionQueueTest, AFileGoesInPiecesAndItsRestLast) {
  DeletionQueue queue;
  EXPECT_FALSE(queue.Next(false).has_value());
  queue.Add("a", 2 * kPieceSize + 5, false);
  EXPECT_EQ(queue.bytes(), 2 * kPieceSize + 5);
  for (const int64_t keep : {kPieceSize + 5, int64_t{5}, int64_t{0}}) {
    const auto step = queue.Next(false);
    ASSERT_TRUE(step.has_value());
    EXPECT_EQ(step->path, "a");
    EXPECT_EQ(step->keep_bytes, keep);
    EXPECT_EQ(queue.bytes(), keep);
  }
  EXPECT_TRUE(queue.empty());
}

TEST(DeletionQueueTest, LogsGoBeforeTablesAndFaster) {
  DeletionQueue queue;
  queue.Add("table", 2 * kPieceSize, false);
  const absl::Duration of_table = queue.Next(false)->pause;
  EXPECT_EQ(of_table, absl::Seconds(1) * kPieceSize / DeletionQueue::kTableBytesPerSecondMin);
  queue.Add("log", kPieceSize, true);
  const auto step = queue.Next(false);
  EXPECT_EQ(step->path, "log");
  EXPECT_TRUE(step->of_log);
  EXPECT_LT(step->pause, of_table);
  EXPECT_EQ(queue.Next(false)->path, "table");
}

TEST(DeletionQueueTest, TheMoreWaitsTheFasterItGoes) {
  DeletionQueue queue;
  for (int i = 0; i < 1000; ++i) queue.Add("table", 16 * kPieceSize, false);
  int64_t before = queue.bytes();
  absl::Duration taken;
  while (queue.bytes() > before / 2) taken += queue.Next(false)->pause;
  EXPECT_GT(taken, absl::Seconds(6)) << "10 s * ln 2";
  EXPECT_LT(taken, absl::Seconds(8));
  before = queue.bytes();
  while (auto step = queue.Next(false)) taken += step->pause;
  EXPECT_LT(taken, absl::Seconds(60)) << "64 GB in all";
}

TEST(DeletionQueueTest, InAHurryFilesGoWholeAndAtOnce) {
  DeletionQueue queue;
  queue.Add("a", 100 * kPieceSize, false);
  EXPECT_EQ(queue.Next(false)->keep_bytes, 99 * kPieceSize);
  const auto rest = queue.Next(true);
  EXPECT_EQ(rest->keep_bytes, 0);
  EXPECT_EQ(rest->pause, absl::ZeroDuration());
  EXPECT_TRUE(queue.empty());
}

// Counts, and fails when told to.
class CountingFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  CountingFileSystem() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "CountingFileSystem"; }

  rocksdb::IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                       std::unique_ptr<rocksdb::FSWritableFile>* result,
                                       rocksdb::IODebugContext* debug) override {
    if (fails) return rocksdb::IOStatus::IOError("injected");
    const rocksdb::IOStatus opened = target()->ReopenWritableFile(path, options, result, debug);
    if (opened.ok()) *result = std::make_unique<File>(std::move(*result), path, this);
    return opened;
  }
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override {
    if (rename_fails) return rocksdb::IOStatus::IOError("injected");
    return target()->RenameFile(from, to, options, debug);
  }

  // Times that a file became shorter.
  std::atomic<int> truncations = 0;
  std::atomic<bool> fails = false;
  std::atomic<bool> rename_fails = false;

 private:
  class File final : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(std::unique_ptr<rocksdb::FSWritableFile>&& file, std::string path,
         CountingFileSystem* system)
        : FSWritableFileOwnerWrapper(std::move(file)), path_(std::move(path)), system_(system) {}
    rocksdb::IOStatus Truncate(uint64_t size, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override {
      const uintmax_t before = std::filesystem::file_size(path_);
      const rocksdb::IOStatus status = target()->Truncate(size, options, debug);
      if (std::filesystem::file_size(path_) == size && size < before) ++system_->truncations;
      return status;
    }

   private:
    const std::string path_;
    CountingFileSystem* const system_;
  };
};

class GradualDeletionTest : public testing::Test {
 protected:
  std::string Make(const std::string& name, int64_t size_bytes) const {
    const std::string path = directory_.path() + "/" + name;
    std::ofstream(path).put('x');
    std::filesystem::resize_file(path, static_cast<uintmax_t>(size_bytes));
    return path;
  }
  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& file : std::filesystem::directory_iterator(directory_.path())) {
      names.push_back(file.path().filename().string());
    }
    return names;
  }
  bool EmptySoon() const {
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (!Files().empty()) {
      if (absl::Now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }

  TempDirectory directory_;
  const std::shared_ptr<CountingFileSystem> disk_ = std::make_shared<CountingFileSystem>();
};

TEST_F(GradualDeletionTest, TablesAndLogsAreGoneForTheCallerAndThenShorterAndShorter) {
  GradualDeletion deletion(disk_);
  for (const char* name : {"1.sst", "2.log"}) {
    disk_->truncations = 0;
    const std::string path = Make(name, 3 * kPieceSize + 1);
    ASSERT_TRUE(deletion.DeleteFile(path, {}, nullptr).ok());
    EXPECT_FALSE(std::filesystem::exists(path));
    EXPECT_TRUE(EmptySoon());
    EXPECT_EQ(disk_->truncations, 3);
  }
  EXPECT_EQ(deletion.waiting_bytes(), 0);
}

TEST_F(GradualDeletionTest, SmallAndOtherFilesGoAtOnce) {
  GradualDeletion deletion(disk_);
  ASSERT_TRUE(deletion.DeleteFile(Make("1.sst", kPieceSize), {}, nullptr).ok());
  ASSERT_TRUE(deletion.DeleteFile(Make("MANIFEST-000001", 9 * kPieceSize), {}, nullptr).ok());
  EXPECT_TRUE(Files().empty());
  EXPECT_FALSE(deletion.DeleteFile(directory_.path() + "/none.sst", {}, nullptr).ok());
}

TEST_F(GradualDeletionTest, WhereThereIsLittleRoomWhatWaitsAndWhatComesGoesAtOnce) {
  GradualDeletion deletion(disk_);
  ASSERT_TRUE(deletion.DeleteFile(Make("1.sst", 10'000 * kPieceSize), {}, nullptr).ok());
  deletion.SetHurry(true);
  EXPECT_TRUE(EmptySoon()) << "it would have taken ten seconds";
  EXPECT_LT(disk_->truncations, 1000);
  ASSERT_TRUE(deletion.DeleteFile(Make("2.sst", 10'000 * kPieceSize), {}, nullptr).ok());
  EXPECT_TRUE(Files().empty());
}

TEST_F(GradualDeletionTest, WhatIsLeftWhenItEndsTheNextLifeTakesOver) {
  {
    GradualDeletion deletion(disk_);
    ASSERT_TRUE(deletion.DeleteFile(Make("1.sst", 10'000 * kPieceSize), {}, nullptr).ok());
  }
  ASSERT_THAT(Files(), testing::ElementsAre("1.sst.deleted"));
  GradualDeletion next(disk_);
  next.Adopt(directory_.path());
  EXPECT_GT(next.waiting_bytes(), 0);
  next.SetHurry(true);
  EXPECT_TRUE(EmptySoon());
}

TEST_F(GradualDeletionTest, WhereRoomIsWantedTheNextLifeDeletesBeforeItGoesOn) {
  Make("1.sst.deleted", 10 * kPieceSize);
  Make("other.deleted", 10 * kPieceSize);
  GradualDeletion deletion(disk_);
  deletion.SetHurry(true);
  deletion.Adopt(directory_.path());
  EXPECT_THAT(Files(), testing::ElementsAre("other.deleted")) << "not ours";
}

TEST_F(GradualDeletionTest, AFileThatCannotBeRenamedOrCutGoesWhole) {
  GradualDeletion deletion(disk_);
  disk_->fails = true;
  ASSERT_TRUE(deletion.DeleteFile(Make("1.sst", 3 * kPieceSize), {}, nullptr).ok());
  EXPECT_TRUE(EmptySoon());
  disk_->rename_fails = true;
  ASSERT_TRUE(deletion.DeleteFile(Make("2.sst", 3 * kPieceSize), {}, nullptr).ok());
  EXPECT_TRUE(Files().empty());
}

}  // namespace
}  // namespace falaj::log
