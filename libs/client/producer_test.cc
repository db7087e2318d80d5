#include "libs/client/producer.h"

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/client/produce_frame.h"
#include "libs/client/testing/fake_gateway.h"
#include "libs/record/partitioner.h"
#include "libs/rpc/byte_buffer.h"

namespace falaj::client {
namespace {

using testing::ElementsAre;

constexpr absl::Duration kFlushMax = absl::Seconds(20);

record::Record MakeRecord(const std::string& value) {
  record::Record record;
  record.value = value;
  record.timestamp_ms = 1;
  return record;
}

class ProducerTest : public testing::Test {
 protected:
  std::unique_ptr<Producer> MakeProducer() {
    options_.address = gateway_->address();
    return *Producer::Create(options_);
  }
  static Destination Partition(int32_t p) { return Destination("orders", PartitionIndex(p)); }

  std::unique_ptr<FakeGateway> gateway_ = std::make_unique<FakeGateway>();
  ProducerOptions options_;
};

FakeGateway::Verdict Refuse(Reason reason) {
  return {FakeGateway::Verdict::kError, MakeError(reason, "refused by the test")};
}

TEST_F(ProducerTest, EveryRecordLearnsItsOffset) {
  auto producer = MakeProducer();
  std::vector<std::future<Delivery>> deliveries;
  for (int i = 0; i < 100; ++i) {
    deliveries.push_back(producer->Send(Partition(2), MakeRecord(absl::StrCat(i))));
  }
  for (int i = 0; i < 100; ++i) {
    const Delivery delivery = deliveries[static_cast<size_t>(i)].get();
    ASSERT_TRUE(delivery.status.ok()) << delivery.status;
    EXPECT_EQ(delivery.partition, PartitionIndex(2));
    EXPECT_EQ(delivery.offset, Offset(i));
  }
  const std::vector<std::string> values = gateway_->Values(2);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(values[static_cast<size_t>(i)], absl::StrCat(i));
}

TEST_F(ProducerTest, AKeyPicksItsPartition) {
  auto producer = MakeProducer();
  for (const char* key : {"21", "foobar", "abc"}) {
    record::Record record = MakeRecord("v");
    record.key = key;
    EXPECT_EQ(producer->Send("orders", record).get().partition, record::PartitionForKey(key, 4));
  }
}

TEST_F(ProducerTest, RecordsGatherIntoBatchesUnderLoad) {
  options_.linger = absl::Seconds(5);
  options_.batch_bytes = 64 << 10;
  auto producer = MakeProducer();
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(producer->Send(Partition(0), MakeRecord("x"), nullptr).ok());
  }
  EXPECT_TRUE(producer->Flush(kFlushMax).ok());
  EXPECT_EQ(gateway_->batches(), 1);
  EXPECT_EQ(producer->BufferedBytes(), 0);
}

TEST_F(ProducerTest, LingerSendsWithoutAFlush) {
  options_.linger = absl::Milliseconds(20);
  auto producer = MakeProducer();
  EXPECT_TRUE(producer->Send(Partition(0), MakeRecord("x")).get().status.ok());
}

TEST_F(ProducerTest, AnUnknownTopicFailsSend) {
  auto producer = MakeProducer();
  const absl::Status status = producer->Send("missing", MakeRecord("x"), nullptr);
  EXPECT_EQ(ReasonOf(status), Reason::kTopicNotFound) << status;
}

TEST_F(ProducerTest, AnUnknownPartitionFailsSend) {
  auto producer = MakeProducer();
  const absl::Status status = producer->Send(Partition(4), MakeRecord("x"), nullptr);
  EXPECT_EQ(ReasonOf(status), Reason::kPartitionNotFound) << status;
}

TEST_F(ProducerTest, ARecordLargerThanABatchMayBeFailsSend) {
  gateway_->batch_bytes_max = 1000;
  auto producer = MakeProducer();
  const absl::Status status =
      producer->Send(Partition(0), MakeRecord(std::string(2000, 'x')), nullptr);
  EXPECT_EQ(ReasonOf(status), Reason::kRecordTooLarge) << status;
  EXPECT_EQ(producer->BufferedBytes(), 0);
}

TEST_F(ProducerTest, DefiniteErrorsAreRetriedInOrder) {
  gateway_->judge = [](int batch) {
    return batch % 3 == 0 ? Refuse(Reason::kLeaderUnavailable) : FakeGateway::Verdict();
  };
  options_.batches_in_flight_max = 1;
  auto producer = MakeProducer();
  std::vector<std::future<Delivery>> deliveries;
  for (int i = 0; i < 20; ++i) {
    deliveries.push_back(producer->Send(Partition(0), MakeRecord(absl::StrCat(i))));
    if (i % 5 == 0) {
      EXPECT_TRUE(deliveries.back().get().status.ok());
    }
  }
  EXPECT_TRUE(producer->Flush(kFlushMax).ok());
  const std::vector<std::string> values = gateway_->Values(0);
  ASSERT_EQ(values.size(), 20u);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(values[static_cast<size_t>(i)], absl::StrCat(i));
}

TEST_F(ProducerTest, AnErrorThatWillNotPassIsReported) {
  gateway_->judge = [](int) { return Refuse(Reason::kInvalidBatch); };
  auto producer = MakeProducer();
  const Delivery delivery = producer->Send(Partition(0), MakeRecord("x")).get();
  EXPECT_EQ(ReasonOf(delivery.status), Reason::kInvalidBatch);
  EXPECT_EQ(delivery.offset, Offset(-1));
  EXPECT_EQ(gateway_->batches(), 1);
}

TEST_F(ProducerTest, ABrokenStreamLeavesItsBatchesUncertainAndIsReplaced) {
  gateway_->judge = [](int batch) {
    return batch == 0 ? FakeGateway::Verdict{FakeGateway::Verdict::kBreak, absl::OkStatus()}
                      : FakeGateway::Verdict();
  };
  options_.idempotent = false;
  auto producer = MakeProducer();
  const Delivery first = producer->Send(Partition(0), MakeRecord("a")).get();
  EXPECT_EQ(ReasonOf(first.status), Reason::kAppendUncertain) << first.status;
  const Delivery second = producer->Send(Partition(0), MakeRecord("b")).get();
  EXPECT_TRUE(second.status.ok()) << second.status;
  EXPECT_THAT(gateway_->Values(0), ElementsAre("b"));
}

TEST_F(ProducerTest, UncertainBatchesAreSentAgainIfAskedTo) {
  gateway_->judge = [](int batch) {
    return batch == 0 ? FakeGateway::Verdict{FakeGateway::Verdict::kBreak, absl::OkStatus()}
                      : FakeGateway::Verdict();
  };
  options_.idempotent = false;
  options_.retry_uncertain = true;
  auto producer = MakeProducer();
  EXPECT_TRUE(producer->Send(Partition(0), MakeRecord("a")).get().status.ok());
  EXPECT_THAT(gateway_->Values(0), ElementsAre("a"));
}

// It has answered what it took, so that the rest may be sent again without sequences.
TEST_F(ProducerTest, WhatAStoppingGatewayLeavesUnansweredIsSentAgainInOrder) {
  using Verdict = FakeGateway::Verdict;
  gateway_->judge = [](int batch) {
    return batch % 5 == 3 ? Verdict{Verdict::kStop, absl::OkStatus()} : Verdict();
  };
  options_.acks = v1::ACKS_LEADER;
  options_.batch_bytes = 300;
  auto producer = MakeProducer();
  constexpr int kRecords = 100;
  std::vector<std::future<Delivery>> deliveries;
  for (int i = 0; i < kRecords; ++i) {
    deliveries.push_back(producer->Send(Partition(0), MakeRecord(absl::StrCat(i))));
  }
  ASSERT_TRUE(producer->Flush(kFlushMax).ok());
  for (int i = 0; i < kRecords; ++i) {
    const Delivery delivery = deliveries[static_cast<size_t>(i)].get();
    EXPECT_TRUE(delivery.status.ok()) << i << ": " << delivery.status;
    EXPECT_EQ(delivery.offset, Offset(i));
  }
  EXPECT_EQ(gateway_->Values(0).size(), static_cast<size_t>(kRecords));
  EXPECT_GT(gateway_->opens(), 1);
}

TEST_F(ProducerTest, AReplacedGatewayGetsWhatWaits) {
  options_.idempotent = false;
  auto producer = MakeProducer();
  EXPECT_TRUE(producer->Send(Partition(0), MakeRecord("a")).get().status.ok());
  const int port = gateway_->port();
  gateway_.reset();
  // The break may not have been noticed yet; what was sent into it is uncertain, never silent.
  std::future<Delivery> second = producer->Send(Partition(0), MakeRecord("b"));
  gateway_ = std::make_unique<FakeGateway>(port);
  const Delivery delivery = second.get();
  EXPECT_TRUE(delivery.status.ok() || ReasonOf(delivery.status) == Reason::kAppendUncertain);
  EXPECT_TRUE(producer->Send(Partition(0), MakeRecord("c")).get().status.ok());
  EXPECT_EQ(gateway_->Values(0).back(), "c");
}

// A gateway that breaks streams and answers with errors, before and after the batch was appended.
TEST_F(ProducerTest, AnIdempotentProducerAppendsEveryRecordOnceAndInOrder) {
  using Verdict = FakeGateway::Verdict;
  gateway_->judge = [](int batch) -> Verdict {
    switch (batch % 7) {
      case 1:
        return {Verdict::kAppendAndBreak, absl::OkStatus()};
      case 2:
        return {Verdict::kBreak, absl::OkStatus()};
      case 4:
        return {Verdict::kAppendAndError, MakeError(Reason::kAppendUncertain, "who knows")};
      case 5:
        return Refuse(Reason::kLeaderUnavailable);
      default:
        return Verdict();
    }
  };
  options_.batch_bytes = 300;
  auto producer = MakeProducer();
  constexpr int kRecords = 200;
  std::vector<std::future<Delivery>> deliveries;
  for (int i = 0; i < kRecords; ++i) {
    deliveries.push_back(producer->Send(Partition(0), MakeRecord(absl::StrCat(i))));
  }
  ASSERT_TRUE(producer->Flush(kFlushMax).ok());
  int duplicates = 0;
  for (int i = 0; i < kRecords; ++i) {
    const Delivery delivery = deliveries[static_cast<size_t>(i)].get();
    EXPECT_TRUE(delivery.status.ok()) << delivery.status;
    EXPECT_EQ(delivery.offset, Offset(i));
    duplicates += delivery.duplicate ? 1 : 0;
  }
  EXPECT_GT(duplicates, 0);
  const std::vector<std::string> values = gateway_->Values(0);
  ASSERT_EQ(values.size(), static_cast<size_t>(kRecords));
  for (int i = 0; i < kRecords; ++i) EXPECT_EQ(values[static_cast<size_t>(i)], absl::StrCat(i));
  EXPECT_EQ(gateway_->producers(), 1);
}

TEST_F(ProducerTest, AfterABatchThatIsGivenUpTheNextEpochGoesOn) {
  gateway_->judge = [](int batch) {
    return batch == 0 ? Refuse(Reason::kInvalidBatch) : FakeGateway::Verdict();
  };
  auto producer = MakeProducer();
  EXPECT_FALSE(producer->Send(Partition(0), MakeRecord("a")).get().status.ok());
  EXPECT_TRUE(producer->Send(Partition(0), MakeRecord("b")).get().status.ok());
  EXPECT_TRUE(producer->Send(Partition(0), MakeRecord("c")).get().status.ok());
  EXPECT_THAT(gateway_->Values(0), ElementsAre("b", "c"));
  EXPECT_THAT(gateway_->Epochs(0), ElementsAre(1, 1));
}

TEST_F(ProducerTest, AForgottenProducerGoesOn) {
  auto producer = MakeProducer();
  EXPECT_TRUE(producer->Send(Partition(0), MakeRecord("a")).get().status.ok());
  gateway_->ForgetProducers(0);
  EXPECT_TRUE(producer->Send(Partition(0), MakeRecord("b")).get().status.ok());
  EXPECT_THAT(gateway_->Values(0), ElementsAre("a", "b"));
}

TEST_F(ProducerTest, AnIdIsAskedForUntilItComes) {
  gateway_->RefuseProducers(MakeError(Reason::kMetadataUnavailable, "no leader"), 3);
  auto producer = MakeProducer();
  EXPECT_TRUE(producer->Send(Partition(0), MakeRecord("a")).get().status.ok());
}

TEST_F(ProducerTest, AGatewayWithoutIdsFailsWhatIsSent) {
  gateway_->RefuseProducers(MakeError(Reason::kUnsupported, "an old gateway"), 1'000'000);
  auto producer = MakeProducer();
  const Delivery refused = producer->Send(Partition(0), MakeRecord("a")).get();
  EXPECT_EQ(ReasonOf(refused.status), Reason::kUnsupported) << refused.status;
  gateway_->RefuseProducers(absl::OkStatus(), 0);
  // An answer of before may still be on its way.
  while (!producer->Send(Partition(0), MakeRecord("b")).get().status.ok()) {
  }
}

TEST_F(ProducerTest, OtherAcksGoWithoutSequences) {
  options_.acks = v1::ACKS_LEADER;
  auto producer = MakeProducer();
  EXPECT_TRUE(producer->Send(Partition(0), MakeRecord("a")).get().status.ok());
  EXPECT_EQ(gateway_->producers(), 0);
  EXPECT_THAT(gateway_->Epochs(0), ElementsAre(-1));
}

TEST_F(ProducerTest, AFullBufferRefusesIfAskedTo) {
  gateway_->judge = [](int) {
    return FakeGateway::Verdict{FakeGateway::Verdict::kSilence, absl::OkStatus()};
  };
  options_.buffer_bytes_max = 2000;
  options_.refuse_when_full = true;
  auto producer = MakeProducer();
  ASSERT_TRUE(producer->Send(Partition(0), MakeRecord(std::string(1500, 'x')), nullptr).ok());
  const absl::Status status =
      producer->Send(Partition(0), MakeRecord(std::string(1500, 'x')), nullptr);
  EXPECT_EQ(ReasonOf(status), Reason::kQuotaExceeded) << status;
}

TEST_F(ProducerTest, AFullBufferBlocksUntilThereIsRoom) {
  options_.buffer_bytes_max = 2000;
  auto producer = MakeProducer();
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(producer->Send(Partition(0), MakeRecord(std::string(1500, 'x')), nullptr).ok());
    EXPECT_LE(producer->BufferedBytes(), 2000);
  }
  EXPECT_TRUE(producer->Flush(kFlushMax).ok());
  EXPECT_EQ(gateway_->Values(0).size(), 20u);
}

TEST_F(ProducerTest, FlushSaysWhenAnswersAreMissing) {
  gateway_->judge = [](int) {
    return FakeGateway::Verdict{FakeGateway::Verdict::kSilence, absl::OkStatus()};
  };
  auto producer = MakeProducer();
  std::future<Delivery> delivery = producer->Send(Partition(0), MakeRecord("x"));
  EXPECT_EQ(ReasonOf(producer->Flush(absl::Milliseconds(50))), Reason::kTimedOut);
  producer.reset();
  EXPECT_EQ(ReasonOf(delivery.get().status), Reason::kCancelled);
}

TEST_F(ProducerTest, WhatIsNotAnsweredInTimeFails) {
  gateway_->judge = [](int) {
    return FakeGateway::Verdict{FakeGateway::Verdict::kSilence, absl::OkStatus()};
  };
  options_.delivery_timeout = absl::Milliseconds(200);
  auto producer = MakeProducer();
  std::future<Delivery> late = producer->Send(Partition(0), MakeRecord("x"));
  // Looked for every second, and given up when it comes back: not sent again and again.
  ASSERT_EQ(late.wait_for(std::chrono::seconds(4)), std::future_status::ready);
  const Delivery delivery = late.get();
  EXPECT_FALSE(delivery.status.ok());
  EXPECT_FALSE(IsDefinite(ReasonOf(delivery.status))) << delivery.status;
}

TEST_F(ProducerTest, WhatIsNotAnsweredInTimeTakesNothingElseWithIt) {
  gateway_->judge = [](int batch) {
    using Verdict = FakeGateway::Verdict;
    return batch == 0 ? Verdict{Verdict::kSilence, absl::OkStatus()} : Verdict();
  };
  options_.idempotent = false;
  options_.batches_in_flight_max = 1;
  options_.delivery_timeout = absl::Seconds(2);
  auto producer = MakeProducer();
  std::future<Delivery> late = producer->Send(Partition(0), MakeRecord("late"));
  ASSERT_EQ(late.wait_for(std::chrono::seconds(1)), std::future_status::timeout);
  std::future<Delivery> next = producer->Send(Partition(0), MakeRecord("next"));
  EXPECT_EQ(ReasonOf(late.get().status), Reason::kAppendUncertain);
  const Delivery delivered = next.get();
  EXPECT_TRUE(delivered.status.ok()) << delivered.status;
  EXPECT_EQ(gateway_->opens(), 2);
}

// As a server does that goes away, or what is between it and us.
TEST_F(ProducerTest, ACallThatIsCancelledWithoutAReasonIsTriedAgain) {
  gateway_->RefuseProducers(absl::CancelledError("the connection is closing"), 2);
  auto producer = MakeProducer();
  const Delivery delivery = producer->Send(Partition(0), MakeRecord("x")).get();
  EXPECT_TRUE(delivery.status.ok()) << delivery.status;
}

TEST_F(ProducerTest, SeveralTopicsAndThreadsShareAProducer) {
  auto producer = MakeProducer();
  std::vector<std::thread> threads;
  std::atomic<int> delivered{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const std::string topic = absl::StrCat("topic-", t % 2);
      for (int i = 0; i < 250; ++i) {
        ASSERT_TRUE(producer
                        ->Send(topic, MakeRecord("x"),
                               [&](const Delivery& d) { delivered += d.status.ok() ? 1 : 0; })
                        .ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(producer->Flush(kFlushMax).ok());
  EXPECT_EQ(delivered, 1000);
  EXPECT_EQ(gateway_->opens(), 2);
}

TEST_F(ProducerTest, BatchesThatWaitShareAFrame) {
  gateway_->partitions = 40;
  options_.batches_in_flight_max = 100;
  options_.linger = absl::Hours(1);
  auto producer = MakeProducer();
  for (int32_t p = 0; p < 40; ++p) {
    const record::Record record = MakeRecord(absl::StrCat("value ", p));
    ASSERT_TRUE(producer->Send(Partition(p), record, nullptr).ok());
  }
  ASSERT_TRUE(producer->Flush(kFlushMax).ok());
  EXPECT_GT(gateway_->largest_frame(), 1u);
  EXPECT_EQ(gateway_->batches(), 40);
  for (int32_t p = 0; p < 40; ++p) {
    EXPECT_THAT(gateway_->Values(p), ElementsAre(absl::StrCat("value ", p)));
  }
}

TEST_F(ProducerTest, SmallBatchesShareAFrameHoweverLargeOnesMayGrow) {
  gateway_->partitions = 40;
  options_.batches_in_flight_max = 100;
  options_.batch_bytes = 512 << 10;
  options_.linger = absl::Hours(1);
  auto producer = MakeProducer();
  for (int32_t p = 0; p < 40; ++p) {
    ASSERT_TRUE(producer->Send(Partition(p), MakeRecord("value"), nullptr).ok());
  }
  ASSERT_TRUE(producer->Flush(kFlushMax).ok());
  EXPECT_EQ(gateway_->largest_frame(), 40u);
}

TEST_F(ProducerTest, AFrameTakesNoMoreThanIsCompressedInAMoment) {
  gateway_->partitions = 100;
  options_.batches_in_flight_max = 100;
  options_.compression = v1::COMPRESSION_ZSTD;
  options_.linger = absl::Hours(1);
  auto producer = MakeProducer();
  const record::Record zeros = MakeRecord(std::string(20 << 10, '0'));  // Some 2 MiB in all.
  for (int32_t p = 0; p < 100; ++p) {
    ASSERT_TRUE(producer->Send(Partition(p), zeros, nullptr).ok());
  }
  ASSERT_TRUE(producer->Flush(kFlushMax).ok());
  EXPECT_EQ(gateway_->batches(), 100);
  EXPECT_GT(gateway_->largest_frame(), 12u) << "it counts what goes over the wire, too";
  EXPECT_LE(gateway_->largest_frame(), 52u);
}

TEST_F(ProducerTest, AGatewayThatKnowsNoSharedFramesGetsBatchesOneByOne) {
  gateway_->partitions = 40;
  gateway_->batches_per_frame_max = 0;
  options_.batches_in_flight_max = 100;
  options_.linger = absl::Hours(1);
  auto producer = MakeProducer();
  for (int32_t p = 0; p < 40; ++p) {
    ASSERT_TRUE(producer->Send(Partition(p), MakeRecord("value"), nullptr).ok());
  }
  ASSERT_TRUE(producer->Flush(kFlushMax).ok());
  EXPECT_EQ(gateway_->largest_frame(), 1u);
  EXPECT_EQ(gateway_->batches(), 40);
}

TEST_F(ProducerTest, OptionsThatMakeNoSenseAreRefused) {
  EXPECT_FALSE(Producer::Create(ProducerOptions()).ok());
  options_.address = "x:1";
  options_.acks = v1::ACKS_UNSPECIFIED;
  EXPECT_FALSE(Producer::Create(options_).ok());
  options_.acks = v1::ACKS_ALL;
  options_.batch_bytes = 0;
  EXPECT_FALSE(Producer::Create(options_).ok());
}

TEST(ProduceFrameTest, AFrameIsWhatProtobufWouldWrite) {
  const Bytes first = MakeBatch(0, {"a", "b"});
  const Bytes second = MakeBatch(0, {std::string(300, 'x')});
  ProduceFrame frame;
  frame.Add(77, PartitionIndex(300), first);
  EXPECT_GT(frame.size_bytes(), first.size());
  v1::StreamProduceRequest parsed;
  ASSERT_TRUE(rpc::ParseProto(frame.Take(), &parsed));
  EXPECT_TRUE(frame.empty());
  EXPECT_EQ(parsed.batch().batch_id(), 77u);
  EXPECT_EQ(parsed.batch().partition(), 300);
  EXPECT_EQ(parsed.batch().batch(), first.ToString());

  frame.Add(78, PartitionIndex(0), first);
  frame.Add(79, PartitionIndex(1), second);
  ASSERT_TRUE(rpc::ParseProto(frame.Take(), &parsed));
  EXPECT_TRUE(frame.empty());
  EXPECT_EQ(frame.size_bytes(), 0u);
  ASSERT_EQ(parsed.batches().batches_size(), 2);
  EXPECT_EQ(parsed.batches().batches(0).batch_id(), 78u);
  EXPECT_EQ(parsed.batches().batches(0).batch(), first.ToString());
  EXPECT_EQ(parsed.batches().batches(1).partition(), 1);
  EXPECT_EQ(parsed.batches().batches(1).batch(), second.ToString());
}

}  // namespace
}  // namespace falaj::client
