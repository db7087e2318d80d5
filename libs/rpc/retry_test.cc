#include "libs/rpc/retry.h"

#include <gtest/gtest.h>

namespace falaj::rpc {
namespace {

TEST(BackoffTest, DoublesWithJitterUpToTheMaximumAndStartsOverAfterReset) {
  Backoff backoff({.base = absl::Milliseconds(100), .max = absl::Milliseconds(500)}, Random(1));
  for (int64_t full_ms : {100, 200, 400, 500, 500, 500}) {
    const absl::Duration wait = backoff.Next();
    EXPECT_GE(wait, absl::Milliseconds(full_ms) / 2);
    EXPECT_LE(wait, absl::Milliseconds(full_ms));
  }
  backoff.Reset();
  EXPECT_LE(backoff.Next(), absl::Milliseconds(100));
}

TEST(BackoffTest, StaysAtTheMaximumForEver) {
  Backoff backoff({.base = absl::Milliseconds(1), .max = absl::Seconds(1)}, Random(2));
  for (int i = 0; i < 10'000; ++i) backoff.Next();
  EXPECT_GE(backoff.Next(), absl::Milliseconds(500));
}

}  // namespace
}  // namespace falaj::rpc
