// The pace of those that catch up, and who keeps to it.
#include "services/storage/rate_limit.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/mutex.h"
#include "services/storage/reader_pool.h"

namespace falaj::storage {
namespace {

constexpr MonotonicTime kBegin{1'000'000'000};

TEST(RateLimitTest, TellsHowLongToWaitForWhatWasTaken) {
  RateLimit limit(1'000'000);
  EXPECT_EQ(limit.UntilMayBegin(kBegin), absl::ZeroDuration());
  limit.Charge(120'000);  // 20,000 were saved.
  EXPECT_NEAR(absl::ToDoubleMilliseconds(limit.UntilMayBegin(kBegin)), 100, 0.1);
  EXPECT_NEAR(absl::ToDoubleMilliseconds(limit.UntilMayBegin(kBegin + absl::Milliseconds(40))), 60,
              0.1);
  const absl::Duration all =
      absl::Milliseconds(40) + limit.UntilMayBegin(kBegin + absl::Milliseconds(40));
  EXPECT_EQ(limit.UntilMayBegin(kBegin + all + absl::Microseconds(1)), absl::ZeroDuration());
}

TEST(RateLimitTest, SavesLittle) {
  RateLimit limit(1'000'000);
  EXPECT_EQ(limit.UntilMayBegin(kBegin + absl::Hours(1)), absl::ZeroDuration());
  limit.Charge(20'000);
  EXPECT_GT(limit.UntilMayBegin(kBegin + absl::Hours(1)), absl::ZeroDuration());
}

TEST(RateLimitTest, EarnsOnTop) {
  RateLimit limit(1'000'000);
  EXPECT_EQ(limit.UntilMayBegin(kBegin), absl::ZeroDuration());
  limit.Charge(120'000);
  limit.Earn(50'000);
  EXPECT_NEAR(absl::ToDoubleMilliseconds(limit.UntilMayBegin(kBegin)), 50, 0.1);
  limit.Earn(10'000'000);
  EXPECT_EQ(limit.UntilMayBegin(kBegin + absl::Milliseconds(1)), absl::ZeroDuration());
  limit.Charge(20'000);
  EXPECT_GT(limit.UntilMayBegin(kBegin + absl::Milliseconds(1)), absl::ZeroDuration())
      << "that is saved no longer than anything else";
}

TEST(RateLimitTest, ZeroIsNoLimit) {
  RateLimit limit(0);
  limit.Charge(int64_t{1} << 60);
  EXPECT_EQ(limit.UntilMayBegin(kBegin), absl::ZeroDuration());
}

TEST(ReaderPoolTest, WhatIsQueuedAtTheEndIsRunAtNoPace) {
  RateLimit limit(1);
  std::vector<int> done;
  {
    ReaderPool pool(&limit, 3);
    limit.Charge(int64_t{1} << 40);  // Thousands of years.
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(pool.Run([&done, i] { done.push_back(i); }));
    EXPECT_FALSE(pool.Run([] {})) << "the queue is full";
  }
  EXPECT_THAT(done, testing::ElementsAre(0, 1, 2));
}

TEST(ReaderPoolTest, RunsWhatThePaceAllows) {
  RateLimit limit(int64_t{1} << 40);
  Mutex mu;
  CondVar changed;
  int done = 0;
  ReaderPool pool(&limit, 10);
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(pool.Run([&] {
      limit.Charge(1 << 20);
      MutexLock lock(&mu);
      ++done;
      changed.NotifyAll();
    }));
  }
  MutexLock lock(&mu);
  while (done < 10) changed.Wait(&mu);
}

}  // namespace
}  // namespace falaj::storage
