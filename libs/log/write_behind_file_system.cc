#include "libs/log/write_behind_file_system.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <new>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"

#include "libs/base/mutex.h"

namespace falaj::log {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

constexpr size_t kPieceBytes = WriteBehindFileSystem::kPieceBytes;

// A part of a file, until it is written. Its memory is the system's before and after: as much of a
// heap would stay with the process.
class Piece {
 public:
  Piece() : memory_(Map()) {}

  uint64_t offset() const { return offset_; }
  uint64_t end() const { return offset_ + size_; }
  Slice data() const { return {memory_.get(), size_}; }
  bool full() const { return size_ == kPieceBytes; }
  void Begin(uint64_t offset) {
    offset_ = offset;
    size_ = 0;
  }
  // Takes as much of `data` as there is room for, and returns how much that was.
  size_t Take(const Slice& data) {
    const size_t taken = std::min(data.size(), kPieceBytes - size_);
    std::memcpy(memory_.get() + size_, data.data(), taken);
    size_ += taken;
    return taken;
  }

 private:
  struct Unmap {
    void operator()(char* memory) const { munmap(memory, kPieceBytes); }
  };
  static char* Map() {
    void* const memory =
        mmap(nullptr, kPieceBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    return static_cast<char*>(memory);
  }

  std::unique_ptr<char, Unmap> memory_;
  uint64_t offset_ = 0;
  size_t size_ = 0;
};

class WriteBehindFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  explicit WriteBehindFile(std::unique_ptr<rocksdb::FSWritableFile>&& file)
      : FSWritableFileOwnerWrapper(std::move(file)) {}
  ~WriteBehindFile() override { Stop(); }
  WriteBehindFile(const WriteBehindFile&) = delete;
  WriteBehindFile& operator=(const WriteBehindFile&) = delete;

  bool IsSyncThreadSafe() const override { return false; }
  IOStatus Append(const Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo& /*verification*/,
                  IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus Append(const Slice& /*data*/, const IOOptions& /*options*/,
                  IODebugContext* /*debug*/) override {
    return IOStatus::NotSupported("a file that is written past the page cache");
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& /*options*/,
                            IODebugContext* /*debug*/) override;
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            const rocksdb::DataVerificationInfo& /*verification*/,
                            IODebugContext* debug) override {
    return PositionedAppend(data, offset, options, debug);
  }
  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = Drain();
    return status.ok() ? target()->Truncate(size, options, debug) : status;
  }
  // RocksDB calls it after every buffer; it asks for nothing to be on disk.
  IOStatus Flush(const IOOptions& /*options*/, IODebugContext* /*debug*/) override {
    MutexLock lock(&mu_);
    return failure_;
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = Drain();
    return status.ok() ? target()->Sync(options, debug) : status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = Drain();
    return status.ok() ? target()->Fsync(options, debug) : status;
  }
  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    IOStatus drained = Drain();
    Stop();
    IOStatus closed = target()->Close(options, debug);
    {
      MutexLock lock(&mu_);
      if (failure_.ok()) failure_ = IOStatus::IOError("the file is closed");
    }
    return drained.ok() ? closed : drained;
  }

 private:
  // Gives what was taken so far to the thread; without one, writes it.
  void HandOver();
  // False: the system has no thread to give.
  bool StartThread();
  // An empty piece. Waits for the thread where all are on their way.
  Piece TakePiece();
  // Waits until everything is written, or failed.
  IOStatus Drain();
  // The same, while there is no thread.
  IOStatus WriteHere();
  // Ends the thread. What waits is not written any more.
  void Stop();
  void Run();
  IOStatus Write(const Piece& piece) {
    return target()->PositionedAppend(piece.data(), piece.offset(), IOOptions(), nullptr);
  }

  // Of the thread that uses the file.
  std::optional<Piece> filling_;
  std::thread thread_;

  Mutex mu_;
  CondVar changed_;
  int pieces_ ABSL_GUARDED_BY(mu_) = 0;  // That there are, one in filling_ among them.
  std::vector<Piece> empty_ ABSL_GUARDED_BY(mu_);
  std::deque<Piece> waiting_ ABSL_GUARDED_BY(mu_);
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  IOStatus failure_ ABSL_GUARDED_BY(mu_);
};

IOStatus WriteBehindFile::PositionedAppend(const Slice& data, uint64_t offset,
                                           const IOOptions& /*options*/,
                                           IODebugContext* /*debug*/) {
  // RocksDB fills its last block up with zeros, and writes it again once it has more. The thread
  // writes the pieces in their order.
  if (filling_.has_value() && filling_->end() != offset) HandOver();
  for (Slice rest = data; !rest.empty();) {
    if (filling_.has_value() && filling_->full()) HandOver();
    if (!filling_.has_value()) {
      filling_ = TakePiece();
      filling_->Begin(offset + (data.size() - rest.size()));
    }
    rest.remove_prefix(filling_->Take(rest));
  }
  bool idle = false;
  {
    MutexLock lock(&mu_);
    if (!failure_.ok()) return failure_;
    idle = thread_.joinable() && !writing_ && waiting_.empty();
  }
  if (idle && filling_.has_value()) HandOver();
  return IOStatus::OK();
}

void WriteBehindFile::HandOver() {
  if (!thread_.joinable() && !StartThread()) {
    WriteHere().PermitUncheckedError();  // Whoever asks next is told.
    return;
  }
  MutexLock lock(&mu_);
  waiting_.push_back(*std::move(filling_));
  filling_.reset();
  changed_.NotifyAll();
}

bool WriteBehindFile::StartThread() {
  try {
    thread_ = std::thread([this] { Run(); });
  } catch (const std::system_error&) {  // Where a process may have no more. RocksDB throws nothing.
    return false;
  }
  return true;
}

Piece WriteBehindFile::TakePiece() {
  MutexLock lock(&mu_);
  if (empty_.empty() && pieces_ < WriteBehindFileSystem::kPieces) {
    ++pieces_;
    return Piece();
  }
  while (empty_.empty()) changed_.Wait(&mu_);
  Piece piece = std::move(empty_.back());
  empty_.pop_back();
  return piece;
}

IOStatus WriteBehindFile::Drain() {
  if (filling_.has_value() && !thread_.joinable()) return WriteHere();
  if (filling_.has_value()) HandOver();
  MutexLock lock(&mu_);
  while (writing_ || !waiting_.empty()) changed_.Wait(&mu_);
  return failure_;
}

IOStatus WriteBehindFile::WriteHere() {
  Piece piece = *std::move(filling_);
  filling_.reset();
  IOStatus done;
  {
    MutexLock lock(&mu_);
    done = failure_;
  }
  if (done.ok()) done = Write(piece);
  MutexLock lock(&mu_);
  failure_ = done;
  empty_.push_back(std::move(piece));
  return done;
}

void WriteBehindFile::Stop() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
  MutexLock lock(&mu_);
  stopping_ = false;  // Who uses a closed file is told so by a new thread, and not left waiting.
}

void WriteBehindFile::Run() {
  size_t unsynced_bytes = 0;
  std::optional<Piece> piece;
  IOStatus done;
  while (true) {
    {
      MutexLock lock(&mu_);
      if (piece.has_value()) {
        failure_ = done;
        writing_ = false;
        empty_.push_back(*std::move(piece));
        piece.reset();
        changed_.NotifyAll();
      }
      while (!stopping_ && waiting_.empty()) changed_.Wait(&mu_);
      if (stopping_) return;
      piece = std::move(waiting_.front());
      waiting_.pop_front();
      writing_ = true;
      done = failure_;
    }
    if (!done.ok()) continue;  // After a failure nothing is written: what waits is given back.
    done = Write(*piece);
    unsynced_bytes += piece->data().size();
    if (done.ok() && unsynced_bytes >= WriteBehindFileSystem::kSyncBytes) {
      done = target()->Sync(IOOptions(), nullptr);
      unsynced_bytes = 0;
    }
  }
}

}  // namespace

IOStatus WriteBehindFileSystem::NewWritableFile(const std::string& path,
                                                const rocksdb::FileOptions& options,
                                                std::unique_ptr<rocksdb::FSWritableFile>* result,
                                                IODebugContext* debug) {
  if (!options.use_direct_writes || !absl::EndsWith(path, ".sst")) {
    return target()->NewWritableFile(path, options, result, debug);
  }
  std::unique_ptr<rocksdb::FSWritableFile> file;
  IOStatus status = target()->NewWritableFile(path, options, &file, debug);
  if (status.ok()) *result = std::make_unique<WriteBehindFile>(std::move(file));
  return status;
}

}  // namespace falaj::log
