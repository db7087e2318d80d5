// A leader changes its ISR; leaders are moved by wish.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "libs/base/status.h"
#include "libs/cluster/cluster_state.h"
#include "libs/cluster/cluster_test_support.h"

namespace falaj::cluster {
namespace {

using testing::AlterCommand;
using testing::CreateCommand;
using testing::ElectCommand;
using ::testing::ElementsAre;
using testing::IdBytes;
using ::testing::IsEmpty;
using testing::RefusalOf;
using testing::StopCommand;
using testing::TestCluster;
using ::testing::UnorderedElementsAre;
namespace pb = ::falaj::internal::v1;

// Three storage nodes, and a topic "t" of one partition with all three in sync, two being enough.
class AlterIsrTest : public ::testing::Test {
 protected:
  AlterIsrTest() {
    cluster_.RegisterNodes(3);
    const auto created = cluster_.Apply(CreateCommand("t", 1, 3, 2));
    const pb::PartitionState& partition = created.response->topic().partitions(0);
    leader_ = partition.replicas(0);
    second_ = partition.replicas(1);
    third_ = partition.replicas(2);
  }

  const pb::PartitionState& partition() const { return cluster_.Partition("t", 0); }
  pb::ClusterCommand Command(const std::vector<int32_t>& isr) {
    return AlterCommand(cluster_.state(), "t", 0, isr);
  }
  // What became of the only change of the command.
  pb::IsrResult ResultOf(const pb::ClusterCommand& command) {
    const ClusterState::Applied applied = cluster_.Apply(command);
    EXPECT_TRUE(applied.response.ok()) << applied.response.status();
    if (!applied.response.ok()) return {};
    EXPECT_EQ(1, applied.response->isr_results_size());
    return applied.response->isr_results(0);
  }
  // Applies a command with a change that must be refused. Returns the reason, having checked that
  // nothing changed and that the answer tells the partition as it is.
  std::string RefusalOfChange(const pb::ClusterCommand& command) {
    const pb::PartitionState before = partition();
    const pb::IsrResult result = ResultOf(command);
    EXPECT_EQ(before.SerializeAsString(), partition().SerializeAsString());
    EXPECT_EQ(before.partition_epoch(), result.partition_epoch());
    EXPECT_EQ(before.leader_epoch(), result.leader_epoch());
    EXPECT_EQ(std::vector<int32_t>(before.isr().begin(), before.isr().end()),
              std::vector<int32_t>(result.isr().begin(), result.isr().end()));
    return result.error_reason();
  }
  // The same for the wish to put out the third, with something wrong about it.
  std::string RefusalOfChange(const std::function<void(pb::IsrChange*)>& spoil) {
    pb::ClusterCommand command = Command({leader_, second_});
    spoil(command.mutable_alter_isr()->mutable_changes(0));
    return RefusalOfChange(command);
  }

  TestCluster cluster_;
  int32_t leader_ = 0;
  int32_t second_ = 0;
  int32_t third_ = 0;
};

TEST_F(AlterIsrTest, ALeaderPutsAReplicaOutAndLetsItInAgain) {
  const pb::PartitionState before = partition();
  const auto shrunk = cluster_.Apply(Command({leader_, second_}));
  ASSERT_TRUE(shrunk.response.ok()) << shrunk.response.status();
  const pb::IsrResult& result = shrunk.response->isr_results(0);
  EXPECT_EQ("", result.error_reason());
  EXPECT_EQ(before.partition_epoch() + 1, result.partition_epoch());
  EXPECT_EQ(before.leader_epoch(), result.leader_epoch());
  EXPECT_THAT(result.isr(), ElementsAre(leader_, second_));
  EXPECT_THAT(partition().isr(), ElementsAre(leader_, second_));
  EXPECT_EQ(leader_, partition().leader());
  EXPECT_EQ(before.leader_epoch(), partition().leader_epoch()) << "the leader stays";
  ASSERT_EQ(1, shrunk.delta.topics_size());
  EXPECT_EQ(partition().SerializeAsString(),
            shrunk.delta.topics(0).topic().partitions(0).SerializeAsString());
  EXPECT_EQ("", ResultOf(Command({third_, second_, leader_})).error_reason());
  EXPECT_THAT(partition().isr(), ElementsAre(leader_, second_, third_)) << "as assigned";
  EXPECT_EQ(before.partition_epoch() + 2, partition().partition_epoch());
}

TEST_F(AlterIsrTest, BelowTheMinimumWhoIsPutOutStaysEligible) {
  EXPECT_EQ("", ResultOf(Command({leader_, third_})).error_reason());
  EXPECT_THAT(partition().elr(), IsEmpty());
  EXPECT_EQ("", ResultOf(Command({leader_})).error_reason());
  EXPECT_THAT(partition().elr(), ElementsAre(third_)) << "the second left when enough were there";
  EXPECT_EQ("", ResultOf(Command({leader_, second_})).error_reason());
  EXPECT_THAT(partition().elr(), IsEmpty());
}

TEST_F(AlterIsrTest, TheSameIsrInAnotherOrderIsSuccessWithoutChange) {
  const auto again = cluster_.Apply(Command({third_, leader_, second_}));
  ASSERT_TRUE(again.response.ok());
  EXPECT_EQ("", again.response->isr_results(0).error_reason());
  EXPECT_EQ(partition().partition_epoch(), again.response->isr_results(0).partition_epoch());
  EXPECT_EQ(1, partition().partition_epoch());
  EXPECT_EQ(0, again.delta.topics_size());
}

TEST_F(AlterIsrTest, OnlyTheNodeOfNowMaySend) {
  const pb::ClusterCommand good = Command({leader_, second_});
  pb::ClusterCommand command = good;
  command.mutable_alter_isr()->set_node_id(9);
  EXPECT_EQ(Reason::kNodeNotFound, RefusalOf(&cluster_, command));
  for (int wrong : {-1, 1}) {
    command = good;
    command.mutable_alter_isr()->set_node_epoch(good.alter_isr().node_epoch() + wrong);
    EXPECT_EQ(Reason::kEpochFenced, RefusalOf(&cluster_, command)) << wrong;
  }
  cluster_.Kill(leader_);
  EXPECT_EQ(Reason::kSessionExpired, RefusalOf(&cluster_, good));
  cluster_.Return(leader_);
  EXPECT_EQ(Reason::kEpochFenced, RefusalOf(&cluster_, good)) << "it has registered anew";
}

TEST_F(AlterIsrTest, AMalformedCommandIsRefusedAsAWhole) {
  std::string field;
  pb::ClusterCommand command = Command({leader_, second_});
  pb::AlterIsrCommand* const alter = command.mutable_alter_isr();
  *alter->add_changes() = alter->changes(0);
  alter->mutable_changes(1)->set_topic_id("short");
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster_, command, &field));
  EXPECT_EQ("topic_id", field);
  alter->clear_changes();
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster_, command, &field));
  EXPECT_EQ("changes", field);
  const pb::IsrChange change = Command({leader_, second_}).alter_isr().changes(0);
  for (int i = 0; i < kIsrChangesPerCommandMax + 1; ++i) *alter->add_changes() = change;
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster_, command, &field));
  EXPECT_EQ("changes", field);
  alter->mutable_changes()->RemoveLast();
  const auto applied = cluster_.Apply(command);
  ASSERT_TRUE(applied.response.ok()) << applied.response.status();
  EXPECT_EQ(kIsrChangesPerCommandMax, applied.response->isr_results_size());
}

TEST_F(AlterIsrTest, WhatIsNotThereCannotBeChanged) {
  pb::ClusterCommand command = Command({leader_, second_});
  command.mutable_alter_isr()->mutable_changes(0)->set_topic_id(IdBytes(5));
  pb::IsrResult result = ResultOf(command);
  EXPECT_EQ("TOPIC_NOT_FOUND", result.error_reason());
  for (int32_t index : {-1, 1}) {
    command = Command({leader_, second_});
    command.mutable_alter_isr()->mutable_changes(0)->set_partition(index);
    result = ResultOf(command);
    EXPECT_EQ("PARTITION_NOT_FOUND", result.error_reason()) << index;
    EXPECT_EQ(0, result.partition_epoch());
  }
  EXPECT_THAT(partition().isr(), ElementsAre(leader_, second_, third_));
  command = Command({leader_, second_});
  pb::ClusterCommand remove;
  remove.mutable_delete_topic()->set_name("t");
  cluster_.Apply(remove);
  cluster_.Apply(CreateCommand("t", 1, 3, 2));
  EXPECT_EQ("TOPIC_NOT_FOUND", ResultOf(command).error_reason()) << "the name is of another topic";
  EXPECT_EQ("", ResultOf(Command({partition().leader()})).error_reason());
}

TEST_F(AlterIsrTest, OnlyTheLeaderOfThisEpochChangesTheIsr) {
  pb::ClusterCommand command = Command({leader_, second_});
  command.mutable_alter_isr()->set_node_id(second_);
  command.mutable_alter_isr()->set_node_epoch(cluster_.state().nodes().at(second_).node_epoch());
  EXPECT_EQ("NOT_LEADER", RefusalOfChange(command));
  const pb::ClusterCommand old = Command({leader_, second_});
  cluster_.Apply(ElectCommand("t", second_));
  EXPECT_EQ("NOT_LEADER", RefusalOfChange(old));
  cluster_.Apply(ElectCommand("t", leader_));
  EXPECT_EQ("EPOCH_FENCED", RefusalOfChange(old)) << "it leads again, but in another epoch";
  EXPECT_EQ("INVALID_REQUEST", RefusalOfChange([](pb::IsrChange* change) {
              change->set_leader_epoch(change->leader_epoch() + 1);
            }));
}

TEST_F(AlterIsrTest, APartitionThatHasChangedSinceIsLeftAlone) {
  for (int wrong : {-1, 1}) {
    EXPECT_EQ("PARTITION_CHANGED", RefusalOfChange([wrong](pb::IsrChange* change) {
                change->set_partition_epoch(change->partition_epoch() + wrong);
              }));
  }
  const pb::ClusterCommand command = Command({leader_, second_});
  EXPECT_EQ("", ResultOf(command).error_reason());
  EXPECT_EQ("PARTITION_CHANGED", RefusalOfChange(command)) << "by the first attempt";
}

TEST_F(AlterIsrTest, AnIsrHoldsTheLeaderAndReplicasEachOnce) {
  EXPECT_EQ("INVALID_REQUEST", RefusalOfChange(Command({})));
  EXPECT_EQ("INVALID_REQUEST", RefusalOfChange(Command({second_, third_})));
  EXPECT_EQ("INVALID_REQUEST", RefusalOfChange(Command({leader_, second_, second_})));
  cluster_.Register(4, 4, 4);
  EXPECT_EQ("INVALID_REQUEST", RefusalOfChange(Command({leader_, 4}))) << "it is no replica";
  EXPECT_EQ("INVALID_REQUEST", RefusalOfChange(Command({leader_, second_, third_, third_})));
}

TEST_F(AlterIsrTest, WhoJoinsMustBeThereAndOfTheNamedEpoch) {
  cluster_.Kill(third_);
  const pb::ClusterCommand before = Command({leader_, second_, third_});
  EXPECT_EQ("INELIGIBLE_REPLICA", RefusalOfChange(before)) << "it is gone";
  cluster_.Return(third_);
  EXPECT_EQ("INELIGIBLE_REPLICA", RefusalOfChange(before)) << "it has restarted";
  pb::ClusterCommand future = Command({leader_, second_, third_});
  pb::IsrMember* const member = future.mutable_alter_isr()->mutable_changes(0)->mutable_isr(2);
  member->set_node_epoch(member->node_epoch() + 1);
  EXPECT_EQ("INELIGIBLE_REPLICA", RefusalOfChange(future));
  EXPECT_EQ("", ResultOf(Command({leader_, second_, third_})).error_reason());
  EXPECT_THAT(partition().isr(), ElementsAre(leader_, second_, third_));
}

TEST_F(AlterIsrTest, WhoIsStoppingDoesNotJoin) {
  cluster_.Apply(StopCommand(cluster_.state(), third_));
  ASSERT_THAT(partition().isr(), ElementsAre(leader_, second_));
  EXPECT_EQ("INELIGIBLE_REPLICA", RefusalOfChange(Command({leader_, second_, third_})));
  cluster_.Return(third_);
  EXPECT_EQ("", ResultOf(Command({leader_, second_, third_})).error_reason());
}

TEST_F(AlterIsrTest, WhoIsInSyncAlreadyIsNotAskedAgain) {
  cluster_.Kill(third_);
  cluster_.Apply(StopCommand(cluster_.state(), second_));
  ASSERT_THAT(partition().isr(), ElementsAre(leader_, second_)) << "the minimum";
  cluster_.Return(third_);
  pb::ClusterCommand command = Command({leader_, second_, third_});
  for (int i : {0, 1}) {
    command.mutable_alter_isr()->mutable_changes(0)->mutable_isr(i)->clear_node_epoch();
  }
  EXPECT_EQ("", ResultOf(command).error_reason());
  EXPECT_THAT(partition().isr(), ElementsAre(leader_, second_, third_));
}

TEST_F(AlterIsrTest, EachChangeSucceedsOrFailsByItself) {
  cluster_.Apply(CreateCommand("u", 2, 3, 1));
  cluster_.Apply(ElectCommand("u", leader_));
  pb::ClusterCommand command = Command({leader_, second_});
  pb::AlterIsrCommand* const alter = command.mutable_alter_isr();
  for (int i : {0, 1}) {
    *alter->add_changes() =
        AlterCommand(cluster_.state(), "u", i, {leader_, third_}).alter_isr().changes(0);
  }
  *alter->add_changes() = alter->changes(2);  // The epoch it names is over by then.
  alter->mutable_changes(1)->set_leader_epoch(0);
  const auto applied = cluster_.Apply(command);
  ASSERT_TRUE(applied.response.ok());
  ASSERT_EQ(4, applied.response->isr_results_size());
  EXPECT_EQ("", applied.response->isr_results(0).error_reason());
  EXPECT_EQ("EPOCH_FENCED", applied.response->isr_results(1).error_reason());
  EXPECT_EQ("", applied.response->isr_results(2).error_reason());
  EXPECT_EQ("PARTITION_CHANGED", applied.response->isr_results(3).error_reason());
  EXPECT_EQ(3, cluster_.Partition("u", 0).isr_size());
  EXPECT_THAT(cluster_.Partition("u", 1).isr(), UnorderedElementsAre(leader_, third_));
  ASSERT_EQ(2, applied.delta.topics_size());
  EXPECT_EQ(1, applied.delta.topics(1).topic().partitions_size()) << "what changed, once";
}

TEST_F(AlterIsrTest, ASnapshotKnowsTheTopicsById) {
  absl::StatusOr<ClusterState> copy = ClusterState::FromSnapshot(cluster_.state().Snapshot());
  ASSERT_TRUE(copy.ok()) << copy.status();
  const auto applied = copy->Apply(copy->index() + 1, Command({leader_, second_}));
  ASSERT_TRUE(applied.response.ok());
  EXPECT_EQ("", applied.response->isr_results(0).error_reason());
  EXPECT_THAT(copy->topics().at("t").partitions(0).isr(), ElementsAre(leader_, second_));
}

using ElectLeadersTest = AlterIsrTest;

TEST_F(ElectLeadersTest, ThePreferredLeaderLeadsAgain) {
  cluster_.Kill(leader_);
  cluster_.Return(leader_);
  cluster_.Apply(Command({leader_, second_, third_}));
  const pb::PartitionState before = partition();
  ASSERT_EQ(second_, before.leader());
  const auto elected = cluster_.Apply(ElectCommand("t"));
  ASSERT_TRUE(elected.response.ok()) << elected.response.status();
  EXPECT_EQ(leader_, partition().leader());
  EXPECT_EQ(before.leader_epoch() + 1, partition().leader_epoch());
  EXPECT_EQ(before.partition_epoch() + 1, partition().partition_epoch());
  EXPECT_THAT(partition().isr(), ElementsAre(leader_, second_, third_));
  EXPECT_EQ(cluster_.state().topics().at("t").SerializeAsString(),
            elected.response->topic().SerializeAsString());
  ASSERT_EQ(1, elected.delta.topics_size());
  EXPECT_EQ(leader_, elected.delta.topics(0).topic().partitions(0).leader());
  EXPECT_EQ(Reason::kNone, RefusalOf(&cluster_, ElectCommand("t"))) << "it leads already";
}

TEST_F(ElectLeadersTest, OnlyTheNamedPartitionsMoveToTheNamedReplica) {
  cluster_.Apply(CreateCommand("u", 4, 3));
  cluster_.Apply(ElectCommand("u", 1));
  cluster_.Apply(ElectCommand("u", 2, {0}));
  const auto before = cluster_.state().topics().at("u").partitions();
  const auto elected = cluster_.Apply(ElectCommand("u", 2, {0, 1, 3, 3}));
  ASSERT_TRUE(elected.response.ok());
  for (int i : {0, 1, 3}) EXPECT_EQ(2, cluster_.Partition("u", i).leader());
  EXPECT_EQ(before[2].SerializeAsString(), cluster_.Partition("u", 2).SerializeAsString());
  EXPECT_EQ(2, elected.delta.topics(0).topic().partitions_size()) << "it led one before";
}

TEST_F(ElectLeadersTest, WhoIsNotThereNotInSyncOrStoppingDoesNotGetTheLead) {
  cluster_.Register(4, 4, 4);
  EXPECT_EQ(Reason::kNone, RefusalOf(&cluster_, ElectCommand("t", 4))) << "no replica";
  cluster_.Apply(Command({leader_, second_}));
  EXPECT_EQ(Reason::kNone, RefusalOf(&cluster_, ElectCommand("t", third_))) << "not in sync";
  cluster_.Apply(StopCommand(cluster_.state(), second_));
  ASSERT_THAT(partition().isr(), ElementsAre(leader_, second_));
  EXPECT_EQ(Reason::kNone, RefusalOf(&cluster_, ElectCommand("t", second_))) << "stopping";
  cluster_.Kill(second_);
  EXPECT_EQ(Reason::kNone, RefusalOf(&cluster_, ElectCommand("t", second_))) << "not there";
  cluster_.Kill(leader_);
  ASSERT_EQ(0, partition().leader());
  EXPECT_EQ(Reason::kNone, RefusalOf(&cluster_, ElectCommand("t"))) << "nobody leads";
  EXPECT_EQ(Reason::kNone, RefusalOf(&cluster_, ElectCommand("t", third_))) << "nobody leads";
}

TEST_F(ElectLeadersTest, UnknownNamesAreErrorsBeforeAnythingMoves) {
  EXPECT_EQ(Reason::kTopicNotFound, RefusalOf(&cluster_, ElectCommand("unknown", second_)));
  for (int32_t index : {-1, 1}) {
    EXPECT_EQ(Reason::kPartitionNotFound,
              RefusalOf(&cluster_, ElectCommand("t", second_, {0, index})));
  }
  for (int32_t node : {-1, 9}) {
    EXPECT_EQ(Reason::kNodeNotFound, RefusalOf(&cluster_, ElectCommand("t", node)));
  }
}

}  // namespace
}  // namespace falaj::cluster
