#include "libs/log/flush_pace.h"

#include <algorithm>
#include <utility>

#include "absl/time/time.h"
#include "rocksdb/db.h"

namespace falaj::log {
namespace {

constexpr int64_t kUnlimited = int64_t{64} << 30;
// In the steps of so long the limiter lets bytes go: shorter ones wake the flush for nothing.
constexpr int64_t kRefillMicros = 10'000;

}  // namespace

int64_t FlushRate::Begin(MonotonicTime now, int64_t written, int64_t memtables) {
  const int64_t micros = begun_ == MonotonicTime() ? 0 : absl::ToInt64Microseconds(now - begun_);
  const int64_t incoming = micros > 0 ? (written - written_) * 1'000'000 / micros : 0;
  begun_ = now;
  written_ = written;
  step_ = std::max(kMin, 2 * incoming);
  rate_ = step_ * std::max<int64_t>(memtables, 1);
  return rate_;
}

int64_t FlushRate::Sealed() {
  rate_ += step_;
  return rate_;
}

FlushPace::FlushPace(const Clock* clock, std::shared_ptr<rocksdb::Statistics> statistics)
    : clock_(clock),
      statistics_(std::move(statistics)),
      limiter_(rocksdb::NewGenericRateLimiter(kUnlimited, kRefillMicros)) {}

void FlushPace::OnFlushBegin(rocksdb::DB* db, const rocksdb::FlushJobInfo& /*info*/) {
  uint64_t memtables = 0;
  db->GetAggregatedIntProperty(rocksdb::DB::Properties::kNumImmutableMemTable, &memtables);
  const auto written = static_cast<int64_t>(statistics_->getTickerCount(rocksdb::WAL_FILE_BYTES));
  MutexLock lock(&mu_);
  flushing_ = true;
  limiter_->SetBytesPerSecond(
      rate_.Begin(clock_->MonotonicNow(), written, static_cast<int64_t>(memtables)));
}

void FlushPace::OnFlushCompleted(rocksdb::DB* /*db*/, const rocksdb::FlushJobInfo& /*info*/) {
  MutexLock lock(&mu_);
  flushing_ = false;
  limiter_->SetBytesPerSecond(kUnlimited);
}

void FlushPace::OnMemTableSealed(const rocksdb::MemTableInfo& /*info*/) {
  MutexLock lock(&mu_);
  if (flushing_) limiter_->SetBytesPerSecond(rate_.Sealed());
}

}  // namespace falaj::log
