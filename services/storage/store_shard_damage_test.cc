// Records that are damaged on disk: when a copy is dropped, and when not.
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "services/storage/store_shard_fixture.h"

namespace falaj::storage {
namespace {

class StoreShardDamageTest : public StoreShardTest {
 protected:
  // Partition 0, which node 1 leads in epoch 3, with two records.
  std::shared_ptr<Partition> LeadSome(std::vector<NodeId> isr = {NodeId{1}, NodeId{2}}) {
    auto partition = LeadTwo(std::move(isr));
    EXPECT_TRUE(shard_->Append(Task(partition, 1)).ok());
    Drain();
    EXPECT_EQ(StoredEnd(0), Offset{2});
    return partition;
  }
  void Damage(const std::shared_ptr<Partition>& partition) {
    shard_->Damaged(partition);
    Drain();
  }
  static Assignment EligibleToo() {
    Assignment assignment = Two();
    assignment.elr = {NodeId{1}};
    return assignment;
  }
};

TEST_F(StoreShardDamageTest, ACopyIsDroppedOnceAnotherOneLeadsAndFetchedFromTheBeginning) {
  auto partition = LeadSome();
  Damage(partition);
  ASSERT_EQ(outbox_.damages().size(), 1u);
  EXPECT_EQ(outbox_.damages()[0].epoch, LeaderEpoch{3});
  EXPECT_EQ(outbox_.damages()[0].partition_epoch, PartitionEpoch{partition_epoch_});
  EXPECT_TRUE(partition->state().leads) << "until the cluster says otherwise it goes on";
  EXPECT_EQ(StoredEnd(0), Offset{2});
  auto anew = Follow(0, 4, {NodeId{2}});
  EXPECT_EQ(ReasonOf(answers_->Wait(1).status), Reason::kAppendUncertain);
  EXPECT_EQ(StoredEnd(0), Offset{0});
  ASSERT_NE(anew, partition);
  EXPECT_EQ(anew->state().log_end, Offset{0});
  const auto attach = outbox_.attaches().back();
  EXPECT_EQ(attach.first.leader, NodeId{2});
  EXPECT_EQ(attach.second.epoch, LeaderEpoch{4});
  EXPECT_EQ(attach.second.log_end, Offset{0});
  EXPECT_EQ(attach.second.last_epoch, LeaderEpoch{-1});
  // Who still reads from what was there hears who leads now.
  EXPECT_FALSE(partition->state().gone);
  const absl::Status moved = Partition::CheckServing(partition->state(), LeaderEpoch{3});
  EXPECT_EQ(ReasonOf(moved), Reason::kNotLeader);
  EXPECT_EQ(MetadataOf(moved)["leader"], "2");
  // What it says of the copy that is gone is no news of this one.
  Damage(partition);
  EXPECT_EQ(outbox_.damages().size(), 1u);
}

TEST_F(StoreShardDamageTest, ACopyStaysWhileSomebodyMayCountOnIt) {
  auto partition = LeadSome();
  Damage(partition);
  Follow(0, 4, {NodeId{1}, NodeId{2}});
  EXPECT_EQ(StoredEnd(0), Offset{2}) << "in sync";
  ASSERT_EQ(outbox_.damages().size(), 2u) << "the report was of an epoch that is over";
  EXPECT_EQ(outbox_.damages()[1].epoch, LeaderEpoch{4});
  Follow(0, 5, {NodeId{2}}, EligibleToo());
  EXPECT_EQ(StoredEnd(0), Offset{2}) << "eligible";
  Follow(0, 6, {});
  EXPECT_EQ(StoredEnd(0), Offset{2}) << "nobody leads";
  Follow(0, 7, {NodeId{2}});
  EXPECT_EQ(StoredEnd(0), Offset{0});
}

TEST_F(StoreShardDamageTest, ACopyStaysInTheEpochInWhichItMayHaveAcknowledged) {
  LeadSome();
  auto partition = Follow(0, 4, {NodeId{2}});
  Damage(partition);
  Follow(0, 4, {NodeId{2}});
  EXPECT_EQ(StoredEnd(0), Offset{2}) << "its leader may be about to let it in";
  Follow(0, 5, {NodeId{2}});
  EXPECT_EQ(StoredEnd(0), Offset{0});
}

TEST_F(StoreShardDamageTest, TheReportIsRepeatedUntilItIsHeard) {
  auto partition = LeadSome({NodeId{1}});
  Damage(partition);
  Damage(partition);
  shard_->RetryAssignments();
  Drain();
  EXPECT_EQ(outbox_.damages().size(), 1u);
  clock_.Advance(absl::Seconds(10));
  shard_->RetryAssignments();
  Drain();
  EXPECT_EQ(outbox_.damages().size(), 2u);
  EXPECT_TRUE(partition->state().serving) << "it is the best there is";
  EXPECT_TRUE(answers_->Wait(1).status.ok());
}

TEST_F(StoreShardDamageTest, WhatNobodyElseHasIsNotReported) {
  auto partition = Lead(0);
  Damage(partition);
  EXPECT_THAT(outbox_.damages(), testing::IsEmpty());
}

TEST_F(StoreShardDamageTest, AnswersToTheCopyThatIsGoneDoNotReachTheNewOne) {
  LeadSome();
  auto partition = Follow(0, 4, {NodeId{2}});
  const uint64_t before = outbox_.attaches().back().second.attach_id;
  Damage(partition);
  auto anew = Follow(0, 5, {NodeId{2}});
  EXPECT_GT(outbox_.attaches().back().second.attach_id, before);
  shard_->AttachAnswered(Key(0), {.attach_id = before,
                                  .diverging = std::nullopt,
                                  .log_start = Offset{0},
                                  .high_watermark = Offset{2}});
  shard_->Replicate(FromLeader(0, before, Offset{0}));
  Drain();
  EXPECT_EQ(anew->state().log_end, Offset{0});
}

TEST_F(StoreShardDamageTest, ADiskThatCannotDropTheCopyIsAskedAgain) {
  auto partition = LeadSome();
  Damage(partition);
  store_.SetDropResult(MakeError(Reason::kDiskFull, "no space"));
  Follow(0, 4, {NodeId{2}});
  EXPECT_FALSE(partition->state().serving);
  EXPECT_EQ(StoredEnd(0), Offset{2});
  EXPECT_THAT(outbox_.attaches(), testing::IsEmpty()) << "not with that log";
  store_.SetDropResult(absl::OkStatus());
  shard_->RetryAssignments();
  Drain();
  EXPECT_EQ(StoredEnd(0), Offset{0});
  EXPECT_EQ(outbox_.attaches().size(), 1u);
}

}  // namespace
}  // namespace falaj::storage
