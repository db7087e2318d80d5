// TimedFileSystem tells a DiskPulse of every operation of RocksDB that may wait for the disk, on
// whichever thread: the appender's writes, allocations and syncs, flushes, compactions, reads.
//
// It wraps the file system RocksDB uses and changes nothing. What it does not tell of: reading
// whole files in a row (a store that is opened, and the first record of each log when statistics
// are asked for), listing and making directories, asking for the size and age of files or for free
// space, links, locks, and reads that do not wait (ReadAsync). Threads: any.
#ifndef LIBS_LOG_TIMED_FILE_SYSTEM_H_
#define LIBS_LOG_TIMED_FILE_SYSTEM_H_

#include <memory>
#include <string>

#include "rocksdb/file_system.h"

#include "libs/log/disk_pulse.h"

namespace falaj::log {

class TimedFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  // `pulse` is not owned and outlives every file.
  TimedFileSystem(const std::shared_ptr<rocksdb::FileSystem>& target, DiskPulse* pulse)
      : FileSystemWrapper(target), pulse_(pulse) {}
  static const char* kClassName() { return "falaj.TimedFileSystem"; }
  const char* Name() const override { return kClassName(); }

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                       std::unique_ptr<rocksdb::FSWritableFile>* result,
                                       rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewRandomAccessFile(const std::string& path,
                                        const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                                        rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* result,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

 private:
  DiskPulse* const pulse_;
};

}  // namespace falaj::log

#endif  // LIBS_LOG_TIMED_FILE_SYSTEM_H_
