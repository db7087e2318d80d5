#ifndef LIBS_LOG_FLUSH_PACE_H_
#define LIBS_LOG_FLUSH_PACE_H_

#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "rocksdb/listener.h"
#include "rocksdb/rate_limiter.h"
#include "rocksdb/statistics.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"

namespace falaj::log {

// FlushRate decides how fast a memtable is written to its table: fast enough to be done in half the
// time in which the next one fills, and no faster than it need be.
//
// Left alone RocksDB writes it as fast as it can: a quarter of a second in which a core and the
// disk do little else, and at the same moment on every replica, as all take the same batches. At 90
// % of what the cores can do that costs every append a tenth of a second, once for each memtable.
//
// Pure. Rates are bytes a second.
class FlushRate {
 public:
  static constexpr int64_t kMin = 64 << 20;  // A memtable of the usual size in a second.

  // A flush begins at `now` with `memtables` to write (at least 1), after `written` bytes in all
  // came in.
  int64_t Begin(MonotonicTime now, int64_t written, int64_t memtables);
  // One more waits: the one under way must not take its time.
  int64_t Sealed();
  int64_t rate() const { return rate_; }

 private:
  int64_t rate_ = kMin;
  int64_t step_ = kMin;  // What each memtable that waits adds.
  MonotonicTime begun_;
  int64_t written_ = 0;
};

// FlushPace keeps RocksDB's flushes to that rate, and what else it writes in the background (slabs
// that are rewritten) to what they leave of it. Without a flush nothing is limited. Memtables that
// are flushed together, as those of all slabs are by Maintain and when closing, add up their rates.
//
// Threads: RocksDB's, one flush at a time.
class FlushPace final : public rocksdb::EventListener {
 public:
  // `clock` outlives it.
  FlushPace(const Clock* clock, std::shared_ptr<rocksdb::Statistics> statistics);

  const std::shared_ptr<rocksdb::RateLimiter>& limiter() const { return limiter_; }

  const char* Name() const override { return "falaj.FlushPace"; }
  void OnFlushBegin(rocksdb::DB* db, const rocksdb::FlushJobInfo& info) override;
  void OnFlushCompleted(rocksdb::DB* db, const rocksdb::FlushJobInfo& info) override;
  void OnMemTableSealed(const rocksdb::MemTableInfo& info) override;

 private:
  const Clock* const clock_;
  const std::shared_ptr<rocksdb::Statistics> statistics_;
  const std::shared_ptr<rocksdb::RateLimiter> limiter_;
  Mutex mu_;
  FlushRate rate_ ABSL_GUARDED_BY(mu_);
  bool flushing_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace falaj::log

#endif  // LIBS_LOG_FLUSH_PACE_H_
