#include "libs/client/consumer.h"

#include <future>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "libs/client/testing/fake_gateway.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::client {
namespace {

using testing::ElementsAre;

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr absl::Duration kShort = absl::Milliseconds(50);

v1::ConsumeResponse RecordsFrame(int32_t partition, const std::string& batches, int64_t next) {
  v1::ConsumeResponse response;
  v1::PartitionRecords* records = response.mutable_records();
  records->set_topic("orders");
  records->set_partition(partition);
  records->set_next_offset(next);
  records->set_high_watermark(100);
  records->set_size_bytes(static_cast<int64_t>(batches.size()));
  records->set_batches(batches);
  return response;
}

v1::ConsumeResponse Frame(int32_t partition, int64_t base, const std::vector<std::string>& values) {
  return RecordsFrame(partition, MakeBatch(base, values).ToString(),
                      base + static_cast<int64_t>(values.size()));
}

// Reads frames until the client goes away.
grpc::Status Drain(FakeGateway::ConsumeStream* stream) {
  v1::ConsumeRequest request;
  while (stream->Read(&request)) continue;
  return grpc::Status::OK;
}

class ConsumerTest : public testing::Test {
 protected:
  std::unique_ptr<Consumer> MakeConsumer(const std::vector<ConsumerPosition>& positions) {
    options_.address = gateway_.address();
    return *Consumer::Create(options_, positions);
  }
  static ConsumerPosition At(int32_t partition, int64_t offset) {
    return {"orders", PartitionIndex(partition), AtOffset(Offset(offset))};
  }
  // Polls until records come, and returns their values.
  static std::vector<std::string> Values(Consumer* consumer) {
    absl::StatusOr<RecordRun> run = consumer->Poll(kLong);
    EXPECT_TRUE(run.ok()) << run.status();
    std::vector<std::string> values;
    if (!run.ok()) return values;
    for (const auto& record : run->records()) values.emplace_back(*record.value);
    return values;
  }

  FakeGateway gateway_;
  ConsumerOptions options_;
};

TEST_F(ConsumerTest, RecordsBelowTheAskedOffsetAreSkipped) {
  gateway_.consume = [](int, const v1::OpenConsumeStream& open, auto* stream) {
    EXPECT_EQ(open.format(), v1::RECORD_FORMAT_BATCHES);
    EXPECT_EQ(open.partitions().positions(0).position().offset(), 12);
    stream->Write(Frame(0, 10, {"a", "b", "c", "d"}));
    return Drain(stream);
  };
  auto consumer = MakeConsumer({At(0, 12)});
  const absl::StatusOr<RecordRun> run = consumer->Poll(kLong);
  ASSERT_TRUE(run.ok()) << run.status();
  ASSERT_EQ(run->records().size(), 2u);
  EXPECT_EQ(run->records()[0].offset, Offset(12));
  EXPECT_EQ(run->records()[0].value, "c");
  EXPECT_EQ(run->next_offset(), Offset(14));
  EXPECT_EQ(*consumer->Position("orders", PartitionIndex(0)), Offset(14));
}

TEST_F(ConsumerTest, PollReturnsNothingWhenNothingComes) {
  gateway_.consume = [](int, const auto&, auto* stream) { return Drain(stream); };
  auto consumer = MakeConsumer({At(0, 0)});
  const absl::StatusOr<RecordRun> run = consumer->Poll(kShort);
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_TRUE(run->empty());
}

TEST_F(ConsumerTest, CreditIsGrantedBackAsRecordsAreHandedOut) {
  std::promise<int64_t> granted;
  gateway_.consume = [&](int, const v1::OpenConsumeStream& open, auto* stream) {
    EXPECT_EQ(open.initial_credit().bytes(), 400);
    stream->Write(Frame(0, 0, {std::string(200, 'x')}));
    v1::ConsumeRequest request;
    if (stream->Read(&request)) granted.set_value(request.grant().bytes());
    return Drain(stream);
  };
  options_.credit_bytes = 400;
  auto consumer = MakeConsumer({At(0, 0)});
  const absl::StatusOr<RecordRun> run = consumer->Poll(kLong);
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(granted.get_future().get(), run->size_bytes());
}

TEST_F(ConsumerTest, ABrokenStreamIsResumedAtThePosition) {
  gateway_.consume = [](int call, const v1::OpenConsumeStream& open, auto* stream) {
    if (call == 0) {
      stream->Write(Frame(0, 0, {"a", "b"}));
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "fell over");
    }
    EXPECT_EQ(open.partitions().positions(0).position().offset(), 2);
    stream->Write(Frame(0, 0, {"a", "b", "c"}));
    return Drain(stream);
  };
  auto consumer = MakeConsumer({At(0, 0)});
  EXPECT_THAT(Values(consumer.get()), ElementsAre("a", "b"));
  EXPECT_THAT(Values(consumer.get()), ElementsAre("c"));
}

TEST_F(ConsumerTest, APositionByNameIsLearntFromTheGateway) {
  gateway_.consume = [](int, const auto&, auto* stream) {
    v1::ConsumeResponse response;
    v1::PartitionOffset* offset = response.mutable_opened()->add_offsets();
    offset->set_topic("orders");
    offset->set_offset(41);
    stream->Write(response);
    stream->Write(Frame(0, 40, {"old", "new"}));
    return Drain(stream);
  };
  auto consumer = MakeConsumer({{"orders", PartitionIndex(0), AtEnd()}});
  EXPECT_THAT(Values(consumer.get()), ElementsAre("new"));
}

TEST_F(ConsumerTest, ADamagedBatchFailsOnePollAndItsPartitionRests) {
  gateway_.consume = [](int, const auto&, auto* stream) {
    std::string damaged = MakeBatch(0, {"a"}).ToString();
    damaged.back() = static_cast<char>(damaged.back() ^ 1);
    stream->Write(RecordsFrame(0, damaged, 1));
    stream->Write(Frame(0, 1, {"never"}));
    stream->Write(Frame(1, 0, {"fine"}));
    return Drain(stream);
  };
  auto consumer = MakeConsumer({At(0, 0), At(1, 0)});
  const absl::StatusOr<RecordRun> run = consumer->Poll(kLong);
  EXPECT_EQ(ReasonOf(run.status()), Reason::kCorruptRecord) << run.status();
  EXPECT_EQ(MetadataOf(run.status())["partition"], "0");
  EXPECT_THAT(Values(consumer.get()), ElementsAre("fine"));
}

TEST_F(ConsumerTest, AnOffsetOutOfRangeIsReportedWithoutAResetPolicy) {
  gateway_.consume = [](int, const auto&, auto*) {
    return rpc::ToGrpc(MakeError(Reason::kOffsetOutOfRange, "gone",
                                 {{"topic", "orders"},
                                  {"partition", "0"},
                                  {"log_start_offset", "50"},
                                  {"high_watermark", "60"}}));
  };
  auto consumer = MakeConsumer({At(0, 1)});
  const absl::StatusOr<RecordRun> run = consumer->Poll(kLong);
  EXPECT_EQ(ReasonOf(run.status()), Reason::kOffsetOutOfRange);
  EXPECT_EQ(MetadataOf(run.status())["log_start_offset"], "50");
  EXPECT_TRUE(consumer->Poll(kShort)->empty()) << "the partition rests until it is sought";
}

TEST_F(ConsumerTest, AnOffsetOutOfRangeGoesOnWhereThePolicySays) {
  gateway_.consume = [](int call, const v1::OpenConsumeStream& open, auto* stream) {
    if (call == 0) {
      return rpc::ToGrpc(
          MakeError(Reason::kOffsetOutOfRange, "gone", {{"topic", "orders"}, {"partition", "0"}}));
    }
    EXPECT_EQ(open.partitions().positions(0).position().named(), v1::NAMED_OFFSET_EARLIEST);
    v1::ConsumeResponse response;
    v1::PartitionOffset* offset = response.mutable_opened()->add_offsets();
    offset->set_topic("orders");
    offset->set_offset(50);
    stream->Write(response);
    stream->Write(Frame(0, 50, {"first kept"}));
    return Drain(stream);
  };
  options_.offset_reset = v1::NAMED_OFFSET_EARLIEST;
  auto consumer = MakeConsumer({At(0, 1)});
  EXPECT_THAT(Values(consumer.get()), ElementsAre("first kept"));
}

TEST_F(ConsumerTest, TheEpochOfWhatWasReadIsToldAfterAReconnect) {
  gateway_.consume = [](int call, const v1::OpenConsumeStream& open, auto* stream) {
    const v1::PartitionPosition& at = open.partitions().positions(0);
    if (call == 0) {
      EXPECT_FALSE(at.has_last_epoch());
      const Bytes batch = record::StampBatch(MakeBatch(0, {"a", "b"}), Offset(0), LeaderEpoch(4));
      stream->Write(RecordsFrame(0, batch.ToString(), 2));
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone");
    }
    EXPECT_EQ(at.position().offset(), 2);
    EXPECT_EQ(at.last_epoch(), 4);
    stream->Write(Frame(0, 2, {"c"}));
    return Drain(stream);
  };
  auto consumer = MakeConsumer({At(0, 0)});
  EXPECT_THAT(Values(consumer.get()), ElementsAre("a", "b"));
  EXPECT_THAT(Values(consumer.get()), ElementsAre("c"));
}

TEST_F(ConsumerTest, WhereRecordsWereLostItGoesOnFromTheLastThatAreLeft) {
  gateway_.consume = [](int call, const v1::OpenConsumeStream& open, auto* stream) {
    if (call == 0) {
      return rpc::ToGrpc(
          MakeError(Reason::kOffsetOutOfRange, "lost",
                    {{"topic", "orders"}, {"partition", "0"}, {"diverging_offset", "7"}}));
    }
    EXPECT_EQ(open.partitions().positions(0).position().offset(), 7);
    EXPECT_FALSE(open.partitions().positions(0).has_last_epoch());
    stream->Write(Frame(0, 7, {"instead"}));
    return Drain(stream);
  };
  options_.offset_reset = v1::NAMED_OFFSET_EARLIEST;
  auto consumer = MakeConsumer({At(0, 9)});
  EXPECT_THAT(Values(consumer.get()), ElementsAre("instead"));
}

TEST_F(ConsumerTest, SeekingBackDropsWhatWasSentBefore) {
  gateway_.consume = [](int, const auto&, auto* stream) {
    stream->Write(Frame(0, 10, {"k", "l"}));
    v1::ConsumeRequest request;
    while (stream->Read(&request) && !request.has_seek()) continue;
    EXPECT_EQ(request.seek().positions(0).position().offset(), 3);
    stream->Write(Frame(0, 12, {"sent before the seek was seen"}));
    stream->Write(Frame(0, 2, {"c", "d"}));
    return Drain(stream);
  };
  auto consumer = MakeConsumer({At(0, 10)});
  EXPECT_THAT(Values(consumer.get()), ElementsAre("k", "l"));
  ASSERT_TRUE(consumer->Seek("orders", PartitionIndex(0), AtOffset(Offset(3))).ok());
  EXPECT_THAT(Values(consumer.get()), ElementsAre("d"));
}

// Reads offset 10, seeks offset 3, and gets an error that the gateway had sent by then.
grpc::Status OutOfRangeBeforeTheSeek(FakeGateway::ConsumeStream* stream) {
  stream->Write(Frame(0, 10, {"k"}));
  v1::ConsumeRequest request;
  while (stream->Read(&request) && !request.has_seek()) continue;
  return rpc::ToGrpc(MakeError(Reason::kOffsetOutOfRange, "of the position before",
                               {{"topic", "orders"}, {"partition", "0"}}));
}

TEST_F(ConsumerTest, AnErrorOfThePositionBeforeASeekIsNotReported) {
  for (const auto reset : {v1::NAMED_OFFSET_UNSPECIFIED, v1::NAMED_OFFSET_LATEST}) {
    gateway_.consume = [base = -1](int call, const v1::OpenConsumeStream& open,
                                   auto* stream) mutable {
      if (base < 0) base = call;
      if (call == base) return OutOfRangeBeforeTheSeek(stream);
      EXPECT_EQ(open.partitions().positions(0).position().offset(), 3);
      stream->Write(Frame(0, 3, {"d"}));
      return Drain(stream);
    };
    options_.offset_reset = reset;
    auto consumer = MakeConsumer({At(0, 10)});
    EXPECT_THAT(Values(consumer.get()), ElementsAre("k"));
    ASSERT_TRUE(consumer->Seek("orders", PartitionIndex(0), AtOffset(Offset(3))).ok());
    EXPECT_THAT(Values(consumer.get()), ElementsAre("d"));
  }
}

TEST_F(ConsumerTest, AnErrorOfThePositionThatWasSoughtIsReported) {
  gateway_.consume = [](int call, const v1::OpenConsumeStream& /*open*/, auto* stream) {
    if (call == 0) return OutOfRangeBeforeTheSeek(stream);
    return rpc::ToGrpc(MakeError(Reason::kOffsetOutOfRange, "of the new one",
                                 {{"topic", "orders"}, {"partition", "0"}}));
  };
  auto consumer = MakeConsumer({At(0, 10)});
  EXPECT_THAT(Values(consumer.get()), ElementsAre("k"));
  ASSERT_TRUE(consumer->Seek("orders", PartitionIndex(0), AtOffset(Offset(5000))).ok());
  const absl::StatusOr<RecordRun> run = consumer->Poll(kLong);
  EXPECT_EQ(ReasonOf(run.status()), Reason::kOffsetOutOfRange);
  EXPECT_EQ(run.status().message(), "of the new one");
}

TEST_F(ConsumerTest, TheEpochOfRecordsBelowAForwardSeekIsNotTakenOver) {
  gateway_.consume = [](int call, const v1::OpenConsumeStream& open, auto* stream) {
    const auto write = [&](int64_t base, const std::vector<std::string>& values, int epoch) {
      const Bytes batch =
          record::StampBatch(MakeBatch(base, values), Offset(base), LeaderEpoch(epoch));
      stream->Write(RecordsFrame(0, batch.ToString(), base + static_cast<int64_t>(values.size())));
    };
    if (call == 0) {
      write(10, {"k", "l"}, 3);
      v1::ConsumeRequest request;
      while (stream->Read(&request) && !request.has_seek()) continue;
      write(12, {"sent before the seek was seen"}, 3);
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone");
    }
    const v1::PartitionPosition& at = open.partitions().positions(0);
    EXPECT_EQ(at.position().offset(), 5000);
    EXPECT_FALSE(at.has_last_epoch()) << at.last_epoch() << " is of another record";
    write(4999, {"below", "asked for"}, 4);
    return Drain(stream);
  };
  auto consumer = MakeConsumer({At(0, 10)});
  EXPECT_THAT(Values(consumer.get()), ElementsAre("k", "l"));
  ASSERT_TRUE(consumer->Seek("orders", PartitionIndex(0), AtOffset(Offset(5000))).ok());
  const absl::StatusOr<RecordRun> run = consumer->Poll(kLong);
  ASSERT_TRUE(run.ok()) << run.status();
  ASSERT_EQ(run->records().size(), 1u);
  EXPECT_EQ(run->records()[0].value, "asked for");
  EXPECT_EQ(run->last_epoch(), LeaderEpoch(4));
}

TEST_F(ConsumerTest, PauseAndResumeReachTheGateway) {
  gateway_.consume = [](int, const auto&, auto* stream) {
    stream->Write(Frame(0, 0, {"a"}));
    v1::ConsumeRequest request;
    while (stream->Read(&request) && !request.has_pause()) continue;
    while (stream->Read(&request) && !request.has_resume()) continue;
    stream->Write(Frame(0, 1, {"b"}));
    return Drain(stream);
  };
  auto consumer = MakeConsumer({At(0, 0)});
  EXPECT_THAT(Values(consumer.get()), ElementsAre("a"));
  EXPECT_TRUE(consumer->Pause("orders", PartitionIndex(0)).ok());
  EXPECT_TRUE(consumer->Resume("orders", PartitionIndex(0)).ok());
  EXPECT_THAT(Values(consumer.get()), ElementsAre("b"));
  EXPECT_EQ(ReasonOf(consumer->Pause("orders", PartitionIndex(9))), Reason::kPartitionNotFound);
}

TEST_F(ConsumerTest, CloseWakesAPoll) {
  auto consumer = MakeConsumer({At(0, 0)});
  std::promise<void> opened;
  gateway_.consume = [&](int, const auto&, auto* stream) {
    opened.set_value();
    return Drain(stream);
  };
  std::thread closer([&] {
    opened.get_future().wait();
    consumer->Close();
  });
  EXPECT_EQ(ReasonOf(consumer->Poll(kLong).status()), Reason::kCancelled);
  closer.join();
}

TEST_F(ConsumerTest, AnUnreachableGatewayIsReportedAfterTheTimeout) {
  options_.reconnect_timeout = kShort;
  options_.address = "127.0.0.1:1";
  auto consumer = *Consumer::Create(options_, {At(0, 0)});
  EXPECT_FALSE(consumer->Poll(kLong).ok());
}

TEST_F(ConsumerTest, APartitionNamedTwiceIsRefused) {
  options_.address = "x:1";
  EXPECT_FALSE(Consumer::Create(options_, {At(0, 0), At(0, 5)}).ok());
  EXPECT_FALSE(Consumer::Create(options_, {}).ok());
}

}  // namespace
}  // namespace falaj::client
