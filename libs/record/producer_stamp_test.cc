#include "libs/record/producer_stamp.h"

#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "libs/record/batch_builder.h"
#include "libs/record/batch_header.h"
#include "libs/record/batch_validator.h"
#include "libs/record/out_of_order.h"

namespace falaj::record {
namespace {

TEST(ProducerStampTest, AStampedBatchIsTheOneThatIsBuiltWithTheStamp) {
  BatchBuilder plain;
  BatchBuilder numbered;
  for (int i = 0; i < 3; ++i) {
    plain.Add(1000 + i, "key", "value");
    numbered.Add(1000 + i, "key", "value");
  }
  BatchBuilder::BuildOptions options;
  options.producer_id = ProducerId(int64_t{1} << 40);
  options.producer_epoch = ProducerEpoch(7);
  options.base_sequence = Sequence(0x12345678);
  const Bytes expected = numbered.Build(options).value();
  const Bytes first =
      StampProducer(plain.Build({}).value(), {ProducerId(1), ProducerEpoch(0), Sequence(0)});
  const Bytes again =
      StampProducer(first, {options.producer_id, options.producer_epoch, options.base_sequence});
  EXPECT_EQ(again.ToString(), expected.ToString());
  EXPECT_TRUE(ValidateBatch(again, Limits()).ok());
}

absl::Status Refusal(const std::string& expected, const std::string& got) {
  return MakeError(Reason::kOutOfOrderSequence, "no",
                   {{"expected_sequence", expected}, {"got_sequence", got}});
}

TEST(OutOfOrderTest, TellsWhetherTheBatchIsInTheLog) {
  EXPECT_EQ(ReadOutOfOrder(absl::OkStatus()), OutOfOrder::kNo);
  EXPECT_EQ(ReadOutOfOrder(MakeError(Reason::kNotLeader, "no")), OutOfOrder::kNo);
  EXPECT_EQ(ReadOutOfOrder(Refusal("5", "9")), OutOfOrder::kMissing);
  EXPECT_EQ(ReadOutOfOrder(Refusal("9", "5")), OutOfOrder::kPassed);
  EXPECT_EQ(ReadOutOfOrder(Refusal("2147483640", "3")), OutOfOrder::kMissing) << "goes round";
  EXPECT_EQ(ReadOutOfOrder(Refusal("3", "2147483640")), OutOfOrder::kPassed);
}

TEST(OutOfOrderTest, WhatCannotBeReadProvesNothing) {
  EXPECT_EQ(ReadOutOfOrder(Refusal("", "9")), OutOfOrder::kUnknownProducer);
  EXPECT_EQ(ReadOutOfOrder(Refusal("-1", "9")), OutOfOrder::kUnknownProducer);
  EXPECT_EQ(ReadOutOfOrder(MakeError(
                Reason::kOutOfOrderSequence, "no",
                {{"expected_sequence", "0"}, {"got_sequence", "9"}, {"unknown_producer", "true"}})),
            OutOfOrder::kUnknownProducer);
}

}  // namespace
}  // namespace falaj::record
