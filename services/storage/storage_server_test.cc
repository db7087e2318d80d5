#include "services/storage/storage_server.h"

#include <arpa/inet.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "falaj/internal/v1/storage_service.grpc.pb.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/record/batch_builder.h"
#include "libs/record/batch_reader.h"
#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"
#include "services/storage/fake_metadata.h"

namespace falaj::storage {
namespace {

using internal::v1::AppendRequest;
using internal::v1::AppendResponse;
using internal::v1::FindOffset;
using internal::v1::FindOffsetsRequest;
using internal::v1::FindOffsetsResponse;
using internal::v1::FoundOffset;
using internal::v1::PartitionBatches;
using internal::v1::ReadPartition;
using internal::v1::ReadRequest;
using internal::v1::ReadResponse;
using internal::v1::StorageService;
using internal::v1::TopicSettings;
using internal::v1::TopicState;

// Waits until `condition` holds, at most ten seconds.
bool Eventually(const std::function<bool()>& condition) {
  Mutex mu;
  CondVar never;
  const MonotonicTime until = Clock::Real()->MonotonicNow() + absl::Seconds(10);
  while (!condition()) {
    if (Clock::Real()->MonotonicNow() > until) return false;
    MutexLock lock(&mu);
    never.WaitFor(&mu, absl::Milliseconds(5));
  }
  return true;
}

std::string Batch(int records, const std::string& value = "value",
                  record::Codec codec = record::Codec::kNone) {
  record::BatchBuilder builder;
  for (int i = 0; i < records; ++i) builder.Add(Clock::Real()->NowMs(), absl::StrCat(i), value);
  record::BatchBuilder::BuildOptions options;
  options.codec = codec;
  return builder.Build(options).value().ToString();
}

// One Append stream, used in step.
class Producer {
 public:
  explicit Producer(StorageService::Stub* stub) : stream_(stub->Append(&context_)) {}
  ~Producer() {
    stream_->WritesDone();
    AppendResponse rest;
    while (stream_->Read(&rest)) {
    }
    stream_->Finish();
  }

  bool Send(const AppendRequest& request) { return stream_->Write(request); }
  AppendResponse Receive() {
    AppendResponse response;
    if (!stream_->Read(&response)) ADD_FAILURE() << "the stream has ended";
    return response;
  }
  AppendResponse Append(const AppendRequest& request) {
    Send(request);
    AppendResponse response = Receive();
    EXPECT_EQ(response.request_id(), request.header().request_id());
    return response;
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<AppendRequest, AppendResponse>> stream_;
};

class StorageServerTest : public testing::Test {
 protected:
  StorageServerTest() {
    const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
    dir_ = absl::StrCat(testing::TempDir(), "/storage_server_", test->name(), "_", getpid());
    std::filesystem::remove_all(dir_);
    metadata_.StartServing();
  }
  ~StorageServerTest() override {
    if (node_ != nullptr) node_->Stop();
    node_.reset();
    std::filesystem::remove_all(dir_);
  }

  StorageServer::Options Options() {
    StorageServer::Options options;
    options.node_id = 1;
    options.data_dir = dir_;
    options.metadata_addresses = {metadata_.address()};
    options.session_timeout = absl::Milliseconds(600);
    options.disk_check_interval = absl::Milliseconds(20);
    options.disk_probe = [this](const std::string&) -> absl::StatusOr<log::DiskSpace> {
      return log::DiskSpace{int64_t{1000} << 30, free_bytes_.load()};
    };
    return options;
  }
  void StartNode() { StartNode(Options()); }
  void StartNode(const StorageServer::Options& options) {
    auto node = StorageServer::Start(options);
    ASSERT_TRUE(node.ok()) << node.status();
    node_ = *std::move(node);
    stub_ = StorageService::NewStub(rpc::MakeChannel(node_->grpc_address()));
    ASSERT_TRUE(Eventually([&] { return node_->Ready(); }));
  }
  void CreateTopic(const std::string& name, int partitions, bool fsync = true) {
    TopicSettings settings;
    settings.set_fsync(fsync);
    settings.set_batch_bytes_max(1 << 20);
    settings.set_min_in_sync_replicas(1);
    settings.set_compression(v1::COMPRESSION_NONE);
    CreateTopic(name, partitions, settings);
  }
  void CreateTopic(const std::string& name, int partitions, const TopicSettings& settings) {
    topic_ = metadata_.CreateTopic(name, partitions, settings);
    WaitForTopic(name);
  }
  // Until the node leads every partition.
  void WaitForTopic(const std::string& name) {
    topic_ = metadata_.Topic(name);
    for (int i = 0; i < topic_.partitions_size(); ++i) {
      ASSERT_TRUE(Eventually([&] { return !Latest(i).has_error(); })) << Latest(i).DebugString();
    }
  }

  AppendRequest Request(int partition, std::string batch, v1::Acks acks = v1::ACKS_ALL) {
    AppendRequest request;
    request.mutable_header()->set_request_id(++request_id_);
    request.mutable_header()->set_topic_id(topic_.topic_id());
    request.mutable_header()->set_partition(partition);
    request.mutable_header()->set_leader_epoch(topic_.partitions(partition).leader_epoch());
    request.mutable_header()->set_acks(acks);
    request.set_batch(std::move(batch));
    return request;
  }
  AppendResponse Append(int partition, const std::string& batch) {
    return Producer(stub_.get()).Append(Request(partition, batch));
  }

  ReadRequest ReadFrom(int partition, int64_t offset, int max_wait_ms = 0) {
    ReadRequest request;
    ReadPartition* part = request.add_partitions();
    part->set_topic_id(topic_.topic_id());
    part->set_partition(partition);
    part->set_leader_epoch(topic_.partitions(partition).leader_epoch());
    part->set_offset(offset);
    request.set_max_bytes(1 << 20);
    request.set_min_bytes(1);
    request.set_max_wait_ms(max_wait_ms);
    return request;
  }
  absl::Status Read(const ReadRequest& request, ReadResponse* response) {
    grpc::ClientContext context;
    return rpc::FromGrpc(stub_->Read(&context, request, response));
  }
  PartitionBatches ReadOne(int partition, int64_t offset, int max_wait_ms = 0) {
    ReadResponse response;
    const absl::Status status = Read(ReadFrom(partition, offset, max_wait_ms), &response);
    EXPECT_TRUE(status.ok()) << status;
    if (response.partitions_size() != 1) return {};
    return response.partitions(0);
  }
  std::vector<int64_t> Offsets(const PartitionBatches& part) {
    std::vector<int64_t> offsets;
    record::BatchIterator batches(Bytes::Copy(part.batches()));
    for (auto batch = batches.Next(); batch.ok() && batch->has_value(); batch = batches.Next()) {
      const absl::Status status = record::ForEachRecord(
          **batch, record::Limits{},
          [&](const record::RecordView& record) { offsets.push_back(record.offset.value()); });
      EXPECT_TRUE(status.ok()) << status;
    }
    return offsets;
  }

  FoundOffset Find(int partition, const v1::OffsetTarget& target) {
    FindOffsetsRequest request;
    FindOffset* query = request.add_queries();
    query->set_topic_id(topic_.topic_id());
    query->set_partition(partition);
    query->set_leader_epoch(topic_.partitions(partition).leader_epoch());
    *query->mutable_target() = target;
    FindOffsetsResponse response;
    grpc::ClientContext context;
    const grpc::Status status = stub_->FindOffsets(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.results_size() == 1 ? response.results(0) : FoundOffset();
  }
  FoundOffset Latest(int partition) {
    v1::OffsetTarget target;
    target.set_named(v1::NAMED_OFFSET_LATEST);
    return Find(partition, target);
  }

  std::string dir_;
  std::atomic<int64_t> free_bytes_ = int64_t{500} << 30;
  FakeMetadata metadata_;
  std::unique_ptr<StorageServer> node_;
  std::unique_ptr<StorageService::Stub> stub_;
  TopicState topic_;
  uint64_t request_id_ = 0;
};

TEST_F(StorageServerTest, AppendedBatchesAreReadBackDenseFromZero) {
  StartNode();
  CreateTopic("flights", 2);
  const AppendResponse first = Append(0, Batch(3));
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
    const AppendResponse response = producer.Receive();
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
  std::vector<std::tuple<std::string, AppendRequest, std::string>> cases = {
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
  AppendRequest request = Request(0, good);
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
    const AppendResponse response = producer.Append(bad);
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
  const AppendResponse response = Append(0, builder.Build({}).value().ToString());
  EXPECT_EQ(response.error().reason(), "INVALID_REQUEST");
  EXPECT_EQ(response.error().metadata().at("field"), "timestamp");
}

TEST_F(StorageServerTest, WrongEpochNamesLeaderAndEpoch) {
  StartNode();
  CreateTopic("t", 1);
  AppendRequest request = Request(0, Batch(1));
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
  const std::string good = Request(0, Batch(1)).SerializeAsString();
  const std::vector<std::string> malformed = {
      "\xff\xff\xff", std::string("\x0a\x05zz", 4), std::string("\x08\x01", 2),
      std::string("\x0a\x02\xff\xff", 4), good.substr(0, good.size() - 3)};
  int64_t expected = 0;
  for (const std::string& message : malformed) {
    int answers = 0;
    const absl::Status end = SendRaw(node_->grpc_address(), {good, message}, &answers);
    EXPECT_EQ(ReasonOf(end), Reason::kInvalidRequest) << end;
    EXPECT_EQ(answers, 1);
    EXPECT_EQ(Latest(0).offset(), ++expected);
  }
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

TEST_F(StorageServerTest, CleanRestartKeepsEverythingAndOffsetsGoOn) {
  StartNode();
  CreateTopic("t", 3);
  for (int i = 0; i < 30; ++i) Append(i % 3, Batch(2));
  const internal::v1::NodeState before = metadata_.Node(1);
  node_->Stop();
  EXPECT_EQ(metadata_.Node(1).session_id(), 0) << "the session must be ended, not left to expire";
  EXPECT_TRUE(std::filesystem::exists(dir_ + "/clean"));
  StartNode();
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/clean"));
  EXPECT_EQ(metadata_.Node(1).directory_id(), before.directory_id());
  WaitForTopic("t");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Offsets(ReadOne(i, 0)).size(), 20u);
    EXPECT_EQ(Append(i, Batch(1)).base_offset(), 20);
  }
}

TEST_F(StorageServerTest, LeavingWithoutStopLosesNothingAcknowledged) {
  StartNode();
  CreateTopic("t", 1);
  for (int i = 0; i < 20; ++i) ASSERT_EQ(Append(0, Batch(1)).base_offset(), i);
  node_.reset();
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/clean"));
  StartNode();
  WaitForTopic("t");
  EXPECT_EQ(Offsets(ReadOne(0, 0)).size(), 20u);
  EXPECT_EQ(Append(0, Batch(1)).base_offset(), 20);
}

TEST_F(StorageServerTest, ProduceAndFetchGoOnWhileTheMetadataServiceIsDown) {
  StartNode();
  CreateTopic("t", 1);
  Append(0, Batch(1));
  metadata_.StopServing();
  ASSERT_TRUE(Eventually([&] { return !node_->Ready(); })) << "the session's timeout must pass";
  EXPECT_EQ(Append(0, Batch(1)).base_offset(), 1);
  EXPECT_THAT(Offsets(ReadOne(0, 0)), testing::ElementsAre(0, 1));
  metadata_.StartServing();
  ASSERT_TRUE(Eventually([&] { return node_->Ready(); }));
  CreateTopic("u", 1);
  EXPECT_EQ(Append(0, Batch(1)).base_offset(), 0);
}

TEST_F(StorageServerTest, ExpiredSessionIsOpenedAgain) {
  StartNode();
  CreateTopic("t", 1);
  Append(0, Batch(1));
  const internal::v1::NodeState before = metadata_.Node(1);
  internal::v1::ClusterCommand expire;
  expire.mutable_end_session()->set_session_id(before.session_id());
  ASSERT_TRUE(metadata_.Apply(expire).ok());
  ASSERT_TRUE(Eventually([&] {
    const int64_t session = metadata_.Node(1).session_id();
    return session != 0 && session != before.session_id();
  }));
  ASSERT_TRUE(Eventually([&] { return metadata_.Topic("t").partitions(0).leader() == 1; }));
  WaitForTopic("t");
  EXPECT_EQ(Append(0, Batch(1)).base_offset(), 1);
}

TEST_F(StorageServerTest, FullDiskRefusesProduceNamingTheNodeAndRecoversByItself) {
  StartNode();
  CreateTopic("t", 1);
  Append(0, Batch(1));
  free_bytes_ = int64_t{2} << 30;
  AppendResponse response;
  ASSERT_TRUE(Eventually([&] {
    response = Append(0, Batch(1));
    return response.has_error();
  }));
  EXPECT_EQ(response.error().reason(), "DISK_FULL");
  EXPECT_EQ(response.error().metadata().at("node"), "1");
  EXPECT_TRUE(response.error().has_retry_delay());
  EXPECT_EQ(Offsets(ReadOne(0, 0)).front(), 0) << "reads go on";
  free_bytes_ = int64_t{500} << 30;
  EXPECT_TRUE(Eventually([&] { return !Append(0, Batch(1)).has_error(); }));
}

TEST_F(StorageServerTest, DeletedTopicLeavesTheDiskAndARecreatedOneIsEmpty) {
  StartNode();
  CreateTopic("t", 1);
  Append(0, Batch(5));
  const TopicState old = topic_;
  metadata_.DeleteTopic("t");
  CreateTopic("t", 1);
  EXPECT_EQ(Latest(0).offset(), 0);
  EXPECT_EQ(Append(0, Batch(1)).base_offset(), 0);
  topic_ = old;
  ASSERT_TRUE(Eventually([&] { return Latest(0).error().reason() == "PARTITION_NOT_FOUND"; }));
}

TEST_F(StorageServerTest, TopicDeletedWhileTheNodeWasAwayIsDroppedWhenItComesBack) {
  StartNode();
  CreateTopic("gone", 1);
  Append(0, Batch(5));
  CreateTopic("kept", 1);
  Append(0, Batch(5));
  node_->Stop();
  metadata_.DeleteTopic("gone");
  StartNode();
  WaitForTopic("kept");
  EXPECT_EQ(Latest(0).offset(), 5);
  node_->Stop();
}

TEST_F(StorageServerTest, ForeignClusterNeitherTakesTheNodeInNorHasItsDataDropped) {
  StartNode();
  CreateTopic("t", 1);
  Append(0, Batch(5));
  node_->Stop();
  FakeMetadata foreign(99);
  foreign.StartServing();
  StorageServer::Options options = Options();
  options.metadata_addresses = {foreign.address()};
  const uint64_t index = foreign.index();
  auto node = StorageServer::Start(options);
  ASSERT_TRUE(node.ok()) << node.status();
  ASSERT_TRUE(Eventually([&] { return foreign.index() > index; })) << "it must have tried";
  EXPECT_FALSE((*node)->Ready());
  (*node)->Stop();
  StartNode();
  WaitForTopic("t");
  EXPECT_EQ(Latest(0).offset(), 5);
}

TEST_F(StorageServerTest, DataDirectoryOfAnotherNodeIsRefused) {
  StartNode();
  node_->Stop();
  StorageServer::Options options = Options();
  options.node_id = 2;
  EXPECT_EQ(ReasonOf(StorageServer::Start(options).status()), Reason::kClusterMismatch);
}

TEST_F(StorageServerTest, DamagedOrMissingIdentityIsRefused) {
  StartNode();
  node_->Stop();
  std::filesystem::rename(dir_ + "/identity", dir_ + "/identity.old");
  EXPECT_EQ(ReasonOf(StorageServer::Start(Options()).status()), Reason::kCorruptRecord);
  std::filesystem::copy(dir_ + "/clean", dir_ + "/identity");
  EXPECT_EQ(ReasonOf(StorageServer::Start(Options()).status()), Reason::kCorruptRecord);
}

TEST_F(StorageServerTest, OptionsThatMakeNoSenseAreRefused) {
  StorageServer::Options options = Options();
  options.node_id = 0;
  EXPECT_EQ(ReasonOf(StorageServer::Start(options).status()), Reason::kInvalidConfig);
  options = Options();
  options.metadata_addresses.clear();
  EXPECT_EQ(ReasonOf(StorageServer::Start(options).status()), Reason::kInvalidConfig);
}

TEST_F(StorageServerTest, SettingsChangeWhileRunning) {
  StartNode();
  CreateTopic("t", 1);
  internal::v1::ClusterCommand command;
  internal::v1::UpdateTopicCommand& update = *command.mutable_update_topic();
  update.set_name("t");
  *update.mutable_settings() = topic_.settings();
  update.mutable_settings()->set_batch_bytes_max(2000);
  update.mutable_settings()->set_append_time(true);
  update.mutable_settings()->set_fsync(false);
  for (const char* field : {"batch_bytes_max", "append_time", "fsync"}) update.add_fields(field);
  ASSERT_TRUE(metadata_.Apply(command).ok());
  ASSERT_TRUE(Eventually([&] {
    return Append(0, Batch(1, std::string(3000, 'x'))).error().reason() == "RECORD_TOO_LARGE";
  }));
  const AppendResponse response = Append(0, Batch(1));
  EXPECT_FALSE(response.durable());
  const PartitionBatches part = ReadOne(0, response.base_offset());
  const auto header = record::ParseBatchHeader(part.batches());
  ASSERT_TRUE(header.ok());
  EXPECT_TRUE(header->append_time());
  EXPECT_EQ(header->max_timestamp_ms, response.append_time_ms());
  EXPECT_TRUE(record::VerifyStoredBatch(Bytes::Copy(part.batches())).ok());
}

// The answer to a GET, header and all.
std::string Get(const std::string& address, const std::string& path) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  std::string answer;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0) {
    const std::string request =
        absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(::send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    char buffer[4096];
    for (ssize_t n = 0; (n = ::recv(fd, buffer, sizeof(buffer), 0)) > 0;) {
      answer.append(buffer, static_cast<size_t>(n));
    }
  }
  ::close(fd);
  return answer;
}

TEST_F(StorageServerTest, MetricsNameTopicsAndPartitionsUntilTheyAreGone) {
  StartNode();
  CreateTopic("t", 1);
  Append(0, Batch(3));
  ReadOne(0, 0);
  const std::string metrics = Get(node_->http_address(), "/metrics");
  for (const char* line :
       {"falaj_produced_records_total{topic=\"t\"} 3", "falaj_fetched_records_total{topic=\"t\"} 3",
        "falaj_partition_high_watermark{partition=\"0\",topic=\"t\"} 3",
        "falaj_produce_seconds_count{acks=\"all\"} 1", "falaj_storage_disk_free_bytes",
        "falaj_rocksdb_memtable_bytes", "falaj_build_info", "process_resident_memory_bytes"}) {
    EXPECT_THAT(metrics, testing::HasSubstr(line));
  }
  EXPECT_TRUE(Eventually(
      [&] { return Get(node_->http_address(), "/healthz").find("200") != std::string::npos; }));
  metadata_.DeleteTopic("t");
  EXPECT_TRUE(Eventually([&] {
    return Get(node_->http_address(), "/metrics").find("topic=\"t\"") == std::string::npos;
  }));
}

}  // namespace
}  // namespace falaj::storage
