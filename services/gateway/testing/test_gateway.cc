#include "services/gateway/testing/test_gateway.h"

#include <grpcpp/generic/generic_stub.h>

#include "absl/strings/str_cat.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/record/batch_builder.h"
#include "libs/record/batch_reader.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::gateway {
namespace {

bool HoldsWithin(absl::Duration timeout, const std::function<bool()>& condition) {
  const MonotonicTime deadline = Clock::Real()->MonotonicNow() + timeout;
  Mutex mu;
  CondVar never;
  while (!condition()) {
    if (Clock::Real()->MonotonicNow() >= deadline) return false;
    MutexLock lock(&mu);
    never.WaitFor(&mu, absl::Milliseconds(2));
  }
  return true;
}

}  // namespace

bool Eventually(const std::function<bool()>& condition) {
  return HoldsWithin(absl::Seconds(10), condition);
}

bool HappensSoon(const std::function<bool()>& condition) {
  return HoldsWithin(absl::Milliseconds(250), condition);
}

Bytes MakeBatch(int count, const std::string& text) {
  record::BatchBuilder builder;
  for (int i = 0; i < count; ++i) {
    const std::string value = absl::StrCat(text, i);
    builder.Add(1'700'000'000'000 + i, std::nullopt, value);
  }
  return *builder.Build({});
}

std::vector<std::string> ValuesOf(const std::string& batches) {
  std::vector<std::string> values;
  record::BatchIterator iterator(Bytes::Copy(batches));
  while (true) {
    const auto batch = iterator.Next();
    EXPECT_TRUE(batch.ok()) << batch.status();
    if (!batch.ok() || !batch->has_value()) return values;
    EXPECT_TRUE(record::ForEachRecord(**batch, record::Limits{}, [&](const auto& view) {
                  values.push_back(std::string(view.value.value_or("")));
                }).ok());
  }
}

TestGateway::TestGateway() {
  session1_ = metadata_.AddNode(1, storage1_.address());
  session2_ = metadata_.AddNode(2, storage2_.address());
}

TestGateway::~TestGateway() {
  if (gateway_ != nullptr) gateway_->Stop();
}

void TestGateway::SetUp() {
  GatewayServer::Options options = Options();
  options.metadata_addresses = {metadata_.address()};
  auto gateway = GatewayServer::Start(options);
  ASSERT_TRUE(gateway.ok()) << gateway.status();
  gateway_ = *std::move(gateway);
  ASSERT_TRUE(Eventually([this] { return gateway_->Ready(); }));
  channel_ = rpc::MakeChannel(gateway_->grpc_address());
  topics_ = v1::TopicService::NewStub(channel_);
  producers_ = v1::ProducerService::NewStub(channel_);
  consumers_ = v1::ConsumerService::NewStub(channel_);
  cluster_ = v1::ClusterService::NewStub(channel_);
}

v1::Topic TestGateway::CreateTopic(const std::string& name, int partitions, int replicas) {
  grpc::ClientContext context;
  v1::CreateTopicRequest request;
  v1::CreateTopicResponse response;
  request.set_name(name);
  request.set_partition_count(partitions);
  request.set_replication_factor(replicas);
  const grpc::Status status = topics_->CreateTopic(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response.topic();
}

int32_t TestGateway::LeaderIdOf(const std::string& topic, int32_t partition) {
  grpc::ClientContext context;
  v1::GetTopicRequest request;
  v1::GetTopicResponse response;
  request.set_name(topic);
  const grpc::Status status = topics_->GetTopic(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response.topic().partitions(partition).leader();
}

FakeStorage* TestGateway::LeaderOf(const std::string& topic, int32_t partition) {
  return LeaderIdOf(topic, partition) == 2 ? &storage2_ : &storage1_;
}

absl::StatusOr<v1::ProduceResponse> TestGateway::Produce(const v1::ProduceRequest& request,
                                                         absl::Duration timeout) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + timeout));
  v1::ProduceResponse response;
  const grpc::Status status = producers_->Produce(&context, request, &response);
  if (!status.ok()) return rpc::FromGrpc(status);
  return response;
}

void TestGateway::MustProduce(const std::string& topic, int32_t partition, const Bytes& batch) {
  v1::ProduceRequest request;
  request.set_topic(topic);
  request.set_partition(partition);
  request.set_acks(v1::ACKS_ALL);
  request.set_batch(batch.ToString());
  const auto response = Produce(request);
  ASSERT_TRUE(response.ok()) << response.status();
}

absl::StatusOr<v1::FetchResponse> TestGateway::Fetch(const v1::FetchRequest& request) {
  grpc::ClientContext context;
  v1::FetchResponse response;
  const grpc::Status status = consumers_->Fetch(&context, request, &response);
  if (!status.ok()) return rpc::FromGrpc(status);
  return response;
}

v1::FetchRequest TestGateway::FetchOf(const std::string& topic, std::vector<int32_t> partitions,
                                      int64_t offset) {
  v1::FetchRequest request;
  for (const int32_t partition : partitions) {
    v1::FetchPartition* added = request.add_partitions();
    added->set_topic(topic);
    added->set_partition(partition);
    added->mutable_start()->set_offset(offset);
  }
  return request;
}

absl::Status SendRawFrames(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                           const std::vector<std::string>& frames, bool half_close) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + absl::Seconds(10)));
  grpc::CompletionQueue queue;
  const auto next = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  auto call = stub.PrepareCall(&context, method, &queue);
  call->StartCall(nullptr);
  if (!next()) return absl::UnknownError("the call did not start");
  for (const std::string& frame : frames) {
    const grpc::Slice slice(frame);
    call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    if (!next()) break;
  }
  if (half_close) {
    call->WritesDone(nullptr);
    next();
  }
  grpc::ByteBuffer answer;
  do {
    call->Read(&answer, nullptr);
  } while (next());
  grpc::Status status;
  call->Finish(&status, nullptr);
  next();
  return rpc::FromGrpc(status);
}

}  // namespace falaj::gateway
