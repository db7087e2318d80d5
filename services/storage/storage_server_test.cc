// What gateways see of a storage node: append, read, offsets, truncation.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <functional>
#include <future>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/wire.h"
#include "services/storage/storage_server_fixture.h"

namespace falaj::storage {
namespace {

TEST_F(StorageServerTest, AppendedBatchesAreReadBackDenseFromZero) {
  StartNode();
  CreateTopic("flights", 2);
  const AppendOutcome first = Append(0, Batch(3));
  ASSERT_FALSE(first.has_error()) << first.DebugString();
  EXPECT_EQ(first.base_offset(), 0);
  EXPECT_EQ(first.record_count(), 3);
  EXPECT_EQ(first.in_sync_replicas(), 1);
  EXPECT_TRUE(first.durable());
  EXPECT_GT(first.append_time_ms(), 0);
  EXPECT_EQ(Append(0, Batch(2, "x", record::Codec::kLz4)).base_offset(), 3);
  EXPECT_EQ(Append(1, Batch(1)).base_offset(), 0);

  const PartitionBatches part = ReadOne(0, 0);
  EXPECT_THAT(Offsets(part), testing::ElementsAre(0, 1, 2, 3, 4));
  EXPECT_EQ(part.high_watermark(), 5);
  EXPECT_EQ(part.next_offset(), 5);
  EXPECT_EQ(part.log_start_offset(), 0);
  EXPECT_THAT(Offsets(ReadOne(0, 4)), testing::ElementsAre(3, 4)) << "whole batches come";
}

TEST_F(StorageServerTest, BatchesOfOneStreamKeepTheirOrder) {
  StartNode();
  CreateTopic("t", 1);
  Producer producer(stub_.get());
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(producer.Send(Request(0, Batch(1))));
  for (int i = 0; i < 200; ++i) {
    const AppendOutcome response = producer.Receive();
    EXPECT_EQ(response.request_id(), static_cast<uint64_t>(i + 1));
    EXPECT_EQ(response.base_offset(), i);
  }
}

TEST_F(StorageServerTest, AcksNoneIsAnsweredWithoutAnOffsetAndStillAppended) {
  StartNode();
  CreateTopic("t", 1);
  Producer producer(stub_.get());
  EXPECT_EQ(producer.Append(Request(0, Batch(1), v1::ACKS_NONE)).base_offset(), -1);
  EXPECT_EQ(producer.Append(Request(0, Batch(1), v1::ACKS_LEADER)).base_offset(), 1);
}

TEST_F(StorageServerTest, EveryBadBatchIsRefusedWithItsReasonAndLeavesNothing) {
  StartNode();
  CreateTopic("t", 1);
  Producer producer(stub_.get());
  const std::string good = Batch(3);
  const auto edited = [&](size_t at, const std::string& bytes) {
    std::string batch = good;
    batch.replace(at, bytes.size(), bytes);
    return batch;
  };
  const auto summed = [](std::string batch) {
    const uint32_t crc = record::ComputeBatchCrc(Bytes::Copy(batch));
    for (int i = 0; i < 4; ++i) batch[17 + i] = static_cast<char>(crc >> (24 - 8 * i));
    return batch;
  };
  std::string bomb = Batch(1, std::string(32 << 20, 'a'), record::Codec::kZstd);
  ASSERT_LT(bomb.size(), size_t{1} << 20);
  std::vector<std::tuple<std::string, AppendBatch, std::string>> cases = {
      {"checksum", Request(0, edited(30, "?")), "INVALID_BATCH"},
      {"record count", Request(0, summed(edited(57, std::string("\0\0\0\x04", 4)))),
       "INVALID_BATCH"},
      {"last offset delta", Request(0, summed(edited(23, std::string("\0\0\0\x07", 4)))),
       "INVALID_BATCH"},
      {"codec", Request(0, summed(edited(21, std::string("\0\x07", 2)))), "INVALID_BATCH"},
      {"control", Request(0, summed(edited(21, std::string("\0\x20", 2)))), "INVALID_BATCH"},
      {"length", Request(0, good.substr(0, good.size() - 1)), "INVALID_BATCH"},
      {"magic", Request(0, edited(16, "\x01")), "INVALID_BATCH"},
      {"empty", Request(0, ""), "INVALID_BATCH"},
      {"bomb", Request(0, bomb), "RECORD_TOO_LARGE"},
      {"oversized", Request(0, Batch(1, std::string(1 << 20, 'x'))), "RECORD_TOO_LARGE"},
  };
  AppendBatch request = Request(0, good);
  request.mutable_header()->set_leader_epoch(request.header().leader_epoch() + 1);
  cases.emplace_back("wrong epoch", request, "NOT_LEADER");
  request = Request(0, good);
  request.mutable_header()->set_partition(7);
  cases.emplace_back("unknown partition", request, "PARTITION_NOT_FOUND");
  request = Request(0, good);
  request.mutable_header()->set_topic_id("0123456789abcdef");
  cases.emplace_back("unknown topic", request, "PARTITION_NOT_FOUND");
  request = Request(0, good);
  request.mutable_header()->set_topic_id("short");
  cases.emplace_back("malformed topic id", request, "INVALID_REQUEST");
  cases.emplace_back("unset acks", Request(0, good, v1::ACKS_UNSPECIFIED), "INVALID_REQUEST");
  request = Request(0, good);
  request.mutable_header()->set_timeout_ms(-1);
  cases.emplace_back("negative timeout", request, "INVALID_REQUEST");

  for (const auto& [name, bad, reason] : cases) {
    SCOPED_TRACE(name);
    const AppendOutcome response = producer.Append(bad);
    EXPECT_EQ(response.error().reason(), reason) << response.DebugString();
  }
  EXPECT_EQ(Latest(0).offset(), 0) << "a refused batch must leave nothing";
  EXPECT_EQ(producer.Append(Request(0, good)).base_offset(), 0) << "the stream must go on";
}

TEST_F(StorageServerTest, TimestampsFarAheadAreRefused) {
  StartNode();
  CreateTopic("t", 1);
  record::BatchBuilder builder;
  builder.Add(Clock::Real()->NowMs() + 2 * 3600 * 1000, "k", "v");
  const AppendOutcome response = Append(0, builder.Build({}).value().ToString());
  EXPECT_EQ(response.error().reason(), "INVALID_REQUEST");
  EXPECT_EQ(response.error().metadata().at("field"), "timestamp");
}

TEST_F(StorageServerTest, WrongEpochNamesLeaderAndEpoch) {
  StartNode();
  CreateTopic("t", 1);
  AppendBatch request = Request(0, Batch(1));
  request.mutable_header()->set_leader_epoch(99);
  const v1::Error error = Producer(stub_.get()).Append(request).error();
  EXPECT_EQ(error.metadata().at("leader"), "1");
  EXPECT_EQ(error.metadata().at("leader_epoch"), absl::StrCat(topic_.partitions(0).leader_epoch()));
}

// Sends raw bytes as messages of an Append stream and returns how the stream ends.
absl::Status SendRaw(const std::string& address, const std::vector<std::string>& messages,
                     int* answers) {
  grpc::GenericStub stub(rpc::MakeChannel(address, {.lane = 7}));
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  const auto done = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return ok;
  };
  auto call = stub.PrepareCall(&context, "/falaj.internal.v1.StorageService/Append", &queue);
  call->StartCall(nullptr);
  done();
  for (const std::string& message : messages) {
    call->Write(rpc::ToByteBuffer(message, Bytes()), nullptr);
    done();
  }
  while (true) {
    grpc::ByteBuffer answer;
    call->Read(&answer, nullptr);
    if (!done()) break;
    ++*answers;
  }
  grpc::Status status;
  call->Finish(&status, nullptr);
  done();
  queue.Shutdown();
  return rpc::FromGrpc(status);
}

TEST_F(StorageServerTest, MalformedMessageEndsTheStreamAfterWhatCameBeforeIsAnswered) {
  StartNode();
  CreateTopic("t", 1);
  const auto wrapped = [](const std::string& entry) {
    std::string message;
    rpc::WireWriter(&message).AppendBytes(1, entry);
    return message;
  };
  const std::string entry = Request(0, Batch(1)).SerializeAsString();
  const std::string good = wrapped(entry);
  const std::vector<std::string> malformed = {"",
                                              "\xff\xff\xff",
                                              std::string("\x0a\x05zz", 4),
                                              std::string("\x08\x01", 2),
                                              wrapped(""),
                                              wrapped("\xff\xff\xff"),
                                              wrapped(std::string("\x0a\x05zz", 4)),
                                              wrapped(std::string("\x08\x01", 2)),
                                              wrapped(std::string("\x0a\x02\xff\xff", 4)),
                                              wrapped(entry.substr(0, entry.size() - 3)),
                                              good.substr(0, good.size() - 3)};
  int64_t expected = 0;
  for (const std::string& message : malformed) {
    int answers = 0;
    const absl::Status end = SendRaw(node_->grpc_address(), {good, message}, &answers);
    EXPECT_EQ(ReasonOf(end), Reason::kInvalidRequest) << end;
    EXPECT_EQ(answers, 1);
    EXPECT_EQ(Latest(0).offset(), ++expected);
  }
}

TEST_F(StorageServerTest, BatchesOfOneMessageAreAppendedInOrderAndAnsweredEach) {
  StartNode();
  CreateTopic("t", 2);
  AppendRequest request;
  *request.add_batches() = Request(0, Batch(2));
  *request.add_batches() = Request(1, Batch(3));
  *request.add_batches() = Request(0, Batch(1));
  request.mutable_batches(2)->mutable_header()->set_partition(7);
  *request.add_batches() = Request(0, Batch(1));
  Producer producer(stub_.get());
  ASSERT_TRUE(producer.Send(request));
  std::map<uint64_t, AppendOutcome> outcomes;
  for (int i = 0; i < request.batches_size(); ++i) {
    const AppendOutcome outcome = producer.Receive();
    outcomes[outcome.request_id()] = outcome;
  }
  const auto of = [&](int i) { return outcomes.at(request.batches(i).header().request_id()); };
  EXPECT_EQ(of(0).base_offset(), 0);
  EXPECT_EQ(of(1).base_offset(), 0);
  EXPECT_EQ(of(2).error().reason(), "PARTITION_NOT_FOUND");
  EXPECT_EQ(of(3).base_offset(), 2) << "the one before it in the message was refused, no more";
  EXPECT_EQ(Latest(0).offset(), 3);
  EXPECT_EQ(Latest(1).offset(), 3);
}

TEST_F(StorageServerTest, AMessageOfTooManyBatchesEndsTheStream) {
  StartNode();
  CreateTopic("t", 1);
  AppendRequest request;
  for (int i = 0; i < 1025; ++i) *request.add_batches() = Request(0, "");
  int answers = 0;
  const absl::Status end = SendRaw(node_->grpc_address(), {request.SerializeAsString()}, &answers);
  EXPECT_EQ(ReasonOf(end), Reason::kInvalidRequest) << end;
  EXPECT_EQ(answers, 4) << "what came before is answered, 256 outcomes in a message";
}

TEST_F(StorageServerTest, LongPollWakesWhenRecordsCome) {
  StartNode();
  CreateTopic("t", 2);
  ReadRequest request = ReadFrom(0, 0, 30'000);
  *request.add_partitions() = ReadFrom(1, 0).partitions(0);
  ReadResponse response;
  auto poll = std::async(std::launch::async, [&] { return Read(request, &response); });
  EXPECT_EQ(Append(1, Batch(2)).base_offset(), 0);
  const absl::Status status = poll.get();
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(response.partitions_size(), 2);
  EXPECT_EQ(response.partitions(0).batches(), "");
  EXPECT_EQ(response.partitions(0).next_offset(), 0);
  EXPECT_THAT(Offsets(response.partitions(1)), testing::ElementsAre(0, 1));
}

TEST_F(StorageServerTest, LongPollWaitsForMinBytesThenForItsPatience) {
  StartNode();
  CreateTopic("t", 1);
  Append(0, Batch(1));
  ReadRequest request = ReadFrom(0, 0, 200);
  request.set_min_bytes(100'000);
  const MonotonicTime start = Clock::Real()->MonotonicNow();
  ReadResponse response;
  ASSERT_TRUE(Read(request, &response).ok());
  EXPECT_GE(Clock::Real()->MonotonicNow() - start, absl::Milliseconds(190));
  EXPECT_THAT(Offsets(response.partitions(0)), testing::ElementsAre(0))
      << "what there is comes when the time is up";

  request.set_max_wait_ms(30'000);
  auto poll = std::async(std::launch::async, [&] { return Read(request, &response); });
  for (int i = 0; i < 30; ++i) Append(0, Batch(1, std::string(10'000, 'x')));
  ASSERT_TRUE(poll.get().ok());
  EXPECT_GE(response.partitions(0).batches().size(), 100'000u);
}

TEST_F(StorageServerTest, LongPollOfADeletedTopicEnds) {
  StartNode();
  CreateTopic("t", 1);
  ReadResponse response;
  auto poll =
      std::async(std::launch::async, [&] { return Read(ReadFrom(0, 0, 30'000), &response); });
  metadata_.DeleteTopic("t");
  ASSERT_TRUE(poll.get().ok());
  EXPECT_EQ(response.partitions(0).error().reason(), "PARTITION_NOT_FOUND");
}

TEST_F(StorageServerTest, CancelledLongPollIsForgotten) {
  StartNode();
  CreateTopic("t", 1);
  grpc::ClientContext context;
  ReadResponse response;
  auto poll = std::async(std::launch::async,
                         [&] { return stub_->Read(&context, ReadFrom(0, 0, 30'000), &response); });
  context.TryCancel();
  EXPECT_EQ(poll.get().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(Append(0, Batch(1)).base_offset(), 0);
}

TEST_F(StorageServerTest, ReadBoundsHoldOverAllPartitionsAndTheFirstBatchComesWhole) {
  StartNode();
  CreateTopic("t", 2);
  for (int i = 0; i < 4; ++i) {
    Append(0, Batch(1, std::string(1000, 'x')));
    Append(1, Batch(1, std::string(1000, 'x')));
  }
  ReadRequest request = ReadFrom(0, 0);
  *request.add_partitions() = ReadFrom(1, 0).partitions(0);
  request.set_max_bytes(10);
  ReadResponse response;
  ASSERT_TRUE(Read(request, &response).ok());
  EXPECT_THAT(Offsets(response.partitions(0)), testing::ElementsAre(0));
  EXPECT_EQ(response.partitions(1).next_offset(), 0);
  request.set_max_bytes(5000);
  ASSERT_TRUE(Read(request, &response).ok());
  EXPECT_EQ(response.partitions(0).next_offset(), 4);
  EXPECT_LT(response.partitions(1).next_offset(), 4);
}

TEST_F(StorageServerTest, BadReadsAreRefusedWithTheirReason) {
  StartNode();
  CreateTopic("t", 1);
  Append(0, Batch(2));
  const v1::Error above = ReadOne(0, 3).error();
  EXPECT_EQ(above.reason(), "OFFSET_OUT_OF_RANGE");
  EXPECT_EQ(above.metadata().at("log_start_offset"), "0");
  EXPECT_EQ(above.metadata().at("high_watermark"), "2");
  ReadRequest request = ReadFrom(0, 0);
  request.mutable_partitions(0)->set_leader_epoch(99);
  ReadResponse response;
  ASSERT_TRUE(Read(request, &response).ok());
  EXPECT_EQ(response.partitions(0).error().reason(), "NOT_LEADER");
  request.mutable_partitions(0)->set_partition(5);
  ASSERT_TRUE(Read(request, &response).ok());
  EXPECT_EQ(response.partitions(0).error().reason(), "PARTITION_NOT_FOUND");

  for (const auto& spoil : std::vector<std::function<void(ReadRequest*)>>{
           [](ReadRequest* r) { r->clear_partitions(); },
           [](ReadRequest* r) { r->set_max_bytes(-1); },
           [](ReadRequest* r) { r->set_min_bytes(-1); },
           [](ReadRequest* r) { r->set_max_wait_ms(-1); },
           [](ReadRequest* r) { r->mutable_partitions(0)->set_offset(-1); },
           [](ReadRequest* r) { r->mutable_partitions(0)->set_topic_id("x"); }}) {
    request = ReadFrom(0, 0);
    spoil(&request);
    EXPECT_EQ(ReasonOf(Read(request, &response)), Reason::kInvalidRequest);
  }
}

TEST_F(StorageServerTest, OffsetsAreFoundByNameTimeAndNumber) {
  StartNode();
  CreateTopic("t", 1);
  const int64_t start_ms = Clock::Real()->NowMs() - 1000;
  for (int i = 0; i < 3; ++i) {
    record::BatchBuilder builder;
    builder.Add(start_ms + i * 10, "k", "v");
    Append(0, builder.Build({}).value().ToString());
  }
  v1::OffsetTarget target;
  target.mutable_time()->set_seconds((start_ms + 15) / 1000);
  target.mutable_time()->set_nanos(static_cast<int32_t>((start_ms + 15) % 1000) * 1'000'000);
  EXPECT_EQ(Find(0, target).offset(), 2);
  EXPECT_EQ(Find(0, target).timestamp_ms(), start_ms + 20);
  target.mutable_time()->set_seconds(start_ms / 1000 + 3600);
  EXPECT_EQ(Find(0, target).offset(), 3) << "later than all: the high watermark";
  EXPECT_EQ(Find(0, target).timestamp_ms(), -1);
  target.set_named(v1::NAMED_OFFSET_EARLIEST);
  EXPECT_EQ(Find(0, target).offset(), 0);
  target.set_offset(4);
  EXPECT_EQ(Find(0, target).error().reason(), "OFFSET_OUT_OF_RANGE");
  EXPECT_EQ(Find(0, v1::OffsetTarget()).error().reason(), "INVALID_REQUEST");
  target.set_named(v1::NAMED_OFFSET_UNSPECIFIED);
  EXPECT_EQ(Find(0, target).error().reason(), "INVALID_REQUEST");
}

TEST_F(StorageServerTest, TruncatePrefixMovesTheLogStart) {
  StartNode();
  CreateTopic("t", 1);
  for (int i = 0; i < 4; ++i) Append(0, Batch(1));
  internal::v1::TruncatePrefixRequest request;
  request.set_topic_id(topic_.topic_id());
  request.set_leader_epoch(topic_.partitions(0).leader_epoch());
  request.mutable_before()->set_offset(3);
  internal::v1::TruncatePrefixResponse response;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->TruncatePrefix(&context, request, &response).ok());
  }
  EXPECT_EQ(response.log_start_offset(), 3);
  EXPECT_EQ(ReadOne(0, 2).error().reason(), "OFFSET_OUT_OF_RANGE");
  EXPECT_THAT(Offsets(ReadOne(0, 3)), testing::ElementsAre(3));
  request.mutable_before()->set_offset(5);
  grpc::ClientContext context;
  EXPECT_EQ(ReasonOf(rpc::FromGrpc(stub_->TruncatePrefix(&context, request, &response))),
            Reason::kOffsetOutOfRange);
}

}  // namespace
}  // namespace falaj::storage
