// ReadAheadFileSystem asks the kernel for what a consumer that catches up will read next, while it
// still sends what it has just read.
//
// RocksDB opens tables as read at random, so the kernel reads nothing ahead. A read of half a
// mebibyte or more is that of somebody who reads on from there: as much again is asked for behind
// it, into the page cache (readahead(2): as much of it as the device takes in one piece, and with
// hardly a wait). It is a hint: its failure is no error.
//
// It wraps the file system RocksDB uses; shorter reads, and writes, pass through. Threads: any.
#ifndef LIBS_LOG_READ_AHEAD_FILE_SYSTEM_H_
#define LIBS_LOG_READ_AHEAD_FILE_SYSTEM_H_

#include <cstddef>
#include <memory>
#include <string>

#include "rocksdb/file_system.h"

namespace falaj::log {

class ReadAheadFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  static constexpr size_t kReadMin = 512 << 10;

  explicit ReadAheadFileSystem(const std::shared_ptr<rocksdb::FileSystem>& target)
      : FileSystemWrapper(target) {}
  static const char* kClassName() { return "falaj.ReadAheadFileSystem"; }
  const char* Name() const override { return kClassName(); }

  rocksdb::IOStatus NewRandomAccessFile(const std::string& path,
                                        const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                                        rocksdb::IODebugContext* debug) override;
};

}  // namespace falaj::log

#endif  // LIBS_LOG_READ_AHEAD_FILE_SYSTEM_H_
