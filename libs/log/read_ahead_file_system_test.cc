#include "libs/log/read_ahead_file_system.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "rocksdb/env.h"

#include "libs/base/testing/temp_directory.h"
#include "libs/log/faulty_file_system.h"
#include "libs/log/store_fixture.h"

namespace falaj::log {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

constexpr size_t kPiece = ReadAheadFileSystem::kReadMin;
using Hints = std::vector<std::pair<uint64_t, size_t>>;

// Notes what is asked for ahead, and refuses it.
class NotingFile final : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  NotingFile(std::unique_ptr<rocksdb::FSRandomAccessFile>&& file, Hints* hints)
      : FSRandomAccessFileOwnerWrapper(std::move(file)), hints_(hints) {}
  IOStatus Prefetch(uint64_t offset, size_t bytes, const IOOptions& /*options*/,
                    IODebugContext* /*debug*/) override {
    hints_->emplace_back(offset, bytes);
    return IOStatus::NotSupported("a hint");
  }

 private:
  Hints* const hints_;
};

class NotingFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  explicit NotingFileSystem(Hints* hints)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), hints_(hints) {}
  const char* Name() const override { return "NotingFileSystem"; }
  IOStatus NewRandomAccessFile(const std::string& path, const rocksdb::FileOptions& options,
                               std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                               IODebugContext* debug) override {
    std::unique_ptr<rocksdb::FSRandomAccessFile> file;
    const IOStatus status = target()->NewRandomAccessFile(path, options, &file, debug);
    if (status.ok()) *result = std::make_unique<NotingFile>(std::move(file), hints_);
    return status;
  }

 private:
  Hints* const hints_;
};

class ReadAheadFileSystemTest : public testing::Test {
 protected:
  ReadAheadFileSystemTest() : system_(std::make_shared<NotingFileSystem>(&hints_)) {
    const std::string path = directory_.path() + "/table";
    EXPECT_TRUE(
        rocksdb::WriteStringToFile(rocksdb::Env::Default(), std::string(3 * kPiece, 'x'), path)
            .ok());
    EXPECT_TRUE(system_.NewRandomAccessFile(path, {}, &file_, nullptr).ok());
  }

  // How many bytes a read gives.
  size_t Read(uint64_t offset, size_t bytes) {
    std::string scratch(bytes, '\0');
    rocksdb::Slice result;
    EXPECT_TRUE(file_->Read(offset, bytes, {}, &result, scratch.data(), nullptr).ok());
    return result.size();
  }

  TempDirectory directory_;
  Hints hints_;
  ReadAheadFileSystem system_;
  std::unique_ptr<rocksdb::FSRandomAccessFile> file_;
};

TEST_F(ReadAheadFileSystemTest, ALongReadAsksForAsMuchBehindIt) {
  EXPECT_EQ(Read(0, kPiece), kPiece) << "whatever becomes of the hint";
  EXPECT_EQ(Read(kPiece, kPiece + 1), kPiece + 1);
  EXPECT_THAT(hints_, ElementsAre(Pair(kPiece, kPiece), Pair(2 * kPiece + 1, kPiece + 1)));
}

TEST_F(ReadAheadFileSystemTest, AShortReadAndTheEndOfTheFileAskForNothing) {
  EXPECT_EQ(Read(0, kPiece - 1), kPiece - 1);
  EXPECT_EQ(Read(2 * kPiece + 1, kPiece), kPiece - 1);
  EXPECT_THAT(hints_, IsEmpty());
}

class StoreReadTest : public StoreTest {
 protected:
  StoreReadTest() : disk_(std::make_shared<FaultyFileSystem>()), env_(MakeEnv(disk_)) {
    options_.env = env_.get();
    options_.block_cache_bytes = 0;
    Open();
  }
  ~StoreReadTest() override { store_.reset(); }  // Before its environment.

  const std::shared_ptr<FaultyFileSystem> disk_;
  const std::unique_ptr<rocksdb::Env> env_;
};

TEST_F(StoreReadTest, ALongReadTakesMuchAtATimeAndAShortOneABlock) {
  const LocalPartitionId id = Partition(0);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(Append(id, {1}, 60'000, /*sync=*/false).ok());
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (store_->Stats().table_bytes < 4 << 20) ASSERT_LT(absl::Now(), deadline);
  const Offset end = Get(id).log_end;
  disk_->TakeLongestRead();
  ASSERT_TRUE(store_->Read(id, Offset(3), end, 60'000).ok());
  EXPECT_LT(disk_->TakeLongestRead(), 128 << 10);
  const auto read = store_->Read(id, Offset(3), end, 2 << 20);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_GT(read->batches.size(), 1 << 20);
  EXPECT_GE(disk_->TakeLongestRead(), 200 << 10) << "a quarter of a table";
}

}  // namespace
}  // namespace falaj::log
