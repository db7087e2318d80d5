#ifndef LIBS_LOG_FLUSH_PACE_H_
#define LIBS_LOG_FLUSH_PACE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "rocksdb/listener.h"
#include "rocksdb/rate_limiter.h"
#include "rocksdb/statistics.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/log/disk_watch.h"

namespace falaj::log {

// FlushRate decides how fast a memtable is written to its table: fast enough to be done in four
// fifths of the time in which the next one fills, and no faster than it need be.
//
// Left alone RocksDB writes it as fast as it can: a quarter of a second in which a core and the
// disk do little else, and at the same moment on every replica, as all take the same batches. At 90
// % of what the cores can do that costs every append a tenth of a second, once for each memtable;
// and where replicas share a disk, each append's sync waits for all their tables.
//
// Pure. Rates are bytes a second.
class FlushRate {
 public:
  static constexpr int64_t kUnlimited = int64_t{64} << 30;

  static constexpr int64_t kMin = 16 << 20;         // A memtable of the usual size in four seconds.
  static constexpr int64_t kMinAwaited = 64 << 20;  // While somebody waits for it: in one.

  // A flush begins at `now` with `memtables` to write (at least 1), after `written` bytes in all
  // came in. `hurry`: as fast as it can.
  void Begin(MonotonicTime now, int64_t written, int64_t memtables, bool hurry = false);
  // One more waits at `now`, after `written` bytes in all: the flush under way must not take its
  // time. What has come in since it began counts if it is more than what came before: the first
  // flush after a pause would else take its time while the memtables run out.
  void Sealed(MonotonicTime now, int64_t written);
  // The next `bytes` are to be written; returns how long to wait with them. Zero before the first
  // Begin(): what is written while a store is opened, everybody waits for.
  absl::Duration Take(MonotonicTime now, int64_t bytes);
  // From now on no rate is less.
  void SetMin(int64_t rate);

  int64_t rate() const { return rate_; }

 private:
  // Five quarters of what has come in since the last Begin().
  int64_t StepSinceBegun(MonotonicTime now, int64_t written) const;

  int64_t min_ = kMin;
  int64_t rate_ = 0;  // 0: none yet.
  int64_t step_ = 0;  // What each memtable that waits adds.
  int64_t memtables_ = 0;
  MonotonicTime begun_;
  MonotonicTime next_;  // When what was taken so far is through.
  int64_t written_ = 0;
};

// FlushPace keeps the flushes of a RocksDB to that rate: it hears of them as a listener, and holds
// them up as its rate limiter. Nothing else is held up: not compactions, nor a flush that RocksDB
// itself calls urgent, as writes wait for it (IO_USER), nor one on a disk with little room: until
// it is done its log is there, too. SetBytesPerSecond() sets the least rate.
//
// Not rocksdb::GenericRateLimiter: it fails an assertion of Debian's build if its rate is lowered
// while another thread asks, and lets go at once whatever was not used at a higher rate before.
//
// Threads: RocksDB's, one flush at a time.
class FlushPace final : public rocksdb::EventListener, public rocksdb::RateLimiter {
 public:
  using Sleep = std::function<void(absl::Duration)>;

  // `clock` outlives it.
  FlushPace(const Clock* clock, std::shared_ptr<rocksdb::Statistics> statistics,
            Sleep sleep = absl::SleepFor, DiskWatch::Probe probe = ReadDiskSpace);

  const char* Name() const override { return "falaj.FlushPace"; }
  void OnFlushBegin(rocksdb::DB* db, const rocksdb::FlushJobInfo& info) override;
  void OnMemTableSealed(const rocksdb::MemTableInfo& info) override;

  void SetBytesPerSecond(int64_t least) override;
  int64_t GetBytesPerSecond() const override;
  using rocksdb::RateLimiter::Request;
  void Request(int64_t bytes, rocksdb::Env::IOPriority priority) override;
  int64_t GetSingleBurstBytes() const override { return kPieceBytes; }
  int64_t GetTotalBytesThrough(rocksdb::Env::IOPriority priority) const override;
  int64_t GetTotalRequests(rocksdb::Env::IOPriority priority) const override;

 private:
  static constexpr int64_t kPieceBytes = 1 << 20;  // More is asked for in pieces.

  int64_t Written() const;  // To the write-ahead log, in all.

  const Clock* const clock_;
  const std::shared_ptr<rocksdb::Statistics> statistics_;
  const Sleep sleep_;
  const DiskWatch::Probe probe_;
  mutable Mutex mu_;
  FlushRate rate_ ABSL_GUARDED_BY(mu_);
  std::atomic<int64_t> bytes_ = 0;  // Let through, of flushes.
  std::atomic<int64_t> requests_ = 0;
};

}  // namespace falaj::log

#endif  // LIBS_LOG_FLUSH_PACE_H_
