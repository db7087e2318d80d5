// What the tests of the storage node share: a node in a temporary directory, a metadata service in
// the same process, and short ways to append, read and ask for offsets.
#ifndef SERVICES_STORAGE_STORAGE_SERVER_FIXTURE_H_
#define SERVICES_STORAGE_STORAGE_SERVER_FIXTURE_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
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
#include "libs/http/testing/scrape.h"
#include "libs/record/batch_builder.h"
#include "libs/record/batch_reader.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"
#include "services/storage/fake_metadata.h"
#include "services/storage/storage_server.h"

namespace falaj::storage {

using http::Get;
using internal::v1::AppendBatch;
using internal::v1::AppendOutcome;
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
inline bool Eventually(const std::function<bool()>& condition) {
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

inline std::string Batch(int records, const std::string& value = "value",
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
  bool Send(const AppendBatch& batch) {
    AppendRequest request;
    *request.add_batches() = batch;
    return Send(request);
  }
  // The next outcome; several may come in one message.
  AppendOutcome Receive() {
    if (received_.empty()) {
      AppendResponse response;
      if (!stream_->Read(&response)) {
        ADD_FAILURE() << "the stream has ended";
        return {};
      }
      received_.assign(response.outcomes().begin(), response.outcomes().end());
    }
    AppendOutcome outcome = std::move(received_.front());
    received_.pop_front();
    return outcome;
  }
  AppendOutcome Append(const AppendBatch& batch) {
    Send(batch);
    AppendOutcome outcome = Receive();
    EXPECT_EQ(outcome.request_id(), batch.header().request_id());
    return outcome;
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<AppendRequest, AppendResponse>> stream_;
  std::deque<AppendOutcome> received_;
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

  AppendBatch Request(int partition, std::string batch, v1::Acks acks = v1::ACKS_ALL) {
    AppendBatch request;
    request.mutable_header()->set_request_id(++request_id_);
    request.mutable_header()->set_topic_id(topic_.topic_id());
    request.mutable_header()->set_partition(partition);
    request.mutable_header()->set_leader_epoch(topic_.partitions(partition).leader_epoch());
    request.mutable_header()->set_acks(acks);
    request.set_batch(std::move(batch));
    return request;
  }
  AppendOutcome Append(int partition, const std::string& batch) {
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

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_STORAGE_SERVER_FIXTURE_H_
