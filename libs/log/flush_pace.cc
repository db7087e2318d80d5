#include "libs/log/flush_pace.h"

#include <algorithm>
#include <utility>

#include "rocksdb/db.h"

namespace falaj::log {
namespace {

// What was taken keeps nobody waiting for longer: a clock may stand still.
constexpr absl::Duration kAheadMax = absl::Milliseconds(100);
// A flush that was held up by the disk makes up for so much: what it writes past the page cache
// takes time of its own, and wait and write must not add up.
constexpr absl::Duration kBehindMax = absl::Milliseconds(100);

}  // namespace

void FlushRate::Begin(MonotonicTime now, int64_t written, int64_t memtables, bool hurry) {
  step_ = StepSinceBegun(now, written);
  begun_ = next_ = now;
  written_ = written;
  memtables_ = std::max<int64_t>(memtables, 1);
  rate_ = hurry ? kUnlimited : step_ * memtables_;
}

void FlushRate::Sealed(MonotonicTime now, int64_t written) {
  if (rate_ == 0) return;  // There was no flush yet.
  step_ = std::max(step_, StepSinceBegun(now, written));
  rate_ = std::max(rate_, step_ * ++memtables_);
}

int64_t FlushRate::StepSinceBegun(MonotonicTime now, int64_t written) const {
  const double seconds = absl::FDivDuration(now - begun_, absl::Seconds(1));
  if (begun_ == MonotonicTime() || seconds <= 0) return min_;
  constexpr double kFaster = 1.25;
  const double incoming = static_cast<double>(written - written_) / seconds;
  return std::max(min_, static_cast<int64_t>(kFaster * incoming));
}

void FlushRate::SetMin(int64_t rate) {
  min_ = rate;
  next_ = MonotonicTime();
}

absl::Duration FlushRate::Take(MonotonicTime now, int64_t bytes) {
  if (rate_ == 0) return absl::ZeroDuration();
  const int64_t rate = std::max(rate_, min_);
  const absl::Duration own = absl::Seconds(static_cast<double>(bytes) / static_cast<double>(rate));
  next_ = std::clamp(next_, now + -kBehindMax, now + kAheadMax) + own;
  return std::max(next_ - now, absl::ZeroDuration());
}

FlushPace::FlushPace(const Clock* clock, std::shared_ptr<rocksdb::Statistics> statistics,
                     Sleep sleep, DiskWatch::Probe probe)
    : clock_(clock),
      statistics_(std::move(statistics)),
      sleep_(std::move(sleep)),
      probe_(std::move(probe)) {}

void FlushPace::OnFlushBegin(rocksdb::DB* db, const rocksdb::FlushJobInfo& /*info*/) {
  uint64_t memtables = 0;
  db->GetAggregatedIntProperty(rocksdb::DB::Properties::kNumImmutableMemTable, &memtables);
  const bool little_room = HasLittleRoom(probe_(db->GetName()));
  MutexLock lock(&mu_);
  rate_.Begin(clock_->MonotonicNow(), Written(), static_cast<int64_t>(memtables), little_room);
}

void FlushPace::OnMemTableSealed(const rocksdb::MemTableInfo& /*info*/) {
  MutexLock lock(&mu_);
  rate_.Sealed(clock_->MonotonicNow(), Written());
}

int64_t FlushPace::Written() const {
  return static_cast<int64_t>(statistics_->getTickerCount(rocksdb::WAL_FILE_BYTES));
}

void FlushPace::SetBytesPerSecond(int64_t least) {
  MutexLock lock(&mu_);
  rate_.SetMin(least);
}

int64_t FlushPace::GetBytesPerSecond() const {
  MutexLock lock(&mu_);
  return rate_.rate();
}

void FlushPace::Request(int64_t bytes, rocksdb::Env::IOPriority priority) {
  if (priority != rocksdb::Env::IO_HIGH) return;
  bytes_.fetch_add(bytes, std::memory_order_relaxed);
  requests_.fetch_add(1, std::memory_order_relaxed);
  absl::Duration wait;
  {
    MutexLock lock(&mu_);
    wait = rate_.Take(clock_->MonotonicNow(), bytes);
  }
  if (wait > absl::ZeroDuration()) sleep_(wait);
}

int64_t FlushPace::GetTotalBytesThrough(rocksdb::Env::IOPriority /*priority*/) const {
  return bytes_.load(std::memory_order_relaxed);
}

int64_t FlushPace::GetTotalRequests(rocksdb::Env::IOPriority /*priority*/) const {
  return requests_.load(std::memory_order_relaxed);
}

}  // namespace falaj::log
