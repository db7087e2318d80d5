// Several batches in a frame, and what a stream and a connection may have under way.
#include <gmock/gmock.h>

#include <atomic>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "libs/http/testing/scrape.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/testing/small_window.h"
#include "libs/rpc/wire.h"
#include "services/gateway/testing/produce_fixture.h"

namespace falaj::gateway {
namespace {

TEST_F(ProduceTest, BatchesMayShareAFrameAndAcksToo) {
  CreateTopic("t", 2);
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + absl::Seconds(30)));
  auto stream = producers_->StreamProduce(&context);
  v1::StreamProduceRequest open = OpenFrame("t");
  open.mutable_open()->set_combined_acks(true);
  v1::StreamProduceResponse response;
  ASSERT_TRUE(stream->Write(open) && stream->Read(&response));
  ASSERT_EQ(response.opened().batches_per_frame_max(), 256);
  v1::StreamProduceRequest frame;
  for (uint64_t id = 1; id <= 200; ++id) {
    // The third partition is not there: only its batches fail.
    const auto partition = static_cast<int32_t>(id % 3);
    *frame.mutable_batches()->add_batches() = BatchFrame(id, partition, MakeBatch(10)).batch();
  }
  for (FakeStorage* const node : {&storage1_, &storage2_}) node->HoldAnswers(true);
  stream->Write(frame);
  // So that acks gather.
  ASSERT_TRUE(Eventually([&] { return storage1_.appends() + storage2_.appends() >= 2; }));
  for (FakeStorage* const node : {&storage1_, &storage2_}) node->HoldAnswers(false);
  std::map<int32_t, std::vector<int64_t>> offsets;
  std::set<uint64_t> acked;
  int frames = 0;
  while (acked.size() < 200 && stream->Read(&response)) {
    ++frames;
    ASSERT_TRUE(response.has_acks());
    for (const v1::BatchAck& ack : response.acks().acks()) {
      EXPECT_TRUE(acked.insert(ack.batch_id()).second);
      EXPECT_EQ(ack.has_error(), ack.batch_id() % 3 == 2);
      if (!ack.has_error()) {
        offsets[ack.appends(0).partition()].push_back(ack.appends(0).base_offset());
      }
    }
  }
  EXPECT_LT(frames, 200);
  for (const auto& [partition, bases] : offsets) {
    for (size_t i = 0; i < bases.size(); ++i) EXPECT_EQ(bases[i], static_cast<int64_t>(i) * 10);
  }
  EXPECT_EQ(offsets[0].size() + offsets[1].size(), 133u);
  EXPECT_TRUE(End(stream.get()).ok());
}

TEST_F(ProduceTest, AFrameOfNoOrTooManyBatchesEndsTheStream) {
  CreateTopic("t", 1);
  for (const int count : {0, 257}) {
    grpc::ClientContext context;
    auto stream = Open(&context, "t");
    v1::StreamProduceRequest frame;
    frame.mutable_batches();
    for (int i = 0; i < count; ++i) {
      *frame.mutable_batches()->add_batches() = BatchFrame(1, 0, MakeBatch(1)).batch();
    }
    stream->Write(frame);
    const absl::Status status = End(stream.get());
    EXPECT_EQ(ReasonOf(status), Reason::kInvalidRequest) << status;
    EXPECT_EQ(MetadataOf(status)["field"], "batches");
    EXPECT_EQ(MetadataOf(status)["limit"], "256");
  }
  EXPECT_EQ(LeaderOf("t", 0)->appends(), 0);
}

// As a newer client may send them: protobuf leaves out what it does not know.
TEST_F(ProduceTest, WhatIsNotKnownBesideABatchIsLeftOut) {
  CreateTopic("t", 1);
  const std::string open = OpenFrame("t").SerializeAsString();
  const std::string batch = BatchFrame(1, 0, MakeBatch(1)).SerializeAsString();
  std::string unknown;
  rpc::WireWriter writer(&unknown);
  writer.AppendBytes(100, "news");
  writer.AppendVarint(101, 5);
  writer.AppendVarint(3, 7);  // Of another type than the field is.
  const absl::Status end = SendRawFrames(
      channel_, kStreamProduce, {open, batch + unknown, unknown + batch}, /*half_close=*/true);
  EXPECT_TRUE(end.ok()) << end;
  EXPECT_EQ(LeaderOf("t", 0)->appends(), 2);
  const absl::Status both = SendRawFrames(channel_, kStreamProduce, {open, batch + batch});
  EXPECT_EQ(ReasonOf(both), Reason::kInvalidRequest) << both;
}

TEST_F(ProduceTest, AClientThatDidNotAskGetsAcksOneByOne) {
  CreateTopic("t", 1);
  grpc::ClientContext context;
  auto stream = Open(&context, "t");
  v1::StreamProduceRequest frame;
  for (uint64_t id = 1; id <= 20; ++id) {
    *frame.mutable_batches()->add_batches() = BatchFrame(id, 0, MakeBatch(1)).batch();
  }
  stream->Write(frame);
  for (uint64_t id = 1; id <= 20; ++id) EXPECT_EQ(ReadAck(stream.get()).batch_id(), id);
  EXPECT_TRUE(End(stream.get()).ok());
}

class SmallBudgetTest : public ProduceTest {
 protected:
  GatewayServer::Options Options() const override {
    GatewayServer::Options options = ProduceTest::Options();
    options.stream_batches_in_flight_max = 5;
    options.stream_bytes_in_flight_max = 1 << 20;
    return options;
  }
};

TEST_F(SmallBudgetTest, AStreamIsNotReadWhileItsBatchesWait) {
  CreateTopic("t", 1);
  FakeStorage* const leader = LeaderOf("t", 0);
  grpc::ClientContext context;
  auto stream = Open(&context, "t");
  EXPECT_EQ(opened_.batches_in_flight_max(), 5);
  stream->Write(BatchFrame(1, 0, MakeBatch(1)));
  ReadAck(stream.get());
  leader->HoldAnswers(true);
  for (uint64_t id = 2; id <= 20; ++id) stream->Write(BatchFrame(id, 0, MakeBatch(1)));
  EXPECT_TRUE(Eventually([&] { return leader->appends() == 6; }));
  EXPECT_FALSE(HappensSoon([&] { return leader->appends() > 6; }));
  leader->HoldAnswers(false);
  for (uint64_t id = 2; id <= 20; ++id) EXPECT_EQ(ReadAck(stream.get()).batch_id(), id);
  EXPECT_TRUE(End(stream.get()).ok());
}

// A client that sends and does not read what it gets back.
class UnreadAcksTest : public SmallBudgetTest {
 protected:
  void SetUp() override {
    SmallBudgetTest::SetUp();
    channel_ = rpc::SmallWindowChannel(gateway_->grpc_address());
    producers_ = v1::ProducerService::NewStub(channel_);
  }
  // A batch of a partition that is not there. It has a size, so that HTTP/2 cannot take them all.
  static v1::ProduceBatch Refused() {
    return BatchFrame(1, 7, MakeBatch(1, std::string(500, 'x'))).batch();
  }
  // Writes `frame` over and over, on a thread of its own.
  void Flood(Stream* stream, const v1::StreamProduceRequest& frame) {
    writer_ = std::thread([this, stream, frame] {
      while (written_ < kFrames && stream->Write(frame)) ++written_;
    });
  }
  // True if the gateway has left off reading before it has read everything.
  bool LeavesOffReading() {
    int before = -1;
    return Eventually([&] {
             before = written_;
             return written_ == kFrames ||
                    (HeldBytes() > 0 && !HappensSoon([&] { return written_ > before; }));
           }) &&
           written_ < kFrames;
  }
  // Reads the rest, and returns how many acks there were.
  int ReadAll(Stream* stream) {
    int acks = 0;
    v1::StreamProduceResponse response;
    while (acks < kFrames * acks_per_frame_ && stream->Read(&response)) ++acks;
    writer_.join();
    EXPECT_EQ(written_, kFrames);
    EXPECT_TRUE(End(stream).ok());
    return acks;
  }
  double HeldBytes() const {
    return http::ScrapeMetric(gateway_->http_address(), "falaj_gateway_inflight_bytes")
        .value_or(-1);
  }

  static constexpr int kFrames = 400;
  int acks_per_frame_ = 1;
  std::atomic<int> written_{0};
  std::thread writer_;
};

TEST_F(UnreadAcksTest, OfBatchesThatAreRefusedHoldTheClientBack) {
  CreateTopic("t", 1);
  grpc::ClientContext context;
  auto stream = Open(&context, "t");
  v1::StreamProduceRequest frame;
  acks_per_frame_ = 256;
  for (int i = 0; i < acks_per_frame_; ++i) *frame.mutable_batches()->add_batches() = Refused();
  Flood(stream.get(), frame);
  EXPECT_TRUE(LeavesOffReading());
  EXPECT_GT(HeldBytes(), 0) << "acks count as held";
  EXPECT_EQ(ReadAll(stream.get()), kFrames * acks_per_frame_);
  EXPECT_TRUE(Eventually([&] { return HeldBytes() == 0; }));
}

TEST_F(UnreadAcksTest, OfBlindRecordsHoldTheClientBack) {
  CreateTopic("t", 1);
  grpc::ClientContext context;
  auto stream = Open(&context, "t", v1::ACKS_NONE);
  v1::StreamProduceRequest frame;
  frame.mutable_records()->set_partition(0);
  const std::string value(100, 'v');
  for (int i = 0; i < 1000; ++i) frame.mutable_records()->add_records()->set_value(value);
  Flood(stream.get(), frame);
  EXPECT_TRUE(LeavesOffReading());
  EXPECT_GT(HeldBytes(), 0) << "acks count as held";
  EXPECT_EQ(ReadAll(stream.get()), kFrames);
  EXPECT_TRUE(Eventually([&] { return HeldBytes() == 0; }));
}

TEST_F(UnreadAcksTest, AreGivenBackWithTheStream) {
  CreateTopic("t", 1);
  grpc::ClientContext context;
  auto stream = Open(&context, "t");
  v1::StreamProduceRequest frame;
  for (int i = 0; i < 256; ++i) *frame.mutable_batches()->add_batches() = Refused();
  Flood(stream.get(), frame);
  EXPECT_TRUE(LeavesOffReading());
  context.TryCancel();
  writer_.join();
  stream->Finish();
  EXPECT_TRUE(Eventually([&] { return HeldBytes() == 0; }));
}

class ConnectionBudgetTest : public ProduceTest {
 protected:
  GatewayServer::Options Options() const override {
    GatewayServer::Options options = ProduceTest::Options();
    options.connection_bytes_max = 10'000;
    return options;
  }
};

TEST_F(ConnectionBudgetTest, AConnectionThatHoldsTooMuchWaitsAndAnotherOneGoesOn) {
  CreateTopic("t", 1);
  FakeStorage* const leader = LeaderOf("t", 0);
  const auto other =
      v1::ProducerService::NewStub(rpc::MakeChannel(gateway_->grpc_address(), {.lane = 1}));
  grpc::ClientContext contexts[3];
  auto first = Open(&contexts[0], "t");
  auto second = Open(&contexts[1], "t");
  auto third = other->StreamProduce(&contexts[2]);
  v1::StreamProduceResponse opened;
  ASSERT_TRUE(third->Write(OpenFrame("t")) && third->Read(&opened));
  for (Stream* stream : {first.get(), second.get(), third.get()}) {
    stream->Write(BatchFrame(1, 0, MakeBatch(1)));
    ReadAck(stream);  // From here on several of its batches may be under way.
  }
  leader->HoldAnswers(true);
  first->Write(BatchFrame(2, 0, MakeBatch(1, std::string(12'000, 'x'))));
  ASSERT_TRUE(Eventually([&] { return leader->appends() == 4; }));

  // The other stream of this connection has one read under way; what comes after that must wait.
  for (uint64_t id = 2; id <= 4; ++id) second->Write(BatchFrame(id, 0, MakeBatch(1)));
  ASSERT_TRUE(Eventually([&] { return leader->appends() == 5; }));
  EXPECT_FALSE(HappensSoon([&] { return leader->appends() > 5; }));
  const absl::Status refused = Produce(Records("t", {"a"})).status();
  EXPECT_EQ(ReasonOf(refused), Reason::kQuotaExceeded) << refused;
  EXPECT_EQ(MetadataOf(refused)["scope"], "connection");
  EXPECT_EQ(ReasonOf(Fetch(FetchOf("t", {0})).status()), Reason::kQuotaExceeded);
  for (uint64_t id = 2; id <= 4; ++id) third->Write(BatchFrame(id, 0, MakeBatch(1)));
  EXPECT_TRUE(Eventually([&] { return leader->appends() == 8; })) << "another connection waits";

  leader->HoldAnswers(false);
  EXPECT_EQ(ReadAck(first.get()).batch_id(), 2u);
  for (uint64_t id = 2; id <= 4; ++id) EXPECT_EQ(ReadAck(second.get()).batch_id(), id);
  EXPECT_TRUE(Produce(Records("t", {"a"})).ok()) << "the bytes were not given back";
  for (Stream* stream : {first.get(), second.get(), third.get()}) EXPECT_TRUE(End(stream).ok());
}

}  // namespace
}  // namespace falaj::gateway
