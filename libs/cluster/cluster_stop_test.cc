// Storage nodes that are about to stop.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/status.h"
#include "libs/cluster/cluster_state.h"
#include "libs/cluster/cluster_test_support.h"

namespace falaj::cluster {
namespace {

using testing::CreateCommand;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::RefusalOf;
using testing::StopCommand;
namespace pb = ::falaj::internal::v1;

class ClusterStopTest : public testing::OnePartitionTest {
 protected:
  // Returns how many partitions the node still leads; -1 if the command is refused.
  int32_t Stop(int32_t node) {
    const auto applied = cluster_.Apply(StopCommand(cluster_.state(), node));
    return applied.response.ok() ? applied.response->partitions_led() : -1;
  }
};

TEST_F(ClusterStopTest, TheLeadMovesAndTheNodeLeavesTheIsr) {
  Start(3, 2);
  const pb::PartitionState before = partition();
  const auto stopped = cluster_.Apply(StopCommand(cluster_.state(), replicas_[0]));
  ASSERT_TRUE(stopped.response.ok()) << stopped.response.status();
  EXPECT_EQ(0, stopped.response->partitions_led());
  EXPECT_EQ(replicas_[1], partition().leader());
  EXPECT_EQ(before.leader_epoch() + 1, partition().leader_epoch());
  EXPECT_LT(before.partition_epoch(), partition().partition_epoch());
  EXPECT_THAT(partition().isr(), ElementsAre(replicas_[1], replicas_[2]));
  EXPECT_THAT(partition().elr(), IsEmpty());
  ASSERT_EQ(1, stopped.delta.nodes_size());
  EXPECT_TRUE(stopped.delta.nodes(0).stopping());
  EXPECT_NE(0, stopped.delta.nodes(0).session_id()) << "it goes on serving";
  ASSERT_EQ(1, stopped.delta.topics_size());
  EXPECT_EQ(partition().SerializeAsString(),
            stopped.delta.topics(0).topic().partitions(0).SerializeAsString());
}

TEST_F(ClusterStopTest, TheLeadsMoveInPortionsIfTheNodeAsksForThat) {
  Start(3, 2);
  ASSERT_TRUE(cluster_.Apply(CreateCommand("many", 12, 3, 2)).response.ok());
  const auto led = [&] {
    int count = partition().leader() == 1 ? 1 : 0;
    for (int i = 0; i < 12; ++i) count += cluster_.Partition("many", i).leader() == 1 ? 1 : 0;
    return count;
  };
  const int before = led();
  ASSERT_GT(before, 3);
  pb::ClusterCommand stop = StopCommand(cluster_.state(), 1);
  stop.mutable_prepare_stop()->set_leads_max(3);
  EXPECT_EQ(before - 3, cluster_.Apply(stop).response->partitions_led());
  EXPECT_EQ(before - 3, led());
  for (int left = before - 3; left > 0; left = led()) cluster_.Apply(stop);
  EXPECT_EQ(0, led());
  stop.mutable_prepare_stop()->set_leads_max(-1);
  std::string field;
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster_, stop, &field));
  EXPECT_EQ("leads_max", field);
}

TEST_F(ClusterStopTest, AFollowerLeavesTheIsrWithoutAnElection) {
  Start(3, 2);
  const int32_t leader_epoch = partition().leader_epoch();
  EXPECT_EQ(0, Stop(replicas_[2]));
  EXPECT_EQ(replicas_[0], partition().leader());
  EXPECT_EQ(leader_epoch, partition().leader_epoch());
  EXPECT_THAT(partition().isr(), ElementsAre(replicas_[0], replicas_[1]));
}

TEST_F(ClusterStopTest, AtTheMinimumTheNodeFollowsUntilItsEnd) {
  Start(2, 2);
  EXPECT_EQ(0, Stop(replicas_[0])) << "the lead moves all the same";
  EXPECT_EQ(replicas_[1], partition().leader());
  EXPECT_THAT(partition().isr(), ElementsAre(replicas_[0], replicas_[1]));
  cluster_.Kill(replicas_[0]);
  EXPECT_THAT(partition().isr(), ElementsAre(replicas_[1]));
  EXPECT_THAT(partition().elr(), ElementsAre(replicas_[0]));
}

TEST_F(ClusterStopTest, WithNobodyElseInSyncItGoesOnLeading) {
  Start(2, 1);
  cluster_.Kill(replicas_[1]);
  cluster_.Return(replicas_[1]);
  cluster_.Apply(CreateCommand("alone", 4, 1));
  const pb::PartitionState before = partition();
  EXPECT_EQ(3, Stop(replicas_[0])) << "t and half of the others";
  EXPECT_EQ(before.SerializeAsString(), partition().SerializeAsString());
  cluster_.Kill(replicas_[0]);
  EXPECT_EQ(0, partition().leader());
  EXPECT_TRUE(cluster_.state().nodes().at(replicas_[0]).stopping()) << "it stopped on purpose";
  cluster_.Return(replicas_[0]);
  EXPECT_EQ(replicas_[0], partition().leader());
  EXPECT_FALSE(cluster_.state().nodes().at(replicas_[0]).stopping());
}

TEST_F(ClusterStopTest, ARepetitionDoesWhatHasBecomePossible) {
  Start(2, 1);
  cluster_.Kill(replicas_[1]);
  EXPECT_EQ(1, Stop(replicas_[0]));
  EXPECT_EQ(Reason::kNone, RefusalOf(&cluster_, StopCommand(cluster_.state(), replicas_[0])));
  cluster_.Return(replicas_[1]);
  SetIsr({replicas_[0], replicas_[1]});
  EXPECT_EQ(replicas_[0], partition().leader()) << "a change of the ISR elects nobody";
  EXPECT_EQ(0, Stop(replicas_[0]));
  EXPECT_EQ(replicas_[1], partition().leader());
  EXPECT_THAT(partition().isr(), ElementsAre(replicas_[1]));
  EXPECT_EQ(Reason::kNone, RefusalOf(&cluster_, StopCommand(cluster_.state(), replicas_[0])));
}

TEST_F(ClusterStopTest, OnlyTheNodeOfNowMayStop) {
  Start(2, 1);
  const pb::ClusterCommand old = StopCommand(cluster_.state(), 1);
  pb::ClusterCommand unknown = old;
  unknown.mutable_prepare_stop()->set_node_id(9);
  EXPECT_EQ(Reason::kNodeNotFound, RefusalOf(&cluster_, unknown));
  cluster_.Return(1);
  EXPECT_EQ(Reason::kEpochFenced, RefusalOf(&cluster_, old));
  cluster_.Kill(1);
  EXPECT_EQ(Reason::kSessionExpired, RefusalOf(&cluster_, StopCommand(cluster_.state(), 1)));
}

TEST_F(ClusterStopTest, WhoIsStoppingIsElectedOnlyWithoutOthers) {
  Start(3, 3);
  Stop(replicas_[1]);
  ASSERT_EQ(3, partition().isr_size()) << "the minimum";
  cluster_.Kill(replicas_[0]);
  EXPECT_EQ(replicas_[2], partition().leader());
  cluster_.Kill(replicas_[2]);
  EXPECT_EQ(replicas_[1], partition().leader());
  EXPECT_THAT(partition().isr(), ElementsAre(replicas_[1]));
}

TEST_F(ClusterStopTest, OfTheEligibleTooTheOneThatStaysIsPreferred) {
  Start(3, 3);
  for (int i : {1, 2}) cluster_.Kill(replicas_[static_cast<size_t>(i)]);
  for (int i : {1, 2}) cluster_.Return(replicas_[static_cast<size_t>(i)]);
  ASSERT_THAT(partition().elr(), ElementsAre(replicas_[1], replicas_[2]));
  Stop(replicas_[1]);
  cluster_.Kill(replicas_[0]);
  EXPECT_EQ(replicas_[2], partition().leader());
  cluster_.Kill(replicas_[2]);
  EXPECT_EQ(replicas_[1], partition().leader()) << "better than nobody";
}

TEST_F(ClusterStopTest, AStoppingLeaderMakesRoomAtTheNextElection) {
  Start(3, 1);
  for (int i : {1, 2}) cluster_.Kill(replicas_[static_cast<size_t>(i)]);
  ASSERT_EQ(1, Stop(replicas_[0]));
  for (int i : {1, 2}) cluster_.Return(replicas_[static_cast<size_t>(i)]);
  SetIsr(replicas_);
  ASSERT_EQ(replicas_[0], partition().leader());
  cluster_.Kill(replicas_[2]);
  EXPECT_EQ(replicas_[1], partition().leader());
}

TEST_F(ClusterStopTest, OfTwoThatStopTheLeaderGoesOn) {
  Start(2, 2);
  ASSERT_EQ(0, Stop(replicas_[0]));
  const pb::PartitionState before = partition();
  ASSERT_EQ(replicas_[1], before.leader());
  EXPECT_EQ(1, Stop(replicas_[1]));
  EXPECT_EQ(before.SerializeAsString(), partition().SerializeAsString()) << "no to and fro";
  // With a lower minimum the follower may go, but never who leads.
  pb::ClusterCommand lower;
  lower.mutable_update_topic()->set_name("t");
  lower.mutable_update_topic()->mutable_settings()->set_min_in_sync_replicas(1);
  lower.mutable_update_topic()->add_fields("min_in_sync_replicas");
  ASSERT_TRUE(cluster_.Apply(lower).response.ok());
  EXPECT_EQ(1, Stop(replicas_[1]));
  EXPECT_THAT(partition().isr(), ElementsAre(replicas_[0], replicas_[1]));
  EXPECT_EQ(0, Stop(replicas_[0]));
  EXPECT_EQ(replicas_[1], partition().leader());
  EXPECT_THAT(partition().isr(), ElementsAre(replicas_[1]));
}

TEST_F(ClusterStopTest, NewPartitionsGoToNodesThatStay) {
  Start(2, 1);
  Stop(1);
  EXPECT_EQ(Reason::kNotEnoughReplicas, RefusalOf(&cluster_, CreateCommand("wide", 1, 2)));
  ASSERT_TRUE(cluster_.Apply(CreateCommand("u", 4)).response.ok());
  for (int i = 0; i < 4; ++i) EXPECT_THAT(cluster_.Partition("u", i).replicas(), ElementsAre(2));
  cluster_.Return(1);
  EXPECT_TRUE(cluster_.Apply(CreateCommand("wide", 1, 2)).response.ok());
}

}  // namespace
}  // namespace falaj::cluster
