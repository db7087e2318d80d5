// A store shard whose partitions have replicas elsewhere.
#include <memory>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "services/storage/store_shard_fixture.h"

namespace falaj::storage {
namespace {

class StoreShardReplicaTest : public StoreShardTest {};

// Remembers how far a partition was written and committed whenever that was published.
class Followed final : public Partition::Listener {
 public:
  explicit Followed(Partition* partition) : partition_(partition) {}
  void OnPublished() override {
    const PartitionState state = partition_->state();
    seen.emplace_back(state.written_end.value(), state.high_watermark.value());
  }
  std::vector<std::pair<int64_t, int64_t>> seen;  // By who works the shard off.

 private:
  Partition* const partition_;
};

TEST_F(StoreShardReplicaTest, FollowersSeeARoundBeforeItIsSyncedAndItIsCommittedAfterwards) {
  auto partition = LeadTwo();
  const auto followed = std::make_shared<Followed>(partition.get());
  partition->Listen(followed);
  ASSERT_TRUE(shard_->Append(Task(partition, 1)).ok());
  EXPECT_EQ(answers_->Wait(1).outcome.base, Offset{1}) << "after the start of the epoch";
  EXPECT_TRUE(answers_->Wait(1).outcome.durable);
  Drain();
  partition->StopListening(followed.get());
  EXPECT_THAT(followed->seen, testing::ElementsAre(testing::Pair(2, 1), testing::Pair(2, 2)));
}

TEST_F(StoreShardReplicaTest, WhatFollowersHaveSeenIsNotTakenBackWhenItsSyncFails) {
  auto partition = LeadTwo();
  store_.SetSyncResult(MakeError(Reason::kStorageFailed, "I/O error"));
  ASSERT_TRUE(shard_->Append(Task(partition, 1)).ok());
  EXPECT_EQ(ReasonOf(answers_->Wait(1).status), Reason::kAppendUncertain);
  Drain();
  EXPECT_TRUE(shard_->failed());
  EXPECT_FALSE(partition->state().leads);
  EXPECT_EQ(partition->state().high_watermark, Offset{1});
}

TEST_F(StoreShardReplicaTest, AShardWhoseDiskHasFailedLeadsNoMoreAndJudgesNobody) {
  auto partition = LeadTwo({NodeId{1}, NodeId{2}});
  auto kept = Lead(1, true, Two(), {NodeId{1}, NodeId{2}});
  store_.SetSyncResult(MakeError(Reason::kStorageFailed, "I/O error"));
  ASSERT_TRUE(shard_->Append(Task(partition, 1)).ok());
  EXPECT_EQ(ReasonOf(answers_->Wait(1).status), Reason::kAppendUncertain);
  ASSERT_TRUE(shard_->failed());
  shard_->RetryAssignments();
  Drain();
  EXPECT_FALSE(partition->state().leads) << "in the epoch it led, with followers it knows not of";
  LeadTwo({NodeId{1}, NodeId{2}});
  EXPECT_FALSE(partition->state().leads) << "the cluster does not know yet";
  clock_.Advance(absl::Seconds(60));
  shard_->CheckIsrs();
  Drain();
  EXPECT_TRUE(kept->state().leads);
  EXPECT_THAT(outbox_.proposals(), testing::IsEmpty()) << "it would put out everybody else";
}

TEST_F(StoreShardReplicaTest, ASyncThatFindsNoRoomIsMadeUpForAndTheLeadStays) {
  auto partition = LeadTwo();
  store_.SetSyncResult(MakeError(Reason::kDiskFull, "no space"));
  ASSERT_TRUE(shard_->Append(Task(partition, 1)).ok());
  Drain();
  EXPECT_FALSE(shard_->failed());
  EXPECT_FALSE(answers_->Has(1)) << "it is in the log, and may be lost";
  EXPECT_TRUE(partition->state().leads) << "who copies from it goes on";
  EXPECT_EQ(partition->state().written_end, Offset{2});
  EXPECT_EQ(partition->state().high_watermark, Offset{1});
  store_.SetSyncResult(absl::OkStatus());
  shard_->RetryAssignments();
  EXPECT_TRUE(answers_->Wait(1).outcome.durable);
  EXPECT_EQ(partition->state().high_watermark, Offset{2});
}

TEST_F(StoreShardReplicaTest, AFollowerKeepsWhatWasWrittenWithoutBeingSynced) {
  auto partition = LeadTwo();
  auto followed = Follow(1);
  const uint64_t attach_id = Attach(1);
  store_.SetSyncResult(MakeError(Reason::kDiskFull, "no space"));
  store_.Hold();
  ASSERT_TRUE(shard_->Append(Task(partition, 1)).ok());
  store_.WaitUntilInside();
  ASSERT_TRUE(shard_->Append(Task(partition, 2)).ok());
  shard_->Replicate(FromLeader(1, attach_id, Offset{0}));
  store_.Release();
  Drain();
  EXPECT_EQ(followed->state().log_end, Offset{1}) << "the store has it";
  EXPECT_EQ(followed->state().log_end, StoredEnd(1));
  ASSERT_FALSE(outbox_.acks().empty());
  EXPECT_EQ(outbox_.acks().back().written_end, Offset{1});
  EXPECT_EQ(outbox_.acks().back().flushed_end, Offset{0});
  store_.SetSyncResult(absl::OkStatus());
  shard_->RetryAssignments();
  Drain();
  EXPECT_EQ(outbox_.acks().back().flushed_end, Offset{1});
}

TEST_F(StoreShardReplicaTest, WhoHasAskedIsNotAskedForAgainWhileTheAnswerMayBeUnderWay) {
  Follow(0);
  ASSERT_EQ(outbox_.attaches().size(), 1u);
  clock_.Advance(absl::Seconds(2));
  shard_->ReattachDetached();
  Drain();
  EXPECT_EQ(outbox_.attaches().size(), 1u) << "the answer to the first would count no more";
  clock_.Advance(absl::Seconds(20));
  shard_->ReattachDetached();
  Drain();
  EXPECT_EQ(outbox_.attaches().size(), 2u) << "it may have been lost";
}

TEST_F(StoreShardReplicaTest, AFollowerAsksAgainWhenItsLeaderSaysSoThoughItBelievesToBeAttached) {
  Follow(0);
  ASSERT_EQ(outbox_.attaches().size(), 1u);
  Attach(0);
  shard_->ReattachDetached();
  Drain();
  EXPECT_EQ(outbox_.attaches().size(), 1u) << "it is attached";
  shard_->Reattach(Key(0), {.leader = NodeId{3}});
  Drain();
  EXPECT_EQ(outbox_.attaches().size(), 1u) << "another node leads";
  shard_->Reattach(Key(0), {.leader = NodeId{2}});
  Drain();
  ASSERT_EQ(outbox_.attaches().size(), 2u);
  EXPECT_EQ(outbox_.attaches()[1].first, Source{.leader = NodeId{2}});
}

TEST_F(StoreShardReplicaTest, AFollowerAttachesOnTheLaneItsLeaderNames) {
  Follow(0);
  const Source old{.leader = NodeId{2}, .lane = Lane::kCatchUp};
  shard_->MoveTo(Key(0), {.leader = NodeId{3}, .lane = Lane::kCatchUp});
  Drain();
  EXPECT_EQ(outbox_.attaches().size(), 1u) << "another node leads";
  shard_->MoveTo(Key(0), old);
  Drain();
  ASSERT_EQ(outbox_.attaches().size(), 2u);
  EXPECT_EQ(outbox_.attaches()[1].first, old);
  shard_->Reattach(Key(0), {.leader = NodeId{2}, .lane = Lane::kLive});
  Drain();
  EXPECT_EQ(outbox_.attaches().size(), 2u) << "it has left that stream";
  shard_->Reattach(Key(0), old);
  Drain();
  ASSERT_EQ(outbox_.attaches().size(), 3u);
  EXPECT_EQ(outbox_.attaches()[2].first, old) << "until the leader says otherwise";
}

TEST_F(StoreShardReplicaTest, OldBatchesComeInSmallPortionsBehindWhatIsLive) {
  auto led = Lead(1);
  Follow(0);
  const uint64_t attach_id = Attach(0);
  const size_t before = store_.rounds().size();
  store_.Hold();
  shard_->Append(Task(led, 1)).IgnoreError();  // Held in its round; what follows waits together.
  store_.WaitUntilInside();
  for (int64_t base = 0; base < 5; ++base) {
    ReplicateTask task = FromLeader(0, attach_id, Offset{base});
    task.source.lane = Lane::kCatchUp;
    task.bytes = 200 << 10;
    shard_->Replicate(std::move(task));
  }
  shard_->Append(Task(led, 2)).IgnoreError();
  store_.Release();
  answers_->Wait(2);
  Drain();
  Drain();
  Drain();
  std::vector<size_t> batches;
  for (const auto& round : store_.rounds()) batches.push_back(round.round.batches.size());
  batches.erase(batches.begin(), batches.begin() + static_cast<std::ptrdiff_t>(before));
  EXPECT_THAT(batches, testing::ElementsAre(1, 3, 2, 1))
      << "an append; an append and two old ones; two; the last";
  EXPECT_EQ(StoredEnd(0), Offset{5});
}

TEST_F(StoreShardReplicaTest, ItKnowsWhenAllItsFollowersAreAttached) {
  EXPECT_TRUE(shard_->WaitUntilAttached(absl::Seconds(20))) << "there is none";
  Follow(0);
  EXPECT_FALSE(shard_->WaitUntilAttached(absl::ZeroDuration()));
  Attach(0);
  EXPECT_TRUE(shard_->WaitUntilAttached(absl::Seconds(20)));
}

TEST_F(StoreShardReplicaTest, WhoWaitsForReplicasLongerThanItsTimeoutIsToldSo) {
  auto partition = LeadTwo({NodeId{1}, NodeId{2}});
  // The start of the epoch waits for node 2, and so does everything after it.
  AppendTask task = Task(partition, 1);
  task.deadline = clock_.MonotonicNow() + absl::Seconds(1);
  ASSERT_TRUE(shard_->Append(std::move(task)).ok());
  Drain();
  shard_->ExpireHeld();
  EXPECT_FALSE(shard_->WaitUntilAnswered(absl::ZeroDuration()));
  EXPECT_FALSE(answers_->Has(1));
  EXPECT_EQ(partition->state().waiting, 1u);
  clock_.Advance(absl::Seconds(1));
  shard_->ExpireHeld();
  EXPECT_EQ(ReasonOf(answers_->Wait(1).status), Reason::kTimedOut);
  EXPECT_EQ(MetadataOf(answers_->Wait(1).status)["appended"], "unknown");
  EXPECT_TRUE(shard_->WaitUntilAnswered(absl::Seconds(20)));
  Drain();
  EXPECT_EQ(partition->state().waiting, 0u) << "kept, they would pile up while node 2 is away";
}

TEST_F(StoreShardReplicaTest, ALeaderAloneThatCannotCommitItsStartIsReadableAndRefusesAcksAll) {
  Assignment assignment;
  assignment.replicas = {NodeId{1}, NodeId{2}};
  assignment.settings.min_in_sync_replicas = 2;
  auto partition = Lead(0, true, assignment, {NodeId{1}});
  const LeaderEpoch epoch{3};
  const auto append = [&](replica::Acks acks) {
    return Partition::CheckAppend(partition->state(), epoch, acks);
  };
  EXPECT_TRUE(Partition::CheckReadable(partition->state(), epoch).ok());
  EXPECT_EQ(ReasonOf(Partition::CheckReadable(partition->state(), LeaderEpoch{2})),
            Reason::kNotLeader);
  EXPECT_EQ(ReasonOf(Partition::CheckServing(partition->state(), epoch)), Reason::kNotLeader);
  EXPECT_EQ(ReasonOf(append(replica::Acks::kAll)), Reason::kNotEnoughReplicas);
  EXPECT_EQ(MetadataOf(append(replica::Acks::kAll))["required"], "2");
  EXPECT_EQ(ReasonOf(append(replica::Acks::kLeader)), Reason::kNotLeader);
  EXPECT_EQ(ReasonOf(append(replica::Acks::kNone)), Reason::kNotLeader);
  auto waiter = std::make_shared<CountingWaiter>();
  EXPECT_TRUE(partition->Await(epoch, Offset{0}, waiter)) << "who has read all that is committed";
  Lead(0, true, assignment, {NodeId{1}, NodeId{2}});
  EXPECT_EQ(ReasonOf(append(replica::Acks::kAll)), Reason::kNotLeader) << "enough are in sync";
  EXPECT_EQ(ReasonOf(Partition::CheckReadable(partition->state(), epoch)), Reason::kNotLeader)
      << "it will know in a moment what is committed";
  EXPECT_EQ(waiter->woken, 1);
  assignment.settings.min_in_sync_replicas = 1;
  Lead(0, true, assignment, {NodeId{1}});
  EXPECT_TRUE(append(replica::Acks::kAll).ok());
}

}  // namespace
}  // namespace falaj::storage
