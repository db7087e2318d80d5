#include "libs/log/wal_sync_file_system.h"

#include <memory>

#include "gtest/gtest.h"

#include "libs/log/store_fixture.h"

namespace falaj::log {
namespace {

// Counts the syncs that reach it.
class CountingFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  CountingFileSystem() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  static const char* kClassName() { return "CountingFileSystem"; }
  const char* Name() const override { return kClassName(); }

  class File final : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(std::unique_ptr<rocksdb::FSWritableFile>&& file, CountingFileSystem* system)
        : FSWritableFileOwnerWrapper(std::move(file)), system_(system) {}
    rocksdb::IOStatus Sync(const rocksdb::IOOptions& options,
                           rocksdb::IODebugContext* debug) override {
      ++system_->syncs;
      return target()->Sync(options, debug);
    }
    rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options,
                            rocksdb::IODebugContext* debug) override {
      ++system_->syncs;
      if (system_->full) return rocksdb::IOStatus::NoSpace("injected");
      return target()->Fsync(options, debug);
    }

   private:
    CountingFileSystem* const system_;
  };

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override {
    return Wrap(target()->NewWritableFile(path, options, result, debug), result);
  }
  rocksdb::IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                       std::unique_ptr<rocksdb::FSWritableFile>* result,
                                       rocksdb::IODebugContext* debug) override {
    return Wrap(target()->ReopenWritableFile(path, options, result, debug), result);
  }

  int syncs = 0;
  bool full = false;  // Syncs find no room.

 private:
  rocksdb::IOStatus Wrap(rocksdb::IOStatus status,
                         std::unique_ptr<rocksdb::FSWritableFile>* result) {
    if (status.ok()) *result = std::make_unique<File>(std::move(*result), this);
    return status;
  }
};

class WalSyncFileSystemTest : public testing::Test {
 protected:
  std::unique_ptr<rocksdb::FSWritableFile> Make(const std::string& name) {
    std::unique_ptr<rocksdb::FSWritableFile> file;
    const rocksdb::IOStatus status = system_.NewWritableFile(
        directory_.path() + "/" + name, rocksdb::FileOptions(), &file, nullptr);
    EXPECT_TRUE(status.ok()) << status.ToString();
    EXPECT_TRUE(file->Append("payload", {}, nullptr).ok());
    return file;
  }

  TempDirectory directory_;
  const std::shared_ptr<CountingFileSystem> counting_ = std::make_shared<CountingFileSystem>();
  WalSyncFileSystem system_{counting_};
};

TEST_F(WalSyncFileSystemTest, PutsOffASyncNobodyAskedForUntilOneIs) {
  const auto log = Make("000001.log");
  EXPECT_TRUE(log->Sync({}, nullptr).ok());
  EXPECT_EQ(counting_->syncs, 0);
  EXPECT_TRUE(system_.SyncPutOff().ok());
  EXPECT_EQ(counting_->syncs, 1);
  EXPECT_TRUE(system_.SyncPutOff().ok());
  EXPECT_EQ(counting_->syncs, 1) << "once is enough";
}

TEST_F(WalSyncFileSystemTest, ASyncThatFindsNoRoomIsNotTriedAgain) {
  const auto log = Make("000001.log");
  EXPECT_TRUE(log->Sync({}, nullptr).ok());
  counting_->full = true;
  const rocksdb::IOStatus status = system_.SyncPutOff();
  EXPECT_FALSE(status.ok());
  EXPECT_FALSE(status.IsNoSpace()) << "the store would go on once there is room";
}

TEST_F(WalSyncFileSystemTest, SyncsOfASyncedRoundGoThrough) {
  const auto log = Make("000001.log");
  {
    const WalSyncFileSystem::SyncScope scope;
    EXPECT_TRUE(log->Sync({}, nullptr).ok());
  }
  EXPECT_EQ(counting_->syncs, 1);
  EXPECT_TRUE(log->Fsync({}, nullptr).ok());
  EXPECT_EQ(counting_->syncs, 1) << "the scope has ended";
}

TEST_F(WalSyncFileSystemTest, DeletedLogsAreForgottenAndOtherFilesLeftAlone) {
  const auto log = Make("000001.log");
  EXPECT_TRUE(log->Sync({}, nullptr).ok());
  EXPECT_TRUE(system_.DeleteFile(directory_.path() + "/000001.log", {}, nullptr).ok());
  EXPECT_TRUE(system_.SyncPutOff().ok());
  EXPECT_EQ(counting_->syncs, 0);
  EXPECT_TRUE(Make("000002.sst")->Sync({}, nullptr).ok());
  EXPECT_EQ(counting_->syncs, 1);
}

}  // namespace
}  // namespace falaj::log
