#include "services/cli/bench_disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <thread>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/status.h"

namespace falaj::cli {
namespace {

constexpr int64_t kPieceBytes = int64_t{1} << 20;
constexpr int64_t kSectorBytes = 512;  // Of these the kernel counts, whatever the device has.
constexpr absl::Duration kSyncEvery = absl::Milliseconds(4);
constexpr int64_t kFileBytes = int64_t{64} << 20;  // Then the next one is begun, as logs are.

absl::Status Failed(const std::string& what) {
  return MakeError(Reason::kInternal, absl::StrCat(what, ": ", std::strerror(errno)));
}

// A file that is written from front to back, and begun anew now and then.
class AppendedFile {
 public:
  explicit AppendedFile(std::string path) : path_(std::move(path)) {}
  AppendedFile(const AppendedFile&) = delete;
  AppendedFile& operator=(const AppendedFile&) = delete;
  ~AppendedFile() { Remove(); }

  absl::Status Append(absl::string_view data) {
    if (fd_ < 0 || size_ >= kFileBytes) FALAJ_RETURN_IF_ERROR(Begin());
    while (!data.empty()) {
      const ssize_t written = write(fd_, data.data(), data.size());
      if (written < 0) return Failed(absl::StrCat("write ", path_));
      data.remove_prefix(static_cast<size_t>(written));
      size_ += written;
    }
    return absl::OkStatus();
  }
  absl::Status Sync() const {
    return fdatasync(fd_) == 0 ? absl::OkStatus() : Failed(absl::StrCat("sync ", path_));
  }
  // Sends what was appended since the last call on its way, without waiting for it.
  absl::Status StartWriting() {
    const int64_t from = std::exchange(sent_, size_);
    const bool sent = sync_file_range(fd_, from, size_ - from, SYNC_FILE_RANGE_WRITE) == 0;
    return sent ? absl::OkStatus() : Failed(absl::StrCat("sync a part of ", path_));
  }

 private:
  absl::Status Begin() {
    Remove();
    size_ = sent_ = 0;
    fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    return fd_ >= 0 ? absl::OkStatus() : Failed(absl::StrCat("create ", path_));
  }
  void Remove() {
    if (fd_ < 0) return;
    close(std::exchange(fd_, -1));
    unlink(path_.c_str());
  }

  const std::string path_;
  int fd_ = -1;
  int64_t size_ = 0;
  int64_t sent_ = 0;
};

// Calls `work` at its times. What is missed because one took too long is left out.
absl::Status RunEvery(absl::Duration every, absl::Duration duration,
                      absl::FunctionRef<absl::Status(MonotonicTime due)> work) {
  const MonotonicTime start = Clock::Real()->MonotonicNow();
  for (MonotonicTime due = start; due < start + duration; due = due + every) {
    const MonotonicTime now = Clock::Real()->MonotonicNow();
    if (due > now) absl::SleepFor(due - now);
    if (due < now) due = due + every * ((now - due) / every);
    FALAJ_RETURN_IF_ERROR(work(due));
  }
  return absl::OkStatus();
}

}  // namespace

std::optional<int64_t> BenchDisk::device_bytes() const {
  struct stat info = {};
  if (stat(directory_.c_str(), &info) != 0) return std::nullopt;
  std::ifstream stats(
      absl::StrCat("/sys/dev/block/", major(info.st_dev), ":", minor(info.st_dev), "/stat"));
  // Reads, reads merged, sectors read, milliseconds; writes, writes merged, sectors written.
  int64_t value = 0;
  for (int field = 0; field < 7; ++field) stats >> value;
  if (!stats) return std::nullopt;
  return value * kSectorBytes;
}

absl::Status BenchDisk::Settle() const {
  const int fd = open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Failed(absl::StrCat("open ", directory_));
  const absl::Cleanup closer = [fd] { close(fd); };
  return syncfs(fd) == 0 ? absl::OkStatus() : Failed("syncfs");
}

absl::StatusOr<double> BenchDisk::MeasureRate(int64_t bytes) const {
  const std::string path = absl::StrCat(directory_, "/rate");
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return Failed(absl::StrCat("create ", path));
  const absl::Cleanup remover = [&] {
    close(fd);
    unlink(path.c_str());
  };
  const std::string piece(kPieceBytes, 'r');
  const MonotonicTime start = Clock::Real()->MonotonicNow();
  for (int64_t written = 0; written < bytes;) {
    const auto want = static_cast<size_t>(std::min(kPieceBytes, bytes - written));
    const ssize_t got = write(fd, piece.data(), want);
    if (got < 0) return Failed(absl::StrCat("write ", path));
    written += got;
  }
  if (fdatasync(fd) != 0) return Failed(absl::StrCat("sync ", path));
  return static_cast<double>(bytes) / absl::ToDoubleSeconds(Clock::Real()->MonotonicNow() - start);
}

absl::StatusOr<Histogram> BenchDisk::MeasureSyncs(const SyncLoad& load) const {
  if (load.writers < 1 || load.bytes_per_second <= 0) {
    return MakeError(Reason::kInvalidRequest, "nothing is to be written");
  }
  const double each = load.bytes_per_second * absl::FDivDuration(kSyncEvery, absl::Seconds(1));
  const std::string piece(static_cast<size_t>(std::max(each, 1.0)), 's');
  const std::string table_piece(static_cast<size_t>(kPieceBytes), 't');
  const absl::Duration table_every =
      absl::Seconds(static_cast<double>(kPieceBytes) / (load.bytes_per_second * load.writers));
  const auto writers = static_cast<size_t>(load.writers);
  std::vector<Histogram> syncs(writers);
  std::vector<absl::Status> outcomes(writers + 1);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < writers; ++i) {
    threads.emplace_back([&, i] {
      AppendedFile log(absl::StrCat(directory_, "/log-", i));
      outcomes[i] = RunEvery(kSyncEvery, load.duration, [&](MonotonicTime due) -> absl::Status {
        FALAJ_RETURN_IF_ERROR(log.Append(piece));
        FALAJ_RETURN_IF_ERROR(log.Sync());
        syncs[i].Record((Clock::Real()->MonotonicNow() - due) / absl::Nanoseconds(1));
        return absl::OkStatus();
      });
    });
  }
  threads.emplace_back([&] {
    AppendedFile table(directory_ + "/table");
    outcomes[writers] = RunEvery(table_every, load.duration, [&](MonotonicTime) -> absl::Status {
      FALAJ_RETURN_IF_ERROR(table.Append(table_piece));
      return table.StartWriting();
    });
  });
  for (std::thread& thread : threads) thread.join();
  Histogram all;
  for (const absl::Status& outcome : outcomes) FALAJ_RETURN_IF_ERROR(outcome);
  for (const Histogram& one : syncs) all.Merge(one);
  return all;
}

}  // namespace falaj::cli
