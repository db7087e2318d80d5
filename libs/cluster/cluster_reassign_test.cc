#include <gmock/gmock.h>

#include "libs/base/status.h"
#include "libs/cluster/cluster_state.h"
#include "libs/cluster/cluster_test_support.h"
#include "libs/cluster/election.h"
#include "libs/cluster/reassignment.h"

namespace falaj::cluster {
namespace {

using testing::AlterCommand;
using testing::CancelCommand;
using testing::CreateCommand;
using testing::DrainCommand;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::ReassignCommand;
using testing::RefusalOf;
using testing::ResizeCommand;
using testing::TestCluster;
using ::testing::UnorderedElementsAre;
namespace pb = ::falaj::internal::v1;

// Five nodes, and a topic "t" whose one partition is moved to nodes 1, 2, 3 and led by 1.
class ReassignTest : public ::testing::Test {
 protected:
  void SetUp() override {
    cluster_.RegisterNodes(5);
    Must(CreateCommand("t", 1, 3, 2));
    ASSERT_THAT(Partition().replicas(), ElementsAre(1, 2, 3));
    ASSERT_EQ(1, Partition().leader());
  }
  pb::ExecuteResponse Must(const pb::ClusterCommand& command) {
    const ClusterState::Applied applied = cluster_.Apply(command);
    EXPECT_TRUE(applied.response.ok()) << applied.response.status();
    return applied.response.ok() ? *applied.response : pb::ExecuteResponse();
  }
  const pb::PartitionState& Partition(const std::string& topic = "t", int index = 0) {
    return cluster_.Partition(topic, index);
  }
  // The leader reports these as in sync.
  pb::IsrResult Report(const std::vector<int32_t>& isr) {
    return Must(AlterCommand(cluster_.state(), "t", 0, isr)).isr_results(0);
  }
  void Join(int32_t node) {
    std::vector<int32_t> isr(Partition().isr().begin(), Partition().isr().end());
    isr.push_back(node);
    Report(isr);
  }

  TestCluster cluster_;
};

TEST_F(ReassignTest, NewReplicasAreAddedAndTheOldStayUntilTheyAreInSync) {
  EXPECT_EQ(1, Must(ReassignCommand("t", 0, {2, 3, 4})).partitions_reassigned());
  EXPECT_THAT(Partition().replicas(), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(Partition().isr(), ElementsAre(1, 2, 3));
  EXPECT_THAT(Partition().target_replicas(), ElementsAre(2, 3, 4));
  EXPECT_THAT(Partition().adding_replicas(), ElementsAre(4));
  EXPECT_EQ(1, Partition().leader());
  EXPECT_EQ(1, Partition().leader_epoch());
}

TEST_F(ReassignTest, ItSettlesWhenTheLastNewReplicaIsInSync) {
  Must(ReassignCommand("t", 0, {2, 4, 5}));
  Join(4);
  EXPECT_THAT(Partition().replicas(), ElementsAre(1, 2, 3, 4, 5));
  Join(5);
  EXPECT_THAT(Partition().replicas(), ElementsAre(2, 4, 5));
  EXPECT_THAT(Partition().isr(), ElementsAre(2, 4, 5));
  EXPECT_THAT(Partition().elr(), IsEmpty());
  EXPECT_FALSE(IsReassigning(Partition()));
  // The leader was one of those that left.
  EXPECT_EQ(2, Partition().leader());
  EXPECT_EQ(2, Partition().leader_epoch());
}

TEST_F(ReassignTest, TheAnswerToTheLeaderIsAboutTheIsrItAskedFor) {
  Must(ReassignCommand("t", 0, {2, 3, 4}));
  const int64_t before = Partition().partition_epoch();
  const pb::IsrResult result = Report({1, 2, 3, 4});
  EXPECT_THAT(result.isr(), ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(before + 1, result.partition_epoch());
  EXPECT_EQ(1, result.leader_epoch());
  EXPECT_LT(result.partition_epoch(), Partition().partition_epoch());
}

TEST_F(ReassignTest, TheLeaderEpochRisesWhenAReplicaLeavesThoughTheLeaderStays) {
  Must(ReassignCommand("t", 0, {1, 2, 4}));
  EXPECT_EQ(1, Partition().leader_epoch());
  Join(4);
  EXPECT_THAT(Partition().replicas(), ElementsAre(1, 2, 4));
  EXPECT_EQ(1, Partition().leader());
  EXPECT_EQ(2, Partition().leader_epoch());
}

TEST_F(ReassignTest, AnotherOrderIsInForceAtOnceAndMovesNoLead) {
  Must(ReassignCommand("t", 0, {3, 2, 1}));
  EXPECT_THAT(Partition().replicas(), ElementsAre(3, 2, 1));
  EXPECT_EQ(1, Partition().leader());
  EXPECT_EQ(1, Partition().leader_epoch());
  EXPECT_FALSE(IsReassigning(Partition()));
}

TEST_F(ReassignTest, ItDoesNotSettleBelowTheMinimumOfReplicasInSync) {
  Must(ReassignCommand("t", 0, {3, 4, 5}));
  Report({1, 2});  // Node 3 lags.
  cluster_.Kill(5);
  Join(4);
  EXPECT_TRUE(IsReassigning(Partition())) << "5 is still missing";
  cluster_.Return(5);
  Join(5);
  EXPECT_THAT(Partition().isr(), ElementsAre(4, 5)) << "3 is not needed for the minimum of two";
  EXPECT_THAT(Partition().replicas(), ElementsAre(3, 4, 5));

  TestCluster other;
  other.RegisterNodes(4);
  ASSERT_TRUE(other.Apply(CreateCommand("t", 1, 3, 3)).response.ok());
  ASSERT_TRUE(other.Apply(ReassignCommand("t", 0, {2, 3, 4})).response.ok());
  other.Apply(AlterCommand(other.state(), "t", 0, {1, 2}));
  other.Apply(AlterCommand(other.state(), "t", 0, {1, 2, 4}));
  EXPECT_TRUE(IsReassigning(other.Partition("t", 0))) << "2 and 4 alone would not do for writes";
  other.Apply(AlterCommand(other.state(), "t", 0, {1, 2, 3, 4}));
  EXPECT_FALSE(IsReassigning(other.Partition("t", 0)));
}

TEST_F(ReassignTest, AStoppingReplicaLeadsAfterwardsOnlyIfNobodyElseCan) {
  Must(ReassignCommand("t", 0, {2, 3, 4}));
  Must(testing::StopCommand(cluster_.state(), 2));
  ASSERT_THAT(Partition().isr(), ElementsAre(1, 3));
  Join(4);
  EXPECT_EQ(3, Partition().leader());
}

TEST_F(ReassignTest, CancellingGoesBackToTheReplicasOfBefore) {
  Must(ReassignCommand("t", 0, {5, 4, 3}));
  Join(4);
  EXPECT_EQ(1, Must(CancelCommand("t")).partitions_reassigned());
  EXPECT_THAT(Partition().replicas(), ElementsAre(1, 2, 3));
  EXPECT_THAT(Partition().isr(), ElementsAre(1, 2, 3));
  EXPECT_FALSE(IsReassigning(Partition()));
  EXPECT_THAT(Partition().adding_replicas(), IsEmpty());
  EXPECT_EQ(1, Partition().leader());
  EXPECT_EQ(2, Partition().leader_epoch());
  // There is nothing more to cancel, and that is fine.
  const pb::PartitionState before = Partition();
  EXPECT_EQ(0, Must(CancelCommand("t", {0})).partitions_reassigned());
  EXPECT_EQ(before.SerializeAsString(), Partition().SerializeAsString());
}

TEST_F(ReassignTest, CancellingTakesTheLeadFromAReplicaThatLeaves) {
  Must(ReassignCommand("t", 0, {4, 5, 3}));
  Join(4);
  Must(testing::ElectCommand("t", 4));
  ASSERT_EQ(4, Partition().leader());
  Must(CancelCommand("t"));
  EXPECT_EQ(1, Partition().leader());
}

TEST_F(ReassignTest, NobodyIsLeftBehindWhoAloneHoldsWhatIsCommitted) {
  Must(ReassignCommand("t", 0, {4, 5, 3}));
  Join(4);
  Report({1, 2, 4});
  cluster_.Kill(1);
  cluster_.Kill(2);
  ASSERT_THAT(Partition().isr(), ElementsAre(4));
  EXPECT_EQ(Reason::kNotEnoughReplicas, RefusalOf(&cluster_, CancelCommand("t")));
  EXPECT_EQ(Reason::kNotEnoughReplicas, RefusalOf(&cluster_, ReassignCommand("t", 0, {1, 2, 5})));
  EXPECT_EQ(Reason::kNotEnoughReplicas, RefusalOf(&cluster_, DrainCommand(4)));
  cluster_.Kill(4);
  // Nobody is in sync, and node 4 is eligible, beside 1 and 2 who left before.
  ASSERT_TRUE(Partition().isr().empty());
  ASSERT_TRUE(Contains(Partition().elr(), 4));
}

TEST_F(ReassignTest, NobodyIsLeftBehindWhomWritesNeed) {
  // Found by a simulated life: its leader acknowledged what the dropped copy had held.
  Must(ReassignCommand("t", 0, {4, 5, 3}));
  Join(4);
  Report({1, 4});
  EXPECT_EQ(Reason::kNotEnoughReplicas, RefusalOf(&cluster_, CancelCommand("t")));
  // Node 4 is away: with its copy gone, node 1 would be all there is of what was acknowledged.
  Report({1});
  ASSERT_THAT(Partition().elr(), ElementsAre(4));
  EXPECT_EQ(Reason::kNotEnoughReplicas, RefusalOf(&cluster_, CancelCommand("t")));
  Report({1, 2});
  Must(CancelCommand("t"));
  EXPECT_THAT(Partition().replicas(), ElementsAre(1, 2, 3));
}

TEST_F(ReassignTest, NobodyIsLeftBehindWhoIsEligibleAndNeeded) {
  Must(ReassignCommand("t", 0, {4, 5, 3}));
  Join(4);
  Report({1, 4});
  cluster_.Kill(1);
  cluster_.Kill(4);
  ASSERT_TRUE(Partition().isr().empty());
  ASSERT_THAT(Partition().elr(), UnorderedElementsAre(1, 4));
  EXPECT_EQ(Reason::kNotEnoughReplicas, RefusalOf(&cluster_, CancelCommand("t")));
  Must(ReassignCommand("t", 0, {1, 4, 3}));
}

TEST_F(ReassignTest, AnotherTargetReplacesTheFirst) {
  Must(ReassignCommand("t", 0, {2, 3, 4}));
  Must(ReassignCommand("t", 0, {2, 3, 5}));
  EXPECT_THAT(Partition().replicas(), ElementsAre(1, 2, 3, 5));
  EXPECT_THAT(Partition().adding_replicas(), ElementsAre(5));
  EXPECT_EQ(2, Partition().leader_epoch()) << "node 4 has left";
  Must(ReassignCommand("t", 0, {1, 2, 3}));
  EXPECT_THAT(Partition().replicas(), ElementsAre(1, 2, 3));
  EXPECT_FALSE(IsReassigning(Partition()));
}

TEST_F(ReassignTest, WhoLeavesIsNotEligibleAnyMore) {
  Must(ReassignCommand("t", 0, {1, 2, 4}));
  Report({1});
  ASSERT_THAT(Partition().elr(), ElementsAre(2, 3));
  Join(4);
  EXPECT_THAT(Partition().replicas(), ElementsAre(1, 2, 4));
  EXPECT_THAT(Partition().elr(), IsEmpty());
}

TEST_F(ReassignTest, WhatCannotBeIsRefusedAndNamed) {
  std::string field;
  EXPECT_EQ(Reason::kTopicNotFound, RefusalOf(&cluster_, ReassignCommand("u", 0, {1, 2, 3})));
  EXPECT_EQ(Reason::kPartitionNotFound, RefusalOf(&cluster_, ReassignCommand("t", 1, {1, 2, 3})));
  EXPECT_EQ(Reason::kPartitionNotFound, RefusalOf(&cluster_, ReassignCommand("t", -1, {1, 2, 3})));
  EXPECT_EQ(Reason::kNodeNotFound, RefusalOf(&cluster_, ReassignCommand("t", 0, {1, 2, 6})));
  for (const std::vector<int32_t>& bad :
       {std::vector<int32_t>{}, {1, 2}, {1, 2, 3, 4}, {1, 2, 2}}) {
    field.clear();
    EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster_, ReassignCommand("t", 0, bad), &field));
    EXPECT_EQ("replicas", field);
  }
  pb::ClusterCommand twice = ReassignCommand("t", 0, {1, 2, 4});
  *twice.mutable_reassign_partitions()->add_partitions() =
      twice.reassign_partitions().partitions(0);
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster_, twice));
  pb::ClusterCommand empty;
  empty.mutable_reassign_partitions();
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster_, empty));
  EXPECT_EQ(Reason::kPartitionNotFound, RefusalOf(&cluster_, CancelCommand("t", {0, 1})));
  Must(DrainCommand(5));
  EXPECT_EQ(Reason::kInvalidRequest,
            RefusalOf(&cluster_, ReassignCommand("t", 0, {1, 2, 5}), &field));
  EXPECT_EQ("replicas", field);
  // All or nothing.
  pb::ClusterCommand half = ReassignCommand("t", 0, {1, 2, 4});
  *half.mutable_reassign_partitions()->add_partitions() = twice.reassign_partitions().partitions(0);
  half.mutable_reassign_partitions()->mutable_partitions(1)->set_partition(7);
  EXPECT_EQ(Reason::kPartitionNotFound, RefusalOf(&cluster_, half));
}

TEST_F(ReassignTest, ADrainedNodeGivesUpEverythingAndGetsNothingNew) {
  Must(CreateCommand("many", 20, 2));
  const pb::ExecuteResponse response = Must(DrainCommand(1));
  EXPECT_TRUE(response.node().draining());
  int moving = 0;
  for (const auto& [name, topic] : cluster_.state().topics()) {
    for (const pb::PartitionState& partition : topic.partitions()) {
      EXPECT_FALSE(Contains(WantedReplicas(partition), 1));
      if (!Contains(partition.replicas(), 1)) continue;
      ++moving;
      EXPECT_EQ(1, partition.adding_replicas_size()) << "no more moves than one";
    }
  }
  EXPECT_EQ(moving, response.partitions_reassigned());
  Must(CreateCommand("new", 20, 2));
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(Contains(Partition("new", i).replicas(), 1));
  // Again: there is nothing left to do; after a cancellation there is.
  EXPECT_EQ(0, Must(DrainCommand(1)).partitions_reassigned());
  Must(CancelCommand("t"));
  EXPECT_EQ(1, Must(DrainCommand(1)).partitions_reassigned());
  // It goes through a restart of the node, and ends when the operator says so.
  cluster_.Register(1, 1, 99);
  EXPECT_TRUE(cluster_.state().nodes().at(1).draining());
  EXPECT_FALSE(Must(DrainCommand(1, false)).node().draining());
  Must(CreateCommand("later", 20, 2));
  int held = 0;
  for (int i = 0; i < 20; ++i) held += Contains(Partition("later", i).replicas(), 1) ? 1 : 0;
  EXPECT_LT(5, held) << "the emptied node is the least loaded";
}

TEST_F(ReassignTest, DrainingSpreadsTheLoadEvenly) {
  TestCluster cluster;
  cluster.RegisterNodes(4);
  ASSERT_TRUE(cluster.Apply(CreateCommand("t", 40, 2)).response.ok());
  ASSERT_TRUE(cluster.Apply(DrainCommand(2)).response.ok());
  std::map<int32_t, int> replicas;
  std::map<int32_t, int> leads;
  for (const pb::PartitionState& partition : cluster.state().topics().at("t").partitions()) {
    for (int32_t node : WantedReplicas(partition)) ++replicas[node];
    ++leads[WantedReplicas(partition)[0]];
  }
  for (const int32_t node : {1, 3, 4}) {
    EXPECT_NEAR(27, replicas[node], 1) << node;
    EXPECT_NEAR(13, leads[node], 2) << node;
  }
}

TEST_F(ReassignTest, DrainingIsRefusedIfTooFewNodesWouldBeLeft) {
  EXPECT_EQ(Reason::kNodeNotFound, RefusalOf(&cluster_, DrainCommand(6)));
  Must(DrainCommand(5));
  cluster_.Kill(4);
  // Node 4 may come back: worth another try.
  EXPECT_EQ(Reason::kNotEnoughReplicas, RefusalOf(&cluster_, DrainCommand(1)));
  cluster_.Return(4);
  Must(DrainCommand(1));
  std::string field;
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster_, DrainCommand(2), &field));
  EXPECT_EQ("node_id", field);
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster_, CreateCommand("big", 1, 4), &field));
  EXPECT_EQ("replication_factor", field);
}

TEST_F(ReassignTest, MoreReplicasAreAddedAndCatchUp) {
  Must(CreateCommand("one", 6, 1));
  EXPECT_EQ(6, Must(ResizeCommand("one", 3)).partitions_reassigned());
  EXPECT_EQ(3, cluster_.state().topics().at("one").replication_factor());
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(3, Partition("one", i).target_replicas_size());
    EXPECT_EQ(2, Partition("one", i).adding_replicas_size());
    EXPECT_EQ(Partition("one", i).replicas(0), Partition("one", i).target_replicas(0));
  }
  // The same again changes nothing, back again takes away what was being added.
  EXPECT_EQ(0, Must(ResizeCommand("one", 3)).partitions_reassigned());
  EXPECT_EQ(6, Must(ResizeCommand("one", 1)).partitions_reassigned());
  for (int i = 0; i < 6; ++i) EXPECT_EQ(1, Partition("one", i).replicas_size());
}

TEST_F(ReassignTest, FewerReplicasKeepTheLeaderAndWhoIsInSync) {
  Report({1, 3});
  Must(ResizeCommand("t", 2));
  EXPECT_THAT(Partition().replicas(), ElementsAre(1, 3));
  EXPECT_EQ(1, Partition().leader());
  EXPECT_FALSE(IsReassigning(Partition()));
  std::string field;
  EXPECT_EQ(Reason::kInvalidConfig, RefusalOf(&cluster_, ResizeCommand("t", 1), &field));
  EXPECT_EQ("config.min_in_sync_replicas", field);
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster_, ResizeCommand("t", 6), &field));
  EXPECT_EQ("replication_factor", field);
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster_, ResizeCommand("t", -1), &field));
  cluster_.Kill(4);
  EXPECT_EQ(Reason::kNotEnoughReplicas, RefusalOf(&cluster_, ResizeCommand("t", 5)));
}

TEST_F(ReassignTest, ASnapshotKeepsWhereThingsAreGoing) {
  Must(ReassignCommand("t", 0, {2, 3, 4}));
  Must(DrainCommand(5));
  const absl::StatusOr<ClusterState> copy = ClusterState::FromSnapshot(cluster_.state().Snapshot());
  ASSERT_TRUE(copy.ok());
  EXPECT_EQ(copy->Snapshot().SerializeAsString(), cluster_.state().Snapshot().SerializeAsString());
  pb::ClusterState broken = cluster_.state().Snapshot();
  broken.mutable_topics(0)->mutable_partitions(0)->add_target_replicas(5);
  EXPECT_EQ(Reason::kCorruptRecord, ReasonOf(ClusterState::FromSnapshot(broken).status()));
  broken = cluster_.state().Snapshot();
  broken.mutable_topics(0)->mutable_partitions(0)->add_adding_replicas(1);
  EXPECT_EQ(Reason::kCorruptRecord, ReasonOf(ClusterState::FromSnapshot(broken).status()));
}

}  // namespace
}  // namespace falaj::cluster
