// Batches larger than what clients take by default.
#include <gmock/gmock.h>

#include "libs/record/batch_builder.h"
#include "libs/rpc/status_grpc.h"
#include "services/gateway/testing/consume_fixture.h"

namespace falaj::gateway {
namespace {

// Topics with batches larger than gRPC's default receive limit of 4 MiB, and a client that has it.
class LargeBatchTest : public ConsumeTest {
 protected:
  void SetUp() override {
    ConsumeTest::SetUp();
    default_channel_ =
        grpc::CreateChannel(gateway_->grpc_address(), grpc::InsecureChannelCredentials());
    default_client_ = v1::ConsumerService::NewStub(default_channel_);
    grpc::ClientContext context;
    v1::CreateTopicRequest request;
    v1::CreateTopicResponse response;
    request.set_name("t");
    request.set_partition_count(2);
    request.set_replication_factor(1);
    request.mutable_config()->set_batch_bytes_max(8 << 20);
    ASSERT_TRUE(topics_->CreateTopic(&context, request, &response).ok());
  }
  static Bytes LargeBatch(int count, size_t value_size,
                          record::Codec codec = record::Codec::kNone) {
    record::BatchBuilder builder;
    for (int i = 0; i < count; ++i) {
      const std::string value = absl::StrCat(i, std::string(value_size, 'z'));
      builder.Add(1000 + i, std::nullopt, value);
    }
    return *builder.Build({.codec = codec});
  }
  grpc::Status FetchByDefault(const v1::FetchRequest& request, v1::FetchResponse* response) {
    grpc::ClientContext context;
    return default_client_->Fetch(&context, request, response);
  }

  std::shared_ptr<grpc::Channel> default_channel_;
  std::unique_ptr<v1::ConsumerService::Stub> default_client_;
};

TEST_F(LargeBatchTest, ADefaultClientFetchesItsRecordsInSeveralAnswers) {
  const Bytes batch = LargeBatch(7, 1'000'000);
  ASSERT_GT(batch.size(), 6u << 20);
  MustProduce("t", 0, batch);
  MustProduce("t", 0, MakeBatch(1, "after"));
  int64_t next = 0;
  int answers = 0;
  while (next < 8) {
    v1::FetchResponse response;
    const grpc::Status status = FetchByDefault(FetchOf("t", {0}, next), &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ++answers;
    for (const v1::Record& record : response.partitions(0).records()) {
      ASSERT_EQ(record.offset(), next);
      const std::string start = next < 7 ? absl::StrCat(next, "zz") : "after0";
      EXPECT_EQ(record.value().substr(0, start.size()), start);
      ++next;
    }
    ASSERT_EQ(response.partitions(0).next_offset(), next);
    ASSERT_GT(response.partitions(0).records_size(), 0) << "no progress at " << next;
  }
  EXPECT_EQ(next, 8);
  EXPECT_EQ(answers, 4);
}

TEST_F(LargeBatchTest, ADefaultClientTakesWhatSeveralPartitionsMakeTogether) {
  // The first partition leaves little room: a whole record of the second one would be too much.
  MustProduce("t", 0, LargeBatch(29, 100'000, record::Codec::kZstd));
  MustProduce("t", 1, LargeBatch(2, 2'000'000, record::Codec::kZstd));
  v1::FetchRequest request = FetchOf("t", {0, 1});
  v1::FetchResponse response;
  ASSERT_TRUE(FetchByDefault(request, &response).ok());
  EXPECT_EQ(response.partitions(0).records_size(), 29);
  EXPECT_EQ(response.partitions(1).records_size(), 0);
  EXPECT_EQ(response.partitions(1).next_offset(), 0);
  EXPECT_FALSE(response.partitions(1).has_error());
  request.mutable_partitions(0)->mutable_start()->set_offset(29);
  ASSERT_TRUE(FetchByDefault(request, &response).ok());
  EXPECT_EQ(response.partitions(1).records_size(), 1);
  EXPECT_EQ(response.partitions(1).next_offset(), 1);
}

TEST_F(LargeBatchTest, ADefaultClientConsumesItInSeveralFrames) {
  MustProduce("t", 0, LargeBatch(7, 1'000'000));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + absl::Seconds(30)));
  v1::ConsumeRequest open = OpenFrame("t", {0}, 1000);
  open.mutable_open()->set_format(v1::RECORD_FORMAT_RECORDS);
  open.mutable_open()->mutable_partitions()->mutable_positions(0)->mutable_position()->set_offset(
      2);
  auto stream = default_client_->Consume(&context);
  ASSERT_TRUE(stream->Write(open));
  for (int64_t next = 2; next < 7;) {
    const v1::PartitionRecords frame = ReadRecords(stream.get());
    ASSERT_GT(frame.records_size(), 0);
    for (const v1::Record& record : frame.records()) ASSERT_EQ(record.offset(), next++);
    EXPECT_EQ(frame.next_offset(), next);
  }
  context.TryCancel();
}

TEST_F(LargeBatchTest, AStreamOfRecordsThatWereCompressedAHundredfoldComesWholeAndInOrder) {
  // 60 MB of records in less than 1 MiB: far more than a stream queues, so that answers are left
  // and asked for again in the middle of a batch.
  for (int b = 0; b < 6; ++b) MustProduce("t", 0, LargeBatch(1000, 10'000, record::Codec::kZstd));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + absl::Seconds(30)));
  v1::ConsumeRequest open = OpenFrame("t", {0}, 1 << 20);
  open.mutable_open()->set_format(v1::RECORD_FORMAT_RECORDS);
  auto stream = default_client_->Consume(&context);
  ASSERT_TRUE(stream->Write(open));
  for (int64_t next = 0; next < 6000;) {
    const v1::PartitionRecords frame = ReadRecords(stream.get());
    ASSERT_GT(frame.records_size(), 0);
    for (const v1::Record& record : frame.records()) ASSERT_EQ(record.offset(), next++);
    EXPECT_EQ(frame.next_offset(), next);
  }
  context.TryCancel();
}

TEST_F(LargeBatchTest, AnEncodedBatchComesWholeAndNeedsALargerLimit) {
  const Bytes batch = LargeBatch(7, 1'000'000);
  MustProduce("t", 0, batch);
  v1::FetchRequest request = FetchOf("t", {0});
  request.set_format(v1::RECORD_FORMAT_BATCHES);
  request.set_max_bytes(1000);
  v1::FetchResponse response;
  EXPECT_EQ(FetchByDefault(request, &response).error_code(), grpc::RESOURCE_EXHAUSTED)
      << "refused by the client's own gRPC";
  const auto whole = Fetch(request);  // As our clients do, with a limit above 8 MiB.
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(whole->partitions(0).batches().size(), batch.size());
  EXPECT_EQ(whole->partitions(0).next_offset(), 7);
}

}  // namespace
}  // namespace falaj::gateway
