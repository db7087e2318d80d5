#include "libs/client/partition_queue.h"

#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "libs/client/produce_frame.h"

namespace falaj::client {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr MonotonicTime kStart{1'000'000'000};
constexpr PartitionQueue::Traffic kQuiet{.flushing = false, .quiet = true};
constexpr PartitionQueue::Traffic kBusy{.flushing = false, .quiet = false};
constexpr PartitionQueue::Traffic kFlushing{.flushing = true, .quiet = false};

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
  EXPECT_EQ(queue.ReadyAt(kQuiet), PartitionQueue::kNever);
  Append(&queue, "a");
  EXPECT_EQ(queue.ReadyAt(kQuiet), kStart);
}

TEST_F(PartitionQueueTest, RecordsGatherWhileABatchIsInFlight) {
  PartitionQueue queue(&options_, PartitionIndex(0));
  Append(&queue, "a");
  Send(&queue, 1);
  Append(&queue, "b");
  Append(&queue, "c");
  EXPECT_EQ(queue.ReadyAt(kQuiet), PartitionQueue::kNever);
  EXPECT_EQ(queue.ReadyAt(kFlushing), kStart);
  queue.OnAck(1, {absl::OkStatus(), Offset(7)}, kStart, &finished_);
  EXPECT_EQ(queue.ReadyAt(kQuiet), kStart);
  EXPECT_EQ(queue.Head()->builder.record_count(), 2);
  ASSERT_EQ(finished_.size(), 1u);
  EXPECT_EQ(finished_[0].base_offset, Offset(7));
}

TEST_F(PartitionQueueTest, RecordsGatherALittleWhileOtherPartitionsHaveBatchesInFlight) {
  options_.batch_bytes = 300;
  PartitionQueue queue(&options_, PartitionIndex(0));
  Append(&queue, "a");
  const MonotonicTime later = queue.ReadyAt(kBusy);
  EXPECT_GT(later, kStart);
  EXPECT_LE(later, kStart + absl::Milliseconds(5)) << "nobody waits for long for another partition";
  EXPECT_EQ(queue.ReadyAt(kQuiet), kStart);
  EXPECT_EQ(queue.ReadyAt(kFlushing), kStart);
  Append(&queue, "b", kStart + absl::Milliseconds(1));
  EXPECT_EQ(queue.ReadyAt(kBusy), later) << "the first record counts";
  Append(&queue, std::string(200, 'x'));
  Append(&queue, std::string(200, 'x'));
  EXPECT_EQ(queue.ReadyAt(kBusy), kStart) << "full";
}

TEST_F(PartitionQueueTest, WhatWaitsIsCountedAsFarAsItMatters) {
  options_.batch_bytes = 300;
  PartitionQueue queue(&options_, PartitionIndex(0));
  EXPECT_EQ(queue.WaitingBytes(1000), 0u);
  for (int i = 0; i < 4; ++i) Append(&queue, std::string(200, 'x'));
  EXPECT_GE(queue.WaitingBytes(100'000), 800u);
  EXPECT_LT(queue.WaitingBytes(100'000), 1600u);
  EXPECT_LT(queue.WaitingBytes(100), 400u) << "one batch is enough";
  const size_t all = queue.WaitingBytes(100'000);
  Send(&queue, 1);
  EXPECT_LT(queue.WaitingBytes(100'000), all) << "what is in flight does not wait";
}

TEST(FrameAtTest, BatchesGatherOnlyWhileOthersAreOnTheirWay) {
  const absl::Duration none = absl::ZeroDuration();
  EXPECT_EQ(FrameAt(kQuiet, none, kStart, false), kStart);
  EXPECT_EQ(FrameAt(kFlushing, none, kStart, false), kStart);
  EXPECT_EQ(FrameAt(kBusy, none, kStart, /*full=*/true), kStart);
  EXPECT_EQ(FrameAt(kBusy, none, kStart, false), kStart + PartitionQueue::kGatherMax);
  EXPECT_EQ(FrameAt(kBusy, absl::Milliseconds(1), kStart, false), kStart + absl::Milliseconds(1));
  EXPECT_EQ(FrameAt(kBusy, absl::Seconds(1), kStart, false), kStart + PartitionQueue::kGatherMax);
}

TEST(FrameAtTest, AFrameIsFullWhenAFullBatchMoreWouldNotFit) {
  EXPECT_FALSE(FrameIsFull(240 << 10, 16 << 10));
  EXPECT_TRUE(FrameIsFull((240 << 10) + 1, 16 << 10));
  EXPECT_FALSE(FrameIsFull(128 << 10, 128 << 10)) << "two make one";
  EXPECT_TRUE(FrameIsFull(200 << 10, 100 << 10)) << "no third will fit";
  EXPECT_TRUE(FrameIsFull(1, 256 << 10)) << "large ones travel alone";
}

TEST_F(PartitionQueueTest, LingerHoldsABatchUntilItsTime) {
  options_.linger = absl::Milliseconds(5);
  PartitionQueue queue(&options_, PartitionIndex(0));
  Append(&queue, "a");
  Append(&queue, "b", kStart + absl::Milliseconds(3));
  EXPECT_EQ(queue.ReadyAt(kQuiet), kStart + absl::Milliseconds(5));
}

TEST_F(PartitionQueueTest, AFullBatchIsReadyWhateverIsInFlight) {
  options_.batch_bytes = 300;
  PartitionQueue queue(&options_, PartitionIndex(0));
  Append(&queue, "a");
  Send(&queue, 1);
  for (int i = 0; i < 3; ++i) Append(&queue, std::string(100, 'x'));
  EXPECT_EQ(queue.ReadyAt(kQuiet), kStart);
  EXPECT_LE(queue.Head()->builder.size_bytes(), 300u);
}

TEST_F(PartitionQueueTest, FailedBatchesAreSentAgainInTheirOrder) {
  PartitionQueue queue(&options_, PartitionIndex(0));
  for (uint64_t id = 1; id <= 3; ++id) {
    Append(&queue, "x");
    Send(&queue, id);
  }
  queue.OnAck(1, {definite_, Offset(-1)}, kStart, &finished_);
  Append(&queue, "later");
  EXPECT_EQ(queue.ReadyAt(kFlushing), PartitionQueue::kNever)
      << "nothing may overtake a failed batch";
  queue.OnAck(2, {definite_, Offset(-1)}, kStart, &finished_);
  queue.OnAck(3, {definite_, Offset(-1)}, kStart, &finished_);
  EXPECT_THAT(finished_, IsEmpty());
  EXPECT_GT(queue.ReadyAt(kFlushing), kStart) << "it waits a little";
  EXPECT_EQ(queue.Head(), sent_[0]);
  queue.MarkSent(4);
  EXPECT_EQ(queue.ReadyAt(kFlushing), PartitionQueue::kNever) << "one at a time until one succeeds";
  queue.OnAck(4, {absl::OkStatus(), Offset(0)}, kStart, &finished_);
  EXPECT_EQ(queue.Head(), sent_[1]);
  EXPECT_LE(queue.ReadyAt(kQuiet), kStart);
}

TEST_F(PartitionQueueTest, AFailureIsReportedIfALaterBatchWasAppended) {
  PartitionQueue queue(&options_, PartitionIndex(0));
  for (uint64_t id = 1; id <= 2; ++id) {
    Append(&queue, "x");
    Send(&queue, id);
  }
  queue.OnAck(1, {definite_, Offset(-1)}, kStart, &finished_);
  queue.OnAck(2, {absl::OkStatus(), Offset(0)}, kStart, &finished_);
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
  queue.OnAck(1, {definite_, Offset(-1)}, kStart, &finished_);
  queue.OnAck(2, {indefinite_, Offset(-1)}, kStart, &finished_);
  EXPECT_THAT(FinishedIds(), ElementsAre(1, 2));
}

TEST_F(PartitionQueueTest, ARefusedBatchDoesNotKeepTheOneBeforeItFromBeingSentAgain) {
  PartitionQueue queue(&options_, PartitionIndex(0));
  for (uint64_t id = 1; id <= 2; ++id) {
    Append(&queue, "x");
    Send(&queue, id);
  }
  queue.OnAck(1, {definite_, Offset(-1)}, kStart, &finished_);
  queue.OnAck(2, {fatal_, Offset(-1)}, kStart, &finished_);
  EXPECT_THAT(FinishedIds(), ElementsAre(2));
  EXPECT_EQ(queue.Head(), sent_[0]);
}

TEST_F(PartitionQueueTest, IndefiniteErrorsAreSentAgainOnlyIfAskedTo) {
  PartitionQueue careful(&options_, PartitionIndex(0));
  Append(&careful, "x");
  Send(&careful, 1);
  careful.OnAck(1, {indefinite_, Offset(-1)}, kStart, &finished_);
  EXPECT_THAT(FinishedIds(), ElementsAre(1));

  options_.retry_uncertain = true;
  PartitionQueue bold(&options_, PartitionIndex(0));
  Append(&bold, "x");
  Send(&bold, 2);
  bold.OnAck(2, {indefinite_, Offset(-1)}, kStart, &finished_);
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
  EXPECT_EQ(queue.ReadyAt(kQuiet), kStart);
}

TEST_F(PartitionQueueTest, WhatIsGivenUpReportsItsLastErrorAndSparesTheBatchBeingEncoded) {
  PartitionQueue queue(&options_, PartitionIndex(0));
  Append(&queue, "x");
  Send(&queue, 1);
  queue.OnAck(1, {definite_, Offset(-1)}, kStart, &finished_);
  const absl::Status late = MakeError(Reason::kTimedOut, "late");
  queue.Expire(kStart, queue.Head().get(), late, &finished_);
  EXPECT_THAT(finished_, IsEmpty());
  queue.Expire(kStart, nullptr, late, &finished_);
  ASSERT_EQ(finished_.size(), 1u);
  EXPECT_EQ(finished_[0].status, definite_);
  EXPECT_TRUE(queue.idle());
}

class NumberedQueueTest : public PartitionQueueTest {
 protected:
  NumberedQueueTest() {
    options_.idempotent = true;
    queue_.SetProducer(ProducerId(9));
  }
  // A batch of so many records, sent under the number.
  void AppendAndSend(uint64_t id, int records = 1) {
    for (int i = 0; i < records; ++i) Append(&queue_, "x");
    Send(&queue_, id);
  }
  void Ack(uint64_t id, const absl::Status& status = absl::OkStatus(), int64_t offset = -1,
           bool duplicate = false) {
    queue_.OnAck(id, {status, Offset(offset), duplicate}, kStart, &finished_);
  }
  // What the leader says of a batch it does not expect.
  static absl::Status OutOfOrder(int expected, int got, bool unknown = false) {
    ErrorMetadata metadata = {{"expected_sequence", absl::StrCat(expected)},
                              {"got_sequence", absl::StrCat(got)}};
    if (unknown) metadata["unknown_producer"] = "true";
    return MakeError(Reason::kOutOfOrderSequence, "no", metadata);
  }
  record::ProducerStamp StampOf(size_t sent) const { return sent_[sent]->stamp.value(); }
  static record::ProducerStamp Stamp(int16_t epoch, int32_t sequence) {
    return {ProducerId(9), ProducerEpoch(epoch), Sequence(sequence)};
  }

  PartitionQueue queue_{&options_, PartitionIndex(0)};
};

TEST_F(NumberedQueueTest, NothingIsSentBeforeThereIsAnId) {
  PartitionQueue queue(&options_, PartitionIndex(0));
  Append(&queue, "x");
  EXPECT_TRUE(queue.NeedsProducer());
  EXPECT_EQ(queue.ReadyAt(kFlushing), PartitionQueue::kNever);
  queue.SetProducer(ProducerId(1));
  EXPECT_EQ(queue.ReadyAt(kQuiet), kStart);
}

TEST_F(NumberedQueueTest, SequencesCountRecordsAndAtMostFiveAreInFlight) {
  for (uint64_t id = 1; id <= 5; ++id) AppendAndSend(id, static_cast<int>(id));
  EXPECT_EQ(StampOf(0), Stamp(0, 0));
  EXPECT_EQ(StampOf(1), Stamp(0, 1));
  EXPECT_EQ(StampOf(4), Stamp(0, 10));
  Append(&queue_, "y");
  EXPECT_EQ(queue_.ReadyAt(kFlushing), PartitionQueue::kNever);
  Ack(1);
  EXPECT_EQ(queue_.ReadyAt(kFlushing), kStart);
}

TEST_F(NumberedQueueTest, WhateverItsOutcomeABatchIsRepeatedWithItsOwnSequence) {
  AppendAndSend(1);
  AppendAndSend(2);
  Ack(1, indefinite_);
  queue_.OnBroken(indefinite_, kStart, &finished_);
  EXPECT_THAT(finished_, IsEmpty());
  EXPECT_EQ(queue_.Head(), sent_[0]);
  queue_.MarkSent(3);
  Ack(3, absl::OkStatus(), 70, /*duplicate=*/true);
  ASSERT_EQ(finished_.size(), 1u);
  EXPECT_TRUE(finished_[0].duplicate);
  EXPECT_EQ(finished_[0].base_offset, Offset(70));
  EXPECT_EQ(queue_.Head(), sent_[1]);
  EXPECT_EQ(StampOf(1), Stamp(0, 1)) << "a sequence is never given to other records";
}

TEST_F(NumberedQueueTest, ALaterSuccessDoesNotFailTheBatchBeforeIt) {
  AppendAndSend(1);
  AppendAndSend(2);
  Ack(1, indefinite_);  // It was appended: else the second would have been refused.
  Ack(2);
  EXPECT_THAT(FinishedIds(), ElementsAre(2));
  EXPECT_EQ(queue_.Head(), sent_[0]);
}

TEST_F(NumberedQueueTest, WhatIsRefusedBehindARepeatedBatchKeepsItsNumber) {
  for (uint64_t id = 1; id <= 3; ++id) AppendAndSend(id);
  Ack(1, definite_);
  Ack(2, OutOfOrder(0, 1));
  Ack(3, OutOfOrder(0, 2));
  EXPECT_THAT(finished_, IsEmpty());
  EXPECT_EQ(queue_.Head(), sent_[0]);
  EXPECT_EQ(StampOf(0), Stamp(0, 0));
  EXPECT_EQ(StampOf(2), Stamp(0, 2));
}

TEST_F(NumberedQueueTest, BehindABatchThatIsGivenUpAllAreNumberedAnew) {
  for (uint64_t id = 1; id <= 3; ++id) AppendAndSend(id);
  Ack(1, fatal_);
  Ack(2, OutOfOrder(0, 1));
  EXPECT_EQ(StampOf(1), Stamp(0, 1)) << "not before all are back";
  Ack(3, OutOfOrder(0, 2));
  EXPECT_THAT(FinishedIds(), ElementsAre(1));
  EXPECT_EQ(queue_.Head(), sent_[1]);
  EXPECT_EQ(StampOf(1), Stamp(1, 0));
  queue_.MarkSent(4);
  Ack(4);
  EXPECT_EQ(queue_.Head(), sent_[2]);
  EXPECT_EQ(StampOf(2), Stamp(1, 1));
}

TEST_F(NumberedQueueTest, AnExpiredBatchMayHaveBeenAppendedAndThenNothingIsNumberedAnew) {
  AppendAndSend(1);
  Append(&queue_, "y", kStart + absl::Seconds(1));
  Send(&queue_, 2);
  queue_.OnBroken(indefinite_, kStart, &finished_);
  queue_.Expire(kStart, nullptr, MakeError(Reason::kTimedOut, "late"), &finished_);
  ASSERT_EQ(finished_.size(), 1u);
  EXPECT_EQ(ReasonOf(finished_[0].status), Reason::kAppendUncertain);
  EXPECT_EQ(queue_.Head(), sent_[1]);
  queue_.MarkSent(3);
  Ack(3, absl::OkStatus(), 5, /*duplicate=*/true);
  EXPECT_EQ(StampOf(1), Stamp(0, 1));
}

TEST_F(NumberedQueueTest, OnceUncertainABatchNeverFailsAsIfItWereNotAppended) {
  AppendAndSend(1);
  Ack(1, indefinite_);
  queue_.Head();
  queue_.MarkSent(2);
  Ack(2, definite_);
  queue_.Expire(kStart, nullptr, MakeError(Reason::kTimedOut, "late"), &finished_);
  ASSERT_EQ(finished_.size(), 1u);
  EXPECT_EQ(finished_[0].status, indefinite_);
}

TEST_F(NumberedQueueTest, ALeaderThatIsPastTheBatchHasIt) {
  AppendAndSend(1);
  Ack(1, indefinite_);
  queue_.Head();
  queue_.MarkSent(2);
  Ack(2, OutOfOrder(50, 0));
  ASSERT_EQ(finished_.size(), 1u);
  EXPECT_TRUE(finished_[0].status.ok());
  EXPECT_TRUE(finished_[0].duplicate);
  EXPECT_EQ(finished_[0].base_offset, Offset(-1));
}

TEST_F(NumberedQueueTest, AForgottenProducerBeginsAnewUnlessItIsRepeating) {
  AppendAndSend(1);
  Ack(1);
  AppendAndSend(2);
  Ack(2, OutOfOrder(0, 1, /*unknown=*/true));
  EXPECT_EQ(queue_.Head(), sent_[1]);
  EXPECT_EQ(StampOf(1), Stamp(1, 0));
  queue_.MarkSent(3);
  Ack(3, indefinite_);
  queue_.Head();
  queue_.MarkSent(4);
  Ack(4, OutOfOrder(0, 1, /*unknown=*/true));
  EXPECT_EQ(finished_.back().status, indefinite_) << "nobody can say whether it was appended";
}

TEST_F(NumberedQueueTest, AUsedUpIdIsReplaced) {
  for (int i = 0; i <= std::numeric_limits<int16_t>::max(); ++i) {
    ASSERT_FALSE(queue_.NeedsProducer()) << i;
    AppendAndSend(static_cast<uint64_t>(2 * i) + 1);
    Append(&queue_, "x");
    Send(&queue_, static_cast<uint64_t>(2 * i) + 2);
    Ack(static_cast<uint64_t>(2 * i) + 1, fatal_);
    Ack(static_cast<uint64_t>(2 * i) + 2, OutOfOrder(0, 1));
    queue_.Expire(kStart, nullptr, definite_, &finished_);
  }
  EXPECT_TRUE(queue_.NeedsProducer());
}

}  // namespace
}  // namespace falaj::client
