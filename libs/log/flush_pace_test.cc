#include "libs/log/flush_pace.h"

#include <algorithm>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"
#include "rocksdb/options.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/testing/temp_directory.h"
#include "libs/log/rocks_config.h"

namespace falaj::log {
namespace {

constexpr int64_t kMiB = 1 << 20;

class FlushRateTest : public testing::Test {
 protected:
  FlushRateTest() { clock_.Advance(absl::Seconds(1)); }
  int64_t Begin(int64_t written, int64_t memtables) {
    rate_.Begin(clock_.MonotonicNow(), written, memtables);
    return rate_.rate();
  }
  void Seal(int64_t written) { rate_.Sealed(clock_.MonotonicNow(), written); }

  ManualClock clock_;
  FlushRate rate_;
};

TEST_F(FlushRateTest, AMemtableIsWrittenBeforeTheNextOneIsFull) {
  EXPECT_EQ(Begin(0, 1), FlushRate::kMin) << "nothing is known";
  clock_.Advance(absl::Milliseconds(500));
  EXPECT_EQ(Begin(64 * kMiB, 1), 160 * kMiB) << "five quarters of 128";
  clock_.Advance(absl::Seconds(64));
  EXPECT_EQ(Begin(128 * kMiB, 1), FlushRate::kMin) << "a trickle";
}

TEST_F(FlushRateTest, EachThatWaitsMakesItFaster) {
  Begin(0, 1);
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Begin(100 * kMiB, 3), 375 * kMiB);
  Seal(100 * kMiB);
  EXPECT_EQ(rate_.rate(), 500 * kMiB);
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Begin(200 * kMiB, 1), 125 * kMiB) << "none waits any more";
}

TEST_F(FlushRateTest, WhatComesInMeanwhileCountsIfItIsMore) {
  Begin(0, 1);
  clock_.Advance(absl::Milliseconds(250));
  Seal(64 * kMiB);
  EXPECT_EQ(rate_.rate(), 2 * 320 * kMiB)
      << "256 MiB/s, five quarters of that, for each that waits";
  clock_.Advance(absl::Seconds(16));
  Seal(128 * kMiB);
  EXPECT_EQ(rate_.rate(), 3 * 320 * kMiB) << "no less while this flush lasts";
  EXPECT_EQ(Begin(128 * kMiB, 1), FlushRate::kMin) << "little, over all of it";
}

TEST_F(FlushRateTest, NothingSlowsAFlushThatHurries) {
  rate_.Begin(clock_.MonotonicNow(), 0, 1, true);
  clock_.Advance(absl::Seconds(1));
  Seal(64 * kMiB);
  EXPECT_EQ(rate_.rate(), FlushRate::kUnlimited);
}

TEST_F(FlushRateTest, BytesWaitForThoseBeforeThem) {
  EXPECT_EQ(rate_.Take(clock_.MonotonicNow(), kMiB), absl::ZeroDuration()) << "no flush yet";
  Begin(0, 1);
  EXPECT_EQ(rate_.Take(clock_.MonotonicNow(), kMiB), absl::Microseconds(62'500));
  EXPECT_EQ(rate_.Take(clock_.MonotonicNow(), kMiB), absl::Milliseconds(125));
  for (int i = 0; i < 10; ++i) rate_.Take(clock_.MonotonicNow(), kMiB);
  EXPECT_LE(rate_.Take(clock_.MonotonicNow(), kMiB), absl::Milliseconds(200))
      << "a clock that stands still does not stop the store";
}

TEST_F(FlushRateTest, TheTimeTheDiskTakesIsNoPause) {
  Begin(0, 1);
  EXPECT_EQ(rate_.Take(clock_.MonotonicNow(), kMiB), absl::Microseconds(62'500));
  // It waited, and then the disk took 50 ms.
  clock_.Advance(absl::Microseconds(112'500));
  EXPECT_EQ(rate_.Take(clock_.MonotonicNow(), kMiB), absl::Microseconds(12'500));
  clock_.Advance(absl::Milliseconds(80));
  EXPECT_EQ(rate_.Take(clock_.MonotonicNow(), kMiB), absl::ZeroDuration()) << "it is late";
}

TEST_F(FlushRateTest, ATenthOfASecondIsMadeUpForAndNoMore) {
  Begin(0, 1);
  clock_.Advance(absl::Seconds(10));
  EXPECT_EQ(rate_.Take(clock_.MonotonicNow(), kMiB), absl::ZeroDuration());
  EXPECT_EQ(rate_.Take(clock_.MonotonicNow(), kMiB), absl::Milliseconds(25));
  clock_.Advance(absl::Seconds(10));
  Begin(64 * kMiB, 1);
  EXPECT_EQ(rate_.Take(clock_.MonotonicNow(), kMiB), absl::Microseconds(62'500))
      << "nothing from one flush to the next";
}

TEST_F(FlushRateTest, NoRateIsLessThanTheLeast) {
  Begin(0, 1);
  for (int i = 0; i < 10; ++i) rate_.Take(clock_.MonotonicNow(), kMiB);
  rate_.SetMin(64 * FlushRate::kMin);
  EXPECT_LT(rate_.Take(clock_.MonotonicNow(), kMiB), absl::Milliseconds(2));
}

// What RocksDB tells and asks, and when, is its own affair: this is the version that is installed.
TEST(FlushPaceTest, FlushesAreHeldUpAndNothingElse) {
  TempDirectory directory;
  rocksdb::Options options;
  options.create_if_missing = true;
  options.compression = rocksdb::kNoCompression;
  options.statistics = rocksdb::CreateDBStatistics();
  Mutex mu;
  absl::Duration slept;
  auto pace = std::make_shared<FlushPace>(Clock::Real(), options.statistics,
                                          [&mu, &slept](absl::Duration duration) {
                                            MutexLock lock(&mu);
                                            slept = std::max(slept, duration);
                                          });
  options.rate_limiter = pace;
  options.listeners.push_back(pace);
  rocksdb::DB* opened = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(options, directory.path(), &opened).ok());
  const std::unique_ptr<rocksdb::DB> db(opened);
  const std::string value(1 << 20, 'v');
  const auto write_and_flush = [&] {
    for (int i = 0; i < 8; ++i) {
      ASSERT_TRUE(db->Put(rocksdb::WriteOptions(), absl::StrCat(i), value).ok());
    }
    ASSERT_TRUE(db->Flush(rocksdb::FlushOptions()).ok());
  };
  write_and_flush();
  const int64_t flushed = pace->GetTotalBytesThrough(rocksdb::Env::IO_TOTAL);
  EXPECT_GE(flushed, 4 * kMiB) << "all of it is asked for";
  {
    MutexLock lock(&mu);
    EXPECT_GT(slept, absl::ZeroDuration());
  }
  write_and_flush();
  const int64_t requests = pace->GetTotalRequests(rocksdb::Env::IO_TOTAL);
  ASSERT_TRUE(db->CompactRange(rocksdb::CompactRangeOptions(), nullptr, nullptr).ok());
  EXPECT_EQ(pace->GetTotalRequests(rocksdb::Env::IO_TOTAL), requests) << "not a compaction";
}

TEST(FlushPaceTest, OnADiskWithLittleRoomAFlushHurries) {
  for (const int64_t room : {kLittleRoomBytes, kLittleRoomBytes - 1}) {
    TempDirectory directory;
    rocksdb::Options options;
    options.create_if_missing = true;
    options.statistics = rocksdb::CreateDBStatistics();
    const auto pace = std::make_shared<FlushPace>(
        Clock::Real(), options.statistics, [](absl::Duration) {},
        [room](const std::string&) { return DiskSpace{.total_bytes = room, .free_bytes = room}; });
    options.rate_limiter = pace;
    options.listeners.push_back(pace);
    rocksdb::DB* opened = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(options, directory.path(), &opened).ok());
    const std::unique_ptr<rocksdb::DB> db(opened);
    ASSERT_TRUE(db->Put(rocksdb::WriteOptions(), "key", "value").ok());
    ASSERT_TRUE(db->Flush(rocksdb::FlushOptions()).ok());
    EXPECT_EQ(pace->GetBytesPerSecond() > 100 * FlushRate::kMin, room < kLittleRoomBytes);
  }
}

TEST(FlushPaceTest, AStoreHasIt) {
  RocksLogStore::Options options;
  const rocksdb::DBOptions db = MakeDbOptions(options, rocksdb::Env::Default(), nullptr);
  ASSERT_NE(db.rate_limiter, nullptr);
  bool listens = false;
  for (const auto& listener : db.listeners) {
    listens = listens || dynamic_cast<FlushPace*>(listener.get()) ==
                             dynamic_cast<FlushPace*>(db.rate_limiter.get());
  }
  EXPECT_TRUE(listens);
  EXPECT_NE(db.delayed_write_rate, 0u) << "RocksDB would take it from the limiter";
}

}  // namespace
}  // namespace falaj::log
