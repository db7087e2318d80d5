#include "libs/cluster/cluster_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/status.h"
#include "libs/cluster/cluster_test_support.h"

namespace falaj::cluster {
namespace {

using testing::CreateCommand;
using ::testing::ElementsAre;
using testing::EndCommand;
using testing::IdBytes;
using testing::InitCommand;
using ::testing::IsEmpty;
using testing::RefusalOf;
using testing::RegisterCommand;
using testing::TestCluster;
namespace pb = ::falaj::internal::v1;

TEST(ClusterStateTest, NothingHappensBeforeTheClusterHasAnId) {
  ClusterState state;
  EXPECT_EQ(Reason::kMetadataUnavailable,
            ReasonOf(state.Apply(LogIndex(1), RegisterCommand(1, 1, 1)).response.status()));
  EXPECT_TRUE(state.Apply(LogIndex(2), InitCommand()).response.ok());
  pb::ClusterCommand other;
  other.mutable_init_cluster()->set_cluster_id(IdBytes(5));
  const auto again = state.Apply(LogIndex(3), other);
  ASSERT_TRUE(again.response.ok());
  EXPECT_EQ(IdBytes(77), again.response->cluster_id()) << "the first name stays";
}

TEST(ClusterStateTest, ACommandMustBeSet) {
  TestCluster cluster;
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster, pb::ClusterCommand()));
}

TEST(ClusterStateTest, ARegistrationOpensASessionUnderANewEpoch) {
  TestCluster cluster;
  const auto first = cluster.Apply(RegisterCommand(1, 1, 1));
  ASSERT_TRUE(first.response.ok());
  EXPECT_EQ(2, first.response->node().node_epoch());
  EXPECT_EQ(2, first.response->node().session_id());
  EXPECT_EQ(1, first.delta.nodes_size());
  const auto second = cluster.Apply(RegisterCommand(1, 1, 2));
  EXPECT_EQ(3, second.response->node().node_epoch());
  EXPECT_EQ(3, second.response->node().session_id());
}

TEST(ClusterStateTest, ABadRegistrationIsRefused) {
  TestCluster cluster;
  cluster.Register(1, 1, 1);
  const auto refused = [&cluster](auto change) {
    pb::ClusterCommand command = RegisterCommand(2, 2, 2);
    change(command.mutable_register_node());
    return RefusalOf(&cluster, command);
  };
  using Node = pb::RegisterNodeCommand;
  EXPECT_EQ(Reason::kInvalidRequest, refused([](Node* n) { n->set_node_id(0); }));
  EXPECT_EQ(Reason::kInvalidRequest, refused([](Node* n) { n->set_directory_id("short"); }));
  EXPECT_EQ(Reason::kInvalidRequest, refused([](Node* n) { n->set_incarnation_id("short"); }));
  EXPECT_EQ(Reason::kInvalidRequest, refused([](Node* n) { n->set_cluster_id("short"); }));
  EXPECT_EQ(Reason::kInvalidRequest, refused([](Node* n) { n->clear_address(); }));
  EXPECT_EQ(Reason::kInvalidRequest, refused([](Node* n) { n->set_address("a\nb:1"); }));
  EXPECT_EQ(Reason::kInvalidRequest, refused([](Node* n) { n->set_zone(std::string(300, 'z')); }));
  EXPECT_EQ(Reason::kInvalidRequest, refused([](Node* n) { n->set_session_timeout_ms(99); }));
  EXPECT_EQ(Reason::kInvalidRequest, refused([](Node* n) { n->set_session_timeout_ms(600'001); }));
  EXPECT_EQ(Reason::kClusterMismatch, refused([](Node* n) { n->set_cluster_id(IdBytes(78)); }));
  EXPECT_EQ(Reason::kClusterMismatch, refused([](Node* n) { n->set_directory_id(IdBytes(1)); }))
      << "that directory is node 1's";
}

TEST(ClusterStateTest, ANewerProcessOfANodeEndsTheOldSession) {
  TestCluster cluster;
  const int64_t old_session = cluster.Register(1, 1, 1);
  const int64_t new_session = cluster.Register(1, 1, 2);
  cluster.Apply(EndCommand(old_session));  // What the old process says no longer counts.
  EXPECT_EQ(new_session, cluster.state().nodes().at(1).session_id());
}

TEST(ClusterStateTest, EndingASessionTwiceIsNotAnError) {
  TestCluster cluster;
  const int64_t session = cluster.Register(1, 1, 1);
  EXPECT_EQ(1, cluster.Apply(EndCommand(session)).delta.nodes_size());
  const auto again = cluster.Apply(EndCommand(session));
  EXPECT_TRUE(again.response.ok());
  EXPECT_EQ(0, again.delta.nodes_size());
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster, EndCommand(0)));
}

TEST(ClusterStateTest, ANewTopicHasLeadersAndFullIsrs) {
  TestCluster cluster;
  cluster.RegisterNodes(3);
  const auto created = cluster.Apply(CreateCommand("flights", 6, 2));
  ASSERT_TRUE(created.response.ok()) << created.response.status();
  EXPECT_EQ(1'700'000'000'000, created.response->topic().create_time_ms());
  ASSERT_EQ(6, created.response->topic().partitions_size());
  for (const auto& partition : created.response->topic().partitions()) {
    EXPECT_EQ(partition.replicas(0), partition.leader());
    EXPECT_EQ(2, partition.isr_size());
    EXPECT_EQ(1, partition.leader_epoch());
  }
  EXPECT_EQ(created.response->topic().SerializeAsString(),
            created.delta.topics(0).topic().SerializeAsString());
}

TEST(ClusterStateTest, CreatingTheSameTopicAgainIsSuccess) {
  TestCluster cluster;
  cluster.RegisterNodes(1);
  const auto first = cluster.Apply(CreateCommand("t", 2));
  const auto again = cluster.Apply(CreateCommand("t", 2));
  ASSERT_TRUE(again.response.ok());
  EXPECT_EQ(first.response->topic().topic_id(), again.response->topic().topic_id());
  EXPECT_EQ(0, again.delta.topics_size());
  EXPECT_EQ(Reason::kTopicAlreadyExists, RefusalOf(&cluster, CreateCommand("t", 3)));
  pb::ClusterCommand other = CreateCommand("t", 2);
  other.mutable_create_topic()->mutable_settings()->set_append_time(true);
  EXPECT_EQ(Reason::kTopicAlreadyExists, RefusalOf(&cluster, other));
}

TEST(ClusterStateTest, ValidateOnlyChangesNothing) {
  TestCluster cluster;
  cluster.RegisterNodes(1);
  pb::ClusterCommand command = CreateCommand("t", 2);
  command.mutable_create_topic()->set_validate_only(true);
  EXPECT_EQ(Reason::kNone, RefusalOf(&cluster, command));
  EXPECT_TRUE(cluster.state().topics().empty());
}

TEST(ClusterStateTest, ABadTopicIsRefusedNamingTheField) {
  TestCluster cluster;
  cluster.RegisterNodes(2);
  cluster.Apply(CreateCommand("taken", 1));
  std::string field;
  EXPECT_EQ(Reason::kInvalidName, RefusalOf(&cluster, CreateCommand("a/b", 1), &field));
  EXPECT_EQ("name", field);
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster, CreateCommand("t", 0), &field));
  EXPECT_EQ("partition_count", field);
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster, CreateCommand("t", 10'001), &field));
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster, CreateCommand("t", 1, 0), &field));
  EXPECT_EQ("replication_factor", field);
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster, CreateCommand("t", 1, 3), &field));
  EXPECT_EQ("replication_factor", field) << "there are only two nodes";
  EXPECT_EQ(Reason::kInvalidConfig, RefusalOf(&cluster, CreateCommand("t", 1, 1, 2), &field));
  EXPECT_EQ("config.min_in_sync_replicas", field);
  pb::ClusterCommand command = CreateCommand("t", 1);
  command.mutable_create_topic()->set_topic_id("short");
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster, command));
  command.mutable_create_topic()->set_topic_id(cluster.state().topics().at("taken").topic_id());
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster, command));
}

TEST(ClusterStateTest, WithoutLiveNodesATopicMustWait) {
  TestCluster cluster;
  EXPECT_EQ(Reason::kNotEnoughReplicas, RefusalOf(&cluster, CreateCommand("t", 1)));
  cluster.RegisterNodes(2);
  cluster.Kill(2);
  EXPECT_EQ(Reason::kNotEnoughReplicas, RefusalOf(&cluster, CreateCommand("t", 1, 2)));
}

TEST(ClusterStateTest, AnUpdateChangesTheNamedSettingsOnly) {
  TestCluster cluster;
  cluster.RegisterNodes(1);
  cluster.Apply(CreateCommand("t", 2));
  pb::ClusterCommand command;
  pb::UpdateTopicCommand* const update = command.mutable_update_topic();
  update->set_name("t");
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster, command)) << "an empty mask";
  update->mutable_settings()->set_retention_ms(5'000);
  update->add_fields("retention_ms");
  const auto updated = cluster.Apply(command);
  ASSERT_TRUE(updated.response.ok());
  EXPECT_EQ(5'000, updated.response->topic().settings().retention_ms());
  EXPECT_TRUE(updated.response->topic().settings().fsync());
  EXPECT_EQ(2, updated.response->topic().partitions_size());
  EXPECT_EQ(0, updated.delta.topics(0).topic().partitions_size()) << "no partition changed";
  EXPECT_EQ(Reason::kNone, RefusalOf(&cluster, command)) << "no change is no error";
  update->add_fields("colour");
  EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster, command));
  update->clear_fields();
  update->add_fields("batch_bytes_max");
  EXPECT_EQ(Reason::kInvalidConfig, RefusalOf(&cluster, command));
  update->set_name("unknown");
  EXPECT_EQ(Reason::kTopicNotFound, RefusalOf(&cluster, command));
}

TEST(ClusterStateTest, ADeletedTopicIsGoneAndItsNameFree) {
  TestCluster cluster;
  cluster.RegisterNodes(1);
  const std::string id = cluster.Apply(CreateCommand("t", 1)).response->topic().topic_id();
  pb::ClusterCommand command;
  command.mutable_delete_topic()->set_name("t");
  EXPECT_THAT(cluster.Apply(command).delta.deleted_topics(), ElementsAre(id));
  EXPECT_EQ(Reason::kTopicNotFound, RefusalOf(&cluster, command));
  EXPECT_NE(id, cluster.Apply(CreateCommand("t", 1)).response->topic().topic_id());
}

TEST(ClusterStateTest, AddedPartitionsFillUpTheEmptiestNodes) {
  TestCluster cluster;
  cluster.RegisterNodes(1);
  cluster.Apply(CreateCommand("t", 2));
  cluster.Register(2, 2, 2);
  pb::ClusterCommand command;
  pb::AddPartitionsCommand* const add = command.mutable_add_partitions();
  add->set_name("t");
  for (int32_t bad : {0, 1, 2, 10'001}) {
    add->set_partition_count(bad);
    EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster, command)) << bad;
  }
  add->set_partition_count(4);
  const auto added = cluster.Apply(command);
  ASSERT_TRUE(added.response.ok());
  EXPECT_EQ(4, added.response->topic().partitions_size());
  ASSERT_EQ(2, added.delta.topics(0).topic().partitions_size());
  for (int i : {2, 3}) EXPECT_EQ(2, cluster.Partition("t", i).leader());
  add->set_name("unknown");
  EXPECT_EQ(Reason::kTopicNotFound, RefusalOf(&cluster, command));
}

TEST(ClusterStateTest, ProducerIdsAreHandedOutOnce) {
  TestCluster cluster;
  pb::ClusterCommand command;
  command.mutable_allocate_producer_ids()->set_count(1'000);
  EXPECT_EQ(1, cluster.Apply(command).response->first_producer_id());
  EXPECT_EQ(1'001, cluster.Apply(command).response->first_producer_id());
  for (int32_t bad : {0, -1, 1'000'001}) {
    command.mutable_allocate_producer_ids()->set_count(bad);
    EXPECT_EQ(Reason::kInvalidRequest, RefusalOf(&cluster, command)) << bad;
  }
}

TEST(ClusterStateTest, WhenTheLeaderDiesTheNextInSyncReplicaLeads) {
  TestCluster cluster;
  cluster.RegisterNodes(3);
  cluster.Apply(CreateCommand("t", 1, 3));
  const pb::PartitionState before = cluster.Partition("t", 0);
  cluster.Kill(before.leader());
  const pb::PartitionState& after = cluster.Partition("t", 0);
  EXPECT_EQ(before.replicas(1), after.leader());
  EXPECT_EQ(before.leader_epoch() + 1, after.leader_epoch());
  EXPECT_THAT(after.isr(), ElementsAre(before.replicas(1), before.replicas(2)));
  EXPECT_THAT(after.elr(), IsEmpty()) << "enough are in sync";
}

TEST(ClusterStateTest, BelowTheMinimumThoseWhoLeaveStayEligible) {
  TestCluster cluster;
  cluster.RegisterNodes(2);
  cluster.Apply(CreateCommand("t", 1, 2, 2));
  const int32_t first = cluster.Partition("t", 0).leader();
  const int32_t second = 3 - first;
  cluster.Kill(second);
  EXPECT_THAT(cluster.Partition("t", 0).isr(), ElementsAre(first));
  EXPECT_THAT(cluster.Partition("t", 0).elr(), ElementsAre(second));
  cluster.Kill(first);
  EXPECT_EQ(0, cluster.Partition("t", 0).leader());
  // The second comes back in the same process, having lost nothing: it leads from the ELR.
  cluster.Register(second, static_cast<uint64_t>(second), static_cast<uint64_t>(second));
  EXPECT_EQ(second, cluster.Partition("t", 0).leader());
  EXPECT_THAT(cluster.Partition("t", 0).isr(), ElementsAre(second));
  EXPECT_THAT(cluster.Partition("t", 0).elr(), ElementsAre(first));
}

TEST(ClusterStateTest, AnUncleanRestartLosesEligibilityWhereOthersAreLeft) {
  TestCluster cluster;
  cluster.RegisterNodes(2);
  cluster.Apply(CreateCommand("t", 1, 2, 2));
  const int32_t first = cluster.Partition("t", 0).leader();
  const int32_t second = 3 - first;
  cluster.Kill(second);
  cluster.Kill(first);
  cluster.Register(second, static_cast<uint64_t>(second), 99);  // Another process.
  EXPECT_EQ(0, cluster.Partition("t", 0).leader()) << "the first may know more";
  EXPECT_THAT(cluster.Partition("t", 0).elr(), ElementsAre(first));
  // The first was killed as well, but led last: nobody can know more.
  cluster.Register(first, static_cast<uint64_t>(first), 98);
  EXPECT_EQ(first, cluster.Partition("t", 0).leader());
}

TEST(ClusterStateTest, TheLastLeaderWaitsForTheEligibleIfItCrashed) {
  TestCluster cluster;
  cluster.RegisterNodes(2);
  cluster.Apply(CreateCommand("t", 1, 2, 2));
  const int32_t first = cluster.Partition("t", 0).leader();
  const int32_t second = 3 - first;
  cluster.Kill(second);
  cluster.Kill(first);
  cluster.Register(first, static_cast<uint64_t>(first), 99);  // Another process.
  EXPECT_EQ(0, cluster.Partition("t", 0).leader()) << "the second surely holds everything";
  EXPECT_THAT(cluster.Partition("t", 0).elr(), ElementsAre(second));
  cluster.Return(second);
  EXPECT_EQ(second, cluster.Partition("t", 0).leader());
}

TEST(ClusterStateTest, ACleanRestartKeepsEligibility) {
  TestCluster cluster;
  cluster.RegisterNodes(2);
  cluster.Apply(CreateCommand("t", 1, 2, 2));
  const int32_t first = cluster.Partition("t", 0).leader();
  const int32_t second = 3 - first;
  const int64_t epoch = cluster.state().nodes().at(second).node_epoch();
  cluster.Kill(second);
  cluster.Kill(first);
  cluster.Register(second, static_cast<uint64_t>(second), 99, epoch);
  EXPECT_EQ(second, cluster.Partition("t", 0).leader());
}

TEST(ClusterStateTest, AStaleCleanMarkDoesNotCount) {
  TestCluster cluster;
  cluster.RegisterNodes(2);
  cluster.Apply(CreateCommand("t", 1, 2, 2));
  const int32_t first = cluster.Partition("t", 0).leader();
  const int32_t second = 3 - first;
  cluster.Kill(second);
  cluster.Kill(first);
  const int64_t older = cluster.state().nodes().at(second).node_epoch() - 1;
  cluster.Register(second, static_cast<uint64_t>(second), 99, older);
  EXPECT_EQ(0, cluster.Partition("t", 0).leader());
}

TEST(ClusterStateTest, TheOnlyReplicaLeadsAgainAfterAnyRestart) {
  TestCluster cluster;
  cluster.RegisterNodes(1);
  cluster.Apply(CreateCommand("t", 1));
  int32_t epoch = cluster.Partition("t", 0).leader_epoch();
  cluster.Kill(1);
  EXPECT_EQ(0, cluster.Partition("t", 0).leader());
  cluster.Register(1, 1, 50);  // kill -9, after its session ended
  EXPECT_EQ(1, cluster.Partition("t", 0).leader());
  EXPECT_LT(epoch, cluster.Partition("t", 0).leader_epoch());
  epoch = cluster.Partition("t", 0).leader_epoch();
  const auto registered = cluster.Apply(RegisterCommand(1, 1, 51));  // and before it ended
  EXPECT_EQ(1, cluster.Partition("t", 0).leader());
  EXPECT_LT(epoch, cluster.Partition("t", 0).leader_epoch());
  EXPECT_THAT(cluster.Partition("t", 0).isr(), ElementsAre(1));
  ASSERT_EQ(1, registered.delta.topics_size());
  EXPECT_EQ(1, registered.delta.topics(0).topic().partitions_size()) << "listed once";
}

TEST(ClusterStateTest, AnEmptyDiskNeverLeadsInPlaceOfALostOne) {
  TestCluster cluster;
  cluster.RegisterNodes(1);
  cluster.Apply(CreateCommand("t", 1));
  cluster.Register(1, 2, 50);  // The disk was replaced while the session was still alive.
  EXPECT_EQ(0, cluster.Partition("t", 0).leader());
  cluster.Kill(1);
  cluster.Register(1, 2, 51);
  EXPECT_EQ(0, cluster.Partition("t", 0).leader());
  cluster.Register(1, 1, 52);  // The old disk is back.
  EXPECT_EQ(1, cluster.Partition("t", 0).leader());
}

TEST(ClusterStateTest, AReplacedDiskLeavesTheElrOfOthers) {
  TestCluster cluster;
  cluster.RegisterNodes(2);
  cluster.Apply(CreateCommand("t", 1, 2, 2));
  const int32_t first = cluster.Partition("t", 0).leader();
  const int32_t second = 3 - first;
  cluster.Kill(second);
  cluster.Register(second, 40, static_cast<uint64_t>(second));
  EXPECT_EQ(first, cluster.Partition("t", 0).leader());
  EXPECT_THAT(cluster.Partition("t", 0).isr(), ElementsAre(first));
  EXPECT_THAT(cluster.Partition("t", 0).elr(), IsEmpty());
}

TEST(ClusterStateTest, ALowerMinimumEmptiesTheElr) {
  TestCluster cluster;
  cluster.RegisterNodes(2);
  cluster.Apply(CreateCommand("t", 1, 2, 2));
  cluster.Kill(3 - cluster.Partition("t", 0).leader());
  ASSERT_EQ(1, cluster.Partition("t", 0).elr_size());
  pb::ClusterCommand command;
  command.mutable_update_topic()->set_name("t");
  command.mutable_update_topic()->mutable_settings()->set_min_in_sync_replicas(1);
  command.mutable_update_topic()->add_fields("min_in_sync_replicas");
  EXPECT_EQ(1, cluster.Apply(command).delta.topics(0).topic().partitions_size());
  EXPECT_THAT(cluster.Partition("t", 0).elr(), IsEmpty());
}

TEST(ClusterStateTest, ASnapshotBringsTheSameStateBack) {
  TestCluster cluster;
  cluster.RegisterNodes(3);
  cluster.Apply(CreateCommand("a", 4, 2, 2));
  cluster.Apply(CreateCommand("b", 1));
  cluster.Kill(2);
  const pb::ClusterState snapshot = cluster.state().Snapshot();
  absl::StatusOr<ClusterState> copy = ClusterState::FromSnapshot(snapshot);
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_EQ(snapshot.SerializeAsString(), copy->Snapshot().SerializeAsString());
  // And both go on in the same way.
  const auto command = RegisterCommand(2, 2, 60);
  const LogIndex next = copy->index() + 1;
  EXPECT_EQ(cluster.state().Apply(next, command).delta.SerializeAsString(),
            copy->Apply(next, command).delta.SerializeAsString());
  EXPECT_EQ(cluster.state().Snapshot().SerializeAsString(), copy->Snapshot().SerializeAsString());
}

TEST(ClusterStateTest, ADamagedSnapshotIsRefused) {
  TestCluster cluster;
  cluster.RegisterNodes(2);
  cluster.Apply(CreateCommand("t", 2, 2));
  const auto reason = [&cluster](auto damage) {
    pb::ClusterState snapshot = cluster.state().Snapshot();
    damage(&snapshot);
    return ReasonOf(ClusterState::FromSnapshot(snapshot).status());
  };
  using State = pb::ClusterState;
  const auto partition = [](State* s) { return s->mutable_topics(0)->mutable_partitions(0); };
  EXPECT_EQ(Reason::kNone, reason([](State*) {}));
  EXPECT_EQ(Reason::kCorruptRecord, reason([](State* s) { s->set_cluster_id("x"); }));
  EXPECT_EQ(Reason::kCorruptRecord, reason([](State* s) { s->clear_next_producer_id(); }));
  EXPECT_EQ(Reason::kCorruptRecord,
            reason([](State* s) { s->mutable_nodes(0)->set_session_id(1'000); }));
  EXPECT_EQ(Reason::kCorruptRecord, reason([](State* s) { *s->add_nodes() = s->nodes(0); }));
  EXPECT_EQ(Reason::kCorruptRecord, reason([](State* s) { *s->add_topics() = s->topics(0); }));
  EXPECT_EQ(Reason::kCorruptRecord, reason([&](State* s) { partition(s)->set_partition(7); }));
  EXPECT_EQ(Reason::kCorruptRecord, reason([&](State* s) { partition(s)->add_isr(9); }));
  EXPECT_EQ(Reason::kCorruptRecord, reason([&](State* s) { partition(s)->add_replicas(1); }));
  EXPECT_EQ(Reason::kCorruptRecord, reason([&](State* s) { partition(s)->set_leader(9); }));
  EXPECT_EQ(Reason::kCorruptRecord, reason([&](State* s) { partition(s)->clear_leader(); }));
  EXPECT_EQ(Reason::kCorruptRecord,
            reason([&](State* s) { partition(s)->add_isr(partition(s)->isr(0)); }));
  EXPECT_EQ(Reason::kCorruptRecord,
            reason([&](State* s) { partition(s)->add_elr(partition(s)->isr(0)); }));
  EXPECT_EQ(Reason::kCorruptRecord, reason([&](State* s) {
              for (int32_t node : {1, 1}) partition(s)->add_elr(node);
              partition(s)->clear_isr();
              partition(s)->clear_leader();
            }));
  EXPECT_EQ(Reason::kCorruptRecord,
            reason([](State* s) { s->mutable_nodes(0)->set_session_id(0); }));
}

}  // namespace
}  // namespace falaj::cluster
