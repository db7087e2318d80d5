#include <gmock/gmock.h>

#include <set>
#include <thread>

#include "libs/record/producer_stamp.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"
#include "services/gateway/testing/produce_fixture.h"

namespace falaj::gateway {
namespace {

using ::testing::ElementsAre;
TEST_F(ProduceTest, AFreshTopicTakesRecordsAtOnce) {
  CreateTopic("t", 4);
  const auto response = Produce(Records("t", {"a", "b", "a", "c"}));
  ASSERT_TRUE(response.ok()) << response.status();
  ASSERT_EQ(response->positions_size(), 4);
  EXPECT_EQ(response->positions(0).partition(), response->positions(2).partition());
  EXPECT_GT(response->positions(2).offset(), response->positions(0).offset());
  for (const v1::PartitionAppend& append : response->appends()) {
    EXPECT_FALSE(append.has_error());
    EXPECT_EQ(append.base_offset(), 0);
  }
}

TEST_F(ProduceTest, BadRequestsAreRefusedWithTheirReason) {
  CreateTopic("t", 2);
  v1::ProduceRequest unset = Records("t", {"a"});
  unset.set_acks(v1::ACKS_UNSPECIFIED);
  EXPECT_EQ(ReasonOf(Produce(unset).status()), Reason::kInvalidRequest);
  unset.set_acks(static_cast<v1::Acks>(77));
  EXPECT_EQ(ReasonOf(Produce(unset).status()), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(Produce(Records("nope", {"a"})).status()), Reason::kTopicNotFound);
  EXPECT_EQ(ReasonOf(Produce(Records("t", {})).status()), Reason::kInvalidRequest);
  v1::ProduceRequest elsewhere = Records("t", {"a"});
  for (const int32_t partition : {-1, 2, 1 << 30}) {
    elsewhere.set_partition(partition);
    EXPECT_EQ(ReasonOf(Produce(elsewhere).status()), Reason::kPartitionNotFound);
  }
  v1::ProduceRequest both = Records("t", {"a"});
  both.set_partition(0);
  both.set_batch(MakeBatch(1).ToString());
  EXPECT_EQ(ReasonOf(Produce(both).status()), Reason::kInvalidRequest);
  both.clear_records();
  both.clear_partition();
  EXPECT_EQ(ReasonOf(Produce(both).status()), Reason::kInvalidRequest);
  EXPECT_EQ(storage1_.appends() + storage2_.appends(), 0) << "a refused request had an effect";
}

TEST_F(ProduceTest, AnOversizedRecordNamesItsSizeAndTheLimit) {
  CreateTopic("t", 1);
  v1::ProduceRequest request = Records("t", {"small", "large"});
  request.mutable_records(1)->set_value(std::string(2 << 20, 'x'));
  const absl::Status status = Produce(request).status();
  EXPECT_EQ(ReasonOf(status), Reason::kRecordTooLarge);
  EXPECT_EQ(MetadataOf(status)["limit_bytes"], "1048588");
  EXPECT_GT(std::stoll(MetadataOf(status)["size_bytes"]), 2 << 20);
  EXPECT_EQ(storage1_.appends() + storage2_.appends(), 0);
}

TEST_F(ProduceTest, AcksNoneIsAnsweredWithoutTheLeader) {
  CreateTopic("t", 1);
  LeaderOf("t", 0)->HoldAnswers(true);
  v1::ProduceRequest request = Records("t", {"a"});
  request.set_acks(v1::ACKS_NONE);
  const auto response = Produce(request);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->positions(0).offset(), -1);
  EXPECT_EQ(response->appends(0).base_offset(), -1);
  EXPECT_TRUE(Eventually([&] { return LeaderOf("t", 0)->appends() == 1; }));
  LeaderOf("t", 0)->HoldAnswers(false);
}

TEST_F(ProduceTest, EncodedBatchesArriveByteForByte) {
  CreateTopic("t", 1);
  grpc::ClientContext context;
  auto stream = Open(&context, "t");
  EXPECT_EQ(opened_.partition_count(), 1);
  EXPECT_EQ(opened_.batch_bytes_max(), 1'048'588);
  EXPECT_GT(opened_.bytes_in_flight_max(), 0);
  const Bytes batch = MakeBatch(100);
  for (uint64_t id = 1; id <= 20; ++id) stream->Write(BatchFrame(id, 0, batch));
  for (uint64_t id = 1; id <= 20; ++id) {
    const v1::BatchAck ack = ReadAck(stream.get());
    EXPECT_EQ(ack.batch_id(), id);
    EXPECT_EQ(ack.appends(0).base_offset(), static_cast<int64_t>(id - 1) * 100);
    EXPECT_EQ(ack.appends(0).record_count(), 100);
  }
  EXPECT_TRUE(End(stream.get()).ok());
  const std::vector<Bytes> stored = LeaderOf("t", 0)->batches(0);
  ASSERT_EQ(stored.size(), 20u);
  // Base offset, length and leader epoch are the leader's.
  EXPECT_EQ(stored[7].ToString().substr(16), batch.ToString().substr(16));
}

TEST_F(ProduceTest, PlainRecordsOnAStreamFollowTheirKeys) {
  CreateTopic("t", 3);
  grpc::ClientContext context;
  auto stream = Open(&context, "t");
  v1::StreamProduceRequest frame;
  frame.mutable_records()->set_batch_id(9);
  for (int i = 0; i < 30; ++i) {
    frame.mutable_records()->add_records()->set_key(std::string(1, static_cast<char>('a' + i % 5)));
  }
  stream->Write(frame);
  const v1::BatchAck ack = ReadAck(stream.get());
  EXPECT_EQ(ack.batch_id(), 9u);
  ASSERT_EQ(ack.positions_size(), 30);
  std::set<std::pair<int32_t, int64_t>> places;
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(ack.positions(i).partition(), ack.positions(i % 5).partition());
    places.insert({ack.positions(i).partition(), ack.positions(i).offset()});
  }
  EXPECT_EQ(places.size(), 30u);
  EXPECT_TRUE(End(stream.get()).ok());
}

TEST_F(ProduceTest, FramesThatBreakTheProtocolEndTheStream) {
  CreateTopic("t", 1);
  EXPECT_EQ(ReasonOf(EndOf({BatchFrame(1, 0, MakeBatch(1))})), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(EndOf({OpenFrame("t"), OpenFrame("t")})), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(EndOf({v1::StreamProduceRequest()})), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(EndOf({OpenFrame("t"), v1::StreamProduceRequest()})), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(EndOf({OpenFrame("t", v1::ACKS_UNSPECIFIED)})), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(EndOf({OpenFrame("nope")})), Reason::kTopicNotFound);
  v1::StreamProduceRequest talkative = OpenFrame("t");
  talkative.mutable_open()->set_client_id(std::string(256, 'c'));
  EXPECT_EQ(ReasonOf(EndOf({talkative})), Reason::kInvalidRequest);
}

TEST_F(ProduceTest, MalformedProtobufEndsTheStream) {
  CreateTopic("t", 1);
  const std::string open = OpenFrame("t").SerializeAsString();
  const std::string good = BatchFrame(1, 0, MakeBatch(1)).SerializeAsString();
  for (const std::string& bad :
       {std::string("\xff\xff\xff"), good.substr(0, good.size() - 3), good + "\x7a",
        // A batch whose payload claims to be longer than the frame.
        std::string("\x1a\x04\x08\x01\x7a\x7f", 6)}) {
    EXPECT_EQ(ReasonOf(SendRawFrames(channel_, kStreamProduce, {open, bad})),
              Reason::kInvalidRequest)
        << testing::PrintToString(bad.substr(0, 20));
  }
  EXPECT_EQ(ReasonOf(SendRawFrames(channel_, kStreamProduce, {"\x0a\x7f"})),
            Reason::kInvalidRequest);
}

TEST_F(ProduceTest, ABadBatchFailsItsAckAndTheStreamGoesOn) {
  CreateTopic("t", 1);
  grpc::ClientContext context;
  auto stream = Open(&context, "t");
  stream->Write(BatchFrame(1, 5, MakeBatch(1)));
  stream->Write(BatchFrame(2, 0, Bytes::Own(std::string(2 << 20, 'x'))));
  stream->Write(BatchFrame(3, 0, Bytes()));
  v1::StreamProduceRequest no_records;
  no_records.mutable_records()->set_batch_id(4);
  stream->Write(no_records);
  stream->Write(BatchFrame(5, 0, MakeBatch(1)));
  EXPECT_EQ(ReadAck(stream.get()).error().reason(), "PARTITION_NOT_FOUND");
  const v1::BatchAck large = ReadAck(stream.get());
  EXPECT_EQ(large.error().reason(), "RECORD_TOO_LARGE");
  EXPECT_EQ(large.error().metadata().at("limit_bytes"), "1048588");
  EXPECT_EQ(large.error().metadata().at("size_bytes"), "2097152");
  EXPECT_EQ(ReadAck(stream.get()).error().reason(), "INVALID_BATCH");
  EXPECT_EQ(ReadAck(stream.get()).error().reason(), "INVALID_REQUEST");
  const v1::BatchAck good = ReadAck(stream.get());
  EXPECT_EQ(good.batch_id(), 5u);
  EXPECT_FALSE(good.has_error() || good.appends(0).has_error());
  EXPECT_TRUE(End(stream.get()).ok());
}

TEST_F(ProduceTest, RefusedBatchesAreSentAgainInOrder) {
  CreateTopic("t", 1);
  FakeStorage* const leader = LeaderOf("t", 0);
  grpc::ClientContext context;
  auto stream = Open(&context, "t");
  for (uint64_t id = 1; id <= 60; ++id) {
    // In the middle of the flow, so that several are under way when it happens.
    if (id % 20 == 0) {
      leader->RefuseAppends(MakeError(Reason::kNotLeader, "not yet"), 3);
    }
    stream->Write(BatchFrame(id, 0, MakeBatch(1, absl::StrCat("b", id, "-"))));
  }
  for (uint64_t id = 1; id <= 60; ++id) {
    const v1::BatchAck ack = ReadAck(stream.get());
    EXPECT_EQ(ack.batch_id(), id);
    EXPECT_EQ(ack.appends(0).base_offset(), static_cast<int64_t>(id) - 1);
  }
  EXPECT_TRUE(End(stream.get()).ok());
  std::string all;
  for (const Bytes& batch : leader->batches(0)) all += batch.ToString();
  std::vector<std::string> expected;
  for (int id = 1; id <= 60; ++id) expected.push_back(absl::StrCat("b", id, "-0"));
  EXPECT_EQ(ValuesOf(all), expected);
}

TEST_F(ProduceTest, RetriesArePacedWhileALeaderRefuses) {
  CreateTopic("t", 1);
  FakeStorage* const leader = LeaderOf("t", 0);
  leader->RefuseAppends(MakeError(Reason::kNotLeader, "not me"), 1'000'000);
  v1::ProduceRequest request = Records("t", {"a"});
  EXPECT_FALSE(Produce(request, absl::Milliseconds(500)).ok());
  EXPECT_LT(leader->headers().size(), 100u) << "the gateway hammers a node that refuses";
}

TEST_F(ProduceTest, OtherErrorsOfTheLeaderReachTheClient) {
  CreateTopic("t", 1);
  LeaderOf("t", 0)->RefuseAppends(MakeError(Reason::kDiskFull, "no room", {{"node", "1"}}), 1);
  const absl::Status status = Produce(Records("t", {"a"})).status();
  EXPECT_EQ(ReasonOf(status), Reason::kDiskFull);
  EXPECT_EQ(MetadataOf(status)["node"], "1");
}

TEST_F(ProduceTest, ABatchOnTheWireWhenTheConnectionBreaksIsUncertain) {
  CreateTopic("t", 1);
  FakeStorage* const leader = LeaderOf("t", 0);
  grpc::ClientContext context;
  auto stream = Open(&context, "t");
  stream->Write(BatchFrame(1, 0, MakeBatch(1)));
  EXPECT_FALSE(ReadAck(stream.get()).appends(0).has_error());
  leader->HoldAnswers(true);
  stream->Write(BatchFrame(2, 0, MakeBatch(1)));
  ASSERT_TRUE(Eventually([&] { return leader->appends() == 2; }));
  leader->BreakStreams();
  const v1::BatchAck ack = ReadAck(stream.get());
  EXPECT_EQ(ack.appends(0).error().reason(), "APPEND_UNCERTAIN");
  EXPECT_FALSE(ack.appends(0).error().retryable());
  leader->HoldAnswers(false);
  stream->Write(BatchFrame(3, 0, MakeBatch(1)));
  EXPECT_FALSE(ReadAck(stream.get()).appends(0).has_error()) << "the link did not come back";
  EXPECT_EQ(leader->appends(), 3) << "an uncertain batch was sent again";
  EXPECT_TRUE(End(stream.get()).ok());
}

TEST_F(ProduceTest, IdsAreGivenOnce) {
  std::set<int64_t> ids;
  for (int i = 0; i < 2500; ++i) {  // More than two blocks.
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + absl::Seconds(10)));
    v1::InitProducerResponse response;
    const grpc::Status status = producers_->InitProducer(&context, {}, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.producer_epoch(), 0);
    EXPECT_TRUE(ids.insert(response.producer_id()).second) << "given twice";
  }
  grpc::ClientContext context;
  v1::InitProducerRequest request;
  request.set_client_id(std::string(256, 'x'));
  v1::InitProducerResponse response;
  EXPECT_EQ(ReasonOf(rpc::FromGrpc(producers_->InitProducer(&context, request, &response))),
            Reason::kInvalidRequest);
}

// The link breaks after the leader has appended what is under way.
TEST_F(ProduceTest, NumberedBatchesSurviveABrokenLinkOnceAndInOrder) {
  CreateTopic("t", 1);
  FakeStorage* const leader = LeaderOf("t", 0);
  grpc::ClientContext context;
  auto stream = Open(&context, "t");
  int32_t sequence = 0;
  const auto send = [&](uint64_t id) {
    const record::ProducerStamp stamp{ProducerId(7), ProducerEpoch(0), Sequence(sequence)};
    const Bytes batch = MakeBatch(2, absl::StrCat("b", id, "-"));
    stream->Write(BatchFrame(id, 0, record::StampProducer(batch, stamp)));
    sequence += 2;
  };
  send(1);
  EXPECT_FALSE(ReadAck(stream.get()).appends(0).duplicate());
  leader->HoldAnswers(true);
  for (uint64_t id = 2; id <= 5; ++id) send(id);
  ASSERT_TRUE(Eventually([&] { return leader->appends() == 5; }));
  leader->BreakStreams();
  leader->HoldAnswers(false);
  for (uint64_t id = 2; id <= 5; ++id) {
    const v1::BatchAck ack = ReadAck(stream.get());
    EXPECT_EQ(ack.batch_id(), id);
    ASSERT_FALSE(ack.appends(0).has_error()) << ack.ShortDebugString();
    EXPECT_TRUE(ack.appends(0).duplicate());
    EXPECT_EQ(ack.appends(0).base_offset(), static_cast<int64_t>(2 * (id - 1)));
  }
  EXPECT_EQ(leader->appends(), 5);
  EXPECT_TRUE(End(stream.get()).ok());
}

TEST_F(ProduceTest, AnUncertainBatchIsNeverReportedAsNotAppended) {
  CreateTopic("t", 1);
  FakeStorage* const leader = LeaderOf("t", 0);
  leader->ForgetAnswers(MakeError(Reason::kAppendUncertain, "who knows"), 1);
  v1::ProduceRequest request;
  request.set_topic("t");
  request.set_acks(v1::ACKS_ALL);
  request.set_partition(0);
  const record::ProducerStamp stamp{ProducerId(7), ProducerEpoch(0), Sequence(0)};
  request.set_batch(record::StampProducer(MakeBatch(1), stamp).ToString());
  // After that nobody leads for the rest of the time.
  leader->RefuseAppends(MakeError(Reason::kNotLeader, "not me"), 1'000'000);
  const absl::Status status = Produce(request, absl::Milliseconds(400)).status();
  EXPECT_EQ(ReasonOf(status), Reason::kAppendUncertain) << status;
  leader->RefuseAppends(absl::OkStatus(), 0);
  const auto again = Produce(request);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->appends(0).duplicate());
  EXPECT_EQ(leader->appends(), 1);
}

TEST_F(ProduceTest, ACallIsUncertainIfAnyPartOfItIs) {
  CreateTopic("t", 2);
  FakeStorage* const refusing = LeaderOf("t", 0);
  FakeStorage* const silent = LeaderOf("t", 1);
  ASSERT_NE(refusing, silent);
  // The certain refusal comes first; the other part is open until the time is over.
  refusing->RefuseAppends(MakeError(Reason::kNotEnoughReplicas, "one of two"), 1'000'000);
  silent->ForgetAnswers(MakeError(Reason::kAppendUncertain, "who knows"), 1);
  silent->RefuseAppends(MakeError(Reason::kNotLeader, "not me"), 1'000'000);
  const v1::ProduceRequest both = Records("t", {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"});
  const absl::Status status = Produce(both, absl::Milliseconds(400)).status();
  EXPECT_EQ(ReasonOf(status), Reason::kAppendUncertain) << status;
  EXPECT_EQ(silent->appends(), 1);
}

// Plain records, which the gateway numbers itself.
TEST_F(ProduceTest, PlainRecordsSurviveBrokenLinksOnceAndInOrder) {
  CreateTopic("t", 1);
  FakeStorage* const leader = LeaderOf("t", 0);
  ASSERT_TRUE(Produce(Records("t", {"first"})).ok());
  grpc::ClientContext context;
  auto stream = Open(&context, "t");
  constexpr int kFrames = 60;
  for (int id = 1; id <= kFrames; ++id) {
    if (id % 20 == 0) leader->ForgetAnswers(MakeError(Reason::kAppendUncertain, "broken"), 2);
    if (id == 30) leader->BreakStreams();
    v1::StreamProduceRequest frame;
    frame.mutable_records()->set_batch_id(static_cast<uint64_t>(id));
    frame.mutable_records()->add_records()->set_value(absl::StrCat("r", id));
    stream->Write(frame);
  }
  for (int id = 1; id <= kFrames; ++id) {
    const v1::BatchAck ack = ReadAck(stream.get());
    EXPECT_EQ(ack.batch_id(), static_cast<uint64_t>(id));
    ASSERT_FALSE(ack.appends(0).has_error()) << ack.ShortDebugString();
    EXPECT_EQ(ack.positions(0).offset(), id);
  }
  EXPECT_TRUE(End(stream.get()).ok());
  EXPECT_EQ(leader->end_offset(0), kFrames + 1);
  leader->ForgetAnswers(MakeError(Reason::kAppendUncertain, "broken"), 1);
  const auto unary = Produce(Records("t", {"last"}));
  ASSERT_TRUE(unary.ok()) << unary.status();
  EXPECT_TRUE(unary->appends(0).duplicate());
  EXPECT_EQ(unary->positions(0).offset(), kFrames + 1);
}

TEST_F(ProduceTest, BehindRecordsThatAreGivenUpTheGatewayNumbersAnew) {
  CreateTopic("t", 1);
  FakeStorage* const leader = LeaderOf("t", 0);
  grpc::ClientContext context;
  auto stream = Open(&context, "t");
  leader->RefuseAppends(MakeError(Reason::kDiskFull, "no room"), 1);
  for (int id = 1; id <= 20; ++id) {
    v1::StreamProduceRequest frame;
    frame.mutable_records()->set_batch_id(static_cast<uint64_t>(id));
    frame.mutable_records()->add_records()->set_value(absl::StrCat("r", id));
    stream->Write(frame);
  }
  EXPECT_EQ(ReadAck(stream.get()).appends(0).error().reason(), "DISK_FULL");
  for (int id = 2; id <= 20; ++id) {
    const v1::BatchAck ack = ReadAck(stream.get());
    ASSERT_FALSE(ack.appends(0).has_error()) << ack.ShortDebugString();
    EXPECT_EQ(ack.positions(0).offset(), id - 2);
  }
  EXPECT_TRUE(End(stream.get()).ok());
}

TEST_F(ProduceTest, WaitsForALeaderAndSaysSoWhenThereIsNone) {
  CreateTopic("t", 1);
  const bool first = LeaderIdOf("t", 0) == 1;
  metadata_.EndSession(first ? session1_ : session2_);
  ASSERT_TRUE(Eventually([&] { return LeaderIdOf("t", 0) == 0; }));
  // The gateway gives up 200 ms before the client: time for the answer to come.
  const absl::Status status = Produce(Records("t", {"a"}), absl::Seconds(2)).status();
  EXPECT_EQ(ReasonOf(status), Reason::kLeaderUnavailable) << status;
  grpc::ClientContext context;
  auto stream = Open(&context, "t");
  stream->Write(BatchFrame(1, 0, MakeBatch(1)));
  metadata_.AddNode(first ? 1 : 2, first ? storage1_.address() : storage2_.address());
  EXPECT_FALSE(ReadAck(stream.get()).appends(0).has_error());
  EXPECT_TRUE(End(stream.get()).ok());
}

TEST_F(ProduceTest, BatchesDoNotWaitForALeaderThatStandsStill) {
  CreateTopic("t", 1, 2);
  const bool first = LeaderIdOf("t", 0) == 1;
  FakeStorage* const leader = LeaderOf("t", 0);
  FakeStorage* const other = first ? &storage2_ : &storage1_;
  leader->HoldAnswers(true);  // Its connections stay, as those of a paused process do.
  absl::StatusOr<v1::ProduceResponse> response;
  std::thread call([&] { response = Produce(Records("t", {"a"}), absl::Seconds(60)); });
  EXPECT_TRUE(Eventually([&] { return leader->appends() == 1; }));
  const MonotonicTime start = Clock::Real()->MonotonicNow();
  metadata_.EndSession(first ? session1_ : session2_);
  call.join();
  EXPECT_TRUE(response.ok()) << response.status();
  EXPECT_LT(Clock::Real()->MonotonicNow() - start, absl::Seconds(30)) << "it waited for keepalive";
  EXPECT_EQ(1, other->appends());
}

TEST_F(ProduceTest, StopDoesNotWaitForBatchesWithoutALeader) {
  CreateTopic("t", 1);
  metadata_.EndSession(session1_);
  metadata_.EndSession(session2_);
  ASSERT_TRUE(Eventually([&] { return LeaderIdOf("t", 0) == 0; }));
  grpc::ClientContext context;
  auto stream = Open(&context, "t");
  for (uint64_t id = 1; id <= 10; ++id) stream->Write(BatchFrame(id, 0, MakeBatch(1)));
  const MonotonicTime start = Clock::Real()->MonotonicNow();
  gateway_->Stop();
  gateway_.reset();
  EXPECT_LT(Clock::Real()->MonotonicNow() - start, absl::Seconds(8));
  EXPECT_FALSE(End(stream.get()).ok());
}

TEST_F(ProduceTest, ProduceGoesOnWithoutTheMetadataService) {
  CreateTopic("t", 2);
  metadata_.Stop();
  MustProduce("t", 0, MakeBatch(3));
  MustProduce("t", 1, MakeBatch(3));
  EXPECT_TRUE(gateway_->Ready()) << "the routes are young enough";
}

}  // namespace
}  // namespace falaj::gateway
