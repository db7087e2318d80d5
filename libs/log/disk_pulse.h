// DiskPulse knows which operations on a disk are under way, and StallWatch says when one of them
// has been for so long that the disk must be taken for dead.
//
// A disk may fail without an error: a write, a sync or a read never returns, and neither does the
// thread that asked for it. Whoever waits for that thread waits for ever, so somebody who never
// touches the disk has to look from outside. The file system of the store (timed_file_system.h)
// tells the pulse of each operation; the storage node's own pulse asks the watch four times a
// second.
//
//   going ── the oldest operation has been seen for the limit ──▶ stalled, for good
//
// A false alarm costs more than a late one. So only time counts during which the watch itself was
// running: a process that was stopped, or had no processor for a while, finds its operations old,
// but not hanging. And it is one operation that must stand: a disk that is slow, but ends what it
// was asked for, is none that hangs, however long the queue before it.
//
// Threads: DiskPulse any; StallWatch one.
#ifndef LIBS_LOG_DISK_PULSE_H_
#define LIBS_LOG_DISK_PULSE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"

namespace falaj::log {

class DiskPulse {
 public:
  struct Operation {
    uint64_t number = 0;  // Of this pulse; later ones have larger ones.
    MonotonicTime begun;
    std::string what;
    std::string path;
  };

  explicit DiskPulse(const Clock* clock) : clock_(clock) {}
  DiskPulse(const DiskPulse&) = delete;
  DiskPulse& operator=(const DiskPulse&) = delete;

  // While one lives an operation is under way. `what` and `path` outlive it.
  class Beat {
   public:
    Beat(DiskPulse* pulse, const char* what, const std::string& path);
    Beat(const Beat&) = delete;
    Beat& operator=(const Beat&) = delete;
    ~Beat();

   private:
    DiskPulse* const pulse_;
    uint64_t number_ = 0;
  };

  // The one that has been under way for longest; nullopt if there is none.
  std::optional<Operation> Oldest() const;

 private:
  struct UnderWay {
    MonotonicTime begun;
    const char* what;
    const std::string* path;
  };

  const Clock* const clock_;
  mutable Mutex mu_;
  uint64_t last_number_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<uint64_t, UnderWay> under_way_ ABSL_GUARDED_BY(mu_);
};

// Pure.
class StallWatch {
 public:
  // 0: whatever takes how long, it is never stalled.
  explicit StallWatch(absl::Duration limit) : limit_(limit) {}

  // To be asked several times a second. True once: when it has stalled.
  bool Poll(MonotonicTime now, const std::optional<DiskPulse::Operation>& oldest);
  bool stalled() const { return stalled_; }

 private:
  const absl::Duration limit_;
  bool stalled_ = false;
  MonotonicTime polled_;
  uint64_t watched_ = 0;  // The operation; 0: none.
  absl::Duration seen_;   // For how long.
};

}  // namespace falaj::log

#endif  // LIBS_LOG_DISK_PULSE_H_
