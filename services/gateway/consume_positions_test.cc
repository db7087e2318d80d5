#include "services/gateway/consume_positions.h"

#include "gtest/gtest.h"

#include "libs/base/status.h"

namespace falaj::gateway {
namespace {

const PartitionName kA{"t", PartitionIndex(0)};
const PartitionName kB{"t", PartitionIndex(1)};
const LeaderEpoch kUnknown{-1};

TEST(ConsumePositions, ReadsNothingWithoutCredit) {
  ConsumePositions positions;
  ASSERT_TRUE(positions.Add(kA, Offset(5)).ok());
  EXPECT_TRUE(positions.Readable().empty());
  ASSERT_TRUE(positions.Grant(100).ok());
  EXPECT_EQ(positions.Readable(), std::vector<PartitionName>{kA});
}

TEST(ConsumePositions, SpendsCreditAndMayOvershootOnce) {
  ConsumePositions positions;
  ASSERT_TRUE(positions.Add(kA, Offset(0)).ok());
  ASSERT_TRUE(positions.Grant(100).ok());
  EXPECT_TRUE(positions.Take(kA, Offset(0), Offset(10), kUnknown, 150));
  EXPECT_EQ(positions.credit(), -50);
  EXPECT_TRUE(positions.Readable().empty());
  ASSERT_TRUE(positions.Grant(51).ok());
  EXPECT_EQ(positions.Readable().size(), 1u);
  EXPECT_EQ(positions.At(kA).next, Offset(10));
}

TEST(ConsumePositions, RefusesNegativeGrantsAndOverflow) {
  ConsumePositions positions;
  EXPECT_EQ(ReasonOf(positions.Grant(-1)), Reason::kInvalidRequest);
  ASSERT_TRUE(positions.Grant(ConsumePositions::kCreditMax).ok());
  EXPECT_EQ(ReasonOf(positions.Grant(1)), Reason::kCreditOverflow);
  EXPECT_EQ(ReasonOf(positions.Grant(std::numeric_limits<int64_t>::max())),
            Reason::kCreditOverflow);
  EXPECT_EQ(positions.credit(), ConsumePositions::kCreditMax);  // Nothing was granted.
}

TEST(ConsumePositions, DropsAnswersFromBeforeASeek) {
  ConsumePositions positions;
  ASSERT_TRUE(positions.Add(kA, Offset(0)).ok());
  ASSERT_TRUE(positions.Grant(100).ok());
  ASSERT_TRUE(positions.Seek(kA, Offset(50)).ok());
  EXPECT_FALSE(positions.Take(kA, Offset(0), Offset(10), kUnknown, 30));
  EXPECT_EQ(positions.credit(), 100);
  EXPECT_EQ(positions.At(kA).next, Offset(50));
}

TEST(ConsumePositions, AnAnswerMayBeTakenInPart) {
  ConsumePositions positions;
  ASSERT_TRUE(positions.Add({"t", PartitionIndex(0)}, Offset(10)).ok());
  ASSERT_TRUE(positions.Grant(1000).ok());
  const PartitionName name{"t", PartitionIndex(0)};
  EXPECT_TRUE(positions.IsAt(name, Offset(10)));
  EXPECT_TRUE(positions.Take(name, Offset(10), Offset(15), kUnknown, 100));
  EXPECT_FALSE(positions.IsAt(name, Offset(10)));
  EXPECT_TRUE(positions.IsAt(name, Offset(15)));
  ASSERT_TRUE(positions.SetPaused(name, true).ok());
  EXPECT_FALSE(positions.IsAt(name, Offset(15)));
}

TEST(ConsumePositions, PausedPartitionsAreNeitherReadNorTaken) {
  ConsumePositions positions;
  ASSERT_TRUE(positions.Add(kA, Offset(0)).ok());
  ASSERT_TRUE(positions.Add(kB, Offset(0)).ok());
  ASSERT_TRUE(positions.Grant(100).ok());
  ASSERT_TRUE(positions.SetPaused(kA, true).ok());
  EXPECT_EQ(positions.Readable(), std::vector<PartitionName>{kB});
  EXPECT_FALSE(positions.Take(kA, Offset(0), Offset(1), kUnknown, 10));
  ASSERT_TRUE(positions.SetPaused(kA, false).ok());
  EXPECT_EQ(positions.Readable().size(), 2u);
}

TEST(ConsumePositions, PartitionsBeingAskedAreNotAskedAgain) {
  ConsumePositions positions;
  ASSERT_TRUE(positions.Add(kA, Offset(0)).ok());
  ASSERT_TRUE(positions.Grant(100).ok());
  positions.Ask(kA, TopicId());
  EXPECT_TRUE(positions.Readable().empty());
  positions.EndAsk(kA);
  EXPECT_EQ(positions.Readable().size(), 1u);
}

TEST(ConsumePositions, WhoeverHasHadNothingForLongestIsReadFirst) {
  const PartitionName c{"t", PartitionIndex(2)};
  ConsumePositions positions;
  for (const PartitionName& name : {kA, kB, c}) ASSERT_TRUE(positions.Add(name, Offset(0)).ok());
  ASSERT_TRUE(positions.Grant(100).ok());
  ASSERT_TRUE(positions.Take(kA, Offset(0), Offset(10), kUnknown, 1));
  EXPECT_EQ(positions.Readable(), (std::vector<PartitionName>{kB, c, kA}));
  ASSERT_TRUE(positions.Take(kB, Offset(0), Offset(10), kUnknown, 1));
  ASSERT_TRUE(positions.Take(kA, Offset(10), Offset(20), kUnknown, 1));
  EXPECT_EQ(positions.Readable(), (std::vector<PartitionName>{c, kB, kA}));
}

TEST(ConsumePositions, WhatWasReadOfATopicDoesNotGoOnInAnotherOne) {
  const TopicId old = TopicId::FromRandomBits(1, 1);
  const TopicId made_again = TopicId::FromRandomBits(1, 2);
  ConsumePositions positions;
  ASSERT_TRUE(positions.Add(kA, Offset(0)).ok());
  ASSERT_TRUE(positions.Grant(100).ok());
  EXPECT_TRUE(positions.MayGoOnIn(kA, old)) << "nothing was read";
  positions.Ask(kA, old);
  EXPECT_TRUE(positions.MayGoOnIn(kA, made_again)) << "nothing has come yet";
  ASSERT_TRUE(positions.Take(kA, Offset(0), Offset(10), LeaderEpoch(3), 1));
  positions.EndAsk(kA);
  EXPECT_TRUE(positions.MayGoOnIn(kA, old));
  EXPECT_FALSE(positions.MayGoOnIn(kA, made_again));
  ASSERT_TRUE(positions.Seek(kA, Offset(0)).ok());
  EXPECT_TRUE(positions.MayGoOnIn(kA, made_again));
}

TEST(ConsumePositions, ADoubtCountsFromWhereItHasLastedSince) {
  const auto at = [](int seconds) { return MonotonicTime{} + absl::Seconds(seconds); };
  ConsumePositions positions;
  ASSERT_TRUE(positions.Add(kA, Offset(0)).ok());
  ASSERT_TRUE(positions.Grant(100).ok());
  EXPECT_EQ(positions.Doubt(kA, true, at(10)), absl::ZeroDuration());
  EXPECT_EQ(positions.Doubt(kA, true, at(11)), absl::Seconds(1));
  EXPECT_EQ(positions.Doubt(kA, true, at(12)), absl::Seconds(2));
  positions.EndDoubt(kA);
  EXPECT_EQ(positions.Doubt(kA, true, at(13)), absl::ZeroDuration()) << "a read has failed";
  EXPECT_EQ(positions.Doubt(kA, false, at(13)), absl::ZeroDuration());
  EXPECT_EQ(positions.Doubt(kA, true, at(14)), absl::ZeroDuration()) << "it passed meanwhile";
  ASSERT_TRUE(positions.Seek(kA, Offset(5)).ok());
  EXPECT_EQ(positions.Doubt(kA, true, at(20)), absl::ZeroDuration()) << "of another record";
}

TEST(ConsumePositions, ADoubtDoesNotOutlastWhatIsNotRead) {
  const auto at = [](int milliseconds) {
    return MonotonicTime{} + absl::Milliseconds(milliseconds);
  };
  ConsumePositions positions;
  ASSERT_TRUE(positions.Add(kA, Offset(0)).ok());
  EXPECT_EQ(positions.Doubt(kA, true, at(10'000)), absl::ZeroDuration());
  ASSERT_TRUE(positions.SetPaused(kA, true).ok());
  ASSERT_TRUE(positions.SetPaused(kA, false).ok());
  EXPECT_EQ(positions.Doubt(kA, true, at(10'100)), absl::ZeroDuration()) << "it was paused";
  ASSERT_TRUE(positions.SetPaused(kA, false).ok());
  EXPECT_EQ(positions.Doubt(kA, true, at(10'200)), absl::Milliseconds(100)) << "it was not";
  // Without credit, say.
  EXPECT_EQ(positions.Doubt(kA, true, at(15'000)), absl::ZeroDuration()) << "nobody has asked";
}

TEST(ConsumePositions, RefusesWhatIsNotSubscribedOrIsListedTwice) {
  ConsumePositions positions;
  ASSERT_TRUE(positions.Add(kA, Offset(0)).ok());
  EXPECT_EQ(ReasonOf(positions.Add(kA, Offset(1))), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(positions.Seek(kB, Offset(1))), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(positions.SetPaused(kB, true)), Reason::kInvalidRequest);
}

TEST(ConsumePositions, TheEpochGoesWithThePosition) {
  ConsumePositions positions;
  ASSERT_TRUE(positions.Add(kA, Offset(0)).ok());
  ASSERT_TRUE(positions.Grant(100).ok());
  EXPECT_EQ(positions.At(kA).last_epoch, kUnknown);
  ASSERT_TRUE(positions.Take(kA, Offset(0), Offset(10), LeaderEpoch(3), 1));
  EXPECT_EQ(positions.At(kA).last_epoch, LeaderEpoch(3));
  ASSERT_TRUE(positions.Take(kA, Offset(10), Offset(15), kUnknown, 1));
  EXPECT_EQ(positions.At(kA).last_epoch, kUnknown) << "of another record, it would be wrong";
  ASSERT_TRUE(positions.Seek(kA, Offset(50), LeaderEpoch(7)).ok());
  EXPECT_EQ(positions.At(kA).last_epoch, LeaderEpoch(7));
  ASSERT_TRUE(positions.Seek(kA, Offset(60)).ok());
  EXPECT_EQ(positions.At(kA).last_epoch, kUnknown);
}

}  // namespace
}  // namespace falaj::gateway
