// What the tests of replica streams share: a storage node, node 1, and a follower that is the test,
// node 2.
#ifndef SERVICES_STORAGE_REPLICA_STREAM_FIXTURE_H_
#define SERVICES_STORAGE_REPLICA_STREAM_FIXTURE_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <memory>
#include <string>

#include "gtest/gtest.h"

#include "libs/record/control_batch.h"
#include "services/storage/storage_server_fixture.h"

namespace falaj::storage {

using internal::v1::ReplicaAttach;
using internal::v1::ReplicaLane;
using internal::v1::ReplicateRequest;
using internal::v1::ReplicateResponse;

inline constexpr int32_t kFollower = 2;

class ReplicaStreamTest : public StorageServerTest {
 protected:
  // A topic on node 1, which leads partition_ and half of the others, and node 2, which is only
  // said to be there.
  void Start(int partitions = 2) { Start(Options(), partitions, 2); }
  void Start(const StorageServer::Options& options, int partitions, int min_in_sync) {
    StartNode(options);
    RegisterFollower();
    TopicSettings settings;
    settings.set_fsync(true);
    settings.set_batch_bytes_max(1 << 20);
    settings.set_min_in_sync_replicas(min_in_sync);
    settings.set_compression(v1::COMPRESSION_NONE);
    topic_ = metadata_.CreateTopic("copied", partitions, settings, 2);
    partition_ = topic_.partitions(0).leader() == 1 ? 0 : 1;
    ASSERT_EQ(topic_.partitions(partition_).leader(), 1);
  }
  void RegisterFollower() {
    internal::v1::ClusterCommand command;
    internal::v1::RegisterNodeCommand& node = *command.mutable_register_node();
    node.set_node_id(kFollower);
    node.set_directory_id(std::string(16, 'f'));
    node.set_address("127.0.0.1:1");
    node.set_session_timeout_ms(10'000);
    node_epoch_ = metadata_.Apply(command).value().node().node_epoch();
  }
  void EndSession(int32_t node) {
    internal::v1::ClusterCommand command;
    command.mutable_end_session()->set_session_id(metadata_.Node(node).session_id());
    ASSERT_TRUE(metadata_.Apply(command).ok());
  }
  // Node 1 leads again, in a later epoch, which its partition then is in.
  void WaitForNextEpoch() {
    const int32_t before = topic_.partitions(partition_).leader_epoch();
    ASSERT_TRUE(Eventually([&] {
      topic_ = metadata_.Topic("copied");
      const auto& partition = topic_.partitions(partition_);
      return partition.leader() == 1 && partition.leader_epoch() > before;
    }));
    ASSERT_TRUE(Eventually([&] { return !ReadOne(partition_, 0).has_error(); }));
  }
  void Open() {
    context_ = std::make_unique<grpc::ClientContext>();
    stream_ = stub_->Replicate(context_.get());
  }
  ReplicateRequest Hello(int64_t credit, ReplicaLane lane = internal::v1::REPLICA_LANE_LIVE) {
    ReplicateRequest request;
    request.mutable_hello()->set_node_id(kFollower);
    request.mutable_hello()->set_node_epoch(node_epoch_);
    request.mutable_hello()->set_lane(lane);
    request.set_credit_bytes(credit);
    return request;
  }
  void AddAttach(uint32_t index, int64_t log_end, ReplicateRequest* request) {
    const auto& partition = topic_.partitions(partition_);
    ReplicaAttach& attach = *request->add_attaches();
    attach.set_index(index);
    attach.set_topic_id(topic_.topic_id());
    attach.set_partition(partition_);
    attach.set_leader_epoch(partition.leader_epoch());
    attach.set_last_epoch(log_end == 0 ? -1 : partition.leader_epoch());
    attach.set_log_end(log_end);
    attach.set_flushed_end(log_end);
  }
  void Ack(uint32_t index, int64_t end, int64_t log_start = 0) {
    ReplicateRequest request;
    request.add_acks()->set_index(index);
    request.mutable_acks(0)->set_written_end(end);
    request.mutable_acks(0)->set_flushed_end(end);
    request.mutable_acks(0)->set_log_start(log_start);
    ASSERT_TRUE(stream_->Write(request));
  }
  // Attaches until the node has learned that it leads.
  void Attach(int64_t credit, int64_t log_end = 0,
              ReplicaLane lane = internal::v1::REPLICA_LANE_LIVE) {
    Open();
    ReplicateRequest request = Hello(credit, lane);
    AddAttach(1, log_end, &request);
    ASSERT_TRUE(Eventually([&] {
      if (!stream_->Write(request)) return false;
      ReplicateResponse response;
      if (!stream_->Read(&response) || response.attached_size() != 1) return false;
      request.clear_hello();
      request.set_credit_bytes(0);
      request.mutable_attaches(0)->set_index(request.attaches(0).index() + 1);
      index_ = response.attached(0).index();
      return !response.attached(0).has_error();
    }));
  }
  // Answered once all replicas in sync have deleted the records.
  absl::Status DeleteBefore(int64_t offset) {
    internal::v1::TruncatePrefixRequest request;
    request.set_topic_id(topic_.topic_id());
    request.set_partition(partition_);
    request.set_leader_epoch(topic_.partitions(partition_).leader_epoch());
    request.mutable_before()->set_offset(offset);
    internal::v1::TruncatePrefixResponse response;
    grpc::ClientContext context;
    return rpc::FromGrpc(stub_->TruncatePrefix(&context, request, &response));
  }
  // The follower takes part, and has committed the start of the epoch: the node serves.
  void Serve() {
    Start();
    Attach(1 << 20);
    const Bytes first = Bytes::Copy(NextBatches());
    EXPECT_EQ(record::ReadControlType(first).value(), record::ControlType::kLeaderChange);
    Ack(index_, 1);
    ASSERT_TRUE(Eventually([&] { return !Latest(partition_).has_error(); }));
  }
  // Three records that the follower has, too, after the start of the epoch.
  void AppendThree(Producer* producer) {
    producer->Send(Request(partition_, Batch(3)));
    NextBatches();
    Ack(index_, 4);
    ASSERT_FALSE(producer->Receive().has_error());
  }
  // Reads until a batch comes; "" if the stream ends.
  std::string NextBatches() {
    ReplicateResponse response;
    while (stream_->Read(&response)) {
      for (const auto& news : response.news()) {
        EXPECT_EQ(news.index(), index_);
        high_watermark_ = news.high_watermark();
        if (!news.batches().empty()) return news.batches();
      }
    }
    return "";
  }
  absl::Status EndOf(const ReplicateRequest& second) {
    Open();
    stream_->Write(Hello(1));
    stream_->Write(second);
    ReplicateResponse response;
    while (stream_->Read(&response)) {
    }
    return rpc::FromGrpc(stream_->Finish());
  }

  int partition_ = 0;
  int64_t node_epoch_ = 0;
  uint32_t index_ = 0;
  int64_t high_watermark_ = 0;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReaderWriter<ReplicateRequest, ReplicateResponse>> stream_;
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_REPLICA_STREAM_FIXTURE_H_
