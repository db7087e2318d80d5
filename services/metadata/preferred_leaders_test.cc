#include "services/metadata/preferred_leaders.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "libs/cluster/cluster_test_support.h"

namespace falaj::metadata {
namespace {

using cluster::testing::AlterCommand;
using cluster::testing::CreateCommand;
using cluster::testing::TestCluster;
using internal::v1::PartitionState;

constexpr absl::Duration kPeriod = absl::Minutes(5);

class PreferredLeadersTest : public ::testing::Test {
 protected:
  // Three nodes and a topic with a replica of each partition on each.
  void Start(int partitions) {
    cluster_.RegisterNodes(3);
    ASSERT_TRUE(cluster_.Apply(CreateCommand("orders", partitions, 3)).response.ok());
    EXPECT_EQ(0, Due()) << "it waits a period before the first look";
  }
  // The node dies, others lead, it comes back and catches up.
  void Blink(int32_t node) {
    cluster_.Kill(node);
    cluster_.Return(node);
    for (int i = 0; i < Topic().partitions_size(); ++i) CatchUp(i);
  }
  void CatchUp(int index) {
    const auto applied = cluster_.Apply(AlterCommand(cluster_.state(), "orders", index, {1, 2, 3}));
    ASSERT_TRUE(applied.response.ok()) << applied.response.status();
  }
  const internal::v1::TopicState& Topic() { return cluster_.state().topics().at("orders"); }
  int LedByAnother() {
    int count = 0;
    for (const PartitionState& partition : Topic().partitions()) {
      count += partition.leader() != partition.replicas(0) ? 1 : 0;
    }
    return count;
  }
  std::vector<internal::v1::ElectLeadersCommand> Take(absl::Duration passed) {
    now_ = now_ + passed;
    return leaders_.TakeDue(cluster_.state(), now_);
  }
  // How many elections are due.
  int Due(absl::Duration passed = absl::ZeroDuration()) {
    int elections = 0;
    for (const auto& command : Take(passed)) elections += command.partitions_size();
    return elections;
  }

  TestCluster cluster_;
  PreferredLeaders leaders_{{.period = kPeriod, .imbalance_percent = 10}};
  MonotonicTime now_ = MonotonicTime{} + absl::Hours(1);
};

TEST_F(PreferredLeadersTest, ANodeThatIsBackAndInSyncGetsItsLeadsBack) {
  Start(9);
  Blink(1);
  ASSERT_EQ(3, LedByAnother());
  EXPECT_EQ(0, Due(kPeriod - absl::Seconds(1)));
  const auto due = Take(absl::Seconds(1));
  ASSERT_EQ(1u, due.size());
  EXPECT_EQ(3, due[0].partitions_size());
  internal::v1::ClusterCommand command;
  *command.mutable_elect_leaders() = due[0];
  ASSERT_TRUE(cluster_.Apply(command).response.ok());
  EXPECT_EQ(0, LedByAnother());
  EXPECT_EQ(0, Due(kPeriod));
}

TEST_F(PreferredLeadersTest, WhoIsNotInSyncOrAwayGetsNone) {
  Start(9);
  cluster_.Kill(1);
  ASSERT_EQ(3, LedByAnother());
  EXPECT_EQ(0, Due(kPeriod)) << "away";
  cluster_.Return(1);
  EXPECT_EQ(0, Due(kPeriod)) << "not in sync";
  for (int i = 0; i < 9; ++i) CatchUp(i);
  EXPECT_EQ(3, Due(kPeriod));
}

TEST_F(PreferredLeadersTest, WhoIsDrainedOrAboutToStopGetsNone) {
  Start(9);
  cluster_.Register(4, 4, 4);
  Blink(1);
  internal::v1::ClusterCommand stop;
  stop.mutable_prepare_stop()->set_node_id(1);
  stop.mutable_prepare_stop()->set_node_epoch(cluster_.state().nodes().at(1).node_epoch());
  ASSERT_TRUE(cluster_.Apply(stop).response.ok());
  EXPECT_EQ(0, Due(kPeriod)) << "about to stop";
  Blink(1);
  ASSERT_TRUE(cluster_.Apply(cluster::testing::DrainCommand(1)).response.ok());
  EXPECT_EQ(0, Due(kPeriod)) << "drained";
}

TEST_F(PreferredLeadersTest, FewLeadsInOtherHandsAreLeftThere) {
  Start(60);  // Each node is preferred for 20.
  int moved = 0;
  const auto move_one = [&] {
    for (const PartitionState& partition : Topic().partitions()) {
      if (partition.replicas(0) != 1 || partition.leader() != 1) continue;
      internal::v1::ClusterCommand command;
      command.mutable_elect_leaders()->set_topic("orders");
      command.mutable_elect_leaders()->add_partitions(partition.partition());
      command.mutable_elect_leaders()->set_node_id(2);
      ASSERT_TRUE(cluster_.Apply(command).response.ok());
      ++moved;
      return;
    }
  };
  move_one();
  move_one();
  ASSERT_EQ(2, moved);
  EXPECT_EQ(0, Due(kPeriod)) << "ten percent";
  move_one();
  EXPECT_EQ(3, Due(kPeriod)) << "all of them, not only what is too much";
}

TEST_F(PreferredLeadersTest, WhoLeadsAnewWaitsAnew) {
  Start(3);
  Blink(1);
  leaders_.Clear();
  EXPECT_EQ(0, Due(kPeriod));
  EXPECT_EQ(1, Due(kPeriod));
}

TEST_F(PreferredLeadersTest, APeriodOfZeroIsNever) {
  Start(3);
  Blink(1);
  PreferredLeaders never({.period = absl::ZeroDuration(), .imbalance_percent = 0});
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(never.TakeDue(cluster_.state(), now_ = now_ + absl::Hours(1)).empty());
  }
}

TEST_F(PreferredLeadersTest, ManyComeInPortions) {
  Start(3 * PreferredLeaders::kElectionsMax + 300);
  Blink(1);
  const int owed = LedByAnother();
  ASSERT_GT(owed, PreferredLeaders::kElectionsMax);
  const auto first = Take(kPeriod);
  ASSERT_EQ(1u, first.size());
  EXPECT_EQ(PreferredLeaders::kElectionsMax, first[0].partitions_size());
  internal::v1::ClusterCommand command;
  *command.mutable_elect_leaders() = first[0];
  ASSERT_TRUE(cluster_.Apply(command).response.ok());
  // What is left may be few enough to be left alone.
  EXPECT_EQ(10 * (owed - PreferredLeaders::kElectionsMax) > owed
                ? owed - PreferredLeaders::kElectionsMax
                : 0,
            Due(absl::Seconds(1)));
}

}  // namespace
}  // namespace falaj::metadata
