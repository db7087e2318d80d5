// TestGateway is a real GatewayServer between a fake metadata service and two fake storage nodes,
// with the stubs a client would use.
#ifndef SERVICES_GATEWAY_TESTING_TEST_GATEWAY_H_
#define SERVICES_GATEWAY_TESTING_TEST_GATEWAY_H_

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "falaj/v1/cluster_service.grpc.pb.h"
#include "falaj/v1/consumer_service.grpc.pb.h"
#include "falaj/v1/producer_service.grpc.pb.h"
#include "falaj/v1/topic_service.grpc.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "services/gateway/gateway_server.h"
#include "services/gateway/testing/fake_metadata.h"
#include "services/gateway/testing/fake_storage.h"

namespace falaj::gateway {

// Waits until `condition` holds; false if it does not within ten seconds.
bool Eventually(const std::function<bool()>& condition);

// One uncompressed batch of `count` records "<text>0", "<text>1", ... without keys.
Bytes MakeBatch(int count, const std::string& text = "value");
// The values of all records of concatenated batches.
std::vector<std::string> ValuesOf(const std::string& batches);
// 250 ms: for what must not happen. Returns whether it did.
bool HappensSoon(const std::function<bool()>& condition);

class TestGateway : public testing::Test {
 protected:
  TestGateway();
  ~TestGateway() override;

  virtual GatewayServer::Options Options() const {
    GatewayServer::Options options;
    options.stop_grace = absl::Milliseconds(200);
    return options;
  }
  void SetUp() override;

  // Makes a topic and returns it as the gateway describes it.
  v1::Topic CreateTopic(const std::string& name, int partitions, int replicas = 1);
  // The storage node that leads the partition, by the gateway's own account.
  FakeStorage* LeaderOf(const std::string& topic, int32_t partition);
  int32_t LeaderIdOf(const std::string& topic, int32_t partition);

  absl::StatusOr<v1::ProduceResponse> Produce(const v1::ProduceRequest& request,
                                              absl::Duration timeout = absl::Seconds(10));
  // Appends one batch through the encoded door and expects success.
  void MustProduce(const std::string& topic, int32_t partition, const Bytes& batch);
  absl::StatusOr<v1::FetchResponse> Fetch(const v1::FetchRequest& request);
  v1::FetchRequest FetchOf(const std::string& topic, std::vector<int32_t> partitions,
                           int64_t offset = 0);

  FakeMetadata metadata_;
  FakeStorage storage1_;
  FakeStorage storage2_;
  int64_t session1_ = 0;
  int64_t session2_ = 0;
  std::unique_ptr<GatewayServer> gateway_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::TopicService::Stub> topics_;
  std::unique_ptr<v1::ProducerService::Stub> producers_;
  std::unique_ptr<v1::ConsumerService::Stub> consumers_;
  std::unique_ptr<v1::ClusterService::Stub> cluster_;
};

// Sends raw bytes as frames of a bidirectional method and returns how the call ends: by itself, or
// because no more frames come.
absl::Status SendRawFrames(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                           const std::vector<std::string>& frames, bool half_close = false);

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_TESTING_TEST_GATEWAY_H_
