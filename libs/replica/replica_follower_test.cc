// A follower: where it cuts its log after a change of leader, and what it takes from the new one.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "libs/replica/replica.h"
#include "libs/replica/replica_test_support.h"

namespace falaj::replica {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr NodeId kLeader{2};

class ReplicaFollowerTest : public testing::Test {
 protected:
  void Open(const Stored& stored) {
    replica_ = std::make_unique<Replica>(kSelf, stored, Settings{});
  }
  // A log of ten records: epoch 1 from 0, epoch 4 from 6.
  void OpenTenRecords(int64_t high_watermark) {
    Open({.log_start = Offset{0},
          .log_end = Offset{10},
          .high_watermark = Offset{high_watermark},
          .epochs = {{LeaderEpoch{1}, Offset{0}}, {LeaderEpoch{4}, Offset{6}}}});
  }
  absl::Status Step(const Input& input) { return replica_->Step(input, &effects_); }
  void Follow(int32_t epoch, NodeId leader = kLeader, int32_t unclean_epoch = 0) {
    effects_ = Effects();
    ASSERT_TRUE(Step(BecomeFollower{LeaderEpoch{epoch}, PartitionEpoch{++partition_epoch_}, leader,
                                    LeaderEpoch{unclean_epoch}})
                    .ok());
  }
  uint64_t AttachId() const { return effects_.attach.value().attach_id; }
  absl::Status GoOn(int64_t log_start = 0, int64_t high_watermark = 0) {
    return Step(AttachAnswered{.attach_id = AttachId(),
                               .log_start = Offset{log_start},
                               .high_watermark = Offset{high_watermark}});
  }
  absl::Status Diverge(int32_t epoch, int64_t end, int64_t log_start = 0) {
    return Step(AttachAnswered{.attach_id = AttachId(),
                               .diverging = EpochEnd{LeaderEpoch{epoch}, Offset{end}},
                               .log_start = Offset{log_start}});
  }
  // What a shell does with truncate_suffix. Returns where the log was cut.
  Offset Truncate() {
    const Offset end = *std::exchange(effects_.truncate_suffix, std::nullopt);
    EXPECT_TRUE(Step(Truncated{std::min(replica_->log_start(), end), end}).ok());
    return end;
  }
  absl::Status Take(int64_t base, int64_t last, int32_t epoch) {
    return Step(Replicate{.token = 1,
                          .attach_id = AttachId(),
                          .base = Offset{base},
                          .last = Offset{last},
                          .batch_epoch = LeaderEpoch{epoch}});
  }
  void Write(bool synced) {
    effects_.epochs.clear();
    effects_.placements.clear();
    effects_.log_start.reset();
    effects_.ack.reset();
    ASSERT_TRUE(Step(Written{replica_->log_end(), synced}).ok());
  }

  int64_t partition_epoch_ = 0;
  Effects effects_;
  std::unique_ptr<Replica> replica_ = std::make_unique<Replica>(kSelf, Stored{}, Settings{});
};

TEST_F(ReplicaFollowerTest, AsksWhereItsLogEndsAndWithWhichEpoch) {
  OpenTenRecords(3);
  Follow(5);
  ASSERT_TRUE(effects_.attach.has_value());
  EXPECT_EQ(effects_.attach->epoch, LeaderEpoch{5});
  EXPECT_EQ(effects_.attach->last_epoch, LeaderEpoch{4});
  EXPECT_EQ(effects_.attach->log_end, Offset{10});
  EXPECT_EQ(ReasonOf(Take(10, 11, 5)), Reason::kEpochFenced) << "not before the answer";
  ASSERT_TRUE(GoOn().ok());
  EXPECT_TRUE(replica_->attached());
  EXPECT_TRUE(Take(10, 11, 5).ok());
}

TEST_F(ReplicaFollowerTest, AsksNobodyWhenNobodyLeads) {
  Follow(5, NodeId{0});
  EXPECT_FALSE(effects_.attach.has_value());
  ASSERT_TRUE(Step(Reattach{}).ok());
  EXPECT_FALSE(effects_.attach.has_value());
}

TEST_F(ReplicaFollowerTest, TakesBatchesAndSaysWhatItHolds) {
  Follow(3);
  ASSERT_TRUE(GoOn().ok());
  ASSERT_TRUE(Take(0, 0, 2).ok());
  ASSERT_TRUE(Take(1, 4, 2).ok());
  ASSERT_TRUE(Take(5, 5, 3).ok());
  EXPECT_THAT(effects_.epochs, ElementsAre(EpochEntry{LeaderEpoch{2}, Offset{0}},
                                           EpochEntry{LeaderEpoch{3}, Offset{5}}));
  ASSERT_EQ(effects_.placements.size(), 3u);
  EXPECT_EQ(effects_.placements[1].epoch, LeaderEpoch{2}) << "as it came";
  EXPECT_FALSE(effects_.ack.has_value()) << "not before the write";
  Write(false);
  EXPECT_EQ(effects_.ack.value().written_end, Offset{6});
  EXPECT_EQ(effects_.ack->flushed_end, Offset{0});
  Write(true);
  EXPECT_EQ(effects_.ack.value().flushed_end, Offset{6});
  Write(true);
  EXPECT_FALSE(effects_.ack.has_value()) << "there is nothing new";
}

TEST_F(ReplicaFollowerTest, SaysOnceItIsAttachedWhatWasSyncedSinceItAsked) {
  OpenTenRecords(3);
  Follow(5);
  ASSERT_TRUE(GoOn().ok());
  EXPECT_FALSE(effects_.ack.has_value()) << "the leader knows from the question";
  ASSERT_TRUE(Take(10, 10, 5).ok());
  Write(false);
  effects_.ack.reset();
  ASSERT_TRUE(Step(Reattach{}).ok());
  ASSERT_TRUE(Step(Written{replica_->log_end(), true}).ok());
  ASSERT_TRUE(GoOn().ok());
  ASSERT_TRUE(effects_.ack.has_value()) << "on a partition that rests nothing else would come";
  EXPECT_EQ(effects_.ack->flushed_end, Offset{11});
}

TEST_F(ReplicaFollowerTest, HighWatermarkFollowsTheLeadersAsFarAsTheLogReaches) {
  Follow(1);
  ASSERT_TRUE(GoOn(0, 8).ok());
  EXPECT_EQ(replica_->high_watermark(), Offset{0});
  ASSERT_TRUE(Take(0, 4, 1).ok());
  Write(true);
  EXPECT_EQ(replica_->high_watermark(), Offset{5});
  ASSERT_TRUE(Step(LeaderMarks{AttachId(), Offset{0}, Offset{3}}).ok());
  EXPECT_EQ(replica_->high_watermark(), Offset{5}) << "it never moves back";
}

TEST_F(ReplicaFollowerTest, SaysWhereItsLogBeginsOnceThatIsWritten) {
  Follow(1);
  ASSERT_TRUE(GoOn(0, 5).ok());
  ASSERT_TRUE(Take(0, 4, 1).ok());
  Write(true);
  EXPECT_EQ(effects_.ack.value().log_start, Offset{0});
  effects_.ack.reset();
  ASSERT_TRUE(Step(LeaderMarks{AttachId(), Offset{3}, Offset{5}}).ok());
  EXPECT_EQ(effects_.log_start, Offset{3});
  EXPECT_FALSE(effects_.ack.has_value()) << "not before the write";
  Write(false);
  EXPECT_EQ(effects_.ack.value().log_start, Offset{3});
  Write(false);
  EXPECT_FALSE(effects_.ack.has_value()) << "there is nothing new";
  ASSERT_TRUE(Step(Reattach{}).ok());
  EXPECT_EQ(effects_.attach->log_start, Offset{3});
}

TEST_F(ReplicaFollowerTest, CutsAnEpochItKnowsWhereTheShorterLogEndsIt) {
  OpenTenRecords(6);
  Follow(5);
  const uint64_t first = AttachId();
  ASSERT_TRUE(Diverge(4, 8).ok());
  EXPECT_FALSE(replica_->attached());
  EXPECT_EQ(Truncate(), Offset{8});
  EXPECT_EQ(replica_->log_end(), Offset{8});
  EXPECT_GT(AttachId(), first) << "it asks again";
  EXPECT_EQ(effects_.attach->log_end, Offset{8});
  ASSERT_TRUE(GoOn().ok());
  EXPECT_TRUE(Take(8, 8, 5).ok());
}

TEST_F(ReplicaFollowerTest, AsksAgainWhenTheLeaderNamesAnEpochItDoesNotKnow) {
  // KIP-279: the leader has epochs 1 and 3, this log 1 and 4. Nothing of 4 can be shared.
  OpenTenRecords(2);
  Follow(5);
  ASSERT_TRUE(Diverge(3, 9).ok());
  EXPECT_EQ(Truncate(), Offset{6});
  EXPECT_THAT(replica_->epochs().entries(), ElementsAre(EpochEntry{LeaderEpoch{1}, Offset{0}}));
  EXPECT_EQ(effects_.attach->last_epoch, LeaderEpoch{1});
  ASSERT_TRUE(Diverge(1, 4).ok());
  EXPECT_EQ(Truncate(), Offset{4});
  EXPECT_TRUE(GoOn().ok());
}

TEST_F(ReplicaFollowerTest, AnEpochWithoutRecordsIsForgottenToo) {
  // KAFKA-10706: a cut at the log's end must still take the epoch away, or it is asked for ever.
  Open(
      {.log_end = Offset{6}, .epochs = {{LeaderEpoch{1}, Offset{0}}, {LeaderEpoch{4}, Offset{6}}}});
  Follow(5);
  ASSERT_TRUE(Diverge(3, 9).ok());
  EXPECT_EQ(Truncate(), Offset{6});
  EXPECT_EQ(effects_.attach->last_epoch, LeaderEpoch{1});
}

TEST_F(ReplicaFollowerTest, NeverCutsBelowItsHighWatermark) {
  OpenTenRecords(9);
  Follow(5);
  const absl::Status refused = Diverge(4, 8);
  EXPECT_EQ(ReasonOf(refused), Reason::kCorruptRecord);
  EXPECT_EQ(MetadataOf(refused)["high_watermark"], "9");
  EXPECT_FALSE(effects_.truncate_suffix.has_value());
  EXPECT_FALSE(replica_->attached());
}

TEST_F(ReplicaFollowerTest, AfterAnUncleanElectionItCutsWhatItKnewToBeCommitted) {
  OpenTenRecords(9);
  Follow(7, kLeader, /*unclean_epoch=*/7);
  ASSERT_TRUE(Diverge(4, 8).ok());
  EXPECT_EQ(Truncate(), Offset{8});
  EXPECT_EQ(replica_->high_watermark(), Offset{8});
  ASSERT_TRUE(GoOn(0, 9).ok());
  ASSERT_TRUE(Take(8, 8, 7).ok());
  Write(true);
  EXPECT_EQ(replica_->high_watermark(), Offset{9});
}

TEST_F(ReplicaFollowerTest, AlsoIfItMissedTheUncleanEpochAltogether) {
  OpenTenRecords(9);
  Follow(12, kLeader, /*unclean_epoch=*/7);
  ASSERT_TRUE(Diverge(1, 3).ok());
  EXPECT_EQ(Truncate(), Offset{3});
}

TEST_F(ReplicaFollowerTest, WithARecordOfTheUncleanEpochItsHighWatermarkCountsAgain) {
  Open({.log_end = Offset{10},
        .high_watermark = Offset{9},
        .epochs = {{LeaderEpoch{1}, Offset{0}}, {LeaderEpoch{7}, Offset{6}}}});
  Follow(8, kLeader, /*unclean_epoch=*/7);
  EXPECT_EQ(ReasonOf(Diverge(7, 8)), Reason::kCorruptRecord);
  Follow(9, kLeader, /*unclean_epoch=*/9);
  EXPECT_TRUE(Diverge(7, 8).ok()) << "there has been another one";
}

TEST_F(ReplicaFollowerTest, ALogOfWhichNothingIsLeftBeginsWhereTheLeadersDoes) {
  Open({.log_start = Offset{5},
        .log_end = Offset{10},
        .high_watermark = Offset{9},
        .epochs = {{LeaderEpoch{4}, Offset{5}}}});
  Follow(7, kLeader, /*unclean_epoch=*/7);
  ASSERT_TRUE(Diverge(3, 4, /*log_start=*/2).ok());
  EXPECT_EQ(Truncate(), Offset{2}) << "from 4 on it would lack what the leader has from 2 to 4";
  EXPECT_EQ(replica_->log_start(), Offset{2});
  EXPECT_EQ(replica_->high_watermark(), Offset{2});
  EXPECT_EQ(effects_.attach->last_epoch, LeaderEpoch{-1});
  ASSERT_TRUE(GoOn(2, 4).ok());
  EXPECT_TRUE(Take(2, 3, 3).ok());
}

TEST_F(ReplicaFollowerTest, ALogWithoutARecordThatBeginsBeyondTheLeadersEndGoesBack) {
  Open({.log_start = Offset{10}, .log_end = Offset{10}, .high_watermark = Offset{10}});
  Follow(6);
  EXPECT_EQ(ReasonOf(Diverge(-1, 4)), Reason::kCorruptRecord) << "one of the two has lost records";
  Follow(7, kLeader, /*unclean_epoch=*/7);
  ASSERT_TRUE(Diverge(-1, 4).ok()) << "and here it is known why";
  EXPECT_EQ(Truncate(), Offset{0});
  EXPECT_EQ(effects_.attach->log_end, Offset{0});
}

TEST_F(ReplicaFollowerTest, AsksAgainInEveryEpochAlsoOfTheSameLeader) {
  OpenTenRecords(0);
  Follow(5);
  const uint64_t before = AttachId();
  ASSERT_TRUE(GoOn().ok());
  Follow(6);
  EXPECT_FALSE(replica_->attached()) << "KAFKA-7164";
  EXPECT_EQ(ReasonOf(Step(AttachAnswered{.attach_id = before})), Reason::kEpochFenced);
  EXPECT_EQ(ReasonOf(Step(Replicate{.attach_id = before, .base = Offset{10}, .last = Offset{10}})),
            Reason::kEpochFenced);
  EXPECT_EQ(ReasonOf(Step(LeaderMarks{.attach_id = before})), Reason::kEpochFenced);
}

TEST_F(ReplicaFollowerTest, AChangeOfTheIsrAloneDisturbsNothing) {
  Follow(5);
  ASSERT_TRUE(GoOn().ok());
  ASSERT_TRUE(Step(BecomeFollower{LeaderEpoch{5}, PartitionEpoch{99}, kLeader}).ok());
  EXPECT_TRUE(replica_->attached());
  EXPECT_EQ(replica_->partition_epoch(), PartitionEpoch{99});
}

TEST_F(ReplicaFollowerTest, AGapAnOverlapOrAnImpossibleEpochIsRefused) {
  const auto take = [this](int64_t base, int64_t last, int32_t epoch) {
    OpenTenRecords(0);
    Follow(5);
    EXPECT_TRUE(GoOn().ok());
    return ReasonOf(Take(base, last, epoch));
  };
  EXPECT_EQ(take(11, 11, 5), Reason::kCorruptRecord);
  EXPECT_EQ(take(9, 10, 5), Reason::kCorruptRecord);
  EXPECT_EQ(take(10, 9, 5), Reason::kCorruptRecord);
  EXPECT_EQ(take(10, 10, 6), Reason::kCorruptRecord);
  EXPECT_EQ(take(10, 10, 3), Reason::kCorruptRecord);
  EXPECT_THAT(effects_.placements, IsEmpty());
  EXPECT_FALSE(replica_->attached());
  OpenTenRecords(0);
  Follow(5);
  ASSERT_TRUE(GoOn().ok());
  EXPECT_TRUE(Take(10, 10, 4).ok());
}

TEST_F(ReplicaFollowerTest, BeginsAnewWhereTheLeadersLogBeginsBeyondItsEnd) {
  OpenTenRecords(7);
  Follow(5);
  ASSERT_TRUE(GoOn(100, 120).ok());
  EXPECT_EQ(effects_.log_start, Offset{100});
  EXPECT_EQ(replica_->log_end(), Offset{100});
  ASSERT_TRUE(Take(100, 104, 5).ok());
  Write(true);
  EXPECT_EQ(replica_->high_watermark(), Offset{105});
  EXPECT_EQ(effects_.ack.value().written_end, Offset{105});
  EXPECT_THAT(replica_->epochs().entries(), ElementsAre(EpochEntry{LeaderEpoch{5}, Offset{100}}));
}

// The next leader may know less of the log's start, and says that the epoch of the records that
// this replica has given up ended below where it goes on: nothing parts ways there. Found by seed
// 204 of data_simulation.
TEST_F(ReplicaFollowerTest, HavingBegunAnewItHasNoEpochToBeComparedBy) {
  OpenTenRecords(4);
  Follow(7);
  ASSERT_TRUE(GoOn(/*log_start=*/20, /*high_watermark=*/20).ok());
  Write(/*synced=*/true);
  Follow(8, NodeId{3});
  EXPECT_EQ(effects_.attach->log_end, Offset{20});
  EXPECT_EQ(effects_.attach->last_epoch, LeaderEpoch{-1});
  // Nor after a restart.
  Open({.log_start = Offset{20},
        .log_end = Offset{20},
        .high_watermark = Offset{20},
        .epochs = {{LeaderEpoch{4}, Offset{20}}}});
  Follow(9);
  EXPECT_EQ(effects_.attach->last_epoch, LeaderEpoch{-1});
}

// Stores wrote the epoch down as it was before.
TEST_F(ReplicaFollowerTest, AnEpochStoredFromBelowTheLogStartBeginsThere) {
  Open({.log_start = Offset{20},
        .log_end = Offset{20},
        .high_watermark = Offset{20},
        .epochs = {{LeaderEpoch{3}, Offset{0}}, {LeaderEpoch{4}, Offset{10}}}});
  Follow(9);
  EXPECT_EQ(effects_.attach->last_epoch, LeaderEpoch{-1});
  EXPECT_EQ(replica_->epochs().EndOf(LeaderEpoch{3}, Offset{20})->end, Offset{20})
      << "what the log no longer has parts ways with nothing";
}

TEST_F(ReplicaFollowerTest, WhatItAskedWhileTheFreshStartWasBeingWrittenCountsNoMore) {
  OpenTenRecords(4);
  Follow(7);
  ASSERT_TRUE(GoOn(/*log_start=*/20, /*high_watermark=*/20).ok());
  Follow(8, NodeId{3});
  // Should the write fail, the log is the one before.
  EXPECT_EQ(effects_.attach->log_end, Offset{10});
  EXPECT_EQ(effects_.attach->last_epoch, LeaderEpoch{4});
  const uint64_t before = AttachId();
  Write(/*synced=*/true);
  EXPECT_NE(AttachId(), before);
  EXPECT_EQ(effects_.attach->log_end, Offset{20});
}

TEST_F(ReplicaFollowerTest, MayBeginWithinTheLeadersFirstBatch) {
  OpenTenRecords(7);
  Follow(5);
  ASSERT_TRUE(GoOn(100, 120).ok());
  Write(true);
  ASSERT_TRUE(Take(98, 102, 5).ok());
  EXPECT_EQ(replica_->log_start(), Offset{100});
  EXPECT_EQ(replica_->log_end(), Offset{103});
  EXPECT_EQ(ReasonOf(Take(101, 104, 5)), Reason::kCorruptRecord) << "only the first";
  EXPECT_FALSE(replica_->attached()) << "it asks again, when told to";
}

TEST_F(ReplicaFollowerTest, AFailedWriteTakesEverythingBackAndIsAskedForAgain) {
  OpenTenRecords(7);
  Follow(5);
  ASSERT_TRUE(GoOn(8, 8).ok());
  ASSERT_TRUE(Take(10, 14, 5).ok());
  ASSERT_TRUE(Step(WriteFailed{MakeError(Reason::kDiskFull, "full")}).ok());
  EXPECT_EQ(replica_->log_end(), Offset{10});
  EXPECT_EQ(replica_->log_start(), Offset{0});
  EXPECT_EQ(replica_->epochs().Latest()->epoch, LeaderEpoch{4});
  EXPECT_FALSE(replica_->attached());
  EXPECT_EQ(ReasonOf(Take(15, 15, 5)), Reason::kEpochFenced);
  effects_ = Effects();
  ASSERT_TRUE(Step(Reattach{}).ok());
  EXPECT_EQ(effects_.attach.value().log_end, Offset{10});
}

TEST_F(ReplicaFollowerTest, AFailedFreshStartLeavesTheOldLog) {
  OpenTenRecords(7);
  Follow(5);
  ASSERT_TRUE(GoOn(100, 120).ok());
  ASSERT_TRUE(Step(WriteFailed{MakeError(Reason::kDiskFull, "full")}).ok());
  EXPECT_EQ(replica_->log_end(), Offset{10});
  EXPECT_EQ(replica_->high_watermark(), Offset{10}) << "its records are committed, says the leader";
  EXPECT_EQ(replica_->epochs().Latest()->epoch, LeaderEpoch{4});
}

}  // namespace
}  // namespace falaj::replica
