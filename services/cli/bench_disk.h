// BenchDisk is the disk under a cluster that `falaj bench --dev` has started: what reaches it, and
// what it can take. All nodes of such a cluster share it, so it is soon what limits them.
//
// Threads: one.
#ifndef SERVICES_CLI_BENCH_DISK_H_
#define SERVICES_CLI_BENCH_DISK_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "services/cli/histogram.h"

namespace falaj::cli {

class BenchDisk {
 public:
  // Any directory of its file system.
  explicit BenchDisk(std::string directory) : directory_(std::move(directory)) {}

  // Written to the device since the machine started, whoever wrote them. None if the file system is
  // on no device of its own (tmpfs, overlays).
  std::optional<int64_t> device_bytes() const;
  // Waits until everything written so far is on the device: what one phase has left in memory would
  // else be the burden of the next.
  absl::Status Settle() const;
  // Bytes a second at which a new file of so many bytes is written and synced; it is removed again.
  absl::StatusOr<double> MeasureRate(int64_t bytes) const;
  // How long a sync takes on this disk when nothing but the writing of a cluster goes on: so many
  // writers each append `bytes_per_second` to a file, and sync it every few milliseconds if the
  // last sync is over by then, and as much as all of them together goes to another file, as their
  // tables would. From the moment the sync was due. INVALID_REQUEST if nothing is to be written.
  struct SyncLoad {
    int writers = 1;
    double bytes_per_second = 0;  // Of each, more than 0.
    absl::Duration duration;
  };
  absl::StatusOr<Histogram> MeasureSyncs(const SyncLoad& load) const;

 private:
  const std::string directory_;
};

}  // namespace falaj::cli

#endif  // SERVICES_CLI_BENCH_DISK_H_
