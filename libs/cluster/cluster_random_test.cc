// Random commands, thousands of them: the invariants of ClusterState hold after each one, and a
// view that follows the deltas always equals one made from a snapshot.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/cluster/cluster_random_test_commands.h"
#include "libs/cluster/cluster_test_support.h"
#include "libs/cluster/cluster_view.h"
#include "libs/cluster/election.h"
#include "libs/cluster/reassignment.h"

namespace falaj::cluster {
namespace {

using testing::CommandSource;
using testing::InitCommand;
namespace pb = ::falaj::internal::v1;

// What is going on fits together, and nothing is going on that could have ended.
void CheckReassignment(const ClusterState& state, int32_t min_in_sync,
                       const pb::PartitionState& partition) {
  for (int32_t node : partition.target_replicas()) {
    EXPECT_TRUE(Contains(partition.replicas(), node));
  }
  for (int32_t node : partition.adding_replicas()) {
    EXPECT_TRUE(Contains(partition.target_replicas(), node));
  }
  EXPECT_FALSE(SettledReplicas(partition).empty());
  pb::PartitionState copy = partition;
  EXPECT_FALSE(Settle(state.nodes(), min_in_sync, &copy));
}

// While nobody knows who is in sync nobody is, and at no other time is anybody asked.
void CheckReports(const pb::PartitionState& partition) {
  std::set<int32_t> heard;
  for (const pb::ReplicaReport& report : partition.reports()) {
    EXPECT_TRUE(Contains(partition.replicas(), report.node_id()));
    EXPECT_TRUE(heard.insert(report.node_id()).second);
  }
  if (!partition.recovering()) {
    EXPECT_TRUE(heard.empty());
    return;
  }
  EXPECT_EQ(0, partition.leader());
  EXPECT_TRUE(partition.elr().empty());
  EXPECT_TRUE(partition.last_leader_directory().empty());
}

void CheckPartition(const ClusterState& state, int32_t min_in_sync,
                    const pb::PartitionState& partition) {
  const std::set<int32_t> replicas(partition.replicas().begin(), partition.replicas().end());
  EXPECT_EQ(static_cast<int>(replicas.size()), partition.replicas_size());
  for (int32_t node : partition.isr()) {
    EXPECT_EQ(1u, replicas.count(node));
    EXPECT_FALSE(Contains(partition.elr(), node));
    EXPECT_TRUE(IsAlive(state.nodes(), node)) << "a dead node left the ISR";
  }
  for (int32_t node : partition.elr()) EXPECT_EQ(1u, replicas.count(node));
  EXPECT_TRUE(partition.isr_size() < min_in_sync || partition.elr().empty());
  CheckReassignment(state, min_in_sync, partition);
  CheckReports(partition);
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
        EXPECT_LE(seen.leader_epoch, partition.leader_epoch());
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
  EXPECT_EQ(a.recoveries(), b.recoveries());
  ASSERT_EQ(a.nodes().size(), b.nodes().size());
  for (const auto& [id, node] : a.nodes()) {
    EXPECT_EQ(node.epoch, b.FindNode(id)->epoch);
    EXPECT_EQ(node.session, b.FindNode(id)->session);
    EXPECT_EQ(node.stopping, b.FindNode(id)->stopping);
    EXPECT_EQ(node.draining, b.FindNode(id)->draining);
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
      EXPECT_EQ(topic->partitions[i].elr, other->partitions[i].elr);
      EXPECT_EQ(topic->partitions[i].unclean_epoch, other->partitions[i].unclean_epoch);
      EXPECT_EQ(topic->partitions[i].target, other->partitions[i].target);
      EXPECT_EQ(topic->partitions[i].adding, other->partitions[i].adding);
    }
  }
}

using Partitions = std::map<std::pair<std::string, int32_t>, pb::PartitionState>;

// By topic id and index.
Partitions PartitionsOf(const ClusterState& state) {
  Partitions partitions;
  for (const auto& [name, topic] : state.topics()) {
    for (const pb::PartitionState& partition : topic.partitions()) {
      partitions[{topic.topic_id(), partition.partition()}] = partition;
    }
  }
  return partitions;
}

pb::TopicSettings SettingsOf(const ClusterState& state, const std::string& topic_id) {
  for (const auto& [name, topic] : state.topics()) {
    if (topic.topic_id() == topic_id) return topic.settings();
  }
  return {};
}

// How often the commands did something, so that the test cannot pass by refusals alone.
struct Tally {
  int shrunk = 0;
  int expanded = 0;
  int refused_changes = 0;
  int ineligible = 0;
  int relieved = 0;
  int kept_leading = 0;
  int moved = 0;
  int begun = 0;
  int settled = 0;
  int cancelled = 0;
  int drained = 0;
  int given_up = 0;
  int best_copy = 0;
  int unclean = 0;
  int lost = 0;
  int recovered = 0;
};

bool AnyStaying(const ClusterState& state, const pb::PartitionState& partition) {
  for (int32_t node : partition.isr()) {
    if (IsStaying(state.nodes(), node)) return true;
  }
  return false;
}

// A node that is stopping joins no ISR, and leads anew only where nobody in sync stays: alone, as
// the winner of an election among those who are left.
void CheckStopping(const ClusterState& state, const pb::PartitionState& before,
                   const pb::PartitionState& after) {
  for (int32_t node : after.isr()) {
    if (IsStaying(state.nodes(), node) || Contains(before.isr(), node)) continue;
    EXPECT_EQ(1, after.isr_size()) << node;
    EXPECT_EQ(node, after.leader());
    EXPECT_TRUE(before.isr().empty() || before.leader() != after.leader());
  }
  if (after.leader() == 0 || after.leader() == before.leader()) return;
  EXPECT_TRUE(IsStaying(state.nodes(), after.leader()) || !AnyStaying(state, after));
}

// Each change did what it asked for, or nothing.
void CheckAltered(const pb::AlterIsrCommand& command, const pb::ExecuteResponse& response,
                  const Partitions& before, const Partitions& after, Tally* tally) {
  ASSERT_EQ(command.changes_size(), response.isr_results_size());
  for (int i = 0; i < command.changes_size(); ++i) {
    const pb::IsrChange& change = command.changes(i);
    const pb::IsrResult& result = response.isr_results(i);
    const pb::PartitionState& old = before.at({change.topic_id(), change.partition()});
    const pb::PartitionState& now = after.at({change.topic_id(), change.partition()});
    const bool settled = IsReassigning(old) && !IsReassigning(now);
    if (settled) {
      EXPECT_GT(now.partition_epoch(), result.partition_epoch());
      EXPECT_TRUE(result.error_reason().empty());
      EXPECT_EQ(change.isr_size(), result.isr_size());
      continue;
    }
    EXPECT_EQ(now.partition_epoch(), result.partition_epoch());
    EXPECT_EQ(old.leader(), now.leader());
    EXPECT_EQ(old.leader_epoch(), now.leader_epoch());
    if (!result.error_reason().empty()) {
      EXPECT_EQ(old.SerializeAsString(), now.SerializeAsString());
      ++tally->refused_changes;
      if (result.error_reason() == "INELIGIBLE_REPLICA") ++tally->ineligible;
      continue;
    }
    ASSERT_EQ(change.isr_size(), now.isr_size());
    for (const pb::IsrMember& member : change.isr()) {
      EXPECT_TRUE(Contains(now.isr(), member.node_id()));
    }
    if (now.isr_size() < old.isr_size()) ++tally->shrunk;
    if (now.isr_size() > old.isr_size()) ++tally->expanded;
  }
}

// Who gives up its copy is known to hold nothing, and nothing that it has said counts any more.
void CheckGivenUp(const pb::ReportDamageCommand& command, const pb::ExecuteResponse& response,
                  const Partitions& before, const Partitions& after, Tally* tally) {
  ASSERT_EQ(1, response.damage_results_size());
  const pb::DamagedReplica& damaged = command.replicas(0);
  const pb::PartitionState& old = before.at({damaged.topic_id(), damaged.partition()});
  const pb::PartitionState& now = after.at({damaged.topic_id(), damaged.partition()});
  const std::string& reason = response.damage_results(0).error_reason();
  if (!reason.empty()) {
    EXPECT_EQ(old.SerializeAsString(), now.SerializeAsString());
    if (reason == "NOT_ENOUGH_REPLICAS") ++tally->best_copy;
    return;
  }
  ++tally->given_up;
  EXPECT_FALSE(Contains(now.isr(), command.node_id()));
  EXPECT_FALSE(Contains(now.elr(), command.node_id()));
  EXPECT_NE(0, now.leader());
  EXPECT_NE(command.node_id(), now.leader());
  EXPECT_LT(old.leader_epoch(), now.leader_epoch());
  for (int32_t node : now.isr()) {
    EXPECT_TRUE(Contains(old.isr().empty() ? old.elr() : old.isr(), node) ||
                Contains(old.elr(), node) || old.recovering());
  }
}

// The node leads nothing that somebody else may lead, and nobody waits for it who could do without.
void CheckRelieved(const ClusterState& state, int32_t node, const pb::ExecuteResponse& response,
                   Tally* tally) {
  int led = 0;
  for (const auto& [name, topic] : state.topics()) {
    for (const pb::PartitionState& partition : topic.partitions()) {
      if (partition.leader() == node) {
        ++led;
        EXPECT_FALSE(AnyStaying(state, partition));
      } else if (Contains(partition.isr(), node)) {
        EXPECT_LE(partition.isr_size(), topic.settings().min_in_sync_replicas());
      }
    }
  }
  EXPECT_EQ(led, response.partitions_led());
  ++(led == 0 ? tally->relieved : tally->kept_leading);
}

// Replicas come and go without anybody losing what is committed, or the leader without a successor.
void CheckMoves(const pb::ClusterCommand& command, int32_t min_in_sync,
                const pb::PartitionState& before, const pb::PartitionState& after, Tally* tally) {
  const bool operators = command.has_reassign_partitions() || command.has_cancel_reassignments() ||
                         command.has_set_node_draining() || command.has_update_topic();
  if (operators || command.has_alter_isr()) {
    EXPECT_EQ(before.leader() == 0, after.leader() == 0);
  }
  if (operators) {
    for (int32_t node : after.isr()) EXPECT_TRUE(Contains(before.isr(), node));
    for (int32_t node : after.elr()) EXPECT_TRUE(Contains(before.elr(), node));
  }
  bool some_left = false;
  for (int32_t node : before.replicas()) some_left |= !Contains(after.replicas(), node);
  if (some_left && before.leader() != 0) {
    EXPECT_LT(before.leader_epoch(), after.leader_epoch());
  }
  if (!IsReassigning(before) && IsReassigning(after)) ++tally->begun;
  if (!IsReassigning(before) || IsReassigning(after)) return;
  if (command.has_cancel_reassignments()) {
    ++tally->cancelled;
    const auto settled = SettledReplicas(before);
    EXPECT_TRUE(std::equal(settled.begin(), settled.end(), after.replicas().begin(),
                           after.replicas().end()));
  } else if (!operators) {
    ++tally->settled;
    EXPECT_GE(after.isr_size(), std::min(min_in_sync, after.replicas_size()));
    const auto& target = before.target_replicas();
    EXPECT_TRUE(
        std::equal(target.begin(), target.end(), after.replicas().begin(), after.replicas().end()));
  }
}

// Only one command elects uncleanly, and only where a topic lets it and nobody leads.
void CheckUnclean(const ClusterState& state, const pb::ClusterCommand& command,
                  const pb::PartitionState& before, const pb::PartitionState& after, bool allowed,
                  Tally* tally) {
  const bool might = command.has_elect_uncleanly() && allowed;
  EXPECT_EQ(might && UncleanCandidate(state.nodes(), before) != 0,
            before.unclean_epoch() != after.unclean_epoch());
  if (before.unclean_epoch() == after.unclean_epoch()) return;
  ++tally->unclean;
  if (!before.recovering()) {  // Else a log may have been of a later epoch than was known.
    EXPECT_EQ(before.leader_epoch() + 1, after.unclean_epoch());
  }
  EXPECT_LT(before.leader_epoch(), after.unclean_epoch());
  EXPECT_LE(after.unclean_epoch(), after.leader_epoch());
  EXPECT_TRUE(IsAlive(state.nodes(), after.leader()));
  EXPECT_EQ(1, after.isr_size());
  EXPECT_TRUE(after.elr().empty());
}

// The last epoch of a log and its end, by node.
using Stored = std::map<int32_t, std::pair<int32_t, int64_t>>;

// What the replicas that are there hold, as far as they have said so, the sender of the command
// included.
Stored StoredBy(const ClusterState& state, const pb::ClusterCommand& command,
                const std::pair<std::string, int32_t>& id, const pb::PartitionState& before) {
  Stored stored;
  for (const pb::ReplicaReport& report : before.reports()) {
    stored[report.node_id()] = {report.last_epoch(), report.log_end()};
  }
  const pb::RegisterNodeCommand& node = command.register_node();
  if (command.has_register_node() && node.recoveries() == state.recoveries() &&
      Contains(before.replicas(), node.node_id())) {
    stored[node.node_id()] = {};
    for (const pb::StoredReplica& one : node.replicas()) {
      if (std::pair(one.topic_id(), one.partition()) != id) continue;
      stored[node.node_id()] = {one.last_epoch(), one.log_end()};
    }
  }
  std::erase_if(stored, [&state](const auto& one) {
    return !IsAlive(state.nodes(), one.first) || one.second == std::pair(0, int64_t{0});
  });
  return stored;
}

// After a recovery of the quorum whoever leads first holds most of all that have spoken, and so
// many have that one of them must hold whatever is committed.
void CheckRecovery(const ClusterState& state, const pb::ClusterCommand& command,
                   const std::pair<std::string, int32_t>& id, const pb::PartitionState& before,
                   const pb::PartitionState& after, Tally* tally) {
  if (command.has_begin_history() && before.partition_epoch() != after.partition_epoch()) {
    ++tally->lost;
    EXPECT_TRUE(after.recovering());
    EXPECT_TRUE(after.reports().empty());
    EXPECT_EQ(before.leader_epoch() + kEpochsOfHistory, after.leader_epoch());
    return;
  }
  EXPECT_TRUE(before.recovering() || !after.recovering());
  if (!before.recovering() || after.recovering() || command.has_elect_uncleanly()) return;
  ++tally->recovered;
  const Stored stored = StoredBy(state, command, id, before);
  ASSERT_TRUE(stored.contains(after.leader())) << after.leader();
  // Who registers without a word may have lost what it said before.
  const pb::RegisterNodeCommand& sender = command.register_node();
  const int32_t unsure = sender.recoveries() == state.recoveries() ? 0 : sender.node_id();
  for (const auto& [node, held] : stored) {
    if (node == unsure) continue;
    EXPECT_LE(held, stored.at(after.leader()));
    EXPECT_LT(held.first, after.leader_epoch());
  }
  const int32_t minimum = SettingsOf(state, id.first).min_in_sync_replicas();
  EXPECT_GT(static_cast<int>(stored.size()),
            before.replicas_size() - std::clamp(minimum, 1, before.replicas_size()));
}

void CheckDrained(const ClusterState& state, int32_t node) {
  for (const auto& [name, topic] : state.topics()) {
    for (const pb::PartitionState& partition : topic.partitions()) {
      EXPECT_FALSE(Contains(WantedReplicas(partition), node));
    }
  }
}

void CheckEffect(const ClusterState& state, const Partitions& before,
                 const pb::ClusterCommand& command, const ClusterState::Applied& applied,
                 Tally* tally) {
  const Partitions after = PartitionsOf(state);
  for (const auto& [id, partition] : after) {
    const auto old = before.find(id);
    CheckStopping(state, old == before.end() ? pb::PartitionState() : old->second, partition);
    const bool elects = command.has_elect_leaders() && old != before.end();
    if (elects && old->second.leader() != partition.leader()) ++tally->moved;
    if (old == before.end()) continue;
    const pb::TopicSettings settings = SettingsOf(state, id.first);
    CheckMoves(command, settings.min_in_sync_replicas(), old->second, partition, tally);
    CheckUnclean(state, command, old->second, partition, settings.unclean_election_after_ms() != 0,
                 tally);
    CheckRecovery(state, command, id, old->second, partition, tally);
  }
  if (!applied.response.ok()) return;
  if (command.has_alter_isr()) {
    CheckAltered(command.alter_isr(), *applied.response, before, after, tally);
  } else if (command.has_prepare_stop()) {
    CheckRelieved(state, command.prepare_stop().node_id(), *applied.response, tally);
  } else if (command.has_report_damage()) {
    CheckGivenUp(command.report_damage(), *applied.response, before, after, tally);
  } else if (command.set_node_draining().draining()) {
    CheckDrained(state, command.set_node_draining().node_id());
    ++tally->drained;
  }
}

void RunSeed(uint64_t seed, Tally* tally) {
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  CommandSource source(seed);
  ClusterState state;
  state.Apply(LogIndex(1), InitCommand());
  ClusterView::Ptr view = *ClusterView::FromSnapshot(state.Snapshot());
  Epochs epochs;
  for (int i = 0; i < 400; ++i) {
    const pb::ClusterState before = state.Snapshot();
    const Partitions partitions = PartitionsOf(state);
    const pb::ClusterCommand command = source.Next(state);
    ClusterState::Applied applied = state.Apply(state.index() + 1, command);
    for (const auto& [name, topic] : state.topics()) {
      for (const auto& partition : topic.partitions()) {
        CheckPartition(state, topic.settings().min_in_sync_replicas(), partition);
      }
    }
    epochs.Check(state);
    CheckEffect(state, partitions, command, applied, tally);

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
  Tally tally;
  for (uint64_t seed = 1; seed <= 180 && !HasFailure(); ++seed) RunSeed(seed, &tally);
  if (HasFailure()) return;
  EXPECT_LT(50, tally.shrunk);
  EXPECT_LT(50, tally.expanded);
  EXPECT_LT(50, tally.refused_changes);
  EXPECT_LT(50, tally.ineligible);
  EXPECT_LT(50, tally.relieved);
  EXPECT_LT(50, tally.kept_leading);
  EXPECT_LT(50, tally.moved);
  EXPECT_LT(50, tally.begun);
  EXPECT_LT(50, tally.settled);
  EXPECT_LT(50, tally.cancelled);
  EXPECT_LT(50, tally.drained);
  EXPECT_LT(30, tally.given_up);
  EXPECT_LT(30, tally.best_copy);
  EXPECT_LT(30, tally.unclean);
  EXPECT_LT(50, tally.lost);
  EXPECT_LT(50, tally.recovered);
}

}  // namespace
}  // namespace falaj::cluster
