#include "libs/log/write_behind_file_system.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "rocksdb/env.h"

#include "libs/base/mutex.h"
#include "libs/base/testing/temp_directory.h"
#include "libs/log/direct_writes.h"

namespace falaj::log {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;
using testing::AllOf;
using testing::Each;
using testing::Ge;
using testing::IsEmpty;
using testing::Le;
using testing::Ne;
using testing::Not;

constexpr size_t kPiece = WriteBehindFileSystem::kPieceBytes;
constexpr size_t kBuffer = 1 << 20;  // RocksDB's.

// What reaches the disk, in its order; and it can be told to let nobody through, or to fail.
class Disk {
 public:
  void Stop(bool stopped) {
    MutexLock lock(&mu_);
    stopped_ = stopped;
    changed_.NotifyAll();
  }
  void Fail(const IOStatus& failure) {
    MutexLock lock(&mu_);
    failure_ = failure;
  }
  void WaitForSomebody() {
    MutexLock lock(&mu_);
    while (inside_ == 0) changed_.Wait(&mu_);
  }
  // False: not within 20 s.
  bool WaitForWrites(size_t writes) {
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    MutexLock lock(&mu_);
    while (writes_.size() < writes) {
      if (!changed_.WaitFor(&mu_, deadline - absl::Now())) return false;
    }
    return true;
  }
  IOStatus Enter(size_t write_bytes) {
    MutexLock lock(&mu_);
    ++inside_;
    changed_.NotifyAll();
    while (stopped_) changed_.Wait(&mu_);
    --inside_;
    if (write_bytes > 0) {
      writes_.push_back(write_bytes);
      writers_.push_back(std::this_thread::get_id());
      changed_.NotifyAll();
    } else {
      ++syncs_;
    }
    synced_ = write_bytes == 0;
    return failure_;
  }
  std::vector<size_t> writes() const {
    MutexLock lock(&mu_);
    return writes_;
  }
  std::vector<std::thread::id> writers() const {
    MutexLock lock(&mu_);
    return writers_;
  }
  // Whether a sync came after the last write.
  bool synced() const {
    MutexLock lock(&mu_);
    return synced_;
  }
  int syncs() const {
    MutexLock lock(&mu_);
    return syncs_;
  }

 private:
  mutable Mutex mu_;
  CondVar changed_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  int inside_ ABSL_GUARDED_BY(mu_) = 0;
  IOStatus failure_ ABSL_GUARDED_BY(mu_);
  std::vector<size_t> writes_ ABSL_GUARDED_BY(mu_);
  std::vector<std::thread::id> writers_ ABSL_GUARDED_BY(mu_);
  int syncs_ ABSL_GUARDED_BY(mu_) = 0;
  bool synced_ ABSL_GUARDED_BY(mu_) = false;
};

class DiskFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  DiskFile(std::unique_ptr<rocksdb::FSWritableFile>&& file, Disk* disk)
      : FSWritableFileOwnerWrapper(std::move(file)), disk_(disk) {}
  using FSWritableFileOwnerWrapper::PositionedAppend;
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            IODebugContext* debug) override {
    IOStatus status = disk_->Enter(data.size());
    return status.ok() ? target()->PositionedAppend(data, offset, options, debug) : status;
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = disk_->Enter(0);
    return status.ok() ? target()->Sync(options, debug) : status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = disk_->Enter(0);
    return status.ok() ? target()->Fsync(options, debug) : status;
  }

 private:
  Disk* const disk_;
};

class DiskFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  explicit DiskFileSystem(Disk* disk)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), disk_(disk) {}
  const char* Name() const override { return "DiskFileSystem"; }
  IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* result,
                           IODebugContext* debug) override {
    std::unique_ptr<rocksdb::FSWritableFile> file;
    IOStatus status = target()->NewWritableFile(path, options, &file, debug);
    if (status.ok()) *result = std::make_unique<DiskFile>(std::move(file), disk_);
    return status;
  }

 private:
  Disk* const disk_;
};

class WriteBehindTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!TakesDirectWrites(directory_.path())) GTEST_SKIP() << "no direct writes here";
    file_ = Open(path_, /*direct=*/true);
  }

  std::unique_ptr<rocksdb::FSWritableFile> Open(const std::string& path, bool direct) {
    rocksdb::FileOptions options;
    options.use_direct_writes = direct;
    std::unique_ptr<rocksdb::FSWritableFile> file;
    EXPECT_TRUE(system_.NewWritableFile(path, options, &file, nullptr).ok());
    return file;
  }

  // As RocksDB does: from one buffer, which is filled anew as soon as the call returns.
  IOStatus Append(char letter, uint64_t offset, size_t bytes = kBuffer) {
    std::fill_n(buffer_, bytes, letter);
    IOStatus status = file_->PositionedAppend(Slice(buffer_, bytes), offset, {}, nullptr);
    std::fill_n(buffer_, bytes, '#');
    if (status.ok()) status = file_->Flush({}, nullptr);
    return status;
  }
  // Buffers of a, b, c and so on from the file's start, until one fails.
  IOStatus AppendBuffers(int buffers) {
    IOStatus status;
    for (int i = 0; i < buffers && status.ok(); ++i) {
      status = Append(static_cast<char>('a' + i), uint64_t{kBuffer} * static_cast<uint64_t>(i));
    }
    return status;
  }
  static std::string Buffers(int buffers) {
    std::string all;
    for (int i = 0; i < buffers; ++i) all.append(kBuffer, static_cast<char>('a' + i));
    return all;
  }
  std::string OnDisk() const {
    std::string content;
    EXPECT_TRUE(rocksdb::ReadFileToString(rocksdb::Env::Default(), path_, &content).ok());
    return content;
  }
  void ExpectOnDisk(const std::string& content) const {  // Megabytes: not to be printed.
    EXPECT_TRUE(OnDisk() == content) << OnDisk().size() << " bytes";
  }

  TempDirectory directory_;
  const std::string path_ = directory_.path() + "/000007.sst";
  Disk disk_;
  WriteBehindFileSystem system_{std::make_shared<DiskFileSystem>(&disk_)};
  std::unique_ptr<rocksdb::FSWritableFile> file_;
  alignas(4096) char buffer_[kBuffer] = {};
};

TEST_F(WriteBehindTest, WhatWasHandedOverIsInTheFileInItsOrder) {
  ASSERT_TRUE(AppendBuffers(13).ok());
  // The end of the last block was a filling; now there is more.
  ASSERT_TRUE(Append('y', 13 * kBuffer, 4096).ok());
  ASSERT_TRUE(Append('z', 13 * kBuffer, 8192).ok());
  ASSERT_TRUE(file_->Sync({}, nullptr).ok());
  ASSERT_TRUE(file_->Truncate(13 * kBuffer + 5000, {}, nullptr).ok());
  ASSERT_TRUE(file_->Fsync({}, nullptr).ok());
  ASSERT_TRUE(file_->Close({}, nullptr).ok());
  ExpectOnDisk(Buffers(13) + std::string(5000, 'z'));
  EXPECT_FALSE(AppendBuffers(20).ok()) << "it is closed";
  EXPECT_FALSE(Append('z', 0).ok());
  EXPECT_FALSE(file_->Sync({}, nullptr).ok());
  EXPECT_THAT(disk_.writes(), Each(AllOf(Ge(4096), Le(kPiece))));
}

TEST_F(WriteBehindTest, TheNextPartsAreTakenWhileTheDiskWorks) {
  disk_.Stop(true);
  // The first piece is with the disk, the others are taken.
  constexpr int kTaken = WriteBehindFileSystem::kPieces * int{kPiece / kBuffer};
  ASSERT_TRUE(AppendBuffers(kTaken).ok());
  disk_.WaitForSomebody();
  EXPECT_THAT(disk_.writes(), IsEmpty());
  disk_.Stop(false);
  ASSERT_TRUE(Append('z', kTaken * kBuffer).ok());
  ASSERT_TRUE(file_->Close({}, nullptr).ok());
  ExpectOnDisk(Buffers(kTaken) + std::string(kBuffer, 'z'));
}

TEST_F(WriteBehindTest, ASyncWaitsForEverythingAndReachesTheDisk) {
  for (const int buffers : {2, 9, 13}) {  // In less than a piece; in several.
    for (const bool fsync : {false, true}) {
      SCOPED_TRACE(testing::Message() << buffers << " " << fsync);
      file_ = Open(path_, /*direct=*/true);
      const size_t writes = disk_.writes().size();
      disk_.Stop(buffers == 9);
      ASSERT_TRUE(AppendBuffers(buffers).ok());
      if (buffers == 9) disk_.WaitForSomebody();
      std::string synced;
      std::thread sync([this, fsync, &synced] {
        EXPECT_TRUE((fsync ? file_->Fsync({}, nullptr) : file_->Sync({}, nullptr)).ok());
        synced = OnDisk();
      });
      disk_.Stop(false);
      sync.join();
      EXPECT_TRUE(synced == Buffers(buffers)) << synced.size() << " bytes";
      EXPECT_GT(disk_.writes().size(), writes);
      EXPECT_TRUE(disk_.synced());
    }
  }
}

TEST_F(WriteBehindTest, WhatIsWrittenIsSyncedBitByBit) {
  constexpr int kBuffers = 32;
  ASSERT_TRUE(AppendBuffers(kBuffers).ok());
  ASSERT_TRUE(file_->Truncate(kBuffers * kBuffer, {}, nullptr).ok());
  constexpr int kSync = WriteBehindFileSystem::kSyncBytes;
  EXPECT_THAT(disk_.syncs(), AllOf(Ge(kBuffers * int{kBuffer} / (kSync + int{kPiece})),
                                   Le(kBuffers * int{kBuffer} / kSync)));
  EXPECT_THAT(disk_.writers(), Each(Ne(std::this_thread::get_id())));
}

TEST_F(WriteBehindTest, ADiskWithoutWorkGetsWhatThereIs) {
  ASSERT_TRUE(AppendBuffers(9).ok());
  ASSERT_TRUE(file_->Sync({}, nullptr).ok());
  const size_t writes = disk_.writes().size();
  ASSERT_TRUE(Append('z', 9 * kBuffer).ok());
  ASSERT_TRUE(disk_.WaitForWrites(writes + 1)) << "nobody calls for it";
  EXPECT_EQ(disk_.writes().back(), kBuffer);
}

TEST_F(WriteBehindTest, ATableThatFitsIntoOnePieceHasNoThread) {
  ASSERT_TRUE(AppendBuffers(2).ok());
  ASSERT_TRUE(file_->Sync({}, nullptr).ok());
  ExpectOnDisk(Buffers(2));
  EXPECT_THAT(disk_.writers(), testing::ElementsAre(std::this_thread::get_id()));
}

TEST_F(WriteBehindTest, AFailureIsThatOfEveryLaterCall) {
  for (const bool small : {true, false}) {
    SCOPED_TRACE(small);
    file_ = Open(path_, /*direct=*/true);
    disk_.Fail(IOStatus::NoSpace("nothing left"));
    // Whoever appends more than the file keeps sees it at once.
    const IOStatus appended = AppendBuffers(small ? 1 : 20);
    EXPECT_EQ(appended.ok(), small) << appended.ToString();
    EXPECT_TRUE(file_->Sync({}, nullptr).IsNoSpace());
    const size_t writes = disk_.writes().size();
    disk_.Fail(IOStatus::OK());
    EXPECT_TRUE(AppendBuffers(9).IsNoSpace());
    EXPECT_TRUE(Append('z', 0).IsNoSpace());
    EXPECT_TRUE(file_->Flush({}, nullptr).IsNoSpace());
    EXPECT_TRUE(file_->Truncate(1, {}, nullptr).IsNoSpace());
    EXPECT_TRUE(file_->Fsync({}, nullptr).IsNoSpace());
    EXPECT_TRUE(file_->Close({}, nullptr).IsNoSpace());
    EXPECT_EQ(disk_.writes().size(), writes) << "something was written after the failure";
    EXPECT_EQ(disk_.syncs(), 0);
  }
}

TEST_F(WriteBehindTest, AFileThatIsGivenUpWaitsForTheDisk) {
  disk_.Stop(true);
  ASSERT_TRUE(AppendBuffers(9).ok());
  disk_.WaitForSomebody();
  std::thread gone([this] { file_.reset(); });
  disk_.Stop(false);
  gone.join();
  EXPECT_THAT(disk_.writes(), Not(IsEmpty()));
}

TEST_F(WriteBehindTest, OtherFilesPassThrough) {
  for (const bool direct : {true, false}) {
    const std::string path = directory_.path() + (direct ? "/000008.log" : "/000008.sst");
    const std::unique_ptr<rocksdb::FSWritableFile> file = Open(path, direct);
    EXPECT_NE(dynamic_cast<DiskFile*>(file.get()), nullptr) << path;
  }
}

}  // namespace
}  // namespace falaj::log
