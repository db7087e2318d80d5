// Idempotent producers through a Replica: who waits with whom, and what a replica still knows after
// a failed write, a restart, a truncation and a change of leader. The rules of the verdicts are
// tested in producer_states_test.
#include <map>
#include <optional>
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

constexpr NodeId kOther{2};

class ReplicaProducerTest : public testing::Test {
 protected:
  absl::Status Step(const Input& input) { return replica_.Step(input, &effects_); }

  void Lead(int32_t epoch, std::vector<NodeId> isr = {kSelf},
            std::vector<NodeId> replicas = {kSelf}) {
    ASSERT_TRUE(Step(BecomeLeader{.epoch = LeaderEpoch{epoch},
                                  .partition_epoch = PartitionEpoch{++partition_epoch_},
                                  .isr = std::move(isr),
                                  .replicas = std::move(replicas)})
                    .ok());
    Write();
  }
  void Follow(int32_t epoch) {
    ASSERT_TRUE(
        Step(BecomeFollower{LeaderEpoch{epoch}, PartitionEpoch{++partition_epoch_}, kOther}).ok());
    ASSERT_TRUE(Step(AttachAnswered{.attach_id = effects_.attach->attach_id}).ok());
  }
  // Two replicas, of which only this one holds anything: nothing new is committed.
  void LeadUncommitted(int32_t epoch) { Lead(epoch, {kSelf, kOther}, {kSelf, kOther}); }

  Append Batch(uint64_t token, int32_t sequence, int32_t records, Acks acks = Acks::kAll) {
    return {.token = token,
            .epoch = replica_.epoch(),
            .acks = acks,
            .now_ms = kNow + sequence,
            .batch = {.record_count = records,
                      .size_bytes = 100,
                      .max_timestamp_ms = kNow,
                      .producer_id = kProducer,
                      .producer_epoch = ProducerEpoch{0},
                      .base_sequence = Sequence{sequence}}};
  }
  Replicate Copy(Offset base, int32_t sequence, int32_t records, int32_t epoch) {
    return {.attach_id = effects_.attach->attach_id,
            .base = base,
            .last = base + (records - 1),
            .batch_epoch = LeaderEpoch{epoch},
            .now_ms = kNow,
            .producer = {kProducer, ProducerEpoch{0}, Sequence{sequence}, records}};
  }

  // What a shell does when its round is written, or is not.
  void Write() {
    for (record::ProducerRow& row : replica_.TakeProducerRows()) {
      const bool gone = row.history.window().empty();
      rows_[row.producer] = std::move(row);
      if (gone) rows_.erase(row.producer);
    }
    ClearRound();
    ASSERT_TRUE(Step(Written{replica_.log_end(), true}).ok());
  }
  void FailWrite() {
    replica_.TakeProducerRows();
    ClearRound();
    ASSERT_TRUE(Step(WriteFailed{MakeError(Reason::kDiskFull, "no room")}).ok());
  }
  void ClearRound() {
    effects_.epochs.clear();
    effects_.placements.clear();
    effects_.log_start.reset();
  }
  std::vector<record::ProducerRow> Rows() const {
    std::vector<record::ProducerRow> rows;
    for (const auto& [producer, row] : rows_) rows.push_back(row);
    return rows;
  }
  std::map<uint64_t, Reply> TakeReplies() {
    std::map<uint64_t, Reply> replies;
    for (const Reply& reply : std::exchange(effects_.replies, {})) replies[reply.token] = reply;
    return replies;
  }

  int64_t partition_epoch_ = 0;
  Effects effects_;
  std::map<ProducerId, record::ProducerRow> rows_;  // In the store.
  std::optional<Replica> opened_{std::in_place, kSelf, Stored{}, Settings{}};
  Replica& replica_ = *opened_;
};

TEST_F(ReplicaProducerTest, ARepeatedBatchIsAnsweredWithThePlaceOfTheFirst) {
  Lead(1);
  ASSERT_TRUE(Step(Batch(1, 0, 3)).ok());
  ASSERT_TRUE(Step(Batch(2, 3, 2)).ok());
  Write();
  TakeReplies();
  ASSERT_TRUE(Step(Batch(3, 0, 3)).ok());
  EXPECT_TRUE(effects_.nothing_to_persist());
  const Reply reply = TakeReplies().at(3);
  ASSERT_TRUE(reply.status.ok());
  EXPECT_TRUE(reply.outcome.duplicate);
  EXPECT_EQ(reply.outcome.base, Offset{0});
  EXPECT_EQ(reply.outcome.record_count, 3);
  EXPECT_EQ(reply.outcome.first_append_time_ms, kNow);
  EXPECT_EQ(replica_.log_end(), Offset{5});
}

TEST_F(ReplicaProducerTest, ADuplicateWaitsForTheCommitOfTheFirstInTheOrderOfOffsets) {
  LeadUncommitted(1);
  ASSERT_TRUE(Step(Batch(1, 0, 1)).ok());
  ASSERT_TRUE(Step(Batch(2, 1, 1)).ok());
  ASSERT_TRUE(Step(Batch(11, 0, 1)).ok());
  ASSERT_TRUE(Step(Batch(12, 1, 1, Acks::kLeader)).ok());
  EXPECT_THAT(TakeReplies(), IsEmpty()) << "nothing is written yet";
  Write();
  const auto written = TakeReplies();
  ASSERT_EQ(written.size(), 1U);
  EXPECT_TRUE(written.at(12).outcome.duplicate) << "acks LEADER: once the first copy is written";

  const IsrMember other{kOther, NodeEpoch{1}};
  ASSERT_TRUE(Step(AttachFollower{.from = other, .epoch = LeaderEpoch{1}}).ok());
  ASSERT_TRUE(Step(FollowerProgress{.from = other,
                                    .epoch = LeaderEpoch{1},
                                    .written_end = Offset{2},
                                    .flushed_end = Offset{2}})
                  .ok());
  const auto first = TakeReplies();  // The leader-change record is at offset 0.
  ASSERT_EQ(first.size(), 2U);
  EXPECT_FALSE(first.at(1).outcome.duplicate);
  EXPECT_TRUE(first.at(11).outcome.duplicate);
  EXPECT_EQ(first.at(1).outcome.base, first.at(11).outcome.base);
}

TEST_F(ReplicaProducerTest, ADuplicateFailsWithTheWriteOfTheFirstAndMayThenBeAppended) {
  Lead(1);
  ASSERT_TRUE(Step(Batch(1, 0, 1)).ok());
  Write();
  TakeReplies();
  ASSERT_TRUE(Step(Batch(2, 1, 1)).ok());
  ASSERT_TRUE(Step(Batch(12, 1, 1)).ok());
  ASSERT_TRUE(Step(Batch(11, 0, 1)).ok()) << "its first copy is written";
  FailWrite();
  const auto replies = TakeReplies();
  EXPECT_EQ(ReasonOf(replies.at(2).status), Reason::kDiskFull);
  EXPECT_EQ(ReasonOf(replies.at(12).status), Reason::kDiskFull);
  EXPECT_TRUE(replies.at(11).status.ok());
  ASSERT_TRUE(Step(Batch(3, 1, 1)).ok());
  Write();
  EXPECT_FALSE(TakeReplies().at(3).outcome.duplicate);
  EXPECT_EQ(replica_.log_end(), Offset{2});
}

TEST_F(ReplicaProducerTest, ADuplicateOfWhatHasBeenDeletedFromTheFrontIsAnswered) {
  Lead(1);
  ASSERT_TRUE(Step(Batch(1, 0, 2)).ok());
  Write();
  Lead(2);
  ASSERT_TRUE(Step(TruncatePrefix{LeaderEpoch{2}, Offset{2}}).ok());
  Write();
  effects_.replies.clear();
  ASSERT_TRUE(Step(Batch(2, 0, 2)).ok());
  ASSERT_EQ(effects_.replies.size(), 1u);
  EXPECT_TRUE(effects_.replies[0].status.ok()) << effects_.replies[0].status;
  EXPECT_TRUE(effects_.replies[0].outcome.duplicate);
  EXPECT_EQ(effects_.replies[0].outcome.base, Offset{0});
}

TEST_F(ReplicaProducerTest, ADuplicateIsNotRefusedForWantOfReplicas) {
  Settings settings;
  settings.min_in_sync_replicas = 2;
  ASSERT_TRUE(Step(ChangeSettings{settings}).ok());
  LeadUncommitted(1);
  ASSERT_TRUE(Step(Batch(1, 0, 1)).ok());
  Write();
  Lead(1, {kSelf}, {kSelf, kOther});
  EXPECT_EQ(ReasonOf(Step(Batch(2, 1, 1))), Reason::kNotEnoughReplicas);
  EXPECT_TRUE(Step(Batch(3, 0, 1)).ok()) << "it is in the log: nothing definite can be said";
  EXPECT_THAT(TakeReplies(), IsEmpty());
}

TEST_F(ReplicaProducerTest, WhatDoesNotContinueItsProducerIsRefusedAndChangesNothing) {
  Lead(1);
  ASSERT_TRUE(Step(Batch(1, 0, 2)).ok());
  const absl::Status gap = Step(Batch(2, 5, 1));
  EXPECT_EQ(ReasonOf(gap), Reason::kOutOfOrderSequence);
  EXPECT_EQ(MetadataOf(gap)["expected_sequence"], "2");
  EXPECT_EQ(MetadataOf(gap)["got_sequence"], "5");
  Append newer = Batch(3, 0, 1);
  newer.batch.producer_epoch = ProducerEpoch{1};
  ASSERT_TRUE(Step(newer).ok());
  EXPECT_EQ(ReasonOf(Step(Batch(4, 2, 1))), Reason::kProducerFenced);
  EXPECT_EQ(replica_.log_end(), Offset{3});
}

TEST_F(ReplicaProducerTest, ARefusedBatchIsNotRemembered) {
  Lead(1);
  Append large = Batch(1, 0, 1);
  large.batch.size_bytes = 1 << 30;
  EXPECT_EQ(ReasonOf(Step(large)), Reason::kRecordTooLarge);
  EXPECT_THAT(replica_.TakeProducerRows(), IsEmpty());
  EXPECT_TRUE(Step(Batch(2, 0, 1)).ok());
}

TEST_F(ReplicaProducerTest, BatchesWithoutAProducerLeaveNothing) {
  Lead(1);
  Append plain = Batch(1, 0, 1);
  plain.batch.producer_id = ProducerId{-1};
  ASSERT_TRUE(Step(plain).ok());
  ASSERT_TRUE(Step(plain).ok());
  EXPECT_EQ(replica_.log_end(), Offset{2});
  EXPECT_THAT(replica_.TakeProducerRows(), IsEmpty());
}

TEST_F(ReplicaProducerTest, TheRowsOfTheStoreMakeARestartedReplicaKnowItsProducers) {
  Lead(1);
  ASSERT_TRUE(Step(Batch(1, 0, 3)).ok());
  Write();
  const Stored stored{
      .log_end = Offset{3}, .epochs = {{LeaderEpoch{1}, Offset{0}}}, .producers = Rows()};
  opened_.emplace(kSelf, stored, Settings{});
  Lead(2);
  TakeReplies();
  ASSERT_TRUE(Step(Batch(2, 0, 3)).ok());
  EXPECT_EQ(TakeReplies().at(2).outcome.base, Offset{0});
}

TEST_F(ReplicaProducerTest, AFollowerKnowsWhatItCopiedWhenItComesToLead) {
  Follow(1);
  ASSERT_TRUE(Step(Copy(Offset{0}, 0, 2, 1)).ok());
  ASSERT_TRUE(Step(Copy(Offset{2}, 40, 1, 1)).ok()) << "followers judge nothing";
  Write();
  Lead(2);
  TakeReplies();
  ASSERT_TRUE(Step(Batch(1, 40, 1)).ok());
  EXPECT_EQ(TakeReplies().at(1).outcome.base, Offset{2});
  EXPECT_EQ(ReasonOf(Step(Batch(2, 0, 2))), Reason::kOutOfOrderSequence);
}

TEST_F(ReplicaProducerTest, WhatWasCutOffMayBeAppendedAgain) {
  Follow(1);
  ASSERT_TRUE(Step(Copy(Offset{0}, 0, 2, 1)).ok());
  Write();
  const std::vector<record::ProducerRow> before = Rows();
  ASSERT_TRUE(Step(Copy(Offset{2}, 2, 1, 1)).ok());
  Write();
  ASSERT_TRUE(Step(BecomeFollower{LeaderEpoch{2}, PartitionEpoch{9}, kOther}).ok());
  ASSERT_TRUE(Step(AttachAnswered{.attach_id = effects_.attach->attach_id,
                                  .diverging = EpochEnd{LeaderEpoch{1}, Offset{2}}})
                  .ok());
  ASSERT_EQ(*effects_.truncate_suffix, Offset{2});
  effects_.truncate_suffix.reset();
  ASSERT_TRUE(Step(Truncated{Offset{0}, Offset{2}, before}).ok());
  partition_epoch_ = 9;
  Lead(3);
  TakeReplies();
  ASSERT_TRUE(Step(Batch(1, 2, 1)).ok());
  Write();
  EXPECT_FALSE(TakeReplies().at(1).outcome.duplicate);
}

TEST_F(ReplicaProducerTest, AFollowerThatGoesOnElsewhereForgetsItsProducers) {
  Follow(1);
  ASSERT_TRUE(Step(Copy(Offset{0}, 0, 2, 1)).ok());
  Write();
  ASSERT_EQ(Rows().size(), 1U);
  const LeaderMarks jump{.attach_id = effects_.attach->attach_id,
                         .log_start = Offset{100},
                         .high_watermark = Offset{100}};
  ASSERT_TRUE(Step(jump).ok());
  FailWrite();
  EXPECT_NE(replica_.producers().Find(kProducer), nullptr) << "the log is the old one";
  ASSERT_TRUE(Step(Reattach{}).ok());
  ASSERT_TRUE(Step(AttachAnswered{.attach_id = effects_.attach->attach_id,
                                  .log_start = Offset{100},
                                  .high_watermark = Offset{100}})
                  .ok());
  EXPECT_EQ(replica_.producers().Find(kProducer), nullptr);
  Write();
  EXPECT_THAT(Rows(), IsEmpty());
  ASSERT_TRUE(Step(Copy(Offset{100}, 7, 1, 1)).ok());
  Write();
  EXPECT_THAT(Rows(), ElementsAre(testing::Field(&record::ProducerRow::producer, kProducer)));
}

TEST_F(ReplicaProducerTest, SilentProducersAreForgottenAndTheirRowsGo) {
  Lead(1);
  ASSERT_TRUE(Step(Batch(1, 0, 1)).ok());
  Write();
  const int64_t expiry_ms = absl::ToInt64Milliseconds(kProducerExpiry);
  ASSERT_TRUE(Step(ExpireProducers{.now_ms = kNow + expiry_ms}).ok());
  EXPECT_EQ(replica_.producers().size(), 1U);
  ASSERT_TRUE(Step(ExpireProducers{.now_ms = kNow + expiry_ms + 1}).ok());
  Write();
  EXPECT_THAT(Rows(), IsEmpty());
  const absl::Status unknown = Step(Batch(2, 1, 1));
  EXPECT_EQ(ReasonOf(unknown), Reason::kOutOfOrderSequence);
  EXPECT_EQ(MetadataOf(unknown)["unknown_producer"], "true");
}

}  // namespace
}  // namespace falaj::replica
