#include "libs/log/flush_pace.h"

#include <memory>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"
#include "rocksdb/options.h"

#include "libs/base/clock.h"
#include "libs/base/testing/temp_directory.h"

namespace falaj::log {
namespace {

constexpr int64_t kMiB = 1 << 20;

TEST(FlushRateTest, AMemtableIsWrittenInHalfTheTimeInWhichTheNextOneFills) {
  ManualClock clock;
  clock.Advance(absl::Seconds(1));
  FlushRate rate;
  EXPECT_EQ(rate.Begin(clock.MonotonicNow(), 0, 1), FlushRate::kMin) << "nothing is known";
  clock.Advance(absl::Milliseconds(400));
  EXPECT_EQ(rate.Begin(clock.MonotonicNow(), 64 * kMiB, 1), 320 * kMiB);
  clock.Advance(absl::Seconds(64));
  EXPECT_EQ(rate.Begin(clock.MonotonicNow(), 128 * kMiB, 1), FlushRate::kMin) << "a trickle";
}

TEST(FlushRateTest, EachThatWaitsMakesItFaster) {
  ManualClock clock;
  clock.Advance(absl::Seconds(1));
  FlushRate rate;
  rate.Begin(clock.MonotonicNow(), 0, 1);
  clock.Advance(absl::Seconds(1));
  EXPECT_EQ(rate.Begin(clock.MonotonicNow(), 100 * kMiB, 3), 600 * kMiB);
  EXPECT_EQ(rate.Sealed(), 800 * kMiB);
  EXPECT_EQ(rate.Sealed(), 1000 * kMiB);
  clock.Advance(absl::Seconds(1));
  EXPECT_EQ(rate.Begin(clock.MonotonicNow(), 200 * kMiB, 1), 200 * kMiB) << "none waits any more";
}

// What RocksDB tells and when is its own affair: this is the version that is installed.
TEST(FlushPaceTest, OnlyFlushesAreSlowedDown) {
  TempDirectory directory;
  rocksdb::Options options;
  options.create_if_missing = true;
  options.statistics = rocksdb::CreateDBStatistics();
  auto pace = std::make_shared<FlushPace>(Clock::Real(), options.statistics);
  options.rate_limiter = pace->limiter();
  options.listeners.push_back(pace);
  const int64_t unlimited = pace->limiter()->GetBytesPerSecond();
  struct Seen final : rocksdb::EventListener {
    explicit Seen(FlushPace* p) : pace(p) {}
    void OnFlushBegin(rocksdb::DB*, const rocksdb::FlushJobInfo&) override {
      during = pace->limiter()->GetBytesPerSecond();
    }
    FlushPace* const pace;
    int64_t during = 0;
  };
  const auto seen = std::make_shared<Seen>(pace.get());
  options.listeners.push_back(seen);
  rocksdb::DB* opened = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(options, directory.path(), &opened).ok());
  const std::unique_ptr<rocksdb::DB> db(opened);
  ASSERT_TRUE(db->Put(rocksdb::WriteOptions(), "key", "value").ok());
  const int64_t before = pace->limiter()->GetTotalBytesThrough();
  ASSERT_TRUE(db->Flush(rocksdb::FlushOptions()).ok());
  EXPECT_EQ(seen->during, FlushRate::kMin);
  EXPECT_GT(pace->limiter()->GetTotalBytesThrough(), before);
  EXPECT_EQ(pace->limiter()->GetBytesPerSecond(), unlimited);
}

}  // namespace
}  // namespace falaj::log
