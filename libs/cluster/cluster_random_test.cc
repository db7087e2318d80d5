// Random commands, thousands of them: the invariants of ClusterState hold after each one, and a
// view that follows the deltas always equals one made from a snapshot.

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "absl/strings/str_cat.h"

#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/cluster/cluster_test_support.h"
#include "libs/cluster/cluster_view.h"
#include "libs/cluster/election.h"

namespace falaj::cluster {
namespace {

using testing::CreateCommand;
using testing::EndCommand;
using testing::InitCommand;
using testing::RegisterCommand;
namespace pb = ::falaj::internal::v1;

// Draws commands, some of them senseless.
class CommandSource {
 public:
  explicit CommandSource(uint64_t seed) : random_(seed) {}

  pb::ClusterCommand Next(const ClusterState& state) {
    switch (random_.Below(8)) {
      case 0:
      case 1:
        return Register(state);
      case 2:
      case 3:
        return EndCommand(random_.Between(0, 40));
      case 4:
        return CreateCommand(Name(), Int(0, 5), Int(0, 4), Int(0, 3));
      case 5: {
        pb::ClusterCommand command;
        command.mutable_delete_topic()->set_name(Name());
        return command;
      }
      case 6: {
        pb::ClusterCommand command;
        command.mutable_add_partitions()->set_name(Name());
        command.mutable_add_partitions()->set_partition_count(Int(0, 8));
        return command;
      }
      default: {
        pb::ClusterCommand command;
        pb::UpdateTopicCommand* const update = command.mutable_update_topic();
        update->set_name(Name());
        update->mutable_settings()->set_min_in_sync_replicas(Int(0, 4));
        update->add_fields("min_in_sync_replicas");
        return command;
      }
    }
  }

 private:
  int32_t Int(int64_t low, int64_t high) {
    return static_cast<int32_t>(random_.Between(low, high));
  }
  std::string Name() { return absl::StrCat("t", random_.Below(6)); }
  pb::ClusterCommand Register(const ClusterState& state) {
    const int32_t id = Int(1, 5);
    // Mostly the node's own directory, sometimes a fresh one, sometimes somebody else's.
    const auto directory = static_cast<uint64_t>(random_.Below(10) == 0 ? Int(1, 10) : id);
    const auto node = state.nodes().find(id);
    const bool clean = node != state.nodes().end() && random_.Below(2) == 0;
    return RegisterCommand(id, directory, random_.Below(3), clean ? node->second.node_epoch() : 0);
  }

  Random random_;
};

void CheckPartition(const ClusterState& state, const pb::PartitionState& partition) {
  const std::set<int32_t> replicas(partition.replicas().begin(), partition.replicas().end());
  EXPECT_EQ(static_cast<int>(replicas.size()), partition.replicas_size());
  for (int32_t node : partition.isr()) {
    EXPECT_EQ(1u, replicas.count(node));
    EXPECT_FALSE(Contains(partition.elr(), node));
    EXPECT_TRUE(IsAlive(state.nodes(), node)) << "a dead node left the ISR";
  }
  for (int32_t node : partition.elr()) EXPECT_EQ(1u, replicas.count(node));
  if (partition.leader() == 0) {
    EXPECT_TRUE(partition.isr().empty());
  } else {
    EXPECT_TRUE(Contains(partition.isr(), partition.leader()));
    EXPECT_TRUE(partition.last_leader_directory().empty());
  }
}

// What may only rise.
class Epochs {
 public:
  void Check(const ClusterState& state) {
    for (const auto& [id, node] : state.nodes()) {
      EXPECT_LE(node_epochs_[id], node.node_epoch());
      node_epochs_[id] = node.node_epoch();
    }
    for (const auto& [name, topic] : state.topics()) {
      for (const pb::PartitionState& partition : topic.partitions()) {
        Seen& seen = seen_[{topic.topic_id(), partition.partition()}];
        EXPECT_LE(seen.partition_epoch, partition.partition_epoch());
        if (seen.leader != 0 && seen.leader != partition.leader()) {
          EXPECT_LT(seen.leader_epoch, partition.leader_epoch());
        }
        if (seen.bytes != partition.SerializeAsString()) {
          EXPECT_LT(seen.partition_epoch, partition.partition_epoch());
        }
        seen = {partition.leader(), partition.leader_epoch(), partition.partition_epoch(),
                partition.SerializeAsString()};
      }
    }
  }

 private:
  struct Seen {
    int32_t leader = 0;
    int32_t leader_epoch = 0;
    int64_t partition_epoch = 0;
    std::string bytes;
  };
  std::map<int32_t, int64_t> node_epochs_;
  std::map<std::pair<std::string, int32_t>, Seen> seen_;
};

void ExpectSameViews(const ClusterView& a, const ClusterView& b) {
  ASSERT_EQ(a.index(), b.index());
  ASSERT_EQ(a.nodes().size(), b.nodes().size());
  for (const auto& [id, node] : a.nodes()) {
    EXPECT_EQ(node.epoch, b.FindNode(id)->epoch);
    EXPECT_EQ(node.session, b.FindNode(id)->session);
  }
  ASSERT_EQ(a.topics().size(), b.topics().size());
  for (const auto& [name, topic] : a.topics()) {
    const TopicInfo* const other = b.FindTopic(name);
    ASSERT_NE(nullptr, other);
    ASSERT_EQ(topic->id, other->id);
    ASSERT_EQ(other, b.FindTopic(topic->id));
    ASSERT_EQ(topic->partitions.size(), other->partitions.size());
    EXPECT_EQ(topic->settings.SerializeAsString(), other->settings.SerializeAsString());
    for (size_t i = 0; i < topic->partitions.size(); ++i) {
      EXPECT_EQ(topic->partitions[i].partition_epoch, other->partitions[i].partition_epoch);
      EXPECT_EQ(topic->partitions[i].leader, other->partitions[i].leader);
      EXPECT_EQ(topic->partitions[i].isr, other->partitions[i].isr);
    }
  }
}

void RunSeed(uint64_t seed) {
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  CommandSource source(seed);
  ClusterState state;
  state.Apply(LogIndex(1), InitCommand());
  ClusterView::Ptr view = *ClusterView::FromSnapshot(state.Snapshot());
  Epochs epochs;
  for (int i = 0; i < 300; ++i) {
    const pb::ClusterState before = state.Snapshot();
    const pb::ClusterCommand command = source.Next(state);
    ClusterState::Applied applied = state.Apply(state.index() + 1, command);
    for (const auto& [name, topic] : state.topics()) {
      for (const auto& partition : topic.partitions()) CheckPartition(state, partition);
    }
    epochs.Check(state);

    pb::WatchClusterResponse event;
    event.set_index(applied.delta.index());
    *event.mutable_delta() = applied.delta;
    absl::StatusOr<ClusterView::Ptr> next = ClusterView::Advance(view, event);
    ASSERT_TRUE(next.ok()) << next.status();
    view = *next;
    ExpectSameViews(*view, **ClusterView::FromSnapshot(state.Snapshot()));

    absl::StatusOr<ClusterState> twin = ClusterState::FromSnapshot(before);
    ASSERT_TRUE(twin.ok()) << twin.status();
    twin->Apply(state.index(), command);
    ASSERT_EQ(state.Snapshot().SerializeAsString(), twin->Snapshot().SerializeAsString());
    if (::testing::Test::HasFailure()) FAIL() << command.ShortDebugString();
  }
}

TEST(ClusterRandomTest, InvariantsHoldUnderRandomCommands) {
  for (uint64_t seed = 1; seed <= 30 && !HasFailure(); ++seed) RunSeed(seed);
}

}  // namespace
}  // namespace falaj::cluster
