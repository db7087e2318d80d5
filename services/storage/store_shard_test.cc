#include "services/storage/store_shard.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "services/storage/byte_budget.h"
#include "services/storage/store_shard_fixture.h"

namespace falaj::storage {
namespace {

TEST_F(StoreShardTest, EverythingThatQueuesDuringAWriteSharesTheNextOne) {
  auto first = Lead(0);
  auto second = Lead(1);
  const size_t before = store_.rounds().size();
  store_.Hold();
  ASSERT_TRUE(shard_->Append(Task(first, 1)).ok());
  store_.WaitUntilInside();
  for (uint64_t id = 2; id <= 50; ++id) {
    ASSERT_TRUE(shard_->Append(Task(id % 2 == 0 ? first : second, id)).ok());
  }
  EXPECT_FALSE(answers_->Has(1)) << "nothing is answered before it is written";
  store_.Release();
  for (uint64_t id = 1; id <= 50; ++id) EXPECT_TRUE(answers_->Wait(id).status.ok());
  const auto rounds = store_.rounds();
  ASSERT_EQ(rounds.size(), before + 2);
  EXPECT_EQ(rounds.back().round.batches.size(), 49u);
  EXPECT_TRUE(rounds.back().sync);
}

TEST_F(StoreShardTest, SyncsOnlyIfATopicOfTheRoundAsksForIt) {
  auto relaxed = Lead(0, false);
  auto strict = Lead(1, true);
  ASSERT_TRUE(shard_->Append(Task(relaxed, 1)).ok());
  EXPECT_FALSE(answers_->Wait(1).outcome.durable);
  EXPECT_FALSE(store_.rounds().back().sync);
  ASSERT_TRUE(shard_->Append(Task(strict, 2)).ok());
  EXPECT_TRUE(answers_->Wait(2).outcome.durable);
  EXPECT_TRUE(store_.rounds().back().sync);
}

TEST_F(StoreShardTest, StartsOfEpochsAreWrittenInARoundOfTheirOwn) {
  auto partition = Lead(0);
  const auto rounds = store_.rounds();
  ASSERT_EQ(rounds.size(), 1u);
  EXPECT_EQ(rounds[0].round.epochs.size(), 1u);
  EXPECT_TRUE(rounds[0].round.batches.empty());
  EXPECT_TRUE(rounds[0].sync);
  EXPECT_TRUE(partition->state().serving);
  auto relaxed = Lead(1, /*fsync=*/false);
  EXPECT_EQ(store_.rounds().back().round.epochs.size(), 1u);
  EXPECT_FALSE(store_.rounds().back().sync) << "as durable as its records are";
  EXPECT_TRUE(relaxed->state().serving);
}

TEST_F(StoreShardTest, CommittedBatchesAreInTheTailCacheAndWakeWaiters) {
  auto partition = Lead(0);
  auto waiter = std::make_shared<CountingWaiter>();
  auto later = std::make_shared<CountingWaiter>();
  ASSERT_TRUE(partition->Await(LeaderEpoch{3}, Offset{0}, waiter));
  ASSERT_TRUE(partition->Await(LeaderEpoch{3}, Offset{2}, later));
  ASSERT_TRUE(shard_->Append(Task(partition, 1, 2)).ok());
  answers_->Wait(1);
  EXPECT_EQ(waiter->woken, 1);
  EXPECT_EQ(later->woken, 0) << "waits for an offset that is not there yet";
  EXPECT_FALSE(partition->Await(LeaderEpoch{3}, Offset{1}, waiter)) << "there already";
  const auto cached = tail_cache_.Lookup(partition->tail_key(), Offset{0}, Offset{2}, 1000);
  ASSERT_TRUE(cached.has_value());
  EXPECT_EQ(cached->next_offset, Offset{2});
  shard_->DropTopic(Key(0).topic);
  Drain();
  EXPECT_EQ(later->woken, 1) << "a deleted partition lets everybody go";
}

TEST_F(StoreShardTest, FullDiskRefusesTheRoundAndTheNextOneTriesAgain) {
  auto partition = Lead(0);
  store_.SetResult(MakeError(Reason::kDiskFull, "no space"));
  ASSERT_TRUE(shard_->Append(Task(partition, 1)).ok());
  const AppendAnswer refused = answers_->Wait(1);
  EXPECT_EQ(ReasonOf(refused.status), Reason::kDiskFull);
  EXPECT_EQ(MetadataOf(refused.status)["node"], "1");
  EXPECT_EQ(partition->state().log_end, Offset{0});
  EXPECT_FALSE(shard_->failed());
  store_.SetResult(absl::OkStatus());
  ASSERT_TRUE(shard_->Append(Task(partition, 2)).ok());
  EXPECT_EQ(answers_->Wait(2).outcome.base, Offset{0});
}

TEST_F(StoreShardTest, FailedDiskRefusesEverythingAfterAndReadsGoOn) {
  auto partition = Lead(0);
  ASSERT_TRUE(shard_->Append(Task(partition, 1)).ok());
  answers_->Wait(1);
  store_.SetResult(MakeError(Reason::kStorageFailed, "I/O error"));
  ASSERT_TRUE(shard_->Append(Task(partition, 2)).ok());
  EXPECT_EQ(ReasonOf(answers_->Wait(2).status), Reason::kStorageFailed);
  store_.SetResult(absl::OkStatus());
  ASSERT_TRUE(shard_->Append(Task(partition, 3)).ok());
  EXPECT_EQ(ReasonOf(answers_->Wait(3).status), Reason::kStorageFailed);
  EXPECT_TRUE(shard_->failed());
  EXPECT_TRUE(partition->state().serving);
  EXPECT_EQ(partition->state().high_watermark, Offset{1});
}

TEST_F(StoreShardTest, PartitionThatCannotBeOpenedIsTriedAgain) {
  store_.SetResult(MakeError(Reason::kDiskFull, "no space"));
  EXPECT_EQ(Lead(0), nullptr);
  store_.SetResult(absl::OkStatus());
  shard_->RetryAssignments();
  Drain();
  ASSERT_NE(shard_->Find(Key(0)), nullptr);
  EXPECT_TRUE(shard_->Find(Key(0))->state().serving);
}

TEST_F(StoreShardTest, BatchQueuedBeyondItsTimeoutIsDroppedAndSaysThatNothingWasAppended) {
  auto partition = Lead(0);
  store_.Hold();
  ASSERT_TRUE(shard_->Append(Task(partition, 1)).ok());
  store_.WaitUntilInside();
  AppendTask late = Task(partition, 2);
  late.deadline = clock_.MonotonicNow() + absl::Milliseconds(10);
  ASSERT_TRUE(shard_->Append(std::move(late)).ok());
  clock_.Advance(absl::Milliseconds(10));
  store_.Release();
  const absl::Status dropped = answers_->Wait(2).status;
  EXPECT_EQ(ReasonOf(dropped), Reason::kTimedOut);
  EXPECT_EQ(MetadataOf(dropped)["appended"], "false");
  EXPECT_EQ(partition->state().log_end, Offset{1});
}

TEST_F(StoreShardTest, BatchesOfAStreamThatHasEndedAreDropped) {
  auto partition = Lead(0);
  answers_->Abandon();
  ASSERT_TRUE(shard_->Append(Task(partition, 1)).ok());
  EXPECT_EQ(ReasonOf(answers_->Wait(1).status), Reason::kCancelled);
  EXPECT_EQ(partition->state().log_end, Offset{0});
}

TEST_F(StoreShardTest, FullMailboxRefuses) {
  auto partition = Lead(0);
  store_.Hold();
  ASSERT_TRUE(shard_->Append(Task(partition, 1)).ok());
  store_.WaitUntilInside();
  absl::Status status;
  uint64_t id = 2;
  while (status.ok() && id < 100'000) status = shard_->Append(Task(partition, id++, 1000));
  EXPECT_EQ(ReasonOf(status), Reason::kQuotaExceeded);
  EXPECT_TRUE(RetryAfterOf(status).has_value());
  store_.Release();
  EXPECT_TRUE(answers_->Wait(1).status.ok());
}

TEST_F(StoreShardTest, StopAnswersWhatIsQueuedRefusesTheRestAndCheckpoints) {
  auto partition = Lead(0);
  for (uint64_t id = 1; id <= 20; ++id) ASSERT_TRUE(shard_->Append(Task(partition, id)).ok());
  shard_->Stop();
  for (uint64_t id = 1; id <= 20; ++id) EXPECT_TRUE(answers_->Wait(id).status.ok());
  EXPECT_EQ(ReasonOf(shard_->Append(Task(partition, 21))), Reason::kShuttingDown);
  std::optional<absl::Status> truncated;
  shard_->TruncatePrefix(partition, LeaderEpoch{3}, Offset{1},
                         [&](absl::StatusOr<Offset> start) { truncated = start.status(); });
  ASSERT_TRUE(truncated.has_value()) << "a call must not hang on a stopped shard";
  EXPECT_EQ(ReasonOf(*truncated), Reason::kShuttingDown);
  ASSERT_EQ(store_.ListPartitions().size(), 1u);
  EXPECT_EQ(store_.ListPartitions()[0].high_watermark, Offset{20});
  Reopen();
  EXPECT_EQ(Lead(0)->state().high_watermark, Offset{20});
}

TEST_F(StoreShardTest, ARepeatedBatchIsAnsweredWithTheFirstOneAndNotWrittenAgain) {
  auto partition = Lead(0);
  store_.Hold();
  ASSERT_TRUE(shard_->Append(Numbered(partition, 1, 0, 3)).ok());
  store_.WaitUntilInside();
  ASSERT_TRUE(shard_->Append(Numbered(partition, 2, 3, 2)).ok());
  clock_.Advance(absl::Seconds(5));
  ASSERT_TRUE(shard_->Append(Numbered(partition, 11, 0, 3)).ok());
  ASSERT_TRUE(shard_->Append(Numbered(partition, 12, 3, 2)).ok());
  store_.Release();
  const AppendAnswer first = answers_->Wait(1);
  const AppendAnswer again = answers_->Wait(11);
  ASSERT_TRUE(again.status.ok()) << again.status;
  EXPECT_TRUE(again.outcome.duplicate);
  EXPECT_EQ(again.outcome.base, first.outcome.base);
  EXPECT_EQ(again.append_time_ms, first.append_time_ms);
  EXPECT_EQ(answers_->Wait(12).outcome.base, answers_->Wait(2).outcome.base);
  EXPECT_EQ(partition->state().log_end, Offset{5});
  // One row for the partition's producer in each round that holds batches of it.
  EXPECT_EQ(store_.rounds().back().round.producers.size(), 1u);
}

TEST_F(StoreShardTest, ProducersAreKnownAgainAfterARestart) {
  auto partition = Lead(0);
  ASSERT_TRUE(shard_->Append(Numbered(partition, 1, 0, 3)).ok());
  answers_->Wait(1);
  Reopen();
  partition = Lead(0);
  ASSERT_TRUE(shard_->Append(Numbered(partition, 2, 0, 3)).ok());
  EXPECT_TRUE(answers_->Wait(2).outcome.duplicate);
  ASSERT_TRUE(shard_->Append(Numbered(partition, 3, 9, 1)).ok());
  const absl::Status gap = answers_->Wait(3).status;
  EXPECT_EQ(ReasonOf(gap), Reason::kOutOfOrderSequence);
  EXPECT_EQ(MetadataOf(gap)["expected_sequence"], "3");
}

TEST_F(StoreShardTest, AFailedWriteLeavesNothingOfAProducer) {
  auto partition = Lead(0);
  store_.SetResult(MakeError(Reason::kDiskFull, "no room"));
  ASSERT_TRUE(shard_->Append(Numbered(partition, 1, 0, 3)).ok());
  EXPECT_EQ(ReasonOf(answers_->Wait(1).status), Reason::kDiskFull);
  store_.SetResult(absl::OkStatus());
  ASSERT_TRUE(shard_->Append(Numbered(partition, 2, 0, 3)).ok());
  EXPECT_TRUE(answers_->Wait(2).status.ok());
  EXPECT_FALSE(answers_->Wait(2).outcome.duplicate);
}

TEST_F(StoreShardTest, TheRowsOfSilentProducersGoThoughNobodyWrites) {
  auto partition = Lead(0);
  ASSERT_TRUE(shard_->Append(Numbered(partition, 1, 0, 3)).ok());
  answers_->Wait(1);
  EXPECT_EQ(store_.LoadProducers(partition->id())->size(), 1u);
  shard_->ExpireProducers();
  Drain();
  EXPECT_EQ(store_.LoadProducers(partition->id())->size(), 1u);
  clock_.Advance(replica::kProducerExpiry + absl::Seconds(1));
  shard_->ExpireProducers();
  Drain();
  EXPECT_EQ(store_.LoadProducers(partition->id())->size(), 0u);
}

TEST_F(StoreShardTest, RecordsAreDeletedOnceEveryInSyncReplicaHasDeletedThem) {
  const LeaderEpoch epoch{3};
  const replica::IsrMember two{NodeId{2}, NodeEpoch{7}};
  auto partition = LeadTwo({NodeId{1}, NodeId{2}});
  ASSERT_TRUE(shard_->Append(Task(partition, 1, 9)).ok());
  shard_->AttachFollower(partition, {.from = two, .epoch = epoch, .last_epoch = LeaderEpoch{-1}},
                         [](const auto& answer) { EXPECT_TRUE(answer.ok()); });
  const auto acknowledge = [&](int64_t log_start) {
    shard_->TakeProgress({{partition,
                           {.from = two,
                            .epoch = epoch,
                            .written_end = Offset{10},
                            .flushed_end = Offset{10},
                            .log_start = Offset{log_start}}}});
    Drain();
  };
  acknowledge(0);
  EXPECT_TRUE(answers_->Wait(1).status.ok());
  std::vector<absl::StatusOr<Offset>> told;
  const auto truncate = [&](int64_t before) {
    shard_->TruncatePrefix(partition, epoch, Offset{before},
                           [&](absl::StatusOr<Offset> start) { told.push_back(std::move(start)); });
    Drain();
  };
  truncate(4);
  EXPECT_EQ(partition->state().log_start, Offset{4});
  EXPECT_TRUE(told.empty()) << "node 2 may lead next, and would bring them back";
  acknowledge(4);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].value(), Offset{4});
  truncate(5);
  clock_.Advance(absl::Seconds(30));
  shard_->ExpireHeld();
  Drain();
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(ReasonOf(told[1].status()), Reason::kTimedOut);
  truncate(6);
  LeadTwo();
  ASSERT_EQ(told.size(), 3u) << "node 2 is no longer in sync";
  EXPECT_TRUE(told[2].ok());
  LeadTwo({NodeId{1}, NodeId{2}});
  truncate(7);
  ASSERT_EQ(told.size(), 3u);
  shard_->Stop();
  ASSERT_EQ(told.size(), 4u) << "nobody waits on a shard that has stopped";
  EXPECT_EQ(ReasonOf(told[3].status()), Reason::kShuttingDown);
}

TEST_F(StoreShardTest, RetentionNeverPassesTheHighWatermark) {
  auto partition = Lead(0);
  ASSERT_TRUE(shard_->Append(Task(partition, 1, 10)).ok());
  answers_->Wait(1);
  shard_->Retain(partition, Offset{99});
  Drain();
  EXPECT_EQ(partition->state().log_start, Offset{10});
  EXPECT_EQ(store_.ListPartitions()[0].log_start, Offset{10});
}

TEST_F(StoreShardTest, OnlyPartitionsThatAreNotAssignedAreDropped) {
  Lead(0);
  Lead(1);
  shard_->DropExcept({Key(0), Key(1)}, 0);
  Drain();
  EXPECT_EQ(store_.ListPartitions().size(), 2u);
  shard_->DropExcept({Key(1)}, 0);
  Drain();
  ASSERT_EQ(store_.ListPartitions().size(), 1u);
  EXPECT_EQ(store_.ListPartitions()[0].key, Key(1));
  EXPECT_EQ(shard_->Find(Key(0)), nullptr);
  EXPECT_NE(shard_->Find(Key(1)), nullptr);
}

class StoreShardRecoveryTest : public StoreShardTest {
 protected:
  StoreShardRecoveryTest()
      : directory_(testing::TempDir() + "/store-shard-" +
                   testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
    LoadHistory();
  }
  void LoadHistory() {
    shard_.reset();
    history_ = KnownHistory::Open(directory_).value();
    Reopen();
  }

  const std::string directory_;
};

TEST_F(StoreShardRecoveryTest, WhatARecoveredQuorumDoesNotKnowIsKeptAndNotServed) {
  Lead(0);
  Lead(1);
  shard_->DropExcept({Key(1)}, /*recoveries=*/1);
  Drain();
  EXPECT_EQ(store_.ListPartitions().size(), 2u);
  EXPECT_EQ(shard_->Find(Key(0)), nullptr);
  EXPECT_NE(shard_->Find(Key(1)), nullptr);
  EXPECT_TRUE(history_->IsQuarantined(Key(0)));
  EXPECT_FALSE(history_->IsQuarantined(Key(1)));
  // Neither the next view, nor a restart, nor one of the same name that comes back, touches it.
  shard_->DropExcept({Key(1)}, 1);
  Drain();
  LoadHistory();
  shard_->DropExcept({Key(1)}, 1);
  EXPECT_EQ(Lead(0), nullptr);
  EXPECT_EQ(store_.ListPartitions().size(), 2u);
}

TEST_F(StoreShardRecoveryTest, WhatIsReleasedIsDroppedAsAnyOther) {
  Lead(0);
  shard_->DropExcept({}, 1);
  Drain();
  ASSERT_TRUE(history_->Release().ok());
  shard_->DropExcept({}, 1);
  Drain();
  EXPECT_TRUE(store_.ListPartitions().empty());
}

TEST_F(StoreShardRecoveryTest, WhoSaysWhatItHoldsAcknowledgesNothingBeyondThat) {
  auto partition = Lead(0);
  ASSERT_TRUE(shard_->Append(Task(partition, 1, 10)).ok());
  answers_->Wait(1);
  std::vector<log::StoredPartition> told;
  shard_->TellStored(1, [&](std::vector<log::StoredPartition> all) { told = std::move(all); });
  Drain();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].log_end, Offset{10});
  EXPECT_EQ(told[0].epochs.back().epoch, LeaderEpoch{3});
  EXPECT_FALSE(partition->state().serving);
  ASSERT_TRUE(shard_->Append(Task(partition, 2, 1)).ok());
  EXPECT_FALSE(answers_->Wait(2).status.ok());
}

TEST_F(StoreShardRecoveryTest, WhoHasSaidWhatItHoldsLeadsAgainInTheEpochsOfNow) {
  auto partition = Lead(0);
  ASSERT_TRUE(shard_->Append(Task(partition, 1, 10)).ok());
  answers_->Wait(1);
  shard_->TellStored(1, [](const auto&) {});
  Assignment next;
  next.key = Key(0);
  next.topic = "t";
  next.leader = NodeId{1};
  next.epoch = LeaderEpoch{(1 << 20) + 3};
  next.partition_epoch = PartitionEpoch{(1 << 20) + 3};
  next.isr = {NodeId{1}};
  shard_->Assign(next);
  shard_->DropExcept({Key(0)}, 1);
  Drain();
  AppendTask task = Task(partition, 2, 1);
  task.epoch = next.epoch;
  ASSERT_TRUE(shard_->Append(std::move(task)).ok());
  const AppendAnswer answer = answers_->Wait(2);
  EXPECT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.outcome.base, Offset{10});
  EXPECT_EQ(history_->quarantined_count(), 0u);
}

TEST_F(StoreShardRecoveryTest, AQuorumThatWasGivenUpDeletesNothing) {
  ASSERT_TRUE(history_->Adopt(2, {}).ok());
  Lead(0);
  shard_->DropExcept({}, 1);
  Drain();
  EXPECT_EQ(store_.ListPartitions().size(), 1u);
  EXPECT_EQ(history_->quarantined_count(), 0u);
}

TEST_F(StoreShardRecoveryTest, NothingIsDroppedIfTheQuarantineCannotBeWritten) {
  const std::string in_the_way = directory_ + "/history.new";
  std::filesystem::create_directories(in_the_way);
  Lead(0);
  shard_->DropExcept({}, 1);
  Drain();
  EXPECT_EQ(history_->recoveries(), 0u);
  EXPECT_EQ(store_.ListPartitions().size(), 1u);
  std::filesystem::remove(in_the_way);
  shard_->DropExcept({}, 1);
  Drain();
  EXPECT_EQ(store_.ListPartitions().size(), 1u);
  EXPECT_TRUE(history_->IsQuarantined(Key(0)));
}

TEST_F(StoreShardRecoveryTest, WhoIsAskedAgainInTheSameHistoryGoesOn) {
  ASSERT_TRUE(history_->Adopt(1, {}).ok());
  auto partition = Lead(0);
  shard_->TellStored(1, [](const auto&) {});
  ASSERT_TRUE(shard_->Append(Task(partition, 1, 1)).ok());
  EXPECT_TRUE(answers_->Wait(1).status.ok());
}

TEST_F(StoreShardTest, APartitionThatWasTakenAwayComesBackEmpty) {
  auto partition = Lead(0);
  ASSERT_TRUE(shard_->Append(Task(partition, 1, 10)).ok());
  answers_->Wait(1);
  shard_->Unassign(Key(0));
  Drain();
  EXPECT_EQ(store_.ListPartitions().size(), 0u);
  EXPECT_TRUE(partition->state().gone);
  EXPECT_EQ(Lead(0)->state().log_end, Offset{0});
}

TEST(ByteBudgetTest, TellsWhoWaitsWhenThereIsRoom) {
  ByteBudget budget(100);
  budget.Take(150);
  EXPECT_TRUE(budget.over_limit());
  int told = 0;
  EXPECT_TRUE(budget.WaitForRoom([&] { ++told; }));
  budget.Give(40);
  EXPECT_EQ(told, 0);
  budget.Give(40);
  EXPECT_EQ(told, 1);
  budget.Give(70);
  EXPECT_EQ(told, 1);
  EXPECT_FALSE(budget.WaitForRoom([&] { ++told; }));
  EXPECT_TRUE(budget.TryTake(500)) << "the first always fits";
  EXPECT_FALSE(budget.TryTake(1));
}

}  // namespace
}  // namespace falaj::storage
