#include "services/metadata/baton.h"

#include <thread>

#include "gtest/gtest.h"

namespace falaj::metadata {
namespace {

constexpr absl::Duration kElectionTimeout = absl::Milliseconds(450);

class BatonTest : public testing::Test {
 protected:
  void Leave(Baton::Relief relief = Baton::Relief::kWhenLong) {
    baton_.Take();
    baton_.Leave(clock_.MonotonicNow(), relief);
  }
  bool MayRelieve() {
    if (!baton_.TryRelieve()) return false;
    baton_.Give();
    return true;
  }
  // Of the relief's thread; ends when the test lets it.
  void RunRelief(int* rounds) {
    while (baton_.AwaitAbsence()) {
      if (!baton_.TryRelieve()) continue;
      ++*rounds;
      baton_.GiveUp();
    }
  }

  ManualClock clock_;
  Baton baton_{&clock_, kElectionTimeout};
};

TEST_F(BatonTest, ReliefIsForLongWritesAndEndsBeforeOthersMissTheNode) {
  EXPECT_FALSE(MayRelieve());
  Leave();
  EXPECT_FALSE(MayRelieve());
  clock_.Advance(kReliefAfter);
  EXPECT_TRUE(MayRelieve());
  clock_.Advance(absl::Milliseconds(95));
  EXPECT_TRUE(MayRelieve());
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_FALSE(MayRelieve()) << "the disk hangs";
  Leave();
  clock_.Advance(kReliefAfter);
  EXPECT_TRUE(MayRelieve()) << "the next write is another one";
}

TEST_F(BatonTest, ItIsShorterWhereElectionsAre) {
  Baton hasty(&clock_, absl::Milliseconds(40));
  hasty.Take();
  hasty.Leave(clock_.MonotonicNow(), Baton::Relief::kWhenLong);
  EXPECT_EQ(clock_.MonotonicNow() + absl::Milliseconds(10), hasty.relief_until());
}

TEST_F(BatonTest, NothingIsRelievedWhereItMustNotBe) {
  Leave(Baton::Relief::kNone);
  clock_.Advance(kReliefAfter);
  EXPECT_FALSE(MayRelieve());
  Leave();
  clock_.Advance(kReliefAfter);
  if (!baton_.TryRelieve()) FAIL();
  baton_.GiveUp();
  EXPECT_FALSE(MayRelieve());
  baton_.Take();
  clock_.Advance(kReliefAfter);
  EXPECT_FALSE(MayRelieve()) << "the node's thread is back";
}

TEST_F(BatonTest, TheNodesThreadWaitsForTheReliefsRound) {
  Leave();
  clock_.Advance(kReliefAfter);
  if (!baton_.TryRelieve()) FAIL();
  bool round_over = false;
  std::thread node([&] {
    baton_.Take();
    EXPECT_TRUE(round_over);
    baton_.Give();
  });
  // The window goes as soon as it wants the baton back.
  while (baton_.relief_until() != MonotonicTime{}) std::this_thread::yield();
  round_over = true;
  baton_.Give();
  EXPECT_FALSE(MayRelieve());
  node.join();
}

TEST_F(BatonTest, ASleepingReliefIsWokenByTheNextWriteAndByTheEnd) {
  int rounds = 0;
  std::thread relief([&] { RunRelief(&rounds); });
  for (int write = 1; write <= 3; ++write) {
    while (!baton_.relief_sleeps()) std::this_thread::yield();
    Leave();
    clock_.Advance(kReliefAfter);
    while (baton_.relief_until() > clock_.MonotonicNow()) std::this_thread::yield();  // GiveUp().
  }
  baton_.Close();
  relief.join();
  EXPECT_EQ(3, rounds);
  Leave();
  clock_.Advance(kReliefAfter);
  EXPECT_FALSE(MayRelieve());
}

}  // namespace
}  // namespace falaj::metadata
