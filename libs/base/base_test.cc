// Tests of the small types of libs/base: ids, bytes, clock, random, gate, log lines.
#include <thread>

#include "gtest/gtest.h"

#include "libs/base/bytes.h"
#include "libs/base/clock.h"
#include "libs/base/gate.h"
#include "libs/base/ids.h"
#include "libs/base/log.h"
#include "libs/base/random.h"

namespace falaj {
namespace {

TEST(StrongInt, CountsAndPrints) {
  const Offset base(10);
  EXPECT_EQ((base + 5).value(), 15);
  EXPECT_EQ((base + 5) - base, 5);
  EXPECT_LT(base, base + 1);
  EXPECT_EQ(absl::StrCat("at ", base), "at 10");
}

TEST(Uuid, PrintsAndParsesBack) {
  const Uuid id = Random(1).NextUuid();
  const auto parsed = Uuid::Parse(id.ToString());
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(*parsed, id);
  EXPECT_EQ(id.ToString()[14], '4');  // Version.
  EXPECT_FALSE(id.is_nil());
}

TEST(Uuid, RefusesOtherText) {
  EXPECT_FALSE(Uuid::Parse("").ok());
  EXPECT_FALSE(Uuid::Parse("00000000-0000-0000-0000-00000000000g").ok());
  EXPECT_FALSE(Uuid::FromBytes("short").ok());
}

Bytes Scattered() {
  auto owner = std::make_shared<const std::string>("abcdefghij");
  const absl::string_view all(*owner);
  return Bytes(owner, {all.substr(0, 3), absl::string_view(), all.substr(3, 4), all.substr(7)});
}

TEST(Bytes, SubrangeCrossesPieces) {
  const Bytes bytes = Scattered();
  EXPECT_EQ(bytes.size(), 10u);
  EXPECT_EQ(bytes.pieces().size(), 3u);  // The empty piece is gone.
  for (size_t pos = 0; pos <= 10; ++pos) {
    for (size_t length = 0; pos + length <= 10; ++length) {
      EXPECT_EQ(bytes.Subrange(pos, length).ToString(),
                std::string("abcdefghij").substr(pos, length));
    }
  }
}

TEST(Bytes, SubrangeKeepsTheOwnerAlive) {
  Bytes tail;
  {
    const Bytes bytes = Scattered();
    tail = bytes.Subrange(5, 5);
  }
  EXPECT_EQ(tail.ToString(), "fghij");
}

TEST(Bytes, ConcatKeepsBothOwnersAlive) {
  Bytes joined;
  {
    const Bytes first = Scattered();
    joined = Bytes::Concat(first, Bytes::Copy("XY"));
  }
  EXPECT_EQ(joined.ToString(), "abcdefghijXY");
  EXPECT_EQ(joined.Flatten().view(), "abcdefghijXY");
}

TEST(ManualClock, MovesOnlyWhenTold) {
  ManualClock clock;
  const absl::Time start = clock.Now();
  const MonotonicTime monotonic_start = clock.MonotonicNow();
  clock.Advance(absl::Seconds(3));
  clock.JumpWallClock(-absl::Hours(1));
  EXPECT_EQ(clock.Now() - start, absl::Seconds(3) - absl::Hours(1));
  EXPECT_EQ(clock.MonotonicNow() - monotonic_start, absl::Seconds(3));
}

TEST(Random, SecretsDiffer) {
  const std::string secret = DrawSecret(16);
  EXPECT_EQ(secret.size(), 16u);
  EXPECT_NE(secret, DrawSecret(16));
}

TEST(Random, RepeatsItselfAndStaysInBounds) {
  Random a(42);
  Random b(42);
  for (int i = 0; i < 1000; ++i) {
    const int64_t value = a.Between(-3, 3);
    EXPECT_EQ(value, b.Between(-3, 3));
    EXPECT_GE(value, -3);
    EXPECT_LE(value, 3);
  }
  EXPECT_LT(Random(7).Unit(), 1.0);
}

TEST(Gate, CloseWaitsForThoseInsideAndRefusesOthers) {
  Gate gate;
  Gate::Pass pass = gate.Enter();
  ASSERT_TRUE(pass);
  std::atomic<bool> closed{false};
  std::thread closer([&] {
    gate.Close();
    closed = true;
  });
  while (gate.Enter()) {  // Until Close() has begun.
  }
  EXPECT_FALSE(closed);
  pass = Gate::Pass();
  closer.join();
  EXPECT_TRUE(closed);
  EXPECT_FALSE(gate.Enter());
}

TEST(Log, WritesJsonThatCannotBeForged) {
  const log::Options options{.format = log::Format::kJson, .component = "storage"};
  EXPECT_EQ(log::FormatLine(options, "T", log::Level::kInfo, "opened",
                            {{"topic", "a\"b\n"}, {"offset", Offset(7)}, {"fresh", true}}),
            R"({"time":"T","level":"info","component":"storage","message":"opened",)"
            R"("topic":"a\"b\u000a","offset":7,"fresh":true})");
}

TEST(Log, WritesTextForPeople) {
  const log::Options options{.format = log::Format::kText, .component = ""};
  EXPECT_EQ(
      log::FormatLine(options, "T", log::Level::kWarning, "slow", {{"ms", 12}, {"disk", "a"}}),
      "T warning slow ms=12 disk=\"a\"");
}

}  // namespace
}  // namespace falaj
