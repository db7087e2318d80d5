#include "libs/log/disk_watch.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/log.h"
#include "libs/base/status.h"

namespace falaj::log {
namespace {

// How far free space must rise above a watermark before its level ends.
constexpr double kHysteresis = 1.1;
constexpr double kBytesShareMax = 0.1;

// True if the level of `mark` holds, given whether it held before.
bool Below(const DiskWatermark& mark, const DiskSpace& space, bool held) {
  const auto total = static_cast<double>(space.total_bytes);
  const double bytes = std::min(static_cast<double>(mark.free_bytes), total * kBytesShareMax);
  double wanted = std::max(total * mark.free_percent / 100, bytes);
  if (held) wanted *= kHysteresis;
  return static_cast<double>(space.free_bytes) < wanted;
}

}  // namespace

absl::string_view DiskLevelName(DiskLevel level) {
  switch (level) {
    case DiskLevel::kOk:
      return "ok";
    case DiskLevel::kWarn:
      return "warn";
    case DiskLevel::kSoft:
      return "soft";
    case DiskLevel::kHard:
      return "hard";
  }
  return "unknown";
}

absl::StatusOr<DiskSpace> ReadDiskSpace(const std::string& directory) {
  struct statvfs result = {};
  if (statvfs(directory.c_str(), &result) != 0) {
    return MakeError(
        Reason::kInvalidRequest,
        absl::StrCat("cannot ask for the free space of '", directory, "': ", std::strerror(errno)),
        {{"directory", directory}});
  }
  const auto unit = static_cast<int64_t>(result.f_frsize);
  return DiskSpace{.total_bytes = static_cast<int64_t>(result.f_blocks) * unit,
                   .free_bytes = static_cast<int64_t>(result.f_bavail) * unit};
}

bool WantsRoom(const absl::StatusOr<DiskSpace>& space) {
  const DiskWatermark wanted = {.free_percent = 10, .free_bytes = int64_t{10} << 30};
  return HasLittleRoom(space) || Below(wanted, *space, /*held=*/false);
}

bool HasLittleRoom(const absl::StatusOr<DiskSpace>& space) {
  return !space.ok() || space->free_bytes < kLittleRoomBytes;
}

DiskWatch::DiskWatch(std::string directory, const Options& options, Probe probe)
    : directory_(std::move(directory)), options_(options), probe_(std::move(probe)) {}

absl::Status DiskWatch::Poll() {
  const absl::StatusOr<DiskSpace> space = probe_(directory_);
  if (!space.ok()) return space.status();
  const DiskLevel before = level();
  DiskLevel now = DiskLevel::kOk;
  if (Below(options_.warn, *space, before >= DiskLevel::kWarn)) now = DiskLevel::kWarn;
  if (Below(options_.soft, *space, before >= DiskLevel::kSoft)) now = DiskLevel::kSoft;
  if (Below(options_.hard, *space, before >= DiskLevel::kHard)) now = DiskLevel::kHard;
  total_bytes_.store(space->total_bytes, std::memory_order_relaxed);
  free_bytes_.store(space->free_bytes, std::memory_order_relaxed);
  level_.store(now, std::memory_order_relaxed);
  if (now != before) {
    Write(now > before ? Level::kWarning : Level::kInfo, "disk level changed",
          {{"directory", directory_},
           {"from", DiskLevelName(before)},
           {"to", DiskLevelName(now)},
           {"free_bytes", space->free_bytes},
           {"total_bytes", space->total_bytes}});
  }
  return absl::OkStatus();
}

}  // namespace falaj::log
