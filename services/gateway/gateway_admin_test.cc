#include <gmock/gmock.h>

#include "grpc/health/v1/health.grpc.pb.h"

#include "libs/rpc/status_grpc.h"
#include "services/gateway/testing/test_gateway.h"

namespace falaj::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class AdminTest : public TestGateway {
 protected:
  absl::Status Create(const v1::CreateTopicRequest& request) {
    v1::CreateTopicResponse response;
    grpc::ClientContext context;
    return rpc::FromGrpc(topics_->CreateTopic(&context, request, &response));
  }
  absl::StatusOr<v1::ListTopicsResponse> List(int page_size, const std::string& token) {
    v1::ListTopicsRequest request;
    v1::ListTopicsResponse response;
    request.set_page_size(page_size);
    request.set_page_token(token);
    grpc::ClientContext context;
    const absl::Status status = rpc::FromGrpc(topics_->ListTopics(&context, request, &response));
    if (!status.ok()) return status;
    return response;
  }
  static v1::CreateTopicRequest Named(const std::string& name) {
    v1::CreateTopicRequest request;
    request.set_name(name);
    return request;
  }
};

TEST_F(AdminTest, ATopicIsThereAsSoonAsItsCreationIsAnswered) {
  const v1::Topic created = CreateTopic("t", 3, 2);
  EXPECT_EQ(created.partitions_size(), 3);
  grpc::ClientContext context;
  v1::GetTopicRequest request;
  v1::GetTopicResponse response;
  request.set_name("t");
  ASSERT_TRUE(topics_->GetTopic(&context, request, &response).ok());
  EXPECT_EQ(response.topic().SerializeAsString(), created.SerializeAsString());
  EXPECT_EQ(created.replication_factor(), 2);
  EXPECT_EQ(created.config().batch_bytes_max(), 1'048'588);
  for (const v1::Partition& partition : created.partitions()) {
    EXPECT_TRUE(partition.has_leader());
    EXPECT_EQ(partition.replicas_size(), 2);
  }
}

TEST_F(AdminTest, CreatingTheSameTopicAgainIsSuccessAndAnotherIsNot) {
  v1::CreateTopicRequest request = Named("t");
  EXPECT_TRUE(Create(request).ok());
  EXPECT_TRUE(Create(request).ok());
  request.mutable_config()->mutable_retention()->set_seconds(60);
  EXPECT_EQ(ReasonOf(Create(request)), Reason::kTopicAlreadyExists);
}

TEST_F(AdminTest, BadTopicsAreRefusedWithTheFieldAtFault) {
  for (const char* name : {"", ".", "..", "a/b", "sp ace", "__internal"}) {
    EXPECT_EQ(ReasonOf(Create(Named(name))), Reason::kInvalidName) << name;
  }
  EXPECT_EQ(ReasonOf(Create(Named(std::string(250, 'x')))), Reason::kInvalidName);
  v1::CreateTopicRequest request = Named("t");
  for (const int count : {0, -1, 10'001}) {
    request.set_partition_count(count);
    EXPECT_FALSE(Create(request).ok()) << count;
    EXPECT_EQ(Create(request).code(), absl::StatusCode::kInvalidArgument) << count;
  }
  request.set_partition_count(1);
  request.mutable_config()->set_batch_bytes_max(9 << 20);
  const absl::Status status = Create(request);
  EXPECT_EQ(ReasonOf(status), Reason::kInvalidConfig);
  EXPECT_THAT(MetadataOf(status)["field"], testing::HasSubstr("batch_bytes_max"));
  const auto list = List(0, "");
  ASSERT_TRUE(list.ok());
  EXPECT_THAT(list->topics(), IsEmpty());
}

TEST_F(AdminTest, ATopicNeedsNodesForItsReplicasAndReplicasToBeInSync) {
  v1::CreateTopicRequest request = Named("t");
  request.set_replication_factor(2);
  request.mutable_config()->set_min_in_sync_replicas(3);
  const absl::Status in_sync = Create(request);
  EXPECT_EQ(ReasonOf(in_sync), Reason::kInvalidConfig);
  EXPECT_EQ(MetadataOf(in_sync)["field"], "config.min_in_sync_replicas");
  request.mutable_config()->set_min_in_sync_replicas(2);
  request.set_replication_factor(3);
  const absl::Status nodes = Create(request);  // There are two.
  EXPECT_EQ(ReasonOf(nodes), Reason::kInvalidRequest);
  EXPECT_EQ(MetadataOf(nodes)["field"], "replication_factor");
  EXPECT_EQ(MetadataOf(nodes)["limit"], "2");
  EXPECT_THAT(List(0, "")->topics(), IsEmpty());
  request.set_replication_factor(2);
  EXPECT_TRUE(Create(request).ok());
}

TEST_F(AdminTest, ValidateOnlyChangesNothing) {
  v1::CreateTopicRequest request = Named("t");
  request.set_validate_only(true);
  EXPECT_TRUE(Create(request).ok());
  EXPECT_THAT(List(0, "")->topics(), IsEmpty());
}

TEST_F(AdminTest, ListsComeInPagesAndRefuseBadOnes) {
  for (const char* name : {"c", "a", "e", "b", "d"}) CreateTopic(name, 1);
  std::vector<std::string> names;
  std::string token;
  do {
    const auto page = List(2, token);
    ASSERT_TRUE(page.ok()) << page.status();
    EXPECT_LE(page->topics_size(), 2);
    for (const v1::Topic& topic : page->topics()) {
      names.push_back(topic.name());
      EXPECT_EQ(topic.partitions_size(), 0);
    }
    token = page->next_page_token();
  } while (!token.empty());
  EXPECT_THAT(names, ElementsAre("a", "b", "c", "d", "e"));
  const absl::Status negative = List(-1, "").status();
  EXPECT_EQ(ReasonOf(negative), Reason::kInvalidRequest);
  EXPECT_EQ(MetadataOf(negative)["field"], "page_size");
  EXPECT_EQ(ReasonOf(List(2, "not a token").status()), Reason::kInvalidRequest);
}

TEST_F(AdminTest, SettingsChangeByMaskAndPartitionsAreAdded) {
  CreateTopic("t", 1);
  v1::UpdateTopicRequest update;
  v1::UpdateTopicResponse updated;
  update.set_name("t");
  update.mutable_config()->set_durability(v1::DURABILITY_OS);
  {
    grpc::ClientContext context;
    EXPECT_EQ(ReasonOf(rpc::FromGrpc(topics_->UpdateTopic(&context, update, &updated))),
              Reason::kInvalidRequest)
        << "an empty mask";
  }
  update.mutable_update_mask()->add_paths("durability");
  {
    grpc::ClientContext context;
    ASSERT_TRUE(topics_->UpdateTopic(&context, update, &updated).ok());
  }
  EXPECT_EQ(updated.topic().config().durability(), v1::DURABILITY_OS);
  v1::AddPartitionsRequest add;
  v1::AddPartitionsResponse added;
  add.set_name("t");
  add.set_partition_count(4);
  {
    grpc::ClientContext context;
    ASSERT_TRUE(topics_->AddPartitions(&context, add, &added).ok());
  }
  EXPECT_EQ(added.topic().partitions_size(), 4);
  MustProduce("t", 3, MakeBatch(1));
  grpc::ClientContext context;
  EXPECT_EQ(ReasonOf(rpc::FromGrpc(topics_->AddPartitions(&context, add, &added))),
            Reason::kInvalidRequest)
      << "the count does not rise";
}

TEST_F(AdminTest, ADeletedTopicIsGone) {
  CreateTopic("t", 1);
  v1::DeleteTopicRequest request;
  v1::DeleteTopicResponse response;
  request.set_name("t");
  {
    grpc::ClientContext context;
    ASSERT_TRUE(topics_->DeleteTopic(&context, request, &response).ok());
  }
  grpc::ClientContext context;
  EXPECT_EQ(ReasonOf(rpc::FromGrpc(topics_->DeleteTopic(&context, request, &response))),
            Reason::kTopicNotFound);
  const auto fetched = Fetch(FetchOf("t", {0}));
  ASSERT_TRUE(fetched.ok());
  EXPECT_EQ(fetched->partitions(0).error().reason(), "TOPIC_NOT_FOUND");
}

TEST_F(AdminTest, TruncationIsReportedForEachPartition) {
  CreateTopic("t", 3);
  for (int p = 0; p < 3; ++p) MustProduce("t", p, MakeBatch(10));
  v1::TruncateTopicRequest request;
  v1::TruncateTopicResponse response;
  request.set_name("t");
  for (const int partition : {2, 0, 7}) {
    v1::PartitionTruncation* truncation = request.add_truncations();
    truncation->set_partition(partition);
    truncation->mutable_before()->set_offset(4);
  }
  request.mutable_truncations(1)->mutable_before()->set_offset(99);
  grpc::ClientContext context;
  ASSERT_TRUE(topics_->TruncateTopic(&context, request, &response).ok());
  EXPECT_EQ(response.starts(0).partition(), 2);
  EXPECT_EQ(response.starts(0).log_start_offset(), 4);
  EXPECT_EQ(response.starts(1).error().reason(), "OFFSET_OUT_OF_RANGE");
  EXPECT_EQ(response.starts(2).error().reason(), "PARTITION_NOT_FOUND");
}

TEST_F(AdminTest, TheClusterShowsItsNodesAndItsHealth) {
  CreateTopic("t", 4);
  v1::GetClusterResponse response;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(cluster_->GetCluster(&context, {}, &response).ok());
  }
  EXPECT_EQ(response.nodes_size(), 2);
  EXPECT_EQ(response.nodes(0).leader_count() + response.nodes(1).leader_count(), 4);
  EXPECT_EQ(response.partition_count(), 4);
  EXPECT_EQ(response.leaderless_partition_count(), 0);
  metadata_.EndSession(session1_);
  EXPECT_TRUE(Eventually([&] {
    grpc::ClientContext context;
    cluster_->GetCluster(&context, {}, &response);
    return response.leaderless_partition_count() == 2;
  }));
  EXPECT_EQ(response.nodes(0).state(), v1::NODE_STATE_OFFLINE);
  v1::ListNodesRequest list;
  v1::ListNodesResponse nodes;
  list.set_page_size(1);
  {
    grpc::ClientContext context;
    ASSERT_TRUE(cluster_->ListNodes(&context, list, &nodes).ok());
  }
  ASSERT_EQ(nodes.nodes_size(), 1);
  list.set_page_token(nodes.next_page_token());
  {
    grpc::ClientContext context;
    ASSERT_TRUE(cluster_->ListNodes(&context, list, &nodes).ok());
  }
  ASSERT_EQ(nodes.nodes_size(), 1);
  EXPECT_EQ(nodes.nodes(0).node_id(), 2);
  EXPECT_EQ(nodes.next_page_token(), "");
  list.set_page_size(-5);
  grpc::ClientContext context;
  EXPECT_EQ(ReasonOf(rpc::FromGrpc(cluster_->ListNodes(&context, list, &nodes))),
            Reason::kInvalidRequest);
}

TEST_F(AdminTest, AWatchBeginsWithASnapshotAndResumesWithoutGaps) {
  CreateTopic("before", 1);
  v1::WatchClusterRequest request;
  v1::WatchClusterResponse event;
  uint64_t index = 0;
  {
    grpc::ClientContext context;
    auto watch = cluster_->WatchCluster(&context, request);
    ASSERT_TRUE(watch->Read(&event));
    ASSERT_TRUE(event.has_snapshot());
    EXPECT_EQ(event.snapshot().nodes_size(), 2);
    ASSERT_EQ(event.snapshot().topics_size(), 1);
    CreateTopic("after", 2);
    ASSERT_TRUE(watch->Read(&event));
    ASSERT_EQ(event.delta().topics_size(), 1);
    EXPECT_EQ(event.delta().topics(0).name(), "after");
    EXPECT_EQ(event.delta().topics(0).partitions_size(), 2);
    index = event.metadata_index();
    context.TryCancel();
    watch->Finish();
  }
  CreateTopic("missed", 1);
  {
    grpc::ClientContext context;
    request.set_after_metadata_index(index);
    auto watch = cluster_->WatchCluster(&context, request);
    ASSERT_TRUE(watch->Read(&event));
    ASSERT_TRUE(event.has_delta());
    EXPECT_EQ(event.delta().topics(0).name(), "missed");
    EXPECT_GT(event.metadata_index(), index);
    context.TryCancel();
    watch->Finish();
  }
  grpc::ClientContext context;
  request.set_after_metadata_index(index + 1000);
  auto watch = cluster_->WatchCluster(&context, request);
  EXPECT_FALSE(watch->Read(&event));
  EXPECT_EQ(ReasonOf(rpc::FromGrpc(watch->Finish())), Reason::kWatchCompacted);
}

grpc::health::v1::HealthCheckResponse::ServingStatus HealthOf(
    const std::shared_ptr<grpc::Channel>& channel, const std::string& name) {
  grpc::ClientContext context;
  grpc::health::v1::HealthCheckRequest request;
  grpc::health::v1::HealthCheckResponse response;
  request.set_service(name);
  EXPECT_TRUE(grpc::health::v1::Health::NewStub(channel)->Check(&context, request, &response).ok());
  return response.status();
}

TEST_F(AdminTest, HealthIsServingOnceTheRoutesAreKnown) {
  for (const char* name : {"liveness", "readiness", "", "falaj.v1.ProducerService"}) {
    EXPECT_TRUE(Eventually([&] {
      return HealthOf(channel_, name) == grpc::health::v1::HealthCheckResponse::SERVING;
    })) << name;
  }
}

class ShortMemoryTest : public AdminTest {
 protected:
  GatewayServer::Options Options() const override {
    GatewayServer::Options options = AdminTest::Options();
    options.routes_age_max = absl::Milliseconds(500);
    return options;
  }
};

TEST_F(ShortMemoryTest, ReadinessGoesWhenTheRoutesGrowOldAndLivenessStays) {
  metadata_.Stop();
  EXPECT_TRUE(Eventually([&] {
    return HealthOf(channel_, "readiness") == grpc::health::v1::HealthCheckResponse::NOT_SERVING;
  }));
  EXPECT_EQ(HealthOf(channel_, "liveness"), grpc::health::v1::HealthCheckResponse::SERVING);
  metadata_.Start();
  EXPECT_TRUE(Eventually([&] {
    return HealthOf(channel_, "readiness") == grpc::health::v1::HealthCheckResponse::SERVING;
  }));
}

TEST_F(AdminTest, AGatewayThatReachesNobodyListensButIsNotReady) {
  GatewayServer::Options options = Options();
  options.metadata_addresses = {"127.0.0.1:1"};
  auto lonely = GatewayServer::Start(options);
  ASSERT_TRUE(lonely.ok()) << lonely.status();
  EXPECT_FALSE((*lonely)->Ready());
  (*lonely)->Stop();
  (*lonely)->Stop();
  options.metadata_addresses.clear();
  EXPECT_EQ(ReasonOf(GatewayServer::Start(options).status()), Reason::kInvalidConfig);
}

}  // namespace
}  // namespace falaj::gateway
