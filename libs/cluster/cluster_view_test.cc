#include "libs/cluster/cluster_view.h"

#include <gtest/gtest.h>

#include "libs/base/status.h"
#include "libs/cluster/cluster_test_support.h"

namespace falaj::cluster {
namespace {

using testing::CreateCommand;
using testing::TestCluster;
namespace pb = ::falaj::internal::v1;

class ClusterViewTest : public ::testing::Test {
 protected:
  ClusterViewTest() {
    cluster_.RegisterNodes(2);
    cluster_.Apply(CreateCommand("flights", 3, 2));
    view_ = *ClusterView::FromSnapshot(cluster_.state().Snapshot());
  }

  absl::Status Follow(const ClusterState::Applied& applied) {
    pb::WatchClusterResponse event;
    event.set_index(applied.delta.index());
    *event.mutable_delta() = applied.delta;
    FALAJ_ASSIGN_OR_RETURN(view_, ClusterView::Advance(view_, event));
    return absl::OkStatus();
  }

  TestCluster cluster_;
  ClusterView::Ptr view_;
};

TEST_F(ClusterViewTest, FindsTopicsPartitionsAndLeaders) {
  const TopicInfo* const topic = view_->FindTopic("flights");
  ASSERT_NE(nullptr, topic);
  EXPECT_EQ(topic, view_->FindTopic(topic->id));
  const PartitionInfo* const partition = view_->FindPartition(topic->id, PartitionIndex(2));
  ASSERT_NE(nullptr, partition);
  EXPECT_TRUE(partition->HasReplica(NodeId(1)));
  EXPECT_FALSE(partition->HasReplica(NodeId(3)));
  ASSERT_NE(nullptr, view_->FindLeader(*partition));
  EXPECT_EQ(partition->leader, view_->FindLeader(*partition)->id);
}

TEST_F(ClusterViewTest, WhatIsNotThereIsNull) {
  EXPECT_EQ(nullptr, view_->FindTopic("trains"));
  EXPECT_EQ(nullptr, view_->FindTopic(TopicId()));
  EXPECT_EQ(nullptr, view_->FindNode(NodeId(9)));
  const TopicId id = view_->FindTopic("flights")->id;
  EXPECT_EQ(nullptr, view_->FindPartition(id, PartitionIndex(3)));
  EXPECT_EQ(nullptr, view_->FindPartition(id, PartitionIndex(-1)));
  EXPECT_EQ(nullptr, ClusterView::Empty()->FindTopic("flights"));
}

TEST_F(ClusterViewTest, AChangeMakesANewViewAndLeavesTheOldOneAlone) {
  const ClusterView::Ptr old = view_;
  const NodeId leader = old->FindTopic("flights")->partitions[0].leader;
  const pb::ClusterCommand end =
      testing::EndCommand(cluster_.state().nodes().at(leader.value()).session_id());
  ASSERT_TRUE(Follow(cluster_.Apply(end)).ok());
  EXPECT_EQ(leader, old->FindTopic("flights")->partitions[0].leader);
  EXPECT_TRUE(old->FindNode(leader)->online());
  EXPECT_NE(leader, view_->FindTopic("flights")->partitions[0].leader);
  EXPECT_FALSE(view_->FindNode(leader)->online());
}

TEST_F(ClusterViewTest, APartitionWithoutALeaderSaysWhoMayLeadAgain) {
  const auto partition = [this] { return view_->FindTopic("flights")->partitions[0]; };
  const NodeId first = partition().leader;
  ASSERT_TRUE(Follow(cluster_.Apply(testing::EndCommand(
                         cluster_.state().nodes().at(first.value()).session_id())))
                  .ok());
  EXPECT_EQ(NodeId(0), partition().last_leader) << "another one leads";
  const NodeId last = partition().leader;
  ASSERT_NE(NodeId(0), last);
  ASSERT_TRUE(Follow(cluster_.Apply(testing::EndCommand(
                         cluster_.state().nodes().at(last.value()).session_id())))
                  .ok());
  ASSERT_EQ(NodeId(0), partition().leader);
  EXPECT_EQ(last, partition().last_leader);
  EXPECT_EQ(std::vector<NodeId>{last}, partition().elr);
}

TEST_F(ClusterViewTest, ANodeThatIsAboutToStopSaysSo) {
  EXPECT_FALSE(view_->FindNode(NodeId(1))->stopping);
  ASSERT_TRUE(Follow(cluster_.Apply(testing::StopCommand(cluster_.state(), 1))).ok());
  EXPECT_TRUE(view_->FindNode(NodeId(1))->stopping);
  EXPECT_FALSE(view_->FindNode(NodeId(2))->stopping);
  EXPECT_TRUE(view_->FindNode(NodeId(1))->online()) << "it still serves";
  const ClusterView::Ptr fresh = *ClusterView::FromSnapshot(cluster_.state().Snapshot());
  EXPECT_TRUE(fresh->FindNode(NodeId(1))->stopping);
  ASSERT_TRUE(Follow(cluster_.Apply(testing::RegisterCommand(1, 1, 9))).ok());
  EXPECT_FALSE(view_->FindNode(NodeId(1))->stopping);
}

TEST_F(ClusterViewTest, ADeletedTopicIsGoneByNameAndId) {
  const TopicId id = view_->FindTopic("flights")->id;
  pb::ClusterCommand remove;
  remove.mutable_delete_topic()->set_name("flights");
  ASSERT_TRUE(Follow(cluster_.Apply(remove)).ok());
  EXPECT_EQ(nullptr, view_->FindTopic("flights"));
  EXPECT_EQ(nullptr, view_->FindTopic(id));
}

TEST_F(ClusterViewTest, ASnapshotOlderThanTheViewIsRefused) {
  pb::WatchClusterResponse older;
  *older.mutable_snapshot() = cluster_.state().Snapshot();
  ASSERT_TRUE(Follow(cluster_.Apply(CreateCommand("trains", 1, 1))).ok());
  EXPECT_FALSE(ClusterView::Advance(view_, older).ok());
  older.mutable_snapshot()->set_cluster_id(std::string(16, 'x'));
  EXPECT_TRUE(ClusterView::Advance(view_, older).ok()) << "indexes of clusters are unrelated";
  pb::WatchClusterResponse same;
  *same.mutable_snapshot() = cluster_.state().Snapshot();
  EXPECT_TRUE(ClusterView::Advance(view_, same).ok());
}

TEST_F(ClusterViewTest, ASignOfLifeMovesTheIndexOnly) {
  pb::WatchClusterResponse alive;
  alive.set_index(view_->index().value() + 5);
  const absl::StatusOr<ClusterView::Ptr> next = ClusterView::Advance(view_, alive);
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(view_->index() + 5, (*next)->index());
  EXPECT_EQ(view_->FindTopic("flights"), (*next)->FindTopic("flights")) << "shared, not copied";
  alive.set_index(1);
  EXPECT_EQ(view_, *ClusterView::Advance(view_, alive)) << "an older one changes nothing";
}

TEST_F(ClusterViewTest, AChangeThatDoesNotFitIsRefused) {
  pb::WatchClusterResponse event;
  event.set_index(view_->index().value() + 1);
  event.mutable_delta();
  EXPECT_EQ(Reason::kCorruptRecord, ReasonOf(ClusterView::Advance(nullptr, event).status()));
  EXPECT_EQ(Reason::kCorruptRecord,
            ReasonOf(ClusterView::Advance(ClusterView::Empty(), event).status()));

  event.mutable_delta()->add_deleted_topics(testing::IdBytes(1));
  EXPECT_EQ(Reason::kCorruptRecord, ReasonOf(ClusterView::Advance(view_, event).status()));

  event.mutable_delta()->clear_deleted_topics();
  pb::TopicState* const topic = event.mutable_delta()->add_topics()->mutable_topic();
  *topic = cluster_.state().topics().at("flights");
  topic->mutable_partitions(2)->set_partition(4);  // 3 is missing.
  EXPECT_EQ(Reason::kCorruptRecord, ReasonOf(ClusterView::Advance(view_, event).status()));
  topic->mutable_partitions(2)->set_partition(-1);
  EXPECT_EQ(Reason::kCorruptRecord, ReasonOf(ClusterView::Advance(view_, event).status()));
}

}  // namespace
}  // namespace falaj::cluster
