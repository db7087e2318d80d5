// WriteBehindFileSystem lets RocksDB build the next part of a table while the disk still works on
// the one before.
//
// Past the page cache nobody writes back for RocksDB: it fills a buffer, waits until the device has
// taken it, fills the next one, and when the table is whole it waits once more, for the sync of all
// that a memtable or several came to, 0.1 s for each of them. With processors that are busy, too,
// that left the device without work for half of a flush. So a table's file has a thread here that
// writes what RocksDB hands over, and syncs it bit by bit:
//
//   RocksDB ──copy──▶ up to three pieces of 4 MiB ──▶ written, synced each 8 MiB ──▶ disk
//
// A sync waits for everything that was handed over, so what RocksDB holds for durable is. It is a
// short one, and so are those of the log that wait behind it in the device. A piece goes when the
// thread has nothing else to do, or when it is full. A table that fits into one piece is written by
// whoever syncs it, and has no thread.
//
// It wraps the file system RocksDB uses. Files that are no tables, and tables that go through the
// page cache, pass through.
//
// Failures: the first one of the thread's is what every later call on that file returns, Sync and
// Close among them, as if it had been theirs; nothing of the file is written or synced after it.
//
// Threads: a file is used by one thread, as RocksDB does; different files by any.
#ifndef LIBS_LOG_WRITE_BEHIND_FILE_SYSTEM_H_
#define LIBS_LOG_WRITE_BEHIND_FILE_SYSTEM_H_

#include <cstddef>
#include <memory>
#include <string>

#include "rocksdb/file_system.h"

namespace falaj::log {

class WriteBehindFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  static constexpr size_t kPieceBytes = 4 << 20;
  static constexpr int kPieces = 3;
  static constexpr size_t kSyncBytes = 8 << 20;

  explicit WriteBehindFileSystem(const std::shared_ptr<rocksdb::FileSystem>& target)
      : FileSystemWrapper(target) {}
  static const char* kClassName() { return "falaj.WriteBehindFileSystem"; }
  const char* Name() const override { return kClassName(); }

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override;
};

}  // namespace falaj::log

#endif  // LIBS_LOG_WRITE_BEHIND_FILE_SYSTEM_H_
