#include "services/metadata/session_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace falaj::metadata {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr SessionId kOne(1);
constexpr SessionId kTwo(2);

MonotonicTime At(int64_t seconds) { return MonotonicTime{} + absl::Seconds(seconds); }

TEST(SessionTableTest, ASessionExpiresWithoutHeartbeatsAndIsReportedOnce) {
  SessionTable table;
  table.Put(kOne, absl::Seconds(10), At(0));
  EXPECT_THAT(table.TakeExpired(At(9)), IsEmpty());
  EXPECT_THAT(table.TakeExpired(At(10)), ElementsAre(kOne));
  EXPECT_THAT(table.TakeExpired(At(11)), IsEmpty());
  table.PutBack(kOne);
  EXPECT_THAT(table.TakeExpired(At(11)), ElementsAre(kOne));
}

TEST(SessionTableTest, AHeartbeatKeepsItAlive) {
  SessionTable table;
  table.Put(kOne, absl::Seconds(10), At(0));
  EXPECT_TRUE(table.Touch(kOne, At(9)));
  EXPECT_THAT(table.TakeExpired(At(18)), IsEmpty());
  EXPECT_THAT(table.TakeExpired(At(19)), ElementsAre(kOne));
}

TEST(SessionTableTest, AHeartbeatAfterTheReportComesTooLate) {
  SessionTable table;
  table.Put(kOne, absl::Seconds(10), At(0));
  table.TakeExpired(At(10));
  EXPECT_FALSE(table.Touch(kOne, At(10))) << "its end is on its way through the log";
  EXPECT_FALSE(table.Touch(kTwo, At(10))) << "unknown";
}

TEST(SessionTableTest, APauseOfTheProcessIsGivenToEverybody) {
  SessionTable table;
  table.Put(kOne, absl::Seconds(10), At(0));
  table.Extend(absl::Seconds(100));
  EXPECT_THAT(table.TakeExpired(At(109)), IsEmpty());
  EXPECT_THAT(table.TakeExpired(At(110)), ElementsAre(kOne));
}

TEST(SessionTableTest, ADoubtedSessionEndsSoonUnlessASignOfLifeComes) {
  SessionTable table;
  table.Put(kOne, absl::Seconds(10), At(0));
  table.Put(kTwo, absl::Seconds(10), At(0));
  table.Doubt(kOne, absl::Seconds(1), At(3));
  table.Doubt(kTwo, absl::Seconds(1), At(3));
  EXPECT_TRUE(table.Touch(kTwo, At(3)));
  EXPECT_THAT(table.TakeExpired(At(3)), IsEmpty());
  EXPECT_THAT(table.TakeExpired(At(4)), ElementsAre(kOne));
  EXPECT_THAT(table.TakeExpired(At(12)), IsEmpty());
  EXPECT_THAT(table.TakeExpired(At(13)), ElementsAre(kTwo));
}

TEST(SessionTableTest, ADoubtNeitherProlongsASessionNorCountsAfterALongSilence) {
  SessionTable table;
  table.Put(kOne, absl::Seconds(10), At(0));
  table.Doubt(kOne, absl::Seconds(20), At(1));
  table.Doubt(kOne, absl::Seconds(1), At(6));
  EXPECT_THAT(table.TakeExpired(At(9)), IsEmpty());
  EXPECT_THAT(table.TakeExpired(At(10)), ElementsAre(kOne));
  table.Doubt(kOne, absl::Seconds(1), At(11));
  table.Doubt(SessionId(9), absl::Seconds(1), At(11));
  EXPECT_THAT(table.TakeExpired(At(20)), IsEmpty()) << "reported once";
}

TEST(SessionTableTest, ForgetsSessionsThatAreGone) {
  SessionTable table;
  table.Put(kOne, absl::Seconds(10), At(0));
  table.Put(kTwo, absl::Seconds(10), At(0));
  table.Remove(kOne);
  EXPECT_EQ(1u, table.size());
  EXPECT_FALSE(table.Touch(kOne, At(1)));
  EXPECT_TRUE(table.Touch(kTwo, At(1)));
}

}  // namespace
}  // namespace falaj::metadata
