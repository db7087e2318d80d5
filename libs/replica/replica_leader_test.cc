// A leader with followers: what is committed, who is in sync, and how that changes.
#include <string>
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

std::vector<NodeId> NodesOf(const IsrProposal& proposal) {
  std::vector<NodeId> nodes;
  for (const IsrMember& member : proposal.isr) nodes.push_back(member.node);
  return nodes;
}

// A partition on nodes 1, 2 and 3. Node 1 leads epoch 1; its leader-change record is offset 0.
class ReplicaLeaderTest : public testing::Test {
 protected:
  void Lead(std::vector<NodeId> isr) {
    ASSERT_TRUE(Step(Reign(std::move(isr))).ok());
    Write(true);
  }
  BecomeLeader Reign(std::vector<NodeId> isr) {
    return {.epoch = LeaderEpoch{1},
            .partition_epoch = PartitionEpoch{++partition_epoch_},
            .isr = std::move(isr),
            .replicas = {kSelf, kTwo, kThree},
            .now = now_};
  }
  absl::Status Step(const Input& input) { return replica_.Step(input, &effects_); }
  void Write(bool synced) {
    effects_.epochs.clear();
    effects_.placements.clear();
    ASSERT_TRUE(Step(Written{replica_.log_end(), synced, now_}).ok());
  }
  void AppendRecords(int32_t records, Acks acks = Acks::kAll) {
    ASSERT_TRUE(Step(Append{.token = ++token_,
                            .epoch = LeaderEpoch{1},
                            .acks = acks,
                            .batch = {.record_count = records, .size_bytes = 100}})
                    .ok());
    Write(true);
  }
  static IsrMember Incarnation(NodeId node, int64_t node_epoch = 7) {
    return {node, NodeEpoch{node_epoch}};
  }
  absl::Status Attach(NodeId node, int64_t end, int64_t node_epoch = 7) {
    return Step(AttachFollower{.from = Incarnation(node, node_epoch),
                               .epoch = LeaderEpoch{1},
                               .last_epoch = LeaderEpoch{end == 0 ? -1 : 1},
                               .log_end = Offset{end},
                               .flushed_end = Offset{end},
                               .now = now_});
  }
  absl::Status Ack(NodeId node, int64_t written, int64_t flushed, int64_t node_epoch = 7) {
    return Step(FollowerProgress{.from = Incarnation(node, node_epoch),
                                 .epoch = LeaderEpoch{1},
                                 .written_end = Offset{written},
                                 .flushed_end = Offset{flushed},
                                 .now = now_});
  }
  void Answer(IsrAnswered::Outcome outcome) {
    ASSERT_TRUE(Step(IsrAnswered{.epoch = effects_.isr_proposal->epoch,
                                 .partition_epoch = effects_.isr_proposal->partition_epoch,
                                 .outcome = outcome,
                                 .now = now_})
                    .ok());
  }
  // The metadata service does what was proposed.
  void Agree() { ASSERT_TRUE(Step(Reign(NodesOf(*effects_.isr_proposal))).ok()); }
  std::vector<uint64_t> TakeReplied() {
    std::vector<uint64_t> tokens;
    for (const Reply& reply : std::exchange(effects_.replies, {})) tokens.push_back(reply.token);
    return tokens;
  }

  int64_t partition_epoch_ = 0;
  uint64_t token_ = 0;
  MonotonicTime now_{1'000'000'000};
  Effects effects_;
  Replica replica_{kSelf, Stored{}, Settings{.replica_lag_max = kLagMax}};
};

TEST_F(ReplicaLeaderTest, BeginsItsEpochWithARecordAndServesOnceThatIsCommitted) {
  ASSERT_TRUE(Step(Reign({kSelf, kTwo})).ok());
  ASSERT_EQ(effects_.placements.size(), 1u);
  EXPECT_TRUE(effects_.placements[0].leader_change);
  EXPECT_EQ(effects_.placements[0].base, Offset{0});
  EXPECT_THAT(effects_.epochs, ElementsAre(EpochEntry{LeaderEpoch{1}, Offset{0}}));
  Write(true);
  EXPECT_FALSE(replica_.serving());
  ASSERT_TRUE(Attach(kTwo, 0).ok());
  EXPECT_FALSE(replica_.serving());
  ASSERT_TRUE(Ack(kTwo, 1, 1).ok());
  EXPECT_TRUE(replica_.serving());
}

TEST_F(ReplicaLeaderTest, HighWatermarkIsWhatEveryInSyncReplicaHoldsOnDisk) {
  Lead({kSelf, kTwo, kThree});
  AppendRecords(9);
  ASSERT_TRUE(Attach(kTwo, 0).ok());
  ASSERT_TRUE(Ack(kTwo, 10, 10).ok());
  EXPECT_EQ(replica_.high_watermark(), Offset{0}) << "node 3 has not been heard of";
  ASSERT_TRUE(Attach(kThree, 0).ok());
  ASSERT_TRUE(Ack(kThree, 10, 6).ok());
  EXPECT_EQ(replica_.high_watermark(), Offset{6}) << "written is not flushed";
  EXPECT_THAT(TakeReplied(), IsEmpty());
  ASSERT_TRUE(Step(Reign({kSelf, kTwo})).ok());
  EXPECT_EQ(replica_.high_watermark(), Offset{6}) << "node 3 is caught up: it is about to join";
  ASSERT_TRUE(Ack(kThree, 10, 10).ok());
  EXPECT_THAT(TakeReplied(), ElementsAre(1));
}

TEST_F(ReplicaLeaderTest, WithoutFsyncWrittenIsEnough) {
  ASSERT_TRUE(Step(ChangeSettings{{.fsync = false}}).ok());
  Lead({kSelf, kTwo});
  ASSERT_TRUE(Attach(kTwo, 0).ok());
  ASSERT_TRUE(Ack(kTwo, 1, 0).ok());
  EXPECT_EQ(replica_.high_watermark(), Offset{1});
}

TEST_F(ReplicaLeaderTest, AcknowledgementsOfOtherEpochsAndIncarnationsDoNotCount) {
  Lead({kSelf, kTwo});
  EXPECT_EQ(ReasonOf(Ack(kTwo, 1, 1)), Reason::kEpochFenced) << "never attached";
  ASSERT_TRUE(Attach(kTwo, 0, 7).ok());
  EXPECT_EQ(ReasonOf(Ack(kTwo, 1, 1, 6)), Reason::kEpochFenced);
  EXPECT_EQ(ReasonOf(Attach(kTwo, 1, 6)), Reason::kEpochFenced);
  FollowerProgress old{.from = Incarnation(kTwo),
                       .epoch = LeaderEpoch{0},
                       .written_end = Offset{1},
                       .flushed_end = Offset{1}};
  EXPECT_EQ(ReasonOf(Step(old)), Reason::kNotLeader);
  EXPECT_EQ(replica_.high_watermark(), Offset{0});
  EXPECT_EQ(ReasonOf(Attach(NodeId{9}, 0)), Reason::kPartitionNotFound);
}

TEST_F(ReplicaLeaderTest, ANewIncarnationHoldsOnlyWhatItSays) {
  Lead({kSelf, kTwo});
  ASSERT_TRUE(Attach(kTwo, 0, 7).ok());
  ASSERT_TRUE(Ack(kTwo, 1, 1, 7).ok());
  AppendRecords(9);
  ASSERT_TRUE(Ack(kTwo, 10, 4, 7).ok());
  EXPECT_EQ(replica_.high_watermark(), Offset{4});
  ASSERT_TRUE(Attach(kTwo, 2, 8).ok());
  EXPECT_EQ(replica_.high_watermark(), Offset{4}) << "it never moves back";
  ASSERT_TRUE(Ack(kTwo, 5, 5, 8).ok());
  EXPECT_EQ(replica_.high_watermark(), Offset{5});
}

TEST_F(ReplicaLeaderTest, AFollowerJoinsOnceItHoldsEverythingCommitted) {
  Lead({kSelf});
  AppendRecords(9);
  EXPECT_EQ(replica_.high_watermark(), Offset{10});
  ASSERT_TRUE(Attach(kTwo, 0).ok());
  ASSERT_TRUE(Ack(kTwo, 9, 9).ok());
  EXPECT_FALSE(effects_.isr_proposal.has_value());
  ASSERT_TRUE(Ack(kTwo, 10, 10).ok());
  ASSERT_TRUE(effects_.isr_proposal.has_value());
  EXPECT_THAT(effects_.isr_proposal->isr,
              ElementsAre(IsrMember{kSelf, NodeEpoch{0}}, IsrMember{kTwo, NodeEpoch{7}}));
  EXPECT_EQ(effects_.isr_proposal->partition_epoch, PartitionEpoch{1});
  // Under way, it counts already: nobody knows whether it is in force.
  AppendRecords(1);
  EXPECT_EQ(replica_.high_watermark(), Offset{10});
  Agree();
  EXPECT_THAT(replica_.isr(), ElementsAre(kSelf, kTwo));
  EXPECT_EQ(replica_.partition_epoch(), PartitionEpoch{2});
  EXPECT_EQ(replica_.high_watermark(), Offset{10});
  ASSERT_TRUE(Ack(kTwo, 11, 11).ok());
  EXPECT_EQ(replica_.high_watermark(), Offset{11});
}

TEST_F(ReplicaLeaderTest, ALeaderAloneDoesNotRunAwayFromWhoIsAboutToJoin) {
  Lead({kSelf});
  ASSERT_TRUE(Attach(kTwo, 0).ok());
  ASSERT_TRUE(Ack(kTwo, 1, 1).ok());
  Answer(IsrAnswered::Outcome::kRefused);
  effects_.isr_proposal.reset();
  AppendRecords(1);
  EXPECT_EQ(replica_.high_watermark(), Offset{2}) << "refused: not waited for";
  now_ = now_ + kLagMax / 2;
  ASSERT_TRUE(Ack(kTwo, 2, 2).ok());
  EXPECT_TRUE(effects_.isr_proposal.has_value()) << "it may be eligible now";
  Agree();
  Lead({kSelf});  // And out again, by the metadata service.
  AppendRecords(1);
  EXPECT_EQ(replica_.high_watermark(), Offset{2}) << "caught up, so waited for";
  now_ = now_ + kLagMax + absl::Milliseconds(1);
  ASSERT_TRUE(Step(CheckIsr{now_}).ok());
  EXPECT_EQ(replica_.high_watermark(), Offset{3}) << "no longer";
}

TEST_F(ReplicaLeaderTest, WhoFallsBehindLeavesAndStillCountsUntilThatIsInForce) {
  Lead({kSelf, kTwo, kThree});
  for (const NodeId node : {kTwo, kThree}) {
    ASSERT_TRUE(Attach(node, 0).ok());
    ASSERT_TRUE(Ack(node, 1, 1).ok());
  }
  now_ = now_ + absl::Hours(1);  // Nothing to acknowledge: everybody is in sync.
  ASSERT_TRUE(Step(CheckIsr{now_}).ok());
  EXPECT_FALSE(effects_.isr_proposal.has_value());
  AppendRecords(1);
  ASSERT_TRUE(Step(CheckIsr{now_}).ok());
  EXPECT_FALSE(effects_.isr_proposal.has_value()) << "they held everything a moment ago";
  ASSERT_TRUE(Ack(kTwo, 2, 2).ok());
  now_ = now_ + kLagMax + absl::Milliseconds(1);
  ASSERT_TRUE(Step(CheckIsr{now_}).ok());
  ASSERT_TRUE(effects_.isr_proposal.has_value());
  EXPECT_THAT(NodesOf(*effects_.isr_proposal), ElementsAre(kSelf, kTwo));
  EXPECT_EQ(replica_.high_watermark(), Offset{1});
  Agree();
  EXPECT_EQ(replica_.high_watermark(), Offset{2});
  EXPECT_THAT(TakeReplied(), ElementsAre(1));
}

TEST_F(ReplicaLeaderTest, UnderSteadyLoadAFollowerOneStepBehindStaysInSync) {
  Lead({kSelf, kTwo});
  ASSERT_TRUE(Attach(kTwo, 0).ok());
  for (int64_t end = 1; end < 40; ++end) {
    AppendRecords(1);
    now_ = now_ + kLagMax / 4;
    ASSERT_TRUE(Ack(kTwo, end, end).ok());
    ASSERT_TRUE(Step(CheckIsr{now_}).ok());
    EXPECT_FALSE(effects_.isr_proposal.has_value()) << end;
  }
}

TEST_F(ReplicaLeaderTest, AChangeOfUnknownOutcomeIsAskedForAgainAndBothIsrsCount) {
  Lead({kSelf, kTwo, kThree});
  ASSERT_TRUE(Attach(kTwo, 0).ok());
  ASSERT_TRUE(Ack(kTwo, 1, 1).ok());
  now_ = now_ + kLagMax + absl::Milliseconds(1);
  ASSERT_TRUE(Step(CheckIsr{now_}).ok());
  const IsrProposal first = effects_.isr_proposal.value();
  EXPECT_THAT(NodesOf(first), ElementsAre(kSelf, kTwo));
  Answer(IsrAnswered::Outcome::kUnknown);
  effects_.isr_proposal.reset();
  EXPECT_EQ(replica_.high_watermark(), Offset{0});
  ASSERT_TRUE(Step(CheckIsr{now_}).ok());
  EXPECT_EQ(effects_.isr_proposal.value().isr, first.isr);
  EXPECT_EQ(effects_.isr_proposal->partition_epoch, first.partition_epoch);
  effects_.isr_proposal.reset();
  ASSERT_TRUE(Step(CheckIsr{now_}).ok());
  EXPECT_FALSE(effects_.isr_proposal.has_value()) << "once per answer";
  // The metadata service tells by itself.
  ASSERT_TRUE(Step(Reign({kSelf, kTwo})).ok());
  EXPECT_EQ(replica_.high_watermark(), Offset{1});
}

TEST_F(ReplicaLeaderTest, ABrokenStreamAloneChangesNothingForAWhile) {
  Lead({kSelf, kTwo});
  ASSERT_TRUE(Attach(kTwo, 0).ok());
  ASSERT_TRUE(Ack(kTwo, 1, 1).ok());
  now_ = now_ + absl::Hours(1);
  ASSERT_TRUE(Step(FollowerLeft{.stream = 0, .from = Incarnation(kTwo), .now = now_}).ok());
  ASSERT_TRUE(Step(CheckIsr{now_}).ok());
  EXPECT_FALSE(effects_.isr_proposal.has_value());
  EXPECT_EQ(ReasonOf(Ack(kTwo, 1, 1)), Reason::kEpochFenced) << "it must attach first";
  now_ = now_ + kLagMax + absl::Milliseconds(1);
  ASSERT_TRUE(Step(CheckIsr{now_}).ok());
  ASSERT_TRUE(effects_.isr_proposal.has_value());
  EXPECT_THAT(NodesOf(*effects_.isr_proposal), ElementsAre(kSelf));
}

TEST_F(ReplicaLeaderTest, TheEndOfAnOldStreamDoesNotTouchTheNextOne) {
  Lead({kSelf, kTwo});
  AttachFollower attach{.stream = 1,
                        .from = Incarnation(kTwo),
                        .epoch = LeaderEpoch{1},
                        .last_epoch = LeaderEpoch{-1},
                        .now = now_};
  ASSERT_TRUE(Step(attach).ok());
  attach.stream = 2;
  ASSERT_TRUE(Step(attach).ok());
  ASSERT_TRUE(Step(FollowerLeft{.stream = 1, .from = Incarnation(kTwo), .now = now_}).ok());
  FollowerProgress ack{.stream = 1,
                       .from = Incarnation(kTwo),
                       .epoch = LeaderEpoch{1},
                       .written_end = Offset{1},
                       .flushed_end = Offset{1},
                       .now = now_};
  EXPECT_EQ(ReasonOf(Step(ack)), Reason::kEpochFenced);
  ack.stream = 2;
  EXPECT_TRUE(Step(ack).ok());
  EXPECT_EQ(replica_.high_watermark(), Offset{1});
}

TEST_F(ReplicaLeaderTest, WhoIsRefusedDoesNotKeepAnotherOut) {
  Lead({kSelf});
  ASSERT_TRUE(Attach(kTwo, 0).ok());
  ASSERT_TRUE(Ack(kTwo, 1, 1).ok());
  ASSERT_TRUE(Attach(kThree, 0).ok());
  ASSERT_TRUE(Ack(kThree, 1, 1).ok());  // Node 2 is under way: this one waits.
  Answer(IsrAnswered::Outcome::kRefused);
  EXPECT_THAT(NodesOf(*effects_.isr_proposal), ElementsAre(kSelf, kThree));
  Answer(IsrAnswered::Outcome::kRefused);
  now_ = now_ + kLagMax / 2;  // Both may be eligible now; each is tried by itself.
  effects_.isr_proposal.reset();
  ASSERT_TRUE(Step(CheckIsr{now_}).ok());
  EXPECT_THAT(NodesOf(effects_.isr_proposal.value()), ElementsAre(kSelf, kTwo));
  Answer(IsrAnswered::Outcome::kRefused);
  EXPECT_THAT(NodesOf(*effects_.isr_proposal), ElementsAre(kSelf, kThree));
}

TEST_F(ReplicaLeaderTest, AReplicaThatIsAddedWhileItLeadsIsCopiedToAndJoins) {
  BecomeLeader reign = Reign({kSelf});
  reign.replicas = {kSelf, kTwo};
  ASSERT_TRUE(Step(reign).ok());
  Write(true);
  AppendRecords(4);
  EXPECT_EQ(ReasonOf(Attach(kThree, 0)), Reason::kPartitionNotFound) << "not assigned yet";
  ASSERT_TRUE(Step(Reign({kSelf})).ok());
  ASSERT_TRUE(Attach(kThree, 0).ok());
  EXPECT_FALSE(effects_.isr_proposal.has_value());
  ASSERT_TRUE(Ack(kThree, 5, 5).ok());
  ASSERT_TRUE(effects_.isr_proposal.has_value());
  EXPECT_THAT(NodesOf(*effects_.isr_proposal), ElementsAre(kSelf, kThree));
}

TEST_F(ReplicaLeaderTest, AReplicaThatWasNeverCaughtUpDoesNotHoldTheHighWatermark) {
  BecomeLeader reign = Reign({kSelf, kTwo});
  reign.replicas = {kSelf, kTwo};
  ASSERT_TRUE(Step(reign).ok());
  Write(true);
  ASSERT_TRUE(Attach(kTwo, 0).ok());
  AppendRecords(99);
  ASSERT_TRUE(Ack(kTwo, 100, 100).ok());
  ASSERT_TRUE(Step(Reign({kSelf, kTwo})).ok());  // Node 3 is added.
  ASSERT_TRUE(Attach(kThree, 0).ok());
  AppendRecords(1);
  ASSERT_TRUE(Ack(kTwo, 101, 101).ok());
  EXPECT_EQ(replica_.high_watermark(), Offset{101});
  ASSERT_TRUE(Ack(kThree, 60, 60).ok()) << "it comes nearer, and is not there yet";
  AppendRecords(1);
  ASSERT_TRUE(Ack(kTwo, 102, 102).ok());
  EXPECT_EQ(replica_.high_watermark(), Offset{102});
  ASSERT_TRUE(Ack(kThree, 101, 101).ok()) << "all there was at its acknowledgement before";
  EXPECT_FALSE(effects_.isr_proposal.has_value()) << "but not all that is committed";
  AppendRecords(1);
  ASSERT_TRUE(Ack(kTwo, 103, 103).ok());
  EXPECT_EQ(replica_.high_watermark(), Offset{102}) << "about to join: from here on it counts";
  ASSERT_TRUE(Ack(kThree, 103, 103).ok());
  EXPECT_EQ(replica_.high_watermark(), Offset{103});
  EXPECT_TRUE(effects_.isr_proposal.has_value());
}

TEST_F(ReplicaLeaderTest, ANewLeaderDoesNotWaitForWhoIsNotInSync) {
  Lead({kSelf, kTwo});
  ASSERT_TRUE(Attach(kThree, 0).ok());
  ASSERT_TRUE(Attach(kTwo, 0).ok());
  AppendRecords(9);
  ASSERT_TRUE(Ack(kTwo, 10, 10).ok());
  EXPECT_TRUE(replica_.serving());
  EXPECT_EQ(replica_.high_watermark(), Offset{10});
}

TEST_F(ReplicaLeaderTest, AnEmptyLogThatEndsAboveTheLeadersHoldsNothing) {
  Lead({kSelf, kTwo});
  AttachFollower attach{.from = Incarnation(kTwo),
                        .epoch = LeaderEpoch{1},
                        .last_epoch = LeaderEpoch{-1},
                        .log_end = Offset{2},
                        .flushed_end = Offset{2},
                        .now = now_};
  ASSERT_TRUE(Step(attach).ok());
  ASSERT_EQ(effects_.attach_answers.size(), 1u);
  EXPECT_EQ(effects_.attach_answers[0].diverging, (EpochEnd{LeaderEpoch{-1}, Offset{1}}));
  EXPECT_EQ(replica_.high_watermark(), Offset{0});
  attach.log_end = attach.flushed_end = Offset{1};
  ASSERT_TRUE(Step(attach).ok());
  EXPECT_FALSE(effects_.attach_answers[1].diverging.has_value())
      << "it begins where the leader's log ends";
}

TEST_F(ReplicaLeaderTest, WhoHasNotBeenHeardOfLagsToo) {
  Lead({kSelf, kTwo});
  EXPECT_THAT(replica_.follower_lags(), ElementsAre(FollowerLag{kTwo, 1}, FollowerLag{kThree, 1}))
      << "node 3 may have nothing";
  AppendRecords(9);
  ASSERT_TRUE(Attach(kTwo, 0).ok());
  ASSERT_TRUE(Ack(kTwo, 10, 10).ok());
  ASSERT_TRUE(Step(TruncatePrefix{LeaderEpoch{1}, Offset{4}}).ok());
  Write(true);
  EXPECT_THAT(replica_.follower_lags(), ElementsAre(FollowerLag{kTwo, 0}, FollowerLag{kThree, 6}))
      << "what was deleted is not missing";
  ASSERT_TRUE(Attach(kThree, 0).ok());
  EXPECT_THAT(replica_.follower_lags(), ElementsAre(FollowerLag{kTwo, 0}, FollowerLag{kThree, 6}));
  ASSERT_TRUE(Ack(kThree, 9, 9).ok());
  EXPECT_THAT(replica_.follower_lags(), ElementsAre(FollowerLag{kTwo, 0}, FollowerLag{kThree, 1}));
  AppendRecords(1);
  BecomeLeader again = Reign({kSelf, kTwo});
  again.epoch = LeaderEpoch{2};
  again.replicas = {kSelf, kTwo};
  ASSERT_TRUE(Step(again).ok());
  Write(true);
  EXPECT_EQ(replica_.high_watermark(), Offset{10});
  EXPECT_THAT(replica_.follower_lags(), ElementsAre(FollowerLag{kTwo, 2}))
      << "who is in sync holds what is committed";
}

TEST_F(ReplicaLeaderTest, KnowsWhereTheLogsOfAllInSyncBegin) {
  Lead({kSelf, kTwo});
  AppendRecords(9);
  ASSERT_TRUE(Attach(kTwo, 0).ok());
  FollowerProgress ack{.from = Incarnation(kTwo),
                       .epoch = LeaderEpoch{1},
                       .written_end = Offset{10},
                       .flushed_end = Offset{10},
                       .now = now_};
  ASSERT_TRUE(Step(ack).ok());
  ASSERT_TRUE(Step(TruncatePrefix{LeaderEpoch{1}, Offset{4}}).ok());
  Write(true);
  EXPECT_EQ(replica_.log_start_in_sync(), Offset{0});
  ack.log_start = Offset{3};
  ASSERT_TRUE(Step(ack).ok());
  EXPECT_EQ(replica_.log_start_in_sync(), Offset{3});
  ack.log_start = Offset{6};
  ASSERT_TRUE(Step(ack).ok());
  EXPECT_EQ(replica_.log_start_in_sync(), Offset{4}) << "its own";
  ASSERT_TRUE(Step(TruncatePrefix{LeaderEpoch{1}, Offset{8}}).ok());
  EXPECT_EQ(replica_.log_start_in_sync(), Offset{4}) << "not on disk yet";
  Write(true);
  ASSERT_TRUE(Step(Reign({kSelf})).ok());
  EXPECT_EQ(replica_.log_start_in_sync(), Offset{8}) << "who is not in sync is not waited for";
  ASSERT_TRUE(Step(Reign({kSelf, kThree})).ok());
  EXPECT_EQ(replica_.log_start_in_sync(), Offset{0}) << "node 3 has not been heard of";
}

TEST_F(ReplicaLeaderTest, WhoNoLongerWaitsIsForgotten) {
  Lead({kSelf, kTwo});
  AppendRecords(1);
  AppendRecords(1);
  AppendRecords(1);
  ASSERT_TRUE(Step(ForgetWaiters{{3, 1, 77}}).ok());
  ASSERT_TRUE(Attach(kTwo, 0).ok());
  ASSERT_TRUE(Ack(kTwo, 4, 4).ok());
  EXPECT_THAT(TakeReplied(), ElementsAre(2));
}

TEST_F(ReplicaLeaderTest, AFingerprintTellsApartWhatDecides) {
  Lead({kSelf, kTwo});
  const std::string before = replica_.Fingerprint();
  ASSERT_TRUE(Step(ChangeSettings{{.min_in_sync_replicas = 2, .replica_lag_max = kLagMax}}).ok());
  EXPECT_NE(replica_.Fingerprint(), before);
  // Two logs of one record each, of different producers.
  const auto fingerprint = [this](int64_t producer) {
    Replica one(kSelf, Stored{}, Settings{});
    Effects effects;
    EXPECT_TRUE(one.Step(BecomeLeader{LeaderEpoch{1}, PartitionEpoch{1}, {kSelf}}, &effects).ok());
    EXPECT_TRUE(one.Step(Written{Offset{0}, true, now_}, &effects).ok());
    EXPECT_TRUE(one.Step(Append{.token = 1,
                                .epoch = LeaderEpoch{1},
                                .batch = {.record_count = 1,
                                          .producer_id = ProducerId{producer},
                                          .producer_epoch = ProducerEpoch{0},
                                          .base_sequence = Sequence{0}}},
                         &effects)
                    .ok());
    EXPECT_TRUE(one.Step(Written{Offset{1}, true, now_}, &effects).ok());
    return one.Fingerprint();
  };
  EXPECT_EQ(fingerprint(7), fingerprint(7));
  EXPECT_NE(fingerprint(7), fingerprint(8));
}

TEST_F(ReplicaLeaderTest, AnotherEpochOfTheSameLeaderForgetsWhatFollowersHeld) {
  Lead({kSelf, kThree});
  ASSERT_TRUE(Attach(kThree, 1).ok());
  ASSERT_TRUE(Attach(kTwo, 0).ok());
  now_ = now_ + kLagMax * 2;
  ASSERT_TRUE(Ack(kThree, 1, 1).ok());
  // Node 2 is taken away and added again, and all of that comes as one view: it may have an empty
  // disk by now, and this leader still has its stream of before.
  effects_ = {};
  BecomeLeader again = Reign({kSelf, kThree});
  again.epoch = LeaderEpoch{2};
  ASSERT_TRUE(Step(again).ok());
  Write(true);
  EXPECT_EQ(ReasonOf(Ack(kTwo, 2, 2)), Reason::kNotLeader);
  ASSERT_TRUE(Step(CheckIsr{now_}).ok());
  EXPECT_FALSE(effects_.isr_proposal.has_value());
}

TEST_F(ReplicaLeaderTest, TheLastThatIsLeftIsReadableAndServesOnceSomebodyIsBack) {
  ASSERT_TRUE(Step(ChangeSettings{{.min_in_sync_replicas = 2, .replica_lag_max = kLagMax}}).ok());
  Lead({kSelf, kTwo});
  ASSERT_TRUE(Attach(kTwo, 0).ok());
  AppendRecords(9, Acks::kLeader);
  ASSERT_TRUE(Ack(kTwo, 10, 10).ok());
  BecomeLeader alone = Reign({kSelf});
  alone.epoch = LeaderEpoch{2};
  ASSERT_TRUE(Step(alone).ok());
  EXPECT_FALSE(replica_.readable()) << "the start of its epoch is not on disk";
  Write(true);
  EXPECT_TRUE(replica_.readable());
  EXPECT_FALSE(replica_.serving()) << "it cannot commit its leader-change record";
  EXPECT_EQ(replica_.high_watermark(), Offset{10});
  EXPECT_EQ(replica_.required_in_sync(), 2);
  BecomeLeader next = Reign({kSelf, kTwo});
  next.epoch = LeaderEpoch{3};
  ASSERT_TRUE(Step(next).ok());
  Write(true);
  EXPECT_FALSE(replica_.readable()) << "with enough it serves in a moment";
  alone = Reign({kSelf});
  alone.epoch = LeaderEpoch{3};
  ASSERT_TRUE(Step(alone).ok());
  EXPECT_TRUE(replica_.readable());
  ASSERT_TRUE(Step(AttachFollower{.from = Incarnation(kTwo, 8),
                                  .epoch = LeaderEpoch{3},
                                  .last_epoch = LeaderEpoch{1},
                                  .log_end = Offset{10},
                                  .flushed_end = Offset{10},
                                  .now = now_})
                  .ok());
  ASSERT_TRUE(Step(FollowerProgress{.from = Incarnation(kTwo, 8),
                                    .epoch = LeaderEpoch{3},
                                    .written_end = Offset{12},
                                    .flushed_end = Offset{12},
                                    .now = now_})
                  .ok());
  EXPECT_THAT(NodesOf(effects_.isr_proposal.value()), ElementsAre(kSelf, kTwo));
  BecomeLeader both = Reign({kSelf, kTwo});
  both.epoch = LeaderEpoch{3};
  ASSERT_TRUE(Step(both).ok());
  EXPECT_TRUE(replica_.serving());
}

TEST_F(ReplicaLeaderTest, TellsAFollowerWhereTheLogsPartWays) {
  // Epoch 3 began at 5, epoch 6 at 8; this leader's own is 9, at 10.
  Replica leader(kSelf,
                 {.log_end = Offset{10},
                  .epochs = {{LeaderEpoch{1}, Offset{0}},
                             {LeaderEpoch{3}, Offset{5}},
                             {LeaderEpoch{6}, Offset{8}}}},
                 Settings{});
  ASSERT_TRUE(leader
                  .Step(BecomeLeader{.epoch = LeaderEpoch{9},
                                     .partition_epoch = PartitionEpoch{1},
                                     .isr = {kSelf},
                                     .replicas = {kSelf, kTwo}},
                        &effects_)
                  .ok());
  const auto answer = [&](int32_t last_epoch, int64_t end) {
    const AttachFollower attach{.token = 5,
                                .from = Incarnation(kTwo),
                                .epoch = LeaderEpoch{9},
                                .last_epoch = LeaderEpoch{last_epoch},
                                .log_end = Offset{end}};
    const absl::Status status = leader.Step(attach, &effects_);
    EXPECT_TRUE(status.ok()) << status;
    return effects_.attach_answers.back().diverging;
  };
  EXPECT_FALSE(
      leader.Step(AttachFollower{.from = Incarnation(kTwo), .epoch = LeaderEpoch{9}}, &effects_)
          .ok())
      << "the start of its epoch is not on disk";
  ASSERT_TRUE(leader.Step(Written{leader.log_end(), true, now_}, &effects_).ok());
  EXPECT_EQ(answer(-1, 0), std::nullopt);
  EXPECT_EQ(answer(6, 10), std::nullopt);
  EXPECT_EQ(answer(6, 9), std::nullopt);
  EXPECT_EQ(answer(3, 8), std::nullopt);
  EXPECT_EQ(answer(6, 11), (EpochEnd{LeaderEpoch{6}, Offset{10}}));
  EXPECT_EQ(answer(3, 9), (EpochEnd{LeaderEpoch{3}, Offset{8}}));
  EXPECT_EQ(answer(4, 7), (EpochEnd{LeaderEpoch{3}, Offset{8}})) << "an epoch it never heard of";
  EXPECT_EQ(answer(0, 2), (EpochEnd{LeaderEpoch{0}, Offset{0}}));
  const AttachFollower ahead{.from = Incarnation(kTwo), .epoch = LeaderEpoch{10}};
  EXPECT_EQ(ReasonOf(leader.Step(ahead, &effects_)), Reason::kNotLeader);
}

}  // namespace
}  // namespace falaj::replica
