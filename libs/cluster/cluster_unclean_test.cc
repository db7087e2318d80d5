// A partition whose in-sync and eligible replicas are all gone, and a topic that does not want to
// wait for them.
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/cluster/cluster_state.h"
#include "libs/cluster/cluster_test_support.h"

namespace falaj::cluster {
namespace {

namespace pb = ::falaj::internal::v1;
using testing::AlterCommand;
using testing::CreateCommand;
using testing::ElectUncleanlyCommand;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::RefusalOf;
using testing::TestCluster;

class ClusterUncleanTest : public ::testing::Test {
 protected:
  // One partition on the nodes 1 to 3. Node 1 was in sync alone, and has died.
  void LoseLeader(int64_t patience_ms = 1'000) {
    cluster_.RegisterNodes(4);
    auto create = CreateCommand("orders", 1, 3, 1);
    create.mutable_create_topic()->mutable_settings()->set_unclean_election_after_ms(patience_ms);
    ASSERT_TRUE(cluster_.Apply(create).response.ok());
    cluster_.Apply(AlterCommand(cluster_.state(), "orders", 0, {1}));
    cluster_.Kill(1);
    ASSERT_EQ(0, Partition().leader());
  }
  const pb::PartitionState& Partition() { return cluster_.Partition("orders", 0); }
  pb::ClusterCommand Command() { return ElectUncleanlyCommand(cluster_.state(), "orders", 0); }
  void Elect() { ASSERT_TRUE(cluster_.Apply(Command()).response.ok()); }

  TestCluster cluster_;
};

TEST_F(ClusterUncleanTest, TheFirstReplicaThatIsAliveLeadsAloneInAnEpochThatIsMarked) {
  LoseLeader();
  const int32_t epoch = Partition().leader_epoch();
  ASSERT_THAT(Partition().elr(), ElementsAre(1));
  Elect();
  EXPECT_EQ(2, Partition().leader());
  EXPECT_THAT(Partition().isr(), ElementsAre(2));
  EXPECT_THAT(Partition().elr(), IsEmpty()) << "what node 1 has beyond node 2's log is lost";
  EXPECT_EQ(0, Partition().last_leader());
  EXPECT_EQ(epoch + 1, Partition().leader_epoch());
  EXPECT_EQ(epoch + 1, Partition().unclean_epoch());
}

TEST_F(ClusterUncleanTest, TheMarkStaysAndWhoHeldEverythingIsNothingSpecialAnyMore) {
  LoseLeader();
  Elect();
  const int32_t unclean = Partition().unclean_epoch();
  cluster_.Return(1);
  EXPECT_EQ(2, Partition().leader());
  cluster_.Kill(2);
  EXPECT_EQ(0, Partition().leader()) << "node 1 is not eligible";
  cluster_.Return(2);
  EXPECT_EQ(2, Partition().leader());
  EXPECT_EQ(unclean, Partition().unclean_epoch());
  EXPECT_LT(unclean, Partition().leader_epoch());
}

TEST_F(ClusterUncleanTest, ATopicThatWaitsKeepsWaiting) {
  LoseLeader(0);
  EXPECT_EQ(Reason::kNone, RefusalOf(&cluster_, Command()));
}

TEST_F(ClusterUncleanTest, WhoIsEligibleAndCameInTimeLeads) {
  LoseLeader();
  const auto late = Command();
  cluster_.Return(1);
  ASSERT_EQ(1, Partition().leader());
  EXPECT_EQ(Reason::kNone, RefusalOf(&cluster_, late)) << "about an older partition epoch";
  EXPECT_EQ(Reason::kNone, RefusalOf(&cluster_, Command())) << "there is a leader";
}

TEST_F(ClusterUncleanTest, NobodyLeadsWhileNobodyIsAlive) {
  LoseLeader();
  cluster_.Kill(2);
  cluster_.Kill(3);
  EXPECT_EQ(Reason::kNone, RefusalOf(&cluster_, Command())) << "node 4 is no replica";
}

TEST_F(ClusterUncleanTest, WhoIsAboutToStopAndWhoIsBeingAddedComeLast) {
  LoseLeader();
  ASSERT_TRUE(cluster_.Apply(testing::ReassignCommand("orders", 0, {4, 2, 1})).response.ok());
  cluster_.Apply(testing::StopCommand(cluster_.state(), 2));
  ASSERT_THAT(Partition().adding_replicas(), ElementsAre(4));
  Elect();
  EXPECT_EQ(3, Partition().leader());
  cluster_.Kill(3);
  Elect();
  EXPECT_EQ(2, Partition().leader()) << "stopping, but node 4 may hold nothing at all";
  cluster_.Kill(2);
  Elect();
  EXPECT_EQ(4, Partition().leader());
}

TEST_F(ClusterUncleanTest, ALostDiskOfTheOnlyReplicaCanBeBegunAnew) {
  cluster_.RegisterNodes(1);
  auto create = CreateCommand("orders", 1, 1, 1);
  create.mutable_create_topic()->mutable_settings()->set_unclean_election_after_ms(1'000);
  ASSERT_TRUE(cluster_.Apply(create).response.ok());
  cluster_.Kill(1);
  cluster_.Register(1, /*directory=*/9, /*incarnation=*/9);
  ASSERT_EQ(0, Partition().leader()) << "another directory";
  Elect();
  EXPECT_EQ(1, Partition().leader());
}

TEST_F(ClusterUncleanTest, ADamagedCopyIsNoReasonToElectUncleanly) {
  LoseLeader();
  cluster_.Return(1);
  ASSERT_EQ(1, Partition().leader());
  const auto applied = cluster_.Apply(testing::DamageCommand(cluster_.state(), "orders", 0, 1));
  ASSERT_TRUE(applied.response.ok());
  EXPECT_EQ("NOT_ENOUGH_REPLICAS", applied.response->damage_results(0).error_reason());
  EXPECT_EQ(1, Partition().leader());
  EXPECT_EQ(0, Partition().unclean_epoch());
}

TEST_F(ClusterUncleanTest, ACommandThatIsNoneIsRefused) {
  LoseLeader();
  std::string field;
  pb::ClusterCommand none;
  none.mutable_elect_uncleanly();
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster_, none, &field));
  EXPECT_EQ("elections", field);
  pb::ClusterCommand foreign = Command();
  foreign.mutable_elect_uncleanly()->mutable_elections(0)->set_topic_id("short");
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster_, foreign, &field));
  EXPECT_EQ("topic_id", field);
  pb::ClusterCommand unknown = Command();
  unknown.mutable_elect_uncleanly()->mutable_elections(0)->set_partition(7);
  EXPECT_EQ(Reason::kNone, RefusalOf(&cluster_, unknown)) << "it may have gone meanwhile";
}

}  // namespace
}  // namespace falaj::cluster
