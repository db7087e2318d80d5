// Storage nodes that have met damaged records, and give up their copies.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/status.h"
#include "libs/cluster/cluster_state.h"
#include "libs/cluster/cluster_test_support.h"

namespace falaj::cluster {
namespace {

using testing::DamageCommand;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::RefusalOf;
namespace pb = ::falaj::internal::v1;

class ClusterDamageTest : public testing::OnePartitionTest {
 protected:
  pb::ClusterCommand Report(int32_t node) { return DamageCommand(cluster_.state(), "t", 0, node); }
  pb::IsrResult Apply(const pb::ClusterCommand& command) {
    const auto applied = cluster_.Apply(command);
    EXPECT_TRUE(applied.response.ok()) << applied.response.status();
    if (!applied.response.ok() || applied.response->damage_results_size() != 1) return {};
    return applied.response->damage_results(0);
  }
  // The reason why one report is refused, which must change nothing.
  std::string Refused(const pb::ClusterCommand& command) {
    const pb::PartitionState before = partition();
    const pb::IsrResult result = Apply(command);
    EXPECT_EQ(before.SerializeAsString(), partition().SerializeAsString());
    return result.error_reason();
  }
};

TEST_F(ClusterDamageTest, ALeaderIsDeposedAndLeavesIsrAndElr) {
  Start(3, 3);
  const pb::PartitionState before = partition();
  const pb::IsrResult result = Apply(Report(replicas_[0]));
  EXPECT_EQ("", result.error_reason());
  EXPECT_EQ(replicas_[1], partition().leader());
  EXPECT_EQ(before.leader_epoch() + 1, partition().leader_epoch());
  EXPECT_LT(before.partition_epoch(), partition().partition_epoch());
  EXPECT_EQ(partition().partition_epoch(), result.partition_epoch());
  EXPECT_EQ(partition().leader_epoch(), result.leader_epoch());
  EXPECT_THAT(partition().isr(), ElementsAre(replicas_[1], replicas_[2]));
  EXPECT_THAT(partition().elr(), IsEmpty()) << "below the minimum, and still it holds nothing";
}

TEST_F(ClusterDamageTest, AFollowerLeavesAndTheLeaderBeginsAnotherEpoch) {
  Start(3, 2);
  const pb::PartitionState before = partition();
  EXPECT_EQ("", Apply(Report(replicas_[2])).error_reason());
  EXPECT_EQ(replicas_[0], partition().leader());
  EXPECT_EQ(before.leader_epoch() + 1, partition().leader_epoch())
      << "what the follower has acknowledged must not count any more";
  EXPECT_THAT(partition().isr(), ElementsAre(replicas_[0], replicas_[1]));
}

TEST_F(ClusterDamageTest, AlsoOfAFollowerThatIsNotInSyncNothingCountsAnyMore) {
  Start(3, 1);
  SetIsr({replicas_[0], replicas_[1]});
  const pb::PartitionState before = partition();
  EXPECT_EQ("", Apply(Report(replicas_[2])).error_reason());
  EXPECT_EQ(before.leader_epoch() + 1, partition().leader_epoch());
  EXPECT_LT(before.partition_epoch(), partition().partition_epoch())
      << "its leader may be about to let it in";
}

TEST_F(ClusterDamageTest, TheOnlyCopyInSyncMustStay) {
  Start(2, 1);
  SetIsr({replicas_[0]});
  EXPECT_EQ("NOT_ENOUGH_REPLICAS", Refused(Report(replicas_[0])));
  SetIsr({replicas_[0], replicas_[1]});
  cluster_.Kill(replicas_[1]);
  EXPECT_EQ("NOT_ENOUGH_REPLICAS", Refused(Report(replicas_[0])));
}

TEST_F(ClusterDamageTest, WhoIsEligibleAndThereLeads) {
  Start(2, 2);
  cluster_.Kill(replicas_[1]);
  ASSERT_THAT(partition().elr(), ElementsAre(replicas_[1]));
  EXPECT_EQ("NOT_ENOUGH_REPLICAS", Refused(Report(replicas_[0]))) << "it is away";
  cluster_.Return(replicas_[1]);
  ASSERT_THAT(partition().elr(), ElementsAre(replicas_[1]));
  EXPECT_EQ("", Apply(Report(replicas_[0])).error_reason());
  EXPECT_EQ(replicas_[1], partition().leader());
  EXPECT_THAT(partition().isr(), ElementsAre(replicas_[1]));
  EXPECT_THAT(partition().elr(), IsEmpty());
}

TEST_F(ClusterDamageTest, AReportOfThePastChangesNothing) {
  Start(3, 1);
  const pb::ClusterCommand first = Report(replicas_[0]);
  EXPECT_EQ("", Apply(first).error_reason());
  EXPECT_EQ("EPOCH_FENCED", Refused(first)) << "it comes twice";
  pb::ClusterCommand command = Report(replicas_[1]);
  SetIsr({replicas_[1]});
  EXPECT_EQ("PARTITION_CHANGED", Refused(command));
  command = Report(replicas_[1]);
  command.mutable_report_damage()->mutable_replicas(0)->set_leader_epoch(99);
  EXPECT_EQ("INVALID_REQUEST", Refused(command));
}

TEST_F(ClusterDamageTest, WhatMakesNoSenseIsRefused) {
  Start(2, 1);
  cluster_.Register(3, 3, 3);
  EXPECT_EQ("INELIGIBLE_REPLICA", Refused(Report(3)));
  pb::ClusterCommand command = Report(replicas_[0]);
  command.mutable_report_damage()->mutable_replicas(0)->set_partition(7);
  EXPECT_EQ("PARTITION_NOT_FOUND", Refused(command));
  command.mutable_report_damage()->mutable_replicas(0)->set_topic_id(testing::IdBytes(5));
  EXPECT_EQ("TOPIC_NOT_FOUND", Refused(command));
  std::string field;
  command.mutable_report_damage()->clear_replicas();
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster_, command, &field));
  EXPECT_EQ("replicas", field);
  EXPECT_EQ(Reason::kNodeNotFound, RefusalOf(&cluster_, Report(9)));
  const pb::ClusterCommand old = Report(replicas_[0]);
  cluster_.Return(replicas_[0]);
  EXPECT_EQ(Reason::kEpochFenced, RefusalOf(&cluster_, old));
  cluster_.Kill(replicas_[0]);
  EXPECT_EQ(Reason::kSessionExpired, RefusalOf(&cluster_, Report(replicas_[0])));
}

}  // namespace
}  // namespace falaj::cluster
