#include "libs/replica/replica.h"

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/replica/replica_test_support.h"

namespace falaj::replica {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ReplicaTest : public testing::Test {
 protected:
  void Lead(int32_t epoch, std::vector<NodeId> isr = {kSelf},
            std::vector<NodeId> replicas = {kSelf}) {
    ASSERT_TRUE(Step(BecomeLeader{.epoch = LeaderEpoch{epoch},
                                  .partition_epoch = PartitionEpoch{++partition_epoch_},
                                  .isr = std::move(isr),
                                  .replicas = std::move(replicas),
                                  .now = now_})
                    .ok());
    Write(true);
  }
  absl::Status Step(const Input& input) { return replica_.Step(input, &effects_); }
  // What a shell does when its round is written.
  void Write(bool synced) {
    effects_.epochs.clear();
    effects_.placements.clear();
    effects_.log_start.reset();
    ASSERT_TRUE(Step(Written{replica_.log_end(), synced, now_}).ok());
  }
  Append Batch(uint64_t token, int32_t records, Acks acks = Acks::kAll) {
    return {.token = token,
            .epoch = replica_.epoch(),
            .acks = acks,
            .now_ms = kNow,
            .batch = {.record_count = records, .size_bytes = 100, .max_timestamp_ms = kNow}};
  }
  std::vector<uint64_t> TakeReplied() {
    std::vector<uint64_t> tokens;
    for (const Reply& reply : effects_.replies) tokens.push_back(reply.token);
    effects_.replies.clear();
    return tokens;
  }

  int64_t partition_epoch_ = 0;
  MonotonicTime now_;
  Effects effects_;
  Replica replica_{kSelf, Stored{}, Settings{}};
};

TEST_F(ReplicaTest, ServesOnlyOnceTheStartOfItsEpochIsWritten) {
  EXPECT_EQ(ReasonOf(Step(Batch(1, 1))), Reason::kNotLeader);
  ASSERT_TRUE(Step(BecomeLeader{LeaderEpoch{3}, PartitionEpoch{1}, {kSelf}}).ok());
  EXPECT_THAT(effects_.epochs, ElementsAre(EpochEntry{LeaderEpoch{3}, Offset{0}}));
  EXPECT_FALSE(replica_.serving());
  EXPECT_EQ(ReasonOf(Step(Batch(1, 1))), Reason::kNotLeader);
  Write(true);
  EXPECT_TRUE(replica_.serving());
  EXPECT_TRUE(Step(Batch(1, 1)).ok());
}

TEST_F(ReplicaTest, OffsetsAreDenseFromZeroAcrossEpochs) {
  Lead(1);
  ASSERT_TRUE(Step(Batch(1, 5)).ok());
  EXPECT_EQ(effects_.placements.back().base, Offset{0});
  EXPECT_EQ(effects_.placements.back().last, Offset{4});
  Write(true);
  Lead(2);
  ASSERT_TRUE(Step(Batch(2, 1)).ok());
  EXPECT_EQ(effects_.placements.back().base, Offset{5});
  EXPECT_EQ(effects_.placements.back().epoch, LeaderEpoch{2});
  EXPECT_THAT(replica_.epochs().entries(), ElementsAre(EpochEntry{LeaderEpoch{1}, Offset{0}},
                                                       EpochEntry{LeaderEpoch{2}, Offset{5}}));
}

TEST_F(ReplicaTest, RestartUnderTheSameEpochWritesNoSecondEntry) {
  Replica reopened(kSelf,
                   {.log_start = Offset{0},
                    .log_end = Offset{9},
                    .high_watermark = Offset{4},
                    .epochs = {{LeaderEpoch{2}, Offset{3}}}},
                   Settings{});
  EXPECT_EQ(reopened.high_watermark(), Offset{4});
  ASSERT_TRUE(
      reopened.Step(BecomeLeader{LeaderEpoch{2}, PartitionEpoch{1}, {kSelf}}, &effects_).ok());
  EXPECT_TRUE(effects_.nothing_to_persist());
  EXPECT_TRUE(reopened.serving());
  EXPECT_EQ(reopened.high_watermark(), Offset{9});
}

TEST_F(ReplicaTest, OlderEpochsAreFenced) {
  Lead(5);
  EXPECT_EQ(ReasonOf(Step(BecomeLeader{LeaderEpoch{4}, PartitionEpoch{9}, {kSelf}})),
            Reason::kEpochFenced);
  EXPECT_EQ(ReasonOf(Step(BecomeFollower{LeaderEpoch{5}, PartitionEpoch{0}, NodeId{2}})),
            Reason::kEpochFenced);
  Replica ahead(kSelf, {.epochs = {{LeaderEpoch{8}, Offset{0}}}}, Settings{});
  EXPECT_EQ(
      ReasonOf(ahead.Step(BecomeLeader{LeaderEpoch{7}, PartitionEpoch{1}, {kSelf}}, &effects_)),
      Reason::kEpochFenced);
  EXPECT_EQ(ahead.role(), Role::kOffline);
}

TEST_F(ReplicaTest, AppendOfAnotherEpochIsRefusedNamingLeaderAndEpoch) {
  Lead(5);
  for (const int32_t epoch : {4, 6}) {
    Append append = Batch(1, 1);
    append.epoch = LeaderEpoch{epoch};
    const absl::Status status = Step(append);
    EXPECT_EQ(ReasonOf(status), Reason::kNotLeader);
    EXPECT_EQ(MetadataOf(status)["leader"], "1");
    EXPECT_EQ(MetadataOf(status)["leader_epoch"], "5");
  }
  EXPECT_EQ(replica_.log_end(), Offset{0});
}

TEST_F(ReplicaTest, FollowerNamesTheLeader) {
  ASSERT_TRUE(Step(BecomeFollower{LeaderEpoch{2}, PartitionEpoch{1}, NodeId{7}}).ok());
  EXPECT_EQ(MetadataOf(Step(Batch(1, 1)))["leader"], "7");
}

TEST_F(ReplicaTest, RepliesWaitForTheWrite) {
  Lead(1);
  ASSERT_TRUE(Step(Batch(1, 2)).ok());
  ASSERT_TRUE(Step(Batch(2, 3, Acks::kLeader)).ok());
  EXPECT_THAT(TakeReplied(), IsEmpty());
  EXPECT_EQ(replica_.high_watermark(), Offset{0});
  Write(true);
  ASSERT_EQ(effects_.replies.size(), 2u);
  EXPECT_EQ(effects_.replies[1].outcome.base, Offset{2});
  EXPECT_EQ(effects_.replies[1].outcome.record_count, 3);
  EXPECT_TRUE(effects_.replies[1].outcome.durable);
  EXPECT_EQ(replica_.high_watermark(), Offset{5});
}

TEST_F(ReplicaTest, AcksNoneIsAnsweredBeforeTheWriteWithoutAnOffset) {
  Lead(1);
  ASSERT_TRUE(Step(Batch(1, 2, Acks::kNone)).ok());
  ASSERT_EQ(effects_.replies.size(), 1u);
  EXPECT_EQ(effects_.replies[0].outcome.base, Offset{-1});
  effects_.replies.clear();
  Write(true);
  EXPECT_THAT(TakeReplied(), IsEmpty());
}

TEST_F(ReplicaTest, WithFsyncOnlySyncedRecordsAreHeldAndCommitted) {
  Lead(1);
  ASSERT_TRUE(Step(Batch(1, 2)).ok());
  ASSERT_TRUE(Step(Batch(2, 2, Acks::kLeader)).ok());
  Write(false);
  EXPECT_THAT(TakeReplied(), IsEmpty());
  EXPECT_EQ(replica_.high_watermark(), Offset{0});
  Write(true);
  EXPECT_THAT(TakeReplied(), ElementsAre(1, 2));
  EXPECT_EQ(replica_.high_watermark(), Offset{4});
}

TEST_F(ReplicaTest, WithoutFsyncWrittenRecordsAreCommittedAndSaidNotToBeDurable) {
  ASSERT_TRUE(Step(ChangeSettings{{.fsync = false}}).ok());
  Lead(1);
  ASSERT_TRUE(Step(Batch(1, 2)).ok());
  Write(false);
  ASSERT_EQ(effects_.replies.size(), 1u);
  EXPECT_FALSE(effects_.replies[0].outcome.durable);
  EXPECT_EQ(replica_.high_watermark(), Offset{2});
}

TEST_F(ReplicaTest, TurningFsyncOffCommitsWhatWasWaitingForIt) {
  Lead(1);
  ASSERT_TRUE(Step(Batch(1, 2)).ok());
  Write(false);
  EXPECT_THAT(TakeReplied(), IsEmpty());
  ASSERT_TRUE(Step(ChangeSettings{{.fsync = false}}).ok());
  EXPECT_THAT(TakeReplied(), ElementsAre(1));
}

TEST_F(ReplicaTest, FailedWriteLeavesNothingAndOffsetsGoOnAsIfItHadNotBeen) {
  Lead(1);
  ASSERT_TRUE(Step(Batch(1, 2)).ok());
  Write(true);
  TakeReplied();
  ASSERT_TRUE(Step(Batch(2, 3)).ok());
  ASSERT_TRUE(Step(Batch(3, 3, Acks::kLeader)).ok());
  ASSERT_TRUE(Step(TruncatePrefix{LeaderEpoch{1}, Offset{1}}).ok());
  ASSERT_TRUE(Step(WriteFailed{MakeError(Reason::kDiskFull, "full")}).ok());
  ASSERT_EQ(effects_.replies.size(), 2u);
  EXPECT_EQ(ReasonOf(effects_.replies[0].status), Reason::kDiskFull);
  EXPECT_EQ(replica_.log_end(), Offset{2});
  EXPECT_EQ(replica_.log_start(), Offset{0});
  effects_ = Effects();
  ASSERT_TRUE(Step(Batch(4, 1)).ok());
  EXPECT_EQ(effects_.placements[0].base, Offset{2});
}

TEST_F(ReplicaTest, FailedEpochStartLeavesTheReplicaOfflineUntilAskedAgain) {
  ASSERT_TRUE(Step(BecomeLeader{LeaderEpoch{1}, PartitionEpoch{1}, {kSelf}}).ok());
  ASSERT_TRUE(Step(WriteFailed{MakeError(Reason::kDiskFull, "full")}).ok());
  EXPECT_EQ(replica_.role(), Role::kOffline);
  EXPECT_THAT(replica_.epochs().entries(), IsEmpty());
  ASSERT_TRUE(Step(BecomeLeader{LeaderEpoch{1}, PartitionEpoch{1}, {kSelf}}).ok());
  Write(true);
  EXPECT_TRUE(replica_.serving());
}

TEST_F(ReplicaTest, OversizedAndFutureBatchesAreRefused) {
  Lead(1);
  Append large = Batch(1, 1);
  large.batch.size_bytes = (1 << 20) + 1;
  EXPECT_EQ(ReasonOf(Step(large)), Reason::kRecordTooLarge);
  EXPECT_EQ(MetadataOf(Step(large))["limit_bytes"], "1048576");
  Append future = Batch(1, 1);
  future.batch.max_timestamp_ms = kNow + absl::ToInt64Milliseconds(kTimestampAheadMax) + 1;
  EXPECT_EQ(ReasonOf(Step(future)), Reason::kInvalidRequest);
  future.batch.max_timestamp_ms -= 1;
  EXPECT_TRUE(Step(future).ok());
  ASSERT_TRUE(Step(ChangeSettings{{.append_time = true}}).ok());
  future.batch.max_timestamp_ms = std::numeric_limits<int64_t>::max();
  EXPECT_TRUE(Step(future).ok());
  EXPECT_EQ(ReasonOf(Step(Batch(1, 0))), Reason::kInvalidBatch);
}

TEST_F(ReplicaTest, TruncatePrefixStaysBetweenLogStartAndHighWatermark) {
  Lead(1);
  ASSERT_TRUE(Step(Batch(1, 10)).ok());
  Write(true);
  const absl::Status above = Step(TruncatePrefix{LeaderEpoch{1}, Offset{11}});
  EXPECT_EQ(ReasonOf(above), Reason::kOffsetOutOfRange);
  EXPECT_EQ(MetadataOf(above)["high_watermark"], "10");
  ASSERT_TRUE(Step(TruncatePrefix{LeaderEpoch{1}, Offset{10}}).ok());
  EXPECT_EQ(effects_.log_start, Offset{10});
  Write(true);
  EXPECT_EQ(ReasonOf(Step(TruncatePrefix{LeaderEpoch{1}, Offset{9}})), Reason::kOffsetOutOfRange);
  ASSERT_TRUE(Step(Retain{Offset{99}}).ok());
  EXPECT_EQ(replica_.log_start(), Offset{10});
}

TEST_F(ReplicaTest, HighWatermarkHoldsWhileTooFewReplicasAreInSync) {
  ASSERT_TRUE(Step(ChangeSettings{{.min_in_sync_replicas = 2}}).ok());
  Lead(1, {kSelf}, {kSelf, NodeId{2}, NodeId{3}});
  const absl::Status refused = Step(Batch(1, 1));
  EXPECT_EQ(ReasonOf(refused), Reason::kNotEnoughReplicas);
  EXPECT_EQ(MetadataOf(refused)["required"], "2");
  ASSERT_TRUE(Step(Batch(2, 1, Acks::kLeader)).ok());
  Write(true);
  EXPECT_THAT(TakeReplied(), ElementsAre(2));
  EXPECT_EQ(replica_.high_watermark(), Offset{0});
}

TEST_F(ReplicaTest, MinInSyncReplicasCountsAtMostTheReplicationFactor) {
  ASSERT_TRUE(Step(ChangeSettings{{.min_in_sync_replicas = 2}}).ok());
  Lead(1);
  EXPECT_TRUE(Step(Batch(1, 1)).ok());
}

// A leader of two replicas, with a batch of token 1 at offset 1 that the other one may have, or
// not.
class DeposedReplicaTest : public ReplicaTest {
 protected:
  DeposedReplicaTest() {
    EXPECT_TRUE(Step(ChangeSettings{{.min_in_sync_replicas = 1}}).ok());
    Lead(1, {kSelf, NodeId{2}}, {kSelf, NodeId{2}});
    EXPECT_TRUE(Step(Batch(1, 1)).ok());
    Write(true);
    EXPECT_TRUE(Step(BecomeFollower{LeaderEpoch{2}, PartitionEpoch{9}, NodeId{2}}).ok());
    EXPECT_THAT(TakeReplied(), ElementsAre()) << "the new leader's log will tell";
  }
  uint64_t AttachId() { return effects_.attach->attach_id; }
  void Attached(Offset high_watermark) {
    ASSERT_TRUE(Step(AttachAnswered{.attach_id = AttachId(),
                                    .diverging = std::nullopt,
                                    .log_start = Offset{0},
                                    .high_watermark = high_watermark})
                    .ok());
  }
};

TEST_F(DeposedReplicaTest, WhoWaitsIsToldOnceTheNewLeaderHasCommittedTheBatch) {
  Attached(Offset{1});
  EXPECT_THAT(TakeReplied(), ElementsAre());
  ASSERT_TRUE(Step(LeaderMarks{AttachId(), Offset{0}, Offset{2}}).ok());
  ASSERT_EQ(effects_.replies.size(), 1u);
  EXPECT_TRUE(effects_.replies[0].status.ok()) << effects_.replies[0].status;
  EXPECT_EQ(effects_.replies[0].outcome.base, Offset{1});
  EXPECT_EQ(effects_.replies[0].outcome.in_sync_replicas, 2);
}

TEST_F(DeposedReplicaTest, WhoWaitsIsRefusedOnceSomethingElseIsCommittedInItsPlace) {
  ASSERT_TRUE(Step(AttachAnswered{.attach_id = AttachId(),
                                  .diverging = EpochEnd{LeaderEpoch{1}, Offset{1}},
                                  .log_start = Offset{0},
                                  .high_watermark = Offset{1}})
                  .ok());
  ASSERT_EQ(effects_.truncate_suffix, Offset{1});
  ASSERT_TRUE(Step(Truncated{Offset{0}, Offset{1}}).ok());
  Attached(Offset{1});
  EXPECT_THAT(TakeReplied(), ElementsAre())
      << "a third replica may have the batch, and lead before anything is committed here";
  ASSERT_TRUE(Step(Replicate{.token = 7,
                             .attach_id = AttachId(),
                             .base = Offset{1},
                             .last = Offset{1},
                             .batch_epoch = LeaderEpoch{2}})
                  .ok());
  Write(true);
  EXPECT_THAT(TakeReplied(), ElementsAre());
  ASSERT_TRUE(Step(LeaderMarks{AttachId(), Offset{0}, Offset{2}}).ok());
  ASSERT_EQ(effects_.replies.size(), 1u);
  EXPECT_EQ(ReasonOf(effects_.replies[0].status), Reason::kNotLeader);
}

TEST_F(DeposedReplicaTest, AFullDiskOfTheFollowerDoesNotDecideWhatBecameOfABatchThatWasCut) {
  ASSERT_TRUE(Step(AttachAnswered{.attach_id = AttachId(),
                                  .diverging = EpochEnd{LeaderEpoch{1}, Offset{1}},
                                  .log_start = Offset{0},
                                  .high_watermark = Offset{1}})
                  .ok());
  ASSERT_TRUE(Step(Truncated{Offset{0}, Offset{1}}).ok());
  Attached(Offset{1});
  const Replicate batch{.token = 7,
                        .attach_id = AttachId(),
                        .base = Offset{1},
                        .last = Offset{1},
                        .batch_epoch = LeaderEpoch{2}};
  ASSERT_TRUE(Step(batch).ok());
  ASSERT_TRUE(Step(WriteFailed{MakeError(Reason::kDiskFull, "full")}).ok());
  EXPECT_THAT(TakeReplied(), ElementsAre()) << "a third replica may have it, and lead";
  // And so it is: node 3 leads epoch 3, with the batch of epoch 1.
  ASSERT_TRUE(Step(BecomeFollower{LeaderEpoch{3}, PartitionEpoch{10}, NodeId{3}}).ok());
  Attached(Offset{1});
  Replicate again = batch;
  again.attach_id = AttachId();
  again.batch_epoch = LeaderEpoch{1};
  ASSERT_TRUE(Step(again).ok());
  Write(true);
  ASSERT_TRUE(Step(LeaderMarks{AttachId(), Offset{0}, Offset{2}}).ok());
  ASSERT_EQ(effects_.replies.size(), 1u);
  EXPECT_TRUE(effects_.replies[0].status.ok()) << effects_.replies[0].status;
}

TEST_F(DeposedReplicaTest, WhenTheReplicaGoesOfflineTheOutcomeIsOpen) {
  ASSERT_TRUE(Step(GoOffline{}).ok());
  ASSERT_EQ(effects_.replies.size(), 1u);
  EXPECT_EQ(ReasonOf(effects_.replies[0].status), Reason::kAppendUncertain);
}

// Drives one replica through random inputs and checks the invariants of the class comment after
// every one.
class RandomLife {
 public:
  explicit RandomLife(uint64_t seed) : random_(seed) {}

  // How often nobody had to watch the replica.
  int settled() const { return settled_; }
  void Run(int steps) {
    for (int i = 0; i < steps; ++i) {
      Turn();
      Check();
      CheckSettled();
      if (testing::Test::HasFailure()) return;
    }
  }

 private:
  void Turn() {
    switch (random_.Below(12)) {
      case 0:
        return BeginReign();
      case 1:
        return StepDown();
      case 2:
        return FollowerAnswers();
      case 3:
        return Shorten();
      case 4:
        return Reopen();
      case 5:
        return Fail();
      default:
        return AppendAndWrite();
    }
  }
  void Feed(const Input& input) {
    IgnoreError(replica_->Step(input, &effects_), "a refusal must change nothing; Check() sees");
  }
  void BeginReign() {
    std::vector<NodeId> isr = {kSelf};
    if (random_.Below(2) == 0) isr.push_back(NodeId{2});
    epoch_ += static_cast<int32_t>(random_.Below(2));
    Feed(BecomeLeader{.epoch = LeaderEpoch{epoch_},
                      .partition_epoch = PartitionEpoch{++partition_epoch_},
                      .isr = isr,
                      .replicas = {kSelf, NodeId{2}}});
    Commit();
  }
  void StepDown() {
    Feed(BecomeFollower{LeaderEpoch{++epoch_}, PartitionEpoch{++partition_epoch_}, NodeId{2}});
  }
  void FollowerAnswers() {
    const Offset upto{random_.Between(0, replica_->log_end().value())};
    const IsrMember follower{NodeId{2}, NodeEpoch{1}};
    if (random_.Below(4) == 0) {
      Feed(AttachFollower{.from = follower,
                          .epoch = LeaderEpoch{epoch_},
                          .last_epoch = LeaderEpoch{static_cast<int32_t>(random_.Below(3))},
                          .log_end = upto,
                          .flushed_end = upto});
    }
    Feed(FollowerProgress{
        .from = follower, .epoch = LeaderEpoch{epoch_}, .written_end = upto, .flushed_end = upto});
  }
  void Shorten() {
    Feed(TruncatePrefix{LeaderEpoch{epoch_}, Offset{random_.Between(0, disk_.log_end.value())}});
    Commit();
  }
  void AppendSome() {
    for (uint64_t n = random_.Below(4); n > 0; --n) {
      const Append append{.token = ++token_,
                          .epoch = LeaderEpoch{epoch_},
                          .acks = static_cast<Acks>(random_.Below(3)),
                          .now_ms = kNow,
                          .batch = {.record_count = static_cast<int32_t>(random_.Between(1, 9)),
                                    .size_bytes = 100,
                                    .max_timestamp_ms = kNow}};
      if (replica_->Step(append, &effects_).ok()) waiting_.insert(token_);
    }
  }
  void AppendAndWrite() {
    AppendSome();
    Commit();
  }
  void Fail() {
    AppendSome();
    effects_.epochs.clear();
    effects_.placements.clear();
    effects_.log_start.reset();
    Feed(WriteFailed{MakeError(Reason::kDiskFull, "full")});
    EXPECT_EQ(replica_->log_end(), disk_.log_end);
  }
  // The disk takes the round; sometimes only as far as the page cache.
  void Commit() {
    for (const EpochEntry& entry : effects_.epochs) disk_.epochs.push_back(entry);
    for (const Placement& placement : effects_.placements) {
      EXPECT_EQ(placement.base, disk_.log_end) << "offsets must be dense";
      disk_.log_end = placement.last + 1;
      placed_[placement.token] = placement;
    }
    if (effects_.log_start.has_value()) disk_.log_start = *effects_.log_start;
    effects_.epochs.clear();
    effects_.placements.clear();
    effects_.log_start.reset();
    const bool synced = random_.Below(3) > 0;
    if (synced) synced_end_ = disk_.log_end;
    Feed(Written{replica_->log_end(), synced, MonotonicTime{}});
  }
  // A restart that lost nothing; the high watermark on disk is some older one.
  void Reopen() {
    disk_.high_watermark = Offset{random_.Between(0, replica_->high_watermark().value())};
    replica_ = std::make_unique<Replica>(kSelf, disk_, Settings{});
    effects_ = Effects();
    waiting_.clear();
    synced_end_ = disk_.log_end;
    hw_ = replica_->high_watermark();
  }
  void Check() {
    EXPECT_LE(replica_->log_start(), replica_->high_watermark());
    EXPECT_LE(replica_->high_watermark(), replica_->log_end());
    EXPECT_GE(replica_->high_watermark(), hw_) << "the high watermark moved back";
    EXPECT_LE(replica_->high_watermark(), synced_end_) << "committed before it was on disk";
    hw_ = replica_->high_watermark();
    EXPECT_EQ(replica_->log_end(), disk_.log_end);
    for (const Reply& reply : effects_.replies) {
      EXPECT_EQ(waiting_.erase(reply.token), 1u) << "answered twice, or never asked";
      if (!reply.status.ok() || reply.outcome.base < Offset{0}) continue;
      EXPECT_EQ(reply.outcome.base, placed_[reply.token].base);
      EXPECT_LT(placed_[reply.token].last, disk_.log_end);
    }
    effects_.replies.clear();
    const std::vector<EpochEntry>& entries = replica_->epochs().entries();
    for (size_t i = 1; i < entries.size(); ++i) {
      EXPECT_LT(entries[i - 1].epoch, entries[i].epoch);
      EXPECT_LT(entries[i - 1].start, entries[i].start);
    }
  }

  // Time alone must not change a replica that says it is settled: the shell does not look at it.
  void CheckSettled() {
    if (!replica_->IsSettled()) return;
    ++settled_;
    Replica later = *replica_;
    Effects effects;
    IgnoreError(later.Step(CheckIsr{MonotonicTime{} + absl::Hours(1)}, &effects),
                "looked at below");
    if (later.role() != Role::kFollower) {
      IgnoreError(later.Step(Reattach{}, &effects), "looked at below");
    }
    EXPECT_TRUE(effects.nothing_to_persist());
    EXPECT_FALSE(effects.isr_proposal.has_value());
    EXPECT_FALSE(effects.attach.has_value());
    EXPECT_TRUE(effects.replies.empty());
    EXPECT_EQ(later.role(), replica_->role());
    EXPECT_EQ(later.high_watermark(), replica_->high_watermark());
  }

  Random random_;
  Stored disk_;
  Offset synced_end_{0};
  int settled_ = 0;
  Offset hw_{0};
  int32_t epoch_ = 0;
  int64_t partition_epoch_ = 0;
  uint64_t token_ = 0;
  std::set<uint64_t> waiting_;
  std::map<uint64_t, Placement> placed_;
  Effects effects_;
  std::unique_ptr<Replica> replica_ = std::make_unique<Replica>(kSelf, disk_, Settings{});
};

TEST(ReplicaRandomTest, InvariantsHoldThroughRandomLives) {
  int settled = 0;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RandomLife life(seed);
    life.Run(300);
    if (HasFailure()) return;
    settled += life.settled();
  }
  EXPECT_GT(settled, 1000);
}

}  // namespace
}  // namespace falaj::replica
