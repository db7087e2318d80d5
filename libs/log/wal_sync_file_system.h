// WalSyncFileSystem decides which syncs of the write-ahead log reach the disk: those a synced round
// asks for, and no others.
//
// RocksDB syncs a log file that is finished before it flushes a memtable, so that column families
// stay consistent with each other after a power failure. For topics with durability=os that sync
// writes every payload byte to the device a second time, although the file is about to be deleted.
// So the sync is put off: the file is remembered, and the next round that must be durable syncs it
// first. What was asked to be durable therefore always is, with everything that came before it;
// what was not may be lost with the page cache, and the store puts up with that when it opens.
//
// It wraps the file system RocksDB uses; files other than logs pass through. Threads: any.
#ifndef LIBS_LOG_WAL_SYNC_FILE_SYSTEM_H_
#define LIBS_LOG_WAL_SYNC_FILE_SYSTEM_H_

#include <memory>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "rocksdb/file_system.h"

#include "libs/base/mutex.h"

namespace falaj::log {

class WalSyncFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  explicit WalSyncFileSystem(const std::shared_ptr<rocksdb::FileSystem>& target)
      : FileSystemWrapper(target) {}
  static const char* kClassName() { return "falaj.WalSyncFileSystem"; }
  const char* Name() const override { return kClassName(); }

  // While one lives, syncs by this thread go to the disk.
  class SyncScope {
   public:
    SyncScope();
    SyncScope(const SyncScope&) = delete;
    SyncScope& operator=(const SyncScope&) = delete;
    ~SyncScope();
  };

  // Syncs the finished log files whose sync was put off. Blocks on disk. A failure is final: it is
  // never NoSpace, after which others would try again.
  rocksdb::IOStatus SyncPutOff();

  // False while there is a log that could not be written or synced.
  bool LogsAreWhole() const;

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

 private:
  friend class WalFile;
  void PutOff(const std::string& path);
  void NoteFailed(const std::string& path);

  mutable Mutex mu_;
  std::set<std::string> put_off_ ABSL_GUARDED_BY(mu_);
  std::set<std::string> failed_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::log

#endif  // LIBS_LOG_WAL_SYNC_FILE_SYSTEM_H_
