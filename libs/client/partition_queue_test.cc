#include "libs/client/partition_queue.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"

namespace falaj::client {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr MonotonicTime kStart{1'000'000'000};

class PartitionQueueTest : public testing::Test {
 protected:
  void Append(PartitionQueue* queue, const std::string& value, MonotonicTime at = kStart) {
    record::Record record;
    record.value = value;
    queue->Append(record, static_cast<int64_t>(value.size()), nullptr, at);
  }
  // Sends the head batch under the given number.
  void Send(PartitionQueue* queue, uint64_t id) {
    sent_.push_back(queue->Head());
    queue->MarkSent(id);
  }
  std::vector<uint64_t> FinishedIds() const {
    std::vector<uint64_t> ids;
    for (const Finished& done : finished_) ids.push_back(done.batch->id);
    return ids;
  }

  PartitionQueue::Options options_;
  std::vector<BatchPtr> sent_;
  std::vector<Finished> finished_;
  const absl::Status definite_ = MakeError(Reason::kLeaderUnavailable, "no leader");
  const absl::Status indefinite_ = MakeError(Reason::kAppendUncertain, "who knows");
  const absl::Status fatal_ = MakeError(Reason::kInvalidBatch, "bad batch");
};

TEST_F(PartitionQueueTest, FirstRecordIsReadyAtOnceWithoutLinger) {
  PartitionQueue queue(&options_, PartitionIndex(0));
  EXPECT_EQ(queue.ReadyAt(false), PartitionQueue::kNever);
  Append(&queue, "a");
  EXPECT_EQ(queue.ReadyAt(false), kStart);
}

TEST_F(PartitionQueueTest, RecordsGatherWhileABatchIsInFlight) {
  PartitionQueue queue(&options_, PartitionIndex(0));
  Append(&queue, "a");
  Send(&queue, 1);
  Append(&queue, "b");
  Append(&queue, "c");
  EXPECT_EQ(queue.ReadyAt(false), PartitionQueue::kNever);
  EXPECT_EQ(queue.ReadyAt(true), kStart);
  queue.OnAck(1, absl::OkStatus(), Offset(7), kStart, &finished_);
  EXPECT_EQ(queue.ReadyAt(false), kStart);
  EXPECT_EQ(queue.Head()->builder.record_count(), 2);
  ASSERT_EQ(finished_.size(), 1u);
  EXPECT_EQ(finished_[0].base_offset, Offset(7));
}

TEST_F(PartitionQueueTest, LingerHoldsABatchUntilItsTime) {
  options_.linger = absl::Milliseconds(5);
  PartitionQueue queue(&options_, PartitionIndex(0));
  Append(&queue, "a");
  Append(&queue, "b", kStart + absl::Milliseconds(3));
  EXPECT_EQ(queue.ReadyAt(false), kStart + absl::Milliseconds(5));
}

TEST_F(PartitionQueueTest, AFullBatchIsReadyWhateverIsInFlight) {
  options_.batch_bytes = 300;
  PartitionQueue queue(&options_, PartitionIndex(0));
  Append(&queue, "a");
  Send(&queue, 1);
  for (int i = 0; i < 3; ++i) Append(&queue, std::string(100, 'x'));
  EXPECT_EQ(queue.ReadyAt(false), kStart);
  EXPECT_LE(queue.Head()->builder.size_bytes(), 300u);
}

TEST_F(PartitionQueueTest, FailedBatchesAreSentAgainInTheirOrder) {
  PartitionQueue queue(&options_, PartitionIndex(0));
  for (uint64_t id = 1; id <= 3; ++id) {
    Append(&queue, "x");
    Send(&queue, id);
  }
  queue.OnAck(1, definite_, Offset(-1), kStart, &finished_);
  Append(&queue, "later");
  EXPECT_EQ(queue.ReadyAt(true), PartitionQueue::kNever) << "nothing may overtake a failed batch";
  queue.OnAck(2, definite_, Offset(-1), kStart, &finished_);
  queue.OnAck(3, definite_, Offset(-1), kStart, &finished_);
  EXPECT_THAT(finished_, IsEmpty());
  EXPECT_GT(queue.ReadyAt(true), kStart) << "it waits a little";
  EXPECT_EQ(queue.Head(), sent_[0]);
  queue.MarkSent(4);
  EXPECT_EQ(queue.ReadyAt(true), PartitionQueue::kNever) << "one at a time until one succeeds";
  queue.OnAck(4, absl::OkStatus(), Offset(0), kStart, &finished_);
  EXPECT_EQ(queue.Head(), sent_[1]);
  EXPECT_LE(queue.ReadyAt(false), kStart);
}

TEST_F(PartitionQueueTest, AFailureIsReportedIfALaterBatchWasAppended) {
  PartitionQueue queue(&options_, PartitionIndex(0));
  for (uint64_t id = 1; id <= 2; ++id) {
    Append(&queue, "x");
    Send(&queue, id);
  }
  queue.OnAck(1, definite_, Offset(-1), kStart, &finished_);
  queue.OnAck(2, absl::OkStatus(), Offset(0), kStart, &finished_);
  EXPECT_THAT(FinishedIds(), ElementsAre(1, 2));
  EXPECT_EQ(finished_[0].status, definite_);
  EXPECT_TRUE(finished_[1].status.ok());
  EXPECT_TRUE(queue.idle());
}

TEST_F(PartitionQueueTest, AFailureIsReportedIfALaterBatchMayHaveBeenAppended) {
  PartitionQueue queue(&options_, PartitionIndex(0));
  for (uint64_t id = 1; id <= 2; ++id) {
    Append(&queue, "x");
    Send(&queue, id);
  }
  queue.OnAck(1, definite_, Offset(-1), kStart, &finished_);
  queue.OnAck(2, indefinite_, Offset(-1), kStart, &finished_);
  EXPECT_THAT(FinishedIds(), ElementsAre(1, 2));
}

TEST_F(PartitionQueueTest, ARefusedBatchDoesNotKeepTheOneBeforeItFromBeingSentAgain) {
  PartitionQueue queue(&options_, PartitionIndex(0));
  for (uint64_t id = 1; id <= 2; ++id) {
    Append(&queue, "x");
    Send(&queue, id);
  }
  queue.OnAck(1, definite_, Offset(-1), kStart, &finished_);
  queue.OnAck(2, fatal_, Offset(-1), kStart, &finished_);
  EXPECT_THAT(FinishedIds(), ElementsAre(2));
  EXPECT_EQ(queue.Head(), sent_[0]);
}

TEST_F(PartitionQueueTest, IndefiniteErrorsAreSentAgainOnlyIfAskedTo) {
  PartitionQueue careful(&options_, PartitionIndex(0));
  Append(&careful, "x");
  Send(&careful, 1);
  careful.OnAck(1, indefinite_, Offset(-1), kStart, &finished_);
  EXPECT_THAT(FinishedIds(), ElementsAre(1));

  options_.retry_uncertain = true;
  PartitionQueue bold(&options_, PartitionIndex(0));
  Append(&bold, "x");
  Send(&bold, 2);
  bold.OnAck(2, indefinite_, Offset(-1), kStart, &finished_);
  EXPECT_THAT(FinishedIds(), ElementsAre(1));
  EXPECT_NE(bold.Head(), nullptr);
}

TEST_F(PartitionQueueTest, ABrokenStreamFailsWhatIsInFlightAndKeepsWhatWaits) {
  PartitionQueue queue(&options_, PartitionIndex(0));
  Append(&queue, "x");
  Send(&queue, 1);
  Append(&queue, "y");
  queue.OnBroken(indefinite_, kStart, &finished_);
  EXPECT_THAT(FinishedIds(), ElementsAre(1));
  EXPECT_EQ(queue.ReadyAt(false), kStart);
}

TEST_F(PartitionQueueTest, WhatIsGivenUpReportsItsLastErrorAndSparesTheBatchBeingEncoded) {
  PartitionQueue queue(&options_, PartitionIndex(0));
  Append(&queue, "x");
  Send(&queue, 1);
  queue.OnAck(1, definite_, Offset(-1), kStart, &finished_);
  const absl::Status late = MakeError(Reason::kTimedOut, "late");
  queue.Expire(kStart, queue.Head().get(), late, &finished_);
  EXPECT_THAT(finished_, IsEmpty());
  queue.Expire(kStart, nullptr, late, &finished_);
  ASSERT_EQ(finished_.size(), 1u);
  EXPECT_EQ(finished_[0].status, definite_);
  EXPECT_TRUE(queue.idle());
}

}  // namespace
}  // namespace falaj::client
