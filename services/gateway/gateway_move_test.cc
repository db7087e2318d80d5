// The operations that move partitions, through the public API.

#include <gmock/gmock.h>

#include "libs/rpc/status_grpc.h"
#include "services/gateway/testing/test_gateway.h"

namespace falaj::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class MoveTest : public TestGateway {
 protected:
  void SetUp() override {
    TestGateway::SetUp();
    metadata_.AddNode(3, "127.0.0.1:1");
    ASSERT_TRUE(Eventually([&] { return Node(3).node_id() == 3; }));
  }

  template <typename Response, typename Stub, typename Request>
  absl::StatusOr<Response> Call(const std::unique_ptr<Stub>& stub,
                                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    Response response;
    const absl::Status status = rpc::FromGrpc((stub.get()->*method)(&context, request, &response));
    if (!status.ok()) return status;
    return response;
  }
  absl::StatusOr<v1::ReassignPartitionsResponse> Reassign(const std::string& topic,
                                                          int32_t partition,
                                                          const std::vector<int32_t>& replicas) {
    v1::ReassignPartitionsRequest request;
    v1::PartitionTarget* const target = request.add_partitions();
    target->set_topic(topic);
    target->set_partition(partition);
    for (const int32_t node : replicas) target->add_replicas(node);
    return Call(cluster_, &v1::ClusterService::Stub::ReassignPartitions, request);
  }
  absl::StatusOr<v1::ListReassignmentsResponse> List(int page_size, const std::string& token,
                                                     const std::string& topic = "") {
    v1::ListReassignmentsRequest request;
    request.set_page_size(page_size);
    request.set_page_token(token);
    request.set_topic(topic);
    return Call(cluster_, &v1::ClusterService::Stub::ListReassignments, request);
  }
  absl::StatusOr<v1::DrainNodeResponse> Drain(int32_t node) {
    v1::DrainNodeRequest request;
    request.set_node_id(node);
    return Call(cluster_, &v1::ClusterService::Stub::DrainNode, request);
  }
  absl::StatusOr<v1::Topic> Resize(const std::string& name, int32_t replicas) {
    v1::UpdateTopicRequest request;
    request.set_name(name);
    request.set_replication_factor(replicas);
    const auto response = Call(topics_, &v1::TopicService::Stub::UpdateTopic, request);
    if (!response.ok()) return response.status();
    return response->topic();
  }
  v1::GetClusterResponse Cluster() {
    return *Call(cluster_, &v1::ClusterService::Stub::GetCluster, v1::GetClusterRequest());
  }
  v1::StorageNode Node(int32_t id) {
    const v1::GetClusterResponse cluster = Cluster();
    for (const v1::StorageNode& node : cluster.nodes()) {
      if (node.node_id() == id) return node;
    }
    return {};
  }
};

TEST_F(MoveTest, AReassignmentIsShownAndCancelled) {
  const v1::Partition before = CreateTopic("t", 1, 1).partitions(0);
  const int32_t from = before.replicas(0);
  const int32_t to = from == 3 ? 1 : 3;
  const auto begun = Reassign("t", 0, {to});
  ASSERT_TRUE(begun.ok()) << begun.status();
  ASSERT_EQ(begun->reassignments_size(), 1);
  const v1::Reassignment& one = begun->reassignments(0);
  EXPECT_EQ(one.topic(), "t");
  EXPECT_THAT(one.replicas(), ElementsAre(from, to));
  EXPECT_THAT(one.target_replicas(), ElementsAre(to));
  EXPECT_THAT(one.adding_replicas(), ElementsAre(to));
  EXPECT_THAT(one.removing_replicas(), ElementsAre(from));
  EXPECT_THAT(one.in_sync_replicas(), ElementsAre(from));
  EXPECT_EQ(Cluster().reassigning_partition_count(), 1);
  EXPECT_EQ(Cluster().under_replicated_partition_count(), 0);

  v1::CancelReassignmentsRequest cancel;
  cancel.set_topic("t");
  const auto cancelled = Call(cluster_, &v1::ClusterService::Stub::CancelReassignments, cancel);
  ASSERT_TRUE(cancelled.ok()) << cancelled.status();
  EXPECT_EQ(cancelled->cancelled_count(), 1);
  EXPECT_THAT(List(0, "")->reassignments(), IsEmpty());
  EXPECT_EQ(Cluster().reassigning_partition_count(), 0);
  // Where it is already: nothing is on its way.
  EXPECT_THAT(Reassign("t", 0, {from})->reassignments(), IsEmpty());
}

TEST_F(MoveTest, ReassignmentsAreListedPageByPage) {
  CreateTopic("a", 3, 1);
  CreateTopic("b", 1, 1);
  ASSERT_TRUE(Resize("a", 2).ok());
  ASSERT_TRUE(Resize("b", 3).ok());
  std::vector<std::string> seen;
  std::string token;
  do {
    const auto page = List(2, token);
    ASSERT_TRUE(page.ok()) << page.status();
    EXPECT_LE(page->reassignments_size(), 2);
    for (const v1::Reassignment& one : page->reassignments()) {
      seen.push_back(one.topic() + std::to_string(one.partition()));
    }
    token = page->next_page_token();
  } while (!token.empty());
  EXPECT_THAT(seen, ElementsAre("a0", "a1", "a2", "b0"));
  EXPECT_EQ(List(0, "", "b")->reassignments_size(), 1);
  EXPECT_EQ(ReasonOf(List(-1, "").status()), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(List(1, "rubbish").status()), Reason::kInvalidRequest);
}

TEST_F(MoveTest, WhatCannotBeIsRefusedWithItsReason) {
  CreateTopic("t", 1, 2);
  EXPECT_EQ(ReasonOf(Reassign("none", 0, {1, 2}).status()), Reason::kTopicNotFound);
  EXPECT_EQ(ReasonOf(Reassign("t", 5, {1, 2}).status()), Reason::kPartitionNotFound);
  EXPECT_EQ(ReasonOf(Reassign("t", 0, {1, 9}).status()), Reason::kNodeNotFound);
  EXPECT_EQ(ReasonOf(Reassign("t", 0, {}).status()), Reason::kInvalidRequest);
  const absl::Status twice = Reassign("t", 0, {2, 2}).status();
  EXPECT_EQ(ReasonOf(twice), Reason::kInvalidRequest);
  EXPECT_EQ(MetadataOf(twice)["field"], "replicas");
  EXPECT_EQ(MetadataOf(twice)["value"], "2,2");
  EXPECT_EQ(ReasonOf(Drain(9).status()), Reason::kNodeNotFound);
  const absl::Status many = Resize("t", 4).status();
  EXPECT_EQ(ReasonOf(many), Reason::kInvalidRequest);
  EXPECT_EQ(MetadataOf(many)["limit"], "3");
  EXPECT_EQ(ReasonOf(Resize("t", 0).status()), Reason::kInvalidRequest);
  v1::UpdateTopicRequest nothing;
  nothing.set_name("t");
  EXPECT_EQ(ReasonOf(Call(topics_, &v1::TopicService::Stub::UpdateTopic, nothing).status()),
            Reason::kInvalidRequest);
}

TEST_F(MoveTest, ADrainedNodeIsMarkedAndRelieved) {
  CreateTopic("t", 6, 1);
  const int32_t held = Node(1).replica_count();
  ASSERT_GT(held, 0);
  const auto drained = Drain(1);
  ASSERT_TRUE(drained.ok()) << drained.status();
  EXPECT_TRUE(drained->node().draining());
  EXPECT_EQ(drained->reassigned_count(), held);
  EXPECT_EQ(List(0, "")->reassignments_size(), held);
  EXPECT_EQ(ReasonOf(Reassign("t", 0, {1}).status()), List(0, "")->reassignments(0).partition() == 0
                                                          ? Reason::kNone
                                                          : Reason::kInvalidRequest);
  v1::UndrainNodeRequest undrain;
  undrain.set_node_id(1);
  const auto used = Call(cluster_, &v1::ClusterService::Stub::UndrainNode, undrain);
  ASSERT_TRUE(used.ok()) << used.status();
  EXPECT_FALSE(used->node().draining());
  EXPECT_FALSE(Node(1).draining());
}

TEST_F(MoveTest, TheLeadGoesToWhoIsInSyncAndToNobodyElse) {
  const v1::Partition before = CreateTopic("t", 1, 2).partitions(0);
  v1::ElectLeadersRequest request;
  request.set_topic("t");
  request.set_node_id(before.replicas(1));
  auto elected = Call(cluster_, &v1::ClusterService::Stub::ElectLeaders, request);
  ASSERT_TRUE(elected.ok()) << elected.status();
  EXPECT_EQ(elected->topic().partitions(0).leader(), before.replicas(1));
  request.clear_node_id();
  elected = Call(cluster_, &v1::ClusterService::Stub::ElectLeaders, request);
  EXPECT_EQ(elected->topic().partitions(0).leader(), before.replicas(0));
  const int32_t stranger = 6 - before.replicas(0) - before.replicas(1);
  request.set_node_id(stranger);
  elected = Call(cluster_, &v1::ClusterService::Stub::ElectLeaders, request);
  ASSERT_TRUE(elected.ok());
  EXPECT_EQ(elected->topic().partitions(0).leader(), before.replicas(0));
  request.set_node_id(0);
  EXPECT_EQ(ReasonOf(Call(cluster_, &v1::ClusterService::Stub::ElectLeaders, request).status()),
            Reason::kInvalidRequest);
}

}  // namespace
}  // namespace falaj::gateway
