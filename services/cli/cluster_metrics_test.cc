// What the storage nodes of a cluster say in /metrics after known traffic: only the leader of a
// partition speaks of it, and of each of its followers.
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "falaj/v1/producer_service.grpc.pb.h"

#include "libs/client/admin.h"
#include "libs/http/testing/scrape.h"
#include "libs/record/batch_builder.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"
#include "services/cli/dev_cluster_fixture.h"

namespace falaj::cli {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);

class ClusterMetricsTest : public DevClusterFixture {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(StartCluster(3));
    stub_ = v1::ProducerService::NewStub(rpc::MakeChannel(cluster_.address()));
    v1::CreateTopicRequest request;
    request.set_name("t");
    request.set_partition_count(1);
    request.set_replication_factor(3);
    request.mutable_config()->set_min_in_sync_replicas(2);
    ASSERT_TRUE(admin().CreateTopic(request).ok());
  }

  client::Admin admin() { return client::Admin({.address = cluster_.address(), .timeout = kLong}); }
  v1::Partition Describe() {
    const auto topic = admin().GetTopic("t");
    EXPECT_TRUE(topic.ok()) << topic.status();
    return topic.ok() ? topic->partitions(0) : v1::Partition();
  }
  // Appends one batch of so many records, numbered from `sequence` if that is not negative.
  v1::PartitionAppend Append(int records, int32_t sequence = -1) {
    record::BatchBuilder builder;
    for (int i = 0; i < records; ++i) builder.Add(1'700'000'000'000, "k", "value");
    record::BatchBuilder::BuildOptions options;
    if (sequence >= 0) {
      options.producer_id = ProducerId(producer_);
      options.producer_epoch = ProducerEpoch(0);
      options.base_sequence = Sequence(sequence);
    }
    v1::ProduceRequest request;
    request.set_topic("t");
    request.set_partition(0);
    request.set_acks(v1::ACKS_ALL);
    request.set_batch(builder.Build(options)->ToString());
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + kLong));
    v1::ProduceResponse response;
    const grpc::Status status = stub_->Produce(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.appends_size() == 1 ? response.appends(0) : v1::PartitionAppend();
  }
  void InitProducer() {
    grpc::ClientContext context;
    v1::InitProducerResponse response;
    ASSERT_TRUE(stub_->InitProducer(&context, v1::InitProducerRequest(), &response).ok());
    producer_ = response.producer_id();
  }
  // Of a storage node. Nullopt if it has no such series.
  std::optional<double> Metric(int32_t node, const std::string& series) {
    return http::ScrapeMetric(cluster_.storage_http_address(node), series);
  }
  std::optional<double> Lag(int32_t leader, int32_t follower) {
    return Metric(leader, absl::StrCat("falaj_replica_lag_records{node=\"", follower,
                                       "\",partition=\"0\",topic=\"t\"}"));
  }
  static bool Eventually(const std::function<bool()>& done) {
    const absl::Time deadline = absl::Now() + kLong;
    while (absl::Now() < deadline) {
      if (done()) return true;
    }
    return false;
  }

  std::unique_ptr<v1::ProducerService::Stub> stub_;
  int64_t producer_ = -1;
};

TEST_F(ClusterMetricsTest, TheLeaderTellsHowFarEachFollowerLags) {
  Append(5);
  const v1::Partition before = Describe();
  const int32_t leader = before.leader();
  const int32_t gone = leader == 3 ? 2 : 3;
  const int32_t other = 6 - leader - gone;
  EXPECT_TRUE(Eventually([&] { return Lag(leader, gone) == 0 && Lag(leader, other) == 0; }));
  EXPECT_EQ(Lag(leader, leader), std::nullopt) << "it does not follow itself";
  EXPECT_EQ(Lag(other, leader), std::nullopt) << "only the leader speaks";
  cluster_.StopStorage(gone);
  Append(7);
  EXPECT_TRUE(Eventually([&] { return Lag(leader, gone) == 7 && Lag(leader, other) == 0; }))
      << Lag(leader, gone).value_or(-1) << " " << Lag(leader, other).value_or(-1);
}

TEST_F(ClusterMetricsTest, ServicesCountTheCallsTheyMakeOfOthers) {
  Append(5);
  const auto calls = [](const std::string& service, const std::string& method,
                        const std::string& type) {
    return absl::StrCat("grpc_client_started_total{grpc_method=\"", method,
                        "\",grpc_service=\"falaj.internal.v1.", service, "\",grpc_type=\"", type,
                        "\"}");
  };
  const int32_t leader = Describe().leader();
  for (const int32_t node : {1, 2, 3}) {
    EXPECT_GE(Metric(node, calls("MetadataService", "WatchCluster", "server_stream")), 1) << node;
    EXPECT_EQ(Metric(node, calls("StorageService", "Replicate", "bidi_stream")).has_value(),
              node != leader)
        << node << ", led by " << leader;
  }
  EXPECT_GE(
      http::ScrapeMetric(cluster_.http_address(), calls("StorageService", "Append", "bidi_stream")),
      1);
}

TEST_F(ClusterMetricsTest, ABatchThatComesTwiceIsCountedAsADuplicateAndOnceAsRecords) {
  InitProducer();
  const int32_t leader = Describe().leader();
  EXPECT_FALSE(Append(4, 0).duplicate());
  EXPECT_TRUE(Append(4, 0).duplicate());
  EXPECT_FALSE(Append(2, 4).duplicate());
  EXPECT_EQ(Metric(leader, "falaj_produce_duplicates_total{topic=\"t\"}"), 1);
  EXPECT_EQ(Metric(leader, "falaj_produced_records_total{topic=\"t\"}"), 6);
  // Before them is what the leader writes when its epoch begins.
  EXPECT_EQ(Metric(leader, "falaj_partition_high_watermark{partition=\"0\",topic=\"t\"}"), 7);
  EXPECT_EQ(Metric(leader, "falaj_partition_replicas{partition=\"0\",topic=\"t\"}"), 3);
}

}  // namespace
}  // namespace falaj::cli
