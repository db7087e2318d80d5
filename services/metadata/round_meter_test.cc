#include "services/metadata/round_meter.h"

#include <string>

#include "gtest/gtest.h"

namespace falaj::metadata {
namespace {

class RoundMeterTest : public testing::Test {
 protected:
  static MonotonicTime At(int ms) { return MonotonicTime{} + absl::Milliseconds(ms); }
  static MonotonicTime Never() { return MonotonicTime{}; }
  double Longest(const std::string& which = "") {
    return registry_
        .AddGauge("falaj_raft_round_longest" + which + "_seconds", "", {{"raft_group", "metadata"}})
        ->value();
  }
  double LongestOffDisk() { return Longest("_off_disk"); }

  telemetry::Registry registry_;
  RoundMeter meter_{&registry_};
};

TEST_F(RoundMeterTest, ARoundWaitsForItsDisk) {
  meter_.Begin(At(0));
  meter_.DiskBegins(At(2));
  meter_.DiskEnds(At(5), At(102));
  meter_.End(At(6));
  EXPECT_DOUBLE_EQ(0.006, Longest());
  EXPECT_DOUBLE_EQ(0.003, LongestOffDisk());
}

TEST_F(RoundMeterTest, WhatTheReliefCouldDoIsNoStop) {
  meter_.Begin(At(0));
  meter_.DiskBegins(At(1));
  meter_.End(At(6));  // The relief is there.
  meter_.Begin(At(20));
  meter_.End(At(23));  // Its round.
  meter_.DiskEnds(At(31), At(101));
  meter_.End(At(33));
  EXPECT_DOUBLE_EQ(0.006, Longest());
  EXPECT_DOUBLE_EQ(0.003, LongestOffDisk()) << "the relief's round; the rest is 1 and 2 ms";
}

TEST_F(RoundMeterTest, ADiskThatHangsStopsTheNodeOnceTheReliefIsOver) {
  meter_.Begin(At(0));
  meter_.DiskBegins(At(1));
  meter_.End(At(6));
  meter_.DiskEnds(At(151), At(101));
  meter_.End(At(152));
  EXPECT_DOUBLE_EQ(0.051, Longest());
  EXPECT_DOUBLE_EQ(0.001, LongestOffDisk());
}

TEST_F(RoundMeterTest, ARoundThatOutlastsTheReliefIsCountedOnce) {
  meter_.Begin(At(0));
  meter_.DiskBegins(At(1));
  meter_.End(At(6));
  meter_.Begin(At(100));
  meter_.End(At(108));
  meter_.DiskEnds(At(110), At(101));
  meter_.End(At(111));
  EXPECT_DOUBLE_EQ(0.008, Longest()) << "not from 101 on once more, which were 10";
  EXPECT_DOUBLE_EQ(0.008, LongestOffDisk());
}

TEST_F(RoundMeterTest, AnInstallThatTheReliefFindsStopsTheNode) {
  meter_.Begin(At(0));
  meter_.DiskBegins(At(1));
  meter_.End(At(6));
  meter_.Begin(At(10));
  meter_.DiskBegins(At(12));  // It has found a snapshot: nobody goes on.
  meter_.DiskEnds(At(40), Never());
  meter_.End(At(41));
  EXPECT_DOUBLE_EQ(0.031, Longest());
  EXPECT_DOUBLE_EQ(0.003, LongestOffDisk());
}

TEST_F(RoundMeterTest, TheLongestIsForgottenAfterAWhile) {
  meter_.Begin(At(0));
  meter_.End(At(30));
  for (const int second : {11, 22}) {
    EXPECT_DOUBLE_EQ(0.030, Longest());
    meter_.Begin(At(1000 * second));
    meter_.End(At(1000 * second + 1));
  }
  EXPECT_DOUBLE_EQ(0.001, Longest());
}

}  // namespace
}  // namespace falaj::metadata
