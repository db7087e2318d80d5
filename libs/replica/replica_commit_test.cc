// A leader that has inherited records: it commits them together with the start of its own epoch,
// as soon as all in sync hold that, and not before.
#include <cstdint>
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

// Node 1 holds ten records of epoch 1 and knows that four of them are committed. It leads epoch 2,
// which begins with record 10.
class InheritedRecordsTest : public testing::Test {
 protected:
  void Lead(std::vector<NodeId> isr, bool synced = true) {
    ASSERT_TRUE(Reign(std::move(isr)).ok());
    Write(synced);
  }
  absl::Status Reign(std::vector<NodeId> isr) {
    return Step(BecomeLeader{.epoch = LeaderEpoch{2},
                             .partition_epoch = PartitionEpoch{++partition_epoch_},
                             .isr = std::move(isr),
                             .replicas = replicas_,
                             .now = now_});
  }
  absl::Status Step(const Input& input) { return replica_.Step(input, &effects_); }
  void Write(bool synced = true) {
    effects_.epochs.clear();
    effects_.placements.clear();
    ASSERT_TRUE(Step(Written{replica_.log_end(), synced, now_}).ok());
  }
  void AppendOne() {
    ASSERT_TRUE(Step(Append{.token = ++token_,
                            .epoch = LeaderEpoch{2},
                            .acks = Acks::kAll,
                            .batch = {.record_count = 1, .size_bytes = 100}})
                    .ok());
    Write();
  }
  // With records of epoch 1 alone.
  void Attach(NodeId node, int64_t end) {
    ASSERT_TRUE(Step(AttachFollower{.from = {node, NodeEpoch{1}},
                                    .epoch = LeaderEpoch{2},
                                    .last_epoch = LeaderEpoch{1},
                                    .log_end = Offset{end},
                                    .flushed_end = Offset{end},
                                    .now = now_})
                    .ok());
  }
  void Ack(NodeId node, int64_t end) {
    ASSERT_TRUE(Step(FollowerProgress{.from = {node, NodeEpoch{1}},
                                      .epoch = LeaderEpoch{2},
                                      .written_end = Offset{end},
                                      .flushed_end = Offset{end},
                                      .now = now_})
                    .ok());
  }
  std::vector<uint64_t> TakeReplied() {
    std::vector<uint64_t> tokens;
    for (const Reply& reply : std::exchange(effects_.replies, {})) {
      EXPECT_TRUE(reply.status.ok()) << reply.status;
      tokens.push_back(reply.token);
    }
    return tokens;
  }
  int64_t Committed() const { return replica_.high_watermark().value(); }

  std::vector<NodeId> replicas_ = {kSelf, kTwo, kThree};
  int64_t partition_epoch_ = 0;
  uint64_t token_ = 0;
  MonotonicTime now_{1'000'000'000};
  Effects effects_;
  Replica replica_{kSelf,
                   Stored{.log_end = Offset{10},
                          .high_watermark = Offset{4},
                          .epochs = {{LeaderEpoch{1}, Offset{0}}}},
                   Settings{.min_in_sync_replicas = 2, .replica_lag_max = kLagMax}};
};

TEST_F(InheritedRecordsTest, AreCommittedWithTheStartOfTheEpochAndNotBefore) {
  Lead({kSelf, kTwo});
  Attach(kTwo, 10);
  EXPECT_EQ(Committed(), 4)
      << "a log that parts from these two at 4 may be of a later epoch than 1";
  EXPECT_EQ(effects_.attach_answers.back().high_watermark, Offset{4}) << "true, if not new";
  EXPECT_FALSE(replica_.serving());
  Ack(kTwo, 11);
  EXPECT_EQ(Committed(), 11);
  EXPECT_TRUE(replica_.serving()) << "nobody has to append anything for that";
}

TEST_F(InheritedRecordsTest, WaitForTheSlowestInSyncAndForNothingElse) {
  Lead({kSelf, kTwo, kThree});
  AppendOne();
  AppendOne();
  Attach(kTwo, 10);
  Attach(kThree, 4);
  Ack(kTwo, 13);
  for (int64_t end = 5; end <= 10; ++end) {
    Ack(kThree, end);
    EXPECT_EQ(Committed(), 4) << end;
  }
  EXPECT_THAT(TakeReplied(), IsEmpty());
  Ack(kThree, 11);
  EXPECT_EQ(Committed(), 11);
  Ack(kThree, 12);
  EXPECT_THAT(TakeReplied(), ElementsAre(1)) << "from here on as ever";
  EXPECT_EQ(Committed(), 12);
}

TEST_F(InheritedRecordsTest, WaitNoLongerForWhoHasLeftTheIsr) {
  Lead({kSelf, kTwo, kThree});
  Attach(kTwo, 10);
  Attach(kThree, 4);
  Ack(kTwo, 11);
  now_ = now_ + kLagMax + absl::Milliseconds(1);
  Ack(kThree, 6);
  ASSERT_TRUE(Step(CheckIsr{now_}).ok());
  ASSERT_TRUE(effects_.isr_proposal.has_value());
  EXPECT_EQ(Committed(), 4) << "it may not be in force";
  ASSERT_TRUE(Reign({kSelf, kTwo}).ok());
  EXPECT_EQ(Committed(), 11);
}

TEST_F(InheritedRecordsTest, WaitForWhoJoinsWithTheStartOfTheEpoch) {
  Lead({kSelf});
  EXPECT_EQ(Committed(), 4) << "too few";
  EXPECT_TRUE(replica_.readable());
  Attach(kTwo, 10);
  EXPECT_FALSE(effects_.isr_proposal.has_value()) << "it holds all that can be committed, but this";
  Ack(kTwo, 11);
  ASSERT_TRUE(effects_.isr_proposal.has_value());
  EXPECT_EQ(Committed(), 4);
  ASSERT_TRUE(Reign({kSelf, kTwo}).ok());
  EXPECT_EQ(Committed(), 11);
}

TEST_F(InheritedRecordsTest, OfALeaderAloneAreCommittedOnceItsEpochIsOnDisk) {
  ASSERT_TRUE(Step(ChangeSettings{{.min_in_sync_replicas = 1, .replica_lag_max = kLagMax}}).ok());
  Lead({kSelf}, /*synced=*/false);
  EXPECT_EQ(Committed(), 4) << "ten records are on disk, the start of the epoch is not";
  Write();
  EXPECT_EQ(Committed(), 11);
  EXPECT_TRUE(replica_.serving());
}

TEST_F(InheritedRecordsTest, OfTheOnlyReplicaNeedNoRecordOfTheEpoch) {
  replicas_ = {kSelf};
  Lead({kSelf});
  EXPECT_EQ(replica_.log_end(), Offset{10});
  EXPECT_EQ(Committed(), 10);
  EXPECT_TRUE(replica_.serving());
}

TEST_F(InheritedRecordsTest, AreCommittedWhenFewerAreAskedFor) {
  Lead({kSelf});
  EXPECT_EQ(Committed(), 4);
  ASSERT_TRUE(Step(ChangeSettings{{.min_in_sync_replicas = 1, .replica_lag_max = kLagMax}}).ok());
  EXPECT_EQ(Committed(), 11);
}

// It leads, is deposed, and leads again, with what it appended the first time.
TEST_F(InheritedRecordsTest, AreAnsweredForByTheirOwnLeaderWhenItLeadsAgain) {
  Lead({kSelf, kTwo});
  AppendOne();
  ASSERT_TRUE(
      Step(BecomeFollower{LeaderEpoch{3}, PartitionEpoch{++partition_epoch_}, kThree}).ok());
  ASSERT_TRUE(Step(BecomeLeader{.epoch = LeaderEpoch{4},
                                .partition_epoch = PartitionEpoch{++partition_epoch_},
                                .isr = {kSelf, kTwo},
                                .replicas = replicas_,
                                .now = now_})
                  .ok());
  Write();
  const IsrMember two{kTwo, NodeEpoch{1}};
  ASSERT_TRUE(Step(AttachFollower{.from = two,
                                  .epoch = LeaderEpoch{4},
                                  .last_epoch = LeaderEpoch{2},
                                  .log_end = Offset{12},
                                  .flushed_end = Offset{12},
                                  .now = now_})
                  .ok());
  EXPECT_THAT(TakeReplied(), IsEmpty()) << "all in sync hold it, and none the start of epoch 4";
  ASSERT_TRUE(Step(FollowerProgress{.from = two,
                                    .epoch = LeaderEpoch{4},
                                    .written_end = Offset{13},
                                    .flushed_end = Offset{13},
                                    .now = now_})
                  .ok());
  EXPECT_THAT(TakeReplied(), ElementsAre(1));
}

// Figure 8 of Raft. Node 3 has led epoch 2 alone, and holds a record of it where the others hold
// one of epoch 1.
TEST_F(InheritedRecordsTest, AreCommittedTooEarlyByThePlantedBug) {
  Replica bugged(kSelf, Stored{.log_end = Offset{10}, .epochs = {{LeaderEpoch{1}, Offset{0}}}},
                 Settings{.min_in_sync_replicas = 2}, PlantedBug::kCommitBeforeEpochStart);
  ASSERT_TRUE(bugged
                  .Step(BecomeLeader{.epoch = LeaderEpoch{3},
                                     .partition_epoch = PartitionEpoch{1},
                                     .isr = {kSelf, kTwo},
                                     .replicas = replicas_,
                                     .now = now_},
                        &effects_)
                  .ok());
  ASSERT_TRUE(bugged.Step(Written{bugged.log_end(), true, now_}, &effects_).ok());
  ASSERT_TRUE(bugged
                  .Step(AttachFollower{.from = {kTwo, NodeEpoch{1}},
                                       .epoch = LeaderEpoch{3},
                                       .last_epoch = LeaderEpoch{1},
                                       .log_end = Offset{10},
                                       .flushed_end = Offset{10},
                                       .now = now_},
                        &effects_)
                  .ok());
  EXPECT_EQ(bugged.high_watermark(), Offset{10});
}

}  // namespace
}  // namespace falaj::replica
