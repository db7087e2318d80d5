// DiskWatch knows how full the disk under a data directory is, as one of four levels that the
// storage node acts upon.
//
//   ok    nothing
//   warn  metric and log line
//   soft  produce is refused with DISK_FULL; reads, commits, deletes and replication go on
//   hard  the node gives up its leaderships
//
// A level begins when free space falls below its watermark and ends when free space has risen a
// tenth above it again, so a disk at the edge does not flap.
//
// Threads: Poll() by one thread, the accessors by any. Failures: if the disk cannot be asked, the
// last level stays and Poll() says why.
#ifndef LIBS_LOG_DISK_WATCH_H_
#define LIBS_LOG_DISK_WATCH_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace falaj::log {

enum class DiskLevel { kOk, kWarn, kSoft, kHard };
absl::string_view DiskLevelName(DiskLevel level);  // "ok", "warn", "soft", "hard".

struct DiskSpace {
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;  // For unprivileged users.
};

// The free space a level wants: the larger of a share of the disk and a number of bytes. The bytes
// count for at most a tenth of the disk, so that a small disk is of any use.
struct DiskWatermark {
  double free_percent = 0;
  int64_t free_bytes = 0;
};

// Asks the operating system. INVALID_REQUEST if there is no such directory.
absl::StatusOr<DiskSpace> ReadDiskSpace(const std::string& directory);

// Below it what gives space back must not take its time: flushes, after which their log can go, and
// what has been deleted.
constexpr int64_t kLittleRoomBytes = int64_t{2} << 30;
// True also if it is not known.
bool HasLittleRoom(const absl::StatusOr<DiskSpace>& space);
// Earlier: well before the watermarks, what has been deleted must not take room any more.
bool WantsRoom(const absl::StatusOr<DiskSpace>& space);

class DiskWatch {
 public:
  struct Options {
    DiskWatermark warn = {.free_percent = 15, .free_bytes = 0};
    DiskWatermark soft = {.free_percent = 5, .free_bytes = int64_t{5} << 30};
    DiskWatermark hard = {.free_percent = 1, .free_bytes = int64_t{1} << 30};
  };
  using Probe = std::function<absl::StatusOr<DiskSpace>(const std::string& directory)>;

  explicit DiskWatch(std::string directory) : DiskWatch(std::move(directory), Options()) {}
  DiskWatch(std::string directory, const Options& options, Probe probe = ReadDiskSpace);

  // Asks for the free space and updates the level. Call it every second or so.
  absl::Status Poll();

  DiskLevel level() const { return level_.load(std::memory_order_relaxed); }
  // As of the last successful Poll().
  DiskSpace space() const {
    return {.total_bytes = total_bytes_.load(std::memory_order_relaxed),
            .free_bytes = free_bytes_.load(std::memory_order_relaxed)};
  }

 private:
  const std::string directory_;
  const Options options_;
  const Probe probe_;
  std::atomic<DiskLevel> level_ = DiskLevel::kOk;
  std::atomic<int64_t> total_bytes_ = 0;
  std::atomic<int64_t> free_bytes_ = 0;
};

}  // namespace falaj::log

#endif  // LIBS_LOG_DISK_WATCH_H_
