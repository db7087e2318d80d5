#include "services/cli/bench_disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/status.h"

namespace falaj::cli {
namespace {

constexpr int64_t kPieceBytes = int64_t{1} << 20;
constexpr int64_t kSectorBytes = 512;  // Of these the kernel counts, whatever the device has.

absl::Status Failed(const std::string& what) {
  return MakeError(Reason::kInternal, absl::StrCat(what, ": ", std::strerror(errno)));
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

}  // namespace falaj::cli
