#include "libs/log/timed_file_system.h"

#include <utility>

namespace falaj::log {
namespace {

using Beat = DiskPulse::Beat;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

constexpr char kOpen[] = "open";
constexpr char kWrite[] = "write";
constexpr char kSync[] = "sync";
constexpr char kAllocate[] = "allocation";
constexpr char kTruncate[] = "truncation";
constexpr char kClose[] = "close";
constexpr char kRead[] = "read";
constexpr char kRename[] = "rename";
constexpr char kDelete[] = "delete";

class TimedWriter final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  TimedWriter(std::unique_ptr<rocksdb::FSWritableFile>&& file, std::string path, DiskPulse* pulse)
      : FSWritableFileOwnerWrapper(std::move(file)), path_(std::move(path)), pulse_(pulse) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    const Beat beat(pulse_, kWrite, path_);
    return target()->Append(data, options, debug);
  }
  IOStatus Append(const Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo& verification,
                  IODebugContext* debug) override {
    const Beat beat(pulse_, kWrite, path_);
    return target()->Append(data, options, verification, debug);
  }
  // What is written past the page cache.
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            IODebugContext* debug) override {
    const Beat beat(pulse_, kWrite, path_);
    return target()->PositionedAppend(data, offset, options, debug);
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            const rocksdb::DataVerificationInfo& verification,
                            IODebugContext* debug) override {
    const Beat beat(pulse_, kWrite, path_);
    return target()->PositionedAppend(data, offset, options, verification, debug);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    const Beat beat(pulse_, kSync, path_);
    return target()->Sync(options, debug);
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    const Beat beat(pulse_, kSync, path_);
    return target()->Fsync(options, debug);
  }
  IOStatus RangeSync(uint64_t offset, uint64_t bytes, const IOOptions& options,
                     IODebugContext* debug) override {
    const Beat beat(pulse_, kSync, path_);
    return target()->RangeSync(offset, bytes, options, debug);
  }
  // Allocates, of the file behind this one.
  void PrepareWrite(size_t offset, size_t bytes, const IOOptions& options,
                    IODebugContext* debug) override {
    const Beat beat(pulse_, kAllocate, path_);
    target()->PrepareWrite(offset, bytes, options, debug);
  }
  IOStatus Allocate(uint64_t offset, uint64_t bytes, const IOOptions& options,
                    IODebugContext* debug) override {
    const Beat beat(pulse_, kAllocate, path_);
    return target()->Allocate(offset, bytes, options, debug);
  }
  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* debug) override {
    const Beat beat(pulse_, kTruncate, path_);
    return target()->Truncate(size, options, debug);
  }
  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    const Beat beat(pulse_, kClose, path_);
    return target()->Close(options, debug);
  }

 private:
  const std::string path_;
  DiskPulse* const pulse_;
};

class TimedReader final : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  TimedReader(std::unique_ptr<rocksdb::FSRandomAccessFile>&& file, std::string path,
              DiskPulse* pulse)
      : FSRandomAccessFileOwnerWrapper(std::move(file)), path_(std::move(path)), pulse_(pulse) {}

  IOStatus Read(uint64_t offset, size_t bytes, const IOOptions& options, Slice* result,
                char* scratch, IODebugContext* debug) const override {
    const Beat beat(pulse_, kRead, path_);
    return target()->Read(offset, bytes, options, result, scratch, debug);
  }
  IOStatus MultiRead(rocksdb::FSReadRequest* requests, size_t count, const IOOptions& options,
                     IODebugContext* debug) override {
    const Beat beat(pulse_, kRead, path_);
    return target()->MultiRead(requests, count, options, debug);
  }
  IOStatus Prefetch(uint64_t offset, size_t bytes, const IOOptions& options,
                    IODebugContext* debug) override {
    const Beat beat(pulse_, kRead, path_);
    return target()->Prefetch(offset, bytes, options, debug);
  }

 private:
  const std::string path_;
  DiskPulse* const pulse_;
};

class TimedDirectory final : public rocksdb::FSDirectoryWrapper {
 public:
  TimedDirectory(std::unique_ptr<rocksdb::FSDirectory>&& directory, std::string path,
                 DiskPulse* pulse)
      : FSDirectoryWrapper(std::move(directory)), path_(std::move(path)), pulse_(pulse) {}

  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    const Beat beat(pulse_, kSync, path_);
    return FSDirectoryWrapper::Fsync(options, debug);
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions& which) override {
    const Beat beat(pulse_, kSync, path_);
    return FSDirectoryWrapper::FsyncWithDirOptions(options, debug, which);
  }

 private:
  const std::string path_;
  DiskPulse* const pulse_;
};

}  // namespace

IOStatus TimedFileSystem::NewWritableFile(const std::string& path,
                                          const rocksdb::FileOptions& options,
                                          std::unique_ptr<rocksdb::FSWritableFile>* result,
                                          IODebugContext* debug) {
  const Beat beat(pulse_, kOpen, path);
  std::unique_ptr<rocksdb::FSWritableFile> file;
  IOStatus status = target()->NewWritableFile(path, options, &file, debug);
  if (status.ok()) *result = std::make_unique<TimedWriter>(std::move(file), path, pulse_);
  return status;
}

IOStatus TimedFileSystem::ReopenWritableFile(const std::string& path,
                                             const rocksdb::FileOptions& options,
                                             std::unique_ptr<rocksdb::FSWritableFile>* result,
                                             IODebugContext* debug) {
  const Beat beat(pulse_, kOpen, path);
  std::unique_ptr<rocksdb::FSWritableFile> file;
  IOStatus status = target()->ReopenWritableFile(path, options, &file, debug);
  if (status.ok()) *result = std::make_unique<TimedWriter>(std::move(file), path, pulse_);
  return status;
}

IOStatus TimedFileSystem::NewRandomAccessFile(const std::string& path,
                                              const rocksdb::FileOptions& options,
                                              std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                                              IODebugContext* debug) {
  const Beat beat(pulse_, kOpen, path);
  std::unique_ptr<rocksdb::FSRandomAccessFile> file;
  IOStatus status = target()->NewRandomAccessFile(path, options, &file, debug);
  if (status.ok()) *result = std::make_unique<TimedReader>(std::move(file), path, pulse_);
  return status;
}

IOStatus TimedFileSystem::NewDirectory(const std::string& path, const IOOptions& options,
                                       std::unique_ptr<rocksdb::FSDirectory>* result,
                                       IODebugContext* debug) {
  const Beat beat(pulse_, kOpen, path);
  std::unique_ptr<rocksdb::FSDirectory> directory;
  IOStatus status = target()->NewDirectory(path, options, &directory, debug);
  if (status.ok()) *result = std::make_unique<TimedDirectory>(std::move(directory), path, pulse_);
  return status;
}

IOStatus TimedFileSystem::RenameFile(const std::string& from, const std::string& to,
                                     const IOOptions& options, IODebugContext* debug) {
  const Beat beat(pulse_, kRename, from);
  return target()->RenameFile(from, to, options, debug);
}

IOStatus TimedFileSystem::DeleteFile(const std::string& path, const IOOptions& options,
                                     IODebugContext* debug) {
  const Beat beat(pulse_, kDelete, path);
  return target()->DeleteFile(path, options, debug);
}

}  // namespace falaj::log
