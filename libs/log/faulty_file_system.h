// A disk that fails, for tests of the store and of what is built on it.
#ifndef LIBS_LOG_FAULTY_FILE_SYSTEM_H_
#define LIBS_LOG_FAULTY_FILE_SYSTEM_H_

#include <atomic>
#include <memory>
#include <string>

#include "rocksdb/env.h"
#include "rocksdb/file_system.h"

namespace falaj::log {

// A file system over the real one whose writes, or syncs, fail or hang while they are told to.
class FaultyFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  enum class Fault {
    kNone,
    kNoSpace,
    kTornNoSpace,
    kTableNoSpace,  // No room for a table; the other files have some left in their last blocks.
    kIoError,
    kSyncNoSpace,
    kSyncIoError,
    kLogSyncIoError,  // Of write-ahead logs alone.
    // These return, as if nothing had been, once the fault is another one.
    kHangingTableWrite,
    kHangingWrite,
    kHangingSync,
    kHangingAllocate,
    kHangingClose,
    kReadIoError,  // Of tables.
  };

  FaultyFileSystem() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  static const char* kClassName() { return "FaultyFileSystem"; }
  const char* Name() const override { return kClassName(); }

  void Set(Fault fault) {
    fault_ = fault;
    fault_.notify_all();
  }
  Fault fault() const { return fault_; }
  void WaitWhile(Fault fault) {
    if (fault_ != fault) return;
    ++hanging_;
    fault_.wait(fault);
    --hanging_;
  }
  int hanging() const { return hanging_; }  // Operations.
  // Writes past the page cache so far.
  int direct_writes() const { return direct_writes_; }
  void CountDirectWrite() { ++direct_writes_; }
  // The longest read of a table since the last time.
  size_t TakeLongestRead() { return longest_read_.exchange(0); }
  void NoteRead(size_t bytes) {
    size_t longest = longest_read_;
    while (bytes > longest && !longest_read_.compare_exchange_weak(longest, bytes)) continue;
  }

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

 private:
  std::atomic<Fault> fault_ = Fault::kNone;
  std::atomic<int> hanging_ = 0;
  std::atomic<int> direct_writes_ = 0;
  std::atomic<size_t> longest_read_ = 0;
};

class FaultyFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  FaultyFile(std::unique_ptr<rocksdb::FSWritableFile>&& file, const std::string& path,
             FaultyFileSystem* system)
      : FSWritableFileOwnerWrapper(std::move(file)),
        table_(path.ends_with(".sst")),
        log_(path.ends_with(".log")),
        system_(system) {}

  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           rocksdb::IODebugContext* debug) override {
    const rocksdb::IOStatus failed = WriteFault();
    if (failed.ok()) return target()->Append(data, options, debug);
    if (system_->fault() == FaultyFileSystem::Fault::kTornNoSpace) {
      const rocksdb::Slice half(data.data(), data.size() / 2);
      const rocksdb::IOStatus torn = target()->Append(half, options, debug);
      if (!torn.ok()) return torn;
    }
    return failed;
  }
  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           const rocksdb::DataVerificationInfo& /*verification*/,
                           rocksdb::IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  // Of tables, written past the page cache.
  rocksdb::IOStatus PositionedAppend(const rocksdb::Slice& data, uint64_t offset,
                                     const rocksdb::IOOptions& options,
                                     rocksdb::IODebugContext* debug) override {
    system_->CountDirectWrite();
    const rocksdb::IOStatus failed = WriteFault();
    if (!failed.ok()) return failed;
    return target()->PositionedAppend(data, offset, options, debug);
  }
  rocksdb::IOStatus PositionedAppend(const rocksdb::Slice& data, uint64_t offset,
                                     const rocksdb::IOOptions& options,
                                     const rocksdb::DataVerificationInfo& /*verification*/,
                                     rocksdb::IODebugContext* debug) override {
    return PositionedAppend(data, offset, options, debug);
  }
  rocksdb::IOStatus Sync(const rocksdb::IOOptions& options,
                         rocksdb::IODebugContext* debug) override {
    const rocksdb::IOStatus failed = SyncFault();
    return failed.ok() ? target()->Sync(options, debug) : failed;
  }
  rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options,
                          rocksdb::IODebugContext* debug) override {
    const rocksdb::IOStatus failed = SyncFault();
    return failed.ok() ? target()->Fsync(options, debug) : failed;
  }
  void PrepareWrite(size_t offset, size_t bytes, const rocksdb::IOOptions& options,
                    rocksdb::IODebugContext* debug) override {
    system_->WaitWhile(FaultyFileSystem::Fault::kHangingAllocate);
    target()->PrepareWrite(offset, bytes, options, debug);
  }
  rocksdb::IOStatus Close(const rocksdb::IOOptions& options,
                          rocksdb::IODebugContext* debug) override {
    system_->WaitWhile(FaultyFileSystem::Fault::kHangingClose);
    return target()->Close(options, debug);
  }

 private:
  rocksdb::IOStatus WriteFault() const {
    using Fault = FaultyFileSystem::Fault;
    system_->WaitWhile(Fault::kHangingWrite);
    if (table_) system_->WaitWhile(Fault::kHangingTableWrite);
    switch (system_->fault()) {
      case Fault::kNone:
      case Fault::kHangingTableWrite:  // Again: the next one waits.
      case Fault::kHangingWrite:
      case Fault::kHangingSync:
      case Fault::kHangingAllocate:
      case Fault::kHangingClose:
      case Fault::kReadIoError:
      case Fault::kSyncNoSpace:
      case Fault::kSyncIoError:
      case Fault::kLogSyncIoError:
        return rocksdb::IOStatus::OK();
      case Fault::kTableNoSpace:
        return table_ ? rocksdb::IOStatus::NoSpace("injected") : rocksdb::IOStatus::OK();
      case Fault::kTornNoSpace:
      case Fault::kNoSpace:
        return rocksdb::IOStatus::NoSpace("injected");
      case Fault::kIoError:
        return rocksdb::IOStatus::IOError("injected");
    }
    return rocksdb::IOStatus::OK();
  }
  rocksdb::IOStatus SyncFault() const {
    using Fault = FaultyFileSystem::Fault;
    system_->WaitWhile(Fault::kHangingSync);
    if (system_->fault() == Fault::kSyncNoSpace) return rocksdb::IOStatus::NoSpace("injected");
    if (system_->fault() == Fault::kSyncIoError ||
        (log_ && system_->fault() == Fault::kLogSyncIoError)) {
      return rocksdb::IOStatus::IOError("injected");
    }
    return rocksdb::IOStatus::OK();
  }

  const bool table_;
  const bool log_;
  FaultyFileSystem* const system_;
};

class FaultyReader final : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  FaultyReader(std::unique_ptr<rocksdb::FSRandomAccessFile>&& file, FaultyFileSystem* system)
      : FSRandomAccessFileOwnerWrapper(std::move(file)), system_(system) {}

  rocksdb::IOStatus Read(uint64_t offset, size_t bytes, const rocksdb::IOOptions& options,
                         rocksdb::Slice* result, char* scratch,
                         rocksdb::IODebugContext* debug) const override {
    if (system_->fault() == FaultyFileSystem::Fault::kReadIoError) {
      return rocksdb::IOStatus::IOError("injected");
    }
    system_->NoteRead(bytes);
    return target()->Read(offset, bytes, options, result, scratch, debug);
  }

 private:
  FaultyFileSystem* const system_;
};

// What is reopened is about to be synced.
inline rocksdb::IOStatus FaultyFileSystem::ReopenWritableFile(
    const std::string& path, const rocksdb::FileOptions& options,
    std::unique_ptr<rocksdb::FSWritableFile>* result, rocksdb::IODebugContext* debug) {
  WaitWhile(Fault::kHangingSync);
  return target()->ReopenWritableFile(path, options, result, debug);
}

inline rocksdb::IOStatus FaultyFileSystem::NewRandomAccessFile(
    const std::string& path, const rocksdb::FileOptions& options,
    std::unique_ptr<rocksdb::FSRandomAccessFile>* result, rocksdb::IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSRandomAccessFile> file;
  rocksdb::IOStatus status = target()->NewRandomAccessFile(path, options, &file, debug);
  if (status.ok()) *result = std::make_unique<FaultyReader>(std::move(file), this);
  return status;
}

inline rocksdb::IOStatus FaultyFileSystem::NewWritableFile(
    const std::string& path, const rocksdb::FileOptions& options,
    std::unique_ptr<rocksdb::FSWritableFile>* result, rocksdb::IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSWritableFile> file;
  rocksdb::IOStatus status = target()->NewWritableFile(path, options, &file, debug);
  if (status.ok()) *result = std::make_unique<FaultyFile>(std::move(file), path, this);
  return status;
}

// What a store is opened with to be on such a disk.
inline std::unique_ptr<rocksdb::Env> MakeEnv(const std::shared_ptr<FaultyFileSystem>& disk) {
  return rocksdb::NewCompositeEnv(disk);
}

}  // namespace falaj::log

#endif  // LIBS_LOG_FAULTY_FILE_SYSTEM_H_
