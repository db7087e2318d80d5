// The values of the gauges and counters of a metadata node, as a scrape shows them.
#include "services/metadata/metadata_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/cluster/topic_rules.h"
#include "services/metadata/metadata_node_fixture.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;

class MetadataMetricsTest : public MetadataNodeTest {
 protected:
  void StartWithCollector() {
    Start();
    registry_.AddCollector(
        [this](telemetry::Samples* out) { CollectMetrics(node_->Status(), out); });
  }
  ~MetadataMetricsTest() override { registry_.ClearCollectors(); }

  void EndSessionOf(int32_t id) {
    pb::ClusterCommand command;
    command.mutable_end_session()->set_session_id(
        node_->state().cluster().nodes().at(id).session_id());
    ASSERT_TRUE(Execute(command).ok());
    Round(absl::Seconds(1));  // Counted now and then.
  }
  // One partition with three replicas, two of which must be in sync.
  void CreateTopic() {
    pb::ClusterCommand command;
    pb::CreateTopicCommand* const topic = command.mutable_create_topic();
    topic->set_name("t");
    topic->set_partition_count(1);
    topic->set_replication_factor(3);
    *topic->mutable_settings() = cluster::DefaultTopicSettings();
    topic->mutable_settings()->set_min_in_sync_replicas(2);
    ASSERT_TRUE(Execute(command).ok());
    Round(absl::Seconds(1));
  }
};

TEST_F(MetadataMetricsTest, GaugesFollowAPartitionThatLosesItsReplicas) {
  StartWithCollector();
  for (const int32_t id : {1, 2, 3}) ASSERT_TRUE(Register(id, 600'000).ok());
  CreateTopic();
  EXPECT_TRUE(Counted("falaj_cluster_partitions", 1));
  EXPECT_TRUE(Counted("falaj_cluster_under_replicated_partitions", 0));
  EXPECT_TRUE(Counted("falaj_cluster_under_min_in_sync_partitions", 0));
  EXPECT_TRUE(Counted("falaj_cluster_leaderless_partitions", 0));
  EndSessionOf(3);
  EXPECT_TRUE(Counted("falaj_cluster_under_replicated_partitions", 1));
  EXPECT_TRUE(Counted("falaj_cluster_under_min_in_sync_partitions", 0));
  EndSessionOf(2);
  EXPECT_TRUE(Counted("falaj_cluster_under_min_in_sync_partitions", 1));
  EXPECT_TRUE(Counted("falaj_cluster_leaderless_partitions", 0));
  EndSessionOf(1);
  EXPECT_TRUE(Counted("falaj_cluster_leaderless_partitions", 1));
}

TEST_F(MetadataMetricsTest, LeadsGoBackToTheirPreferredLeaderAndAreCounted) {
  options_.preferred_leaders.period = absl::Minutes(5);
  StartWithCollector();
  for (const int32_t id : {1, 2, 3}) ASSERT_TRUE(Register(id, 600'000).ok());
  CreateTopic();
  const auto partition = [this] { return node_->state().cluster().topics().at("t").partitions(0); };
  const int32_t preferred = partition().replicas(0);
  pb::ClusterCommand elect;
  elect.mutable_elect_leaders()->set_topic("t");
  elect.mutable_elect_leaders()->set_node_id(partition().replicas(1));
  ASSERT_TRUE(Execute(elect).ok());
  ASSERT_NE(preferred, partition().leader());
  Round(absl::Minutes(4));
  EXPECT_NE(preferred, partition().leader());
  Round(absl::Minutes(2));
  EXPECT_EQ(preferred, partition().leader());
  EXPECT_TRUE(Counted("falaj_cluster_preferred_elections_total", 1));
}

TEST_F(MetadataMetricsTest, AGaugeCountsNodesThatAreDrained) {
  StartWithCollector();
  ASSERT_TRUE(Register(1, 600'000).ok());
  ASSERT_TRUE(Register(2, 600'000).ok());
  pb::ClusterCommand drain;
  drain.mutable_set_node_draining()->set_node_id(2);
  drain.mutable_set_node_draining()->set_draining(true);
  ASSERT_TRUE(Execute(drain).ok());
  Round(absl::Seconds(1));
  EXPECT_TRUE(Counted("falaj_cluster_draining_storage_nodes", 1));
}

TEST_F(MetadataMetricsTest, CommandsThatAreCommittedAndThoseThatFailAreCounted) {
  StartWithCollector();
  const auto* const seconds =
      registry_.AddHistogram("falaj_raft_commit_seconds", "", {{"raft_group", "metadata"}});
  const int64_t before = seconds->count();
  ASSERT_TRUE(Create("/a").ok());
  ASSERT_TRUE(Create("/b").ok());
  EXPECT_EQ(before + 2, seconds->count());
  EXPECT_TRUE(Counted("falaj_raft_proposals_pending{raft_group=\"metadata\"}", 0));
  EXPECT_TRUE(Counted("falaj_raft_proposals_failed_total{raft_group=\"metadata\"}", 0));
}

TEST_F(MetadataMetricsTest, CommandsOfALeaderThatIsReplacedCountAsPendingAndThenAsFailed) {
  Start({kOther});
  Lead();
  Acknowledge();
  registry_.AddCollector([this](telemetry::Samples* out) { CollectMetrics(node_->Status(), out); });
  pb::ClusterCommand command;
  command.mutable_coordination()->mutable_create()->set_path("/a");
  node_->Execute(command, [](const auto&) {});
  EXPECT_TRUE(Counted("falaj_raft_proposals_pending{raft_group=\"metadata\"}", 1));
  auto heartbeat = FromOther(raft::pb::RAFT_MESSAGE_TYPE_HEARTBEAT);
  heartbeat.set_term(heartbeat.term() + 1);
  ASSERT_TRUE(node_->Step(heartbeat).ok());
  Drain();
  EXPECT_TRUE(Counted("falaj_raft_proposals_pending{raft_group=\"metadata\"}", 0));
  EXPECT_TRUE(Counted("falaj_raft_proposals_failed_total{raft_group=\"metadata\"}", 1));
}

}  // namespace
}  // namespace falaj::metadata
