#include "services/metadata/unclean_elections.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/cluster/cluster_test_support.h"

namespace falaj::metadata {
namespace {

using cluster::testing::CreateCommand;
using cluster::testing::TestCluster;

class UncleanElectionsTest : public ::testing::Test {
 protected:
  // A topic with one partition on the nodes 1 and 2; 1 leads, 2 has fallen behind, 1 has died.
  void LoseLeader(int64_t patience_ms) {
    cluster_.RegisterNodes(2);
    auto create = CreateCommand("orders", 1, 2);
    create.mutable_create_topic()->mutable_settings()->set_unclean_election_after_ms(patience_ms);
    ASSERT_TRUE(cluster_.Apply(create).response.ok());
    cluster_.Apply(cluster::testing::AlterCommand(cluster_.state(), "orders", 0, {1}));
    cluster_.Kill(1);
    ASSERT_EQ(0, cluster_.Partition("orders", 0).leader());
  }
  int DueAfter(absl::Duration passed) {
    now_ = now_ + passed;
    const auto due = elections_.TakeDue(cluster_.state(), now_);
    return due.has_value() ? due->elections_size() : 0;
  }

  TestCluster cluster_;
  UncleanElections elections_;
  MonotonicTime now_ = MonotonicTime{} + absl::Hours(1);
};

TEST_F(UncleanElectionsTest, AnElectionIsDueAfterTheTopicsPatienceAndUntilItIsHeld) {
  LoseLeader(3'000);
  EXPECT_EQ(0, DueAfter(absl::Seconds(1))) << "first seen now";
  EXPECT_EQ(0, DueAfter(absl::Seconds(2)));
  EXPECT_EQ(1, DueAfter(absl::Seconds(1)));
  const auto due = elections_.TakeDue(cluster_.state(), now_ + absl::Seconds(1));
  ASSERT_TRUE(due.has_value()) << "it may have been refused";
  internal::v1::ClusterCommand command;
  *command.mutable_elect_uncleanly() = *due;
  ASSERT_TRUE(cluster_.Apply(command).response.ok());
  EXPECT_EQ(2, cluster_.Partition("orders", 0).leader());
  EXPECT_EQ(0, DueAfter(absl::Seconds(5)));
}

TEST_F(UncleanElectionsTest, ATopicThatWaitsForEverGetsNone) {
  LoseLeader(0);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(0, DueAfter(absl::Seconds(100)));
}

TEST_F(UncleanElectionsTest, TimeInWhichNobodyCouldLeadDoesNotCount) {
  LoseLeader(3'000);
  cluster_.Kill(2);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(0, DueAfter(absl::Seconds(1)));
  cluster_.Return(2);
  EXPECT_EQ(0, DueAfter(absl::Seconds(1))) << "who holds everything may be about to come, too";
  EXPECT_EQ(0, DueAfter(absl::Seconds(2)));
  EXPECT_EQ(1, DueAfter(absl::Seconds(1)));
}

TEST_F(UncleanElectionsTest, APauseOfThisProcessHardlyCounts) {
  LoseLeader(5'000);
  EXPECT_EQ(0, DueAfter(absl::Seconds(1)));
  EXPECT_EQ(0, DueAfter(absl::Hours(1)));
  EXPECT_EQ(0, DueAfter(absl::Seconds(2)));
  EXPECT_EQ(1, DueAfter(absl::Seconds(1)));
}

TEST_F(UncleanElectionsTest, WhoLeadsAnewWaitsAnew) {
  LoseLeader(3'000);
  DueAfter(absl::Seconds(1));
  DueAfter(absl::Seconds(2));
  elections_.Clear();
  EXPECT_EQ(0, DueAfter(absl::Seconds(1)));
  EXPECT_EQ(0, DueAfter(absl::Seconds(2)));
  EXPECT_EQ(1, DueAfter(absl::Seconds(1)));
}

}  // namespace
}  // namespace falaj::metadata
