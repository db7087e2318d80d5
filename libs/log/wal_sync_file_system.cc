#include "libs/log/wal_sync_file_system.h"

#include <utility>

#include "absl/strings/match.h"

namespace falaj::log {
namespace {

// RocksDB syncs on the thread that called it, without passing anything of ours through.
thread_local bool sync_wanted = false;

}  // namespace

class WalFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  WalFile(std::unique_ptr<rocksdb::FSWritableFile>&& file, std::string path,
          WalSyncFileSystem* system)
      : FSWritableFileOwnerWrapper(std::move(file)), path_(std::move(path)), system_(system) {}

  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           rocksdb::IODebugContext* debug) override {
    return Noted(target()->Append(data, options, debug));
  }
  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           const rocksdb::DataVerificationInfo& verification,
                           rocksdb::IODebugContext* debug) override {
    return Noted(target()->Append(data, options, verification, debug));
  }
  rocksdb::IOStatus Sync(const rocksdb::IOOptions& options,
                         rocksdb::IODebugContext* debug) override {
    if (sync_wanted) return Noted(target()->Sync(options, debug));
    system_->PutOff(path_);
    return rocksdb::IOStatus::OK();
  }
  rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options,
                          rocksdb::IODebugContext* debug) override {
    if (sync_wanted) return Noted(target()->Fsync(options, debug));
    system_->PutOff(path_);
    return rocksdb::IOStatus::OK();
  }

 private:
  rocksdb::IOStatus Noted(rocksdb::IOStatus status) {
    if (!status.ok()) system_->NoteFailed(path_);
    return status;
  }

  const std::string path_;
  WalSyncFileSystem* const system_;
};

WalSyncFileSystem::SyncScope::SyncScope() { sync_wanted = true; }
WalSyncFileSystem::SyncScope::~SyncScope() { sync_wanted = false; }

rocksdb::IOStatus WalSyncFileSystem::NewWritableFile(
    const std::string& path, const rocksdb::FileOptions& options,
    std::unique_ptr<rocksdb::FSWritableFile>* result, rocksdb::IODebugContext* debug) {
  if (!absl::EndsWith(path, ".log")) {
    return target()->NewWritableFile(path, options, result, debug);
  }
  std::unique_ptr<rocksdb::FSWritableFile> file;
  rocksdb::IOStatus status = target()->NewWritableFile(path, options, &file, debug);
  if (status.ok()) *result = std::make_unique<WalFile>(std::move(file), path, this);
  return status;
}

rocksdb::IOStatus WalSyncFileSystem::DeleteFile(const std::string& path,
                                                const rocksdb::IOOptions& options,
                                                rocksdb::IODebugContext* debug) {
  {
    MutexLock lock(&mu_);
    put_off_.erase(path);
    failed_.erase(path);
  }
  return target()->DeleteFile(path, options, debug);
}

void WalSyncFileSystem::NoteFailed(const std::string& path) {
  MutexLock lock(&mu_);
  failed_.insert(path);
}

bool WalSyncFileSystem::LogsAreWhole() const {
  MutexLock lock(&mu_);
  return failed_.empty();
}

void WalSyncFileSystem::PutOff(const std::string& path) {
  MutexLock lock(&mu_);
  put_off_.insert(path);
}

rocksdb::IOStatus WalSyncFileSystem::SyncPutOff() {
  std::set<std::string> paths;
  {
    MutexLock lock(&mu_);
    paths = put_off_;
  }
  for (const std::string& path : paths) {
    const rocksdb::IOOptions options;
    std::unique_ptr<rocksdb::FSWritableFile> file;
    rocksdb::IOStatus status =
        target()->ReopenWritableFile(path, rocksdb::FileOptions(), &file, nullptr);
    if (status.ok()) status = file->Fsync(options, nullptr);
    if (status.ok()) status = file->Close(options, nullptr);
    MutexLock lock(&mu_);
    // If it is not there, it was deleted meanwhile: all of it has reached tables.
    if (!status.ok() && put_off_.contains(path)) {
      // Not worth repeating, for want of room neither: the kernel may have dropped what it could
      // not write, and would call the next sync a success. RocksDB, which writes tables from its
      // memory after a failure of its own, does not hear of this one.
      return status.IsNoSpace() ? rocksdb::IOStatus::IOError(status.ToString()) : status;
    }
    put_off_.erase(path);
  }
  return rocksdb::IOStatus::OK();
}

}  // namespace falaj::log
