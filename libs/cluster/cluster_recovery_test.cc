// The cluster after the quorum was recovered: nobody leads before enough replicas have said what
// they hold, and then whoever holds most.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/random.h"
#include "libs/cluster/cluster_test_support.h"
#include "libs/cluster/cluster_view.h"
#include "libs/cluster/election.h"

namespace falaj::cluster::testing {
namespace {

using ::testing::ElementsAre;

class ClusterRecoveryTest : public OnePartitionTest {
 protected:
  struct Holds {
    int32_t last_epoch = 0;
    int64_t log_end = 0;
  };

  ClusterState::Applied BeginHistory(uint64_t recoveries = 1) {
    pb::ClusterCommand command;
    command.mutable_begin_history()->set_recoveries(recoveries);
    return cluster_.Apply(command);
  }
  // The node registers, in the same process unless `process` says another one, and says what it
  // holds.
  ClusterState::Applied Report(int32_t node, Holds holds, uint64_t recoveries = 1,
                               uint64_t process = 0) {
    const auto own = static_cast<uint64_t>(node);
    pb::ClusterCommand command = RegisterCommand(node, own, process == 0 ? own : process);
    command.mutable_register_node()->set_recoveries(recoveries);
    pb::StoredReplica* const replica = command.mutable_register_node()->add_replicas();
    replica->set_topic_id(cluster_.state().topics().at("t").topic_id());
    replica->set_last_epoch(holds.last_epoch);
    replica->set_log_end(holds.log_end);
    return cluster_.Apply(command);
  }
};

TEST_F(ClusterRecoveryTest, NobodyLeadsAndEpochsRiseFarAboveThoseOfBefore) {
  Start(3, 2);
  const pb::PartitionState before = partition();
  const auto begun = BeginHistory();
  ASSERT_TRUE(begun.response.ok());
  EXPECT_EQ(1u, begun.response->recoveries());
  EXPECT_EQ(1u, begun.delta.recoveries());
  EXPECT_EQ(0, partition().leader());
  EXPECT_TRUE(partition().isr().empty());
  EXPECT_TRUE(partition().elr().empty());
  EXPECT_EQ(before.leader_epoch() + kEpochsOfHistory, partition().leader_epoch());
  EXPECT_EQ(before.partition_epoch() + kEpochsOfHistory, partition().partition_epoch());
}

TEST_F(ClusterRecoveryTest, ProducerIdsOfTheLostHistoryAreNotHandedOutAgain) {
  pb::ClusterCommand allocate;
  allocate.mutable_allocate_producer_ids()->set_count(1'000);
  const int64_t before = cluster_.Apply(allocate).response->first_producer_id();
  BeginHistory();
  EXPECT_GT(cluster_.Apply(allocate).response->first_producer_id(), before + (int64_t{1} << 39));
}

TEST_F(ClusterRecoveryTest, ARecoveryThatIsKnownChangesNothing) {
  Start(3, 2);
  BeginHistory(2);
  pb::ClusterCommand again;
  again.mutable_begin_history()->set_recoveries(2);
  EXPECT_EQ(Reason::kNone, RefusalOf(&cluster_, again));
}

TEST_F(ClusterRecoveryTest, WhoRegistersIsAskedWhatItHolds) {
  Start(3, 2);
  BeginHistory();
  EXPECT_TRUE(cluster_.Apply(RegisterCommand(1, 1, 1)).response->report_wanted());
  EXPECT_EQ(0, partition().leader());
  EXPECT_FALSE(Report(1, {1, 10}).response->report_wanted());
  EXPECT_EQ(0, partition().leader()) << "the other two may have committed without it";
}

TEST_F(ClusterRecoveryTest, WhoHoldsMostOfEnoughReplicasLeads) {
  Start(3, 2);
  BeginHistory();
  Report(replicas_[0], {1, 10});
  Report(replicas_[1], {1, 12});
  EXPECT_EQ(replicas_[1], partition().leader());
  EXPECT_THAT(partition().isr(), ElementsAre(replicas_[1]));
  EXPECT_FALSE(partition().recovering());
  EXPECT_TRUE(partition().reports().empty());
  EXPECT_FALSE(cluster_.Apply(RegisterCommand(replicas_[2], static_cast<uint64_t>(replicas_[2]), 3))
                   .response->report_wanted());
}

TEST_F(ClusterRecoveryTest, ALaterEpochCountsMoreThanALongerLog) {
  Start(3, 2);
  BeginHistory();
  Report(replicas_[0], {1, 100});
  Report(replicas_[1], {2, 50});
  EXPECT_EQ(replicas_[1], partition().leader());
}

TEST_F(ClusterRecoveryTest, OfEqualsThePreferredOneLeads) {
  Start(3, 2);
  BeginHistory();
  Report(replicas_[2], {1, 10});
  Report(replicas_[1], {1, 10});
  EXPECT_EQ(replicas_[1], partition().leader());
}

TEST_F(ClusterRecoveryTest, WhereOneReplicaIsEnoughToCommitAllMustSpeak) {
  Start(3, 1);
  BeginHistory();
  Report(1, {1, 10});
  Report(2, {1, 10});
  EXPECT_EQ(0, partition().leader());
  Report(3, {1, 11});
  EXPECT_EQ(3, partition().leader());
}

TEST_F(ClusterRecoveryTest, WhoSpokeAndIsGoneDoesNotCount) {
  Start(3, 2);
  BeginHistory();
  Report(1, {1, 10});
  cluster_.Kill(1);
  Report(2, {1, 11});
  EXPECT_EQ(0, partition().leader());
  cluster_.Return(1);  // The same process: what it said holds.
  EXPECT_EQ(2, partition().leader());
}

TEST_F(ClusterRecoveryTest, WhoMayHaveLostRecordsSinceIsAskedAgain) {
  Start(3, 2);
  BeginHistory();
  Report(1, {1, 10});
  cluster_.Kill(1);
  EXPECT_TRUE(cluster_.Apply(RegisterCommand(1, 1, /*incarnation=*/9)).response->report_wanted());
  Report(2, {1, 8});
  EXPECT_EQ(0, partition().leader());
  Report(1, {1, 7}, 1, /*process=*/9);
  EXPECT_EQ(2, partition().leader());
}

// Its directory may be another one now: what it held is not there to be asked for.
TEST_F(ClusterRecoveryTest, ANodeWithoutTheReplicaIsNoWitness) {
  Start(2, 1);
  BeginHistory();
  Report(1, {1, 5});
  pb::ClusterCommand empty = RegisterCommand(2, 22, 22);
  empty.mutable_register_node()->set_recoveries(1);
  EXPECT_FALSE(cluster_.Apply(empty).response->report_wanted()) << "it has said so";
  EXPECT_EQ(0, partition().leader());
  Report(2, {1, 4}, 1, /*process=*/22);
  EXPECT_EQ(1, partition().leader());
}

TEST_F(ClusterRecoveryTest, AnEmptyLogIsNoWitness) {
  Start(3, 2);
  BeginHistory();
  Report(1, {0, 0});
  Report(2, {1, 5});
  EXPECT_EQ(0, partition().leader());
  Report(3, {1, 4});
  EXPECT_EQ(2, partition().leader());
}

TEST_F(ClusterRecoveryTest, TheNextEpochIsLaterThanEveryLogThatIsKnown) {
  Start(2, 1);
  BeginHistory();
  const int32_t beyond = partition().leader_epoch() + 7;
  Report(1, {beyond, 5});
  Report(2, {1, 9});
  EXPECT_EQ(1, partition().leader());
  EXPECT_GT(partition().leader_epoch(), beyond);
}

TEST_F(ClusterRecoveryTest, AnotherRecoveryAsksAnew) {
  Start(2, 1);
  BeginHistory(1);
  Report(1, {1, 10});
  const pb::PartitionState before = partition();
  BeginHistory(2);
  EXPECT_TRUE(partition().reports().empty());
  EXPECT_EQ(before.leader_epoch() + kEpochsOfHistory, partition().leader_epoch());
  Report(2, {1, 9}, 2);
  EXPECT_EQ(0, partition().leader()) << "what was said in the first one does not count";
  Report(1, {1, 10}, 2);
  EXPECT_EQ(1, partition().leader());
}

TEST_F(ClusterRecoveryTest, EpochsEndWithoutWrapping) {
  Start(1, 1);
  for (uint64_t recoveries = 1; recoveries < 3'000; ++recoveries) {
    const int32_t before = partition().leader_epoch();
    BeginHistory(recoveries);
    EXPECT_GE(partition().leader_epoch(), before);
  }
  Report(1, {1, 1}, 2'999);
  EXPECT_EQ(1, partition().leader());
}

TEST_F(ClusterRecoveryTest, WhoWasRegisteredBeforeDoesNotLeadBeforeItSpeaks) {
  Start(1, 1);
  BeginHistory();
  EXPECT_TRUE(cluster_.state().nodes().at(1).session_id() != 0);
  EXPECT_EQ(0, partition().leader());
  cluster_.Kill(1);
  cluster_.Return(1);
  EXPECT_EQ(0, partition().leader());
  Report(1, {1, 3});
  EXPECT_EQ(1, partition().leader());
}

TEST_F(ClusterRecoveryTest, NobodyIsTakenForInSyncByAnOldLeadersWord) {
  Start(3, 2);
  const pb::ClusterCommand old_word = AlterCommand(cluster_.state(), "t", 0, {replicas_[0]});
  BeginHistory();
  const auto applied = cluster_.Apply(old_word);
  ASSERT_TRUE(applied.response.ok());
  EXPECT_NE("", applied.response->isr_results(0).error_reason());
  EXPECT_TRUE(partition().isr().empty());
}

TEST_F(ClusterRecoveryTest, AMoveThatWasUnderWayGoesOn) {
  Start(2, 1);
  cluster_.Register(3, 3, 3);
  ASSERT_TRUE(cluster_.Apply(ReassignCommand("t", 0, {3, replicas_[0]})).response.ok());
  BeginHistory();
  EXPECT_EQ(Reason::kNotEnoughReplicas, RefusalOf(&cluster_, CancelCommand("t")));
  for (int32_t node : {1, 2, 3}) Report(node, {1, 10 + (node == replicas_[0] ? 1 : 0)});
  EXPECT_EQ(replicas_[0], partition().leader());
  EXPECT_EQ(2, partition().target_replicas_size());
  SetIsr({replicas_[0], 3});
  EXPECT_THAT(partition().replicas(), ElementsAre(3, replicas_[0]));
}

TEST_F(ClusterRecoveryTest, AWordFromAnotherHistoryDoesNotCount) {
  Start(2, 2);
  BeginHistory(1);
  BeginHistory(2);
  EXPECT_TRUE(Report(1, {1, 5}, 1).response->report_wanted());
  EXPECT_EQ(0, partition().leader());
  Report(1, {1, 5}, 2);
  EXPECT_EQ(1, partition().leader());
}

TEST_F(ClusterRecoveryTest, ATopicMayPreferGoingOnToWaiting) {
  Start(3, 2);
  pb::ClusterCommand update;
  update.mutable_update_topic()->set_name("t");
  *update.mutable_update_topic()->mutable_settings() = cluster_.state().topics().at("t").settings();
  update.mutable_update_topic()->mutable_settings()->set_unclean_election_after_ms(1'000);
  update.mutable_update_topic()->add_fields("unclean_election_after_ms");
  ASSERT_TRUE(cluster_.Apply(update).response.ok());
  BeginHistory();
  cluster_.Kill(3);
  Report(2, {1, 5});
  EXPECT_EQ(0, UncleanCandidate(cluster_.state().nodes(), partition())) << "1 will speak soon";
  cluster_.Kill(1);
  pb::ClusterCommand elect;
  pb::UncleanElection* const election = elect.mutable_elect_uncleanly()->add_elections();
  election->set_topic_id(cluster_.state().topics().at("t").topic_id());
  election->set_partition_epoch(partition().partition_epoch());
  cluster_.Apply(elect);
  EXPECT_EQ(2, partition().leader());
  EXPECT_FALSE(partition().recovering());
}

TEST_F(ClusterRecoveryTest, WhatIsRecoveringIsNotReassigned) {
  Start(2, 1);
  cluster_.Register(3, 3, 3);
  BeginHistory();
  pb::ClusterCommand reassign;
  pb::PartitionTarget* const target = reassign.mutable_reassign_partitions()->add_partitions();
  target->set_topic("t");
  target->add_replicas(3);
  target->add_replicas(1);
  EXPECT_EQ(Reason::kNotEnoughReplicas, RefusalOf(&cluster_, reassign));
}

// A partition before its quorum was lost, as its logs tell: each record is the epoch it is of. The
// rules are those of libs/replica, which the exploration of tests/simulation/data holds to the same
// promise, in every state of three replicas.
class LostHistory {
 public:
  LostHistory(uint64_t seed, int32_t replicas, int32_t min_in_sync)
      : random_(seed), min_in_sync_(static_cast<size_t>(min_in_sync)) {
    for (int32_t id = 1; id <= replicas; ++id) logs_[id] = {};
    for (const auto& [id, log] : logs_) isr_.push_back(id);
    for (int32_t epoch = 1; epoch <= 8; ++epoch) Reign(epoch);
  }

  const std::vector<int32_t>& LogOf(int32_t id) const { return logs_.at(id); }
  const std::vector<int32_t>& committed() const { return committed_; }

 private:
  // One of those in sync leads. Who follows is cut where its log parts from the leader's, and gets
  // some of the rest: who is in sync, all that is committed.
  void Reign(int32_t epoch) {
    const int32_t leader = isr_[random_.Below(isr_.size())];
    logs_[leader].insert(logs_[leader].end(), static_cast<size_t>(random_.Between(1, 4)), epoch);
    const std::vector<int32_t> whole = logs_[leader];
    std::vector<int32_t> in_sync;
    for (const auto& [id, log] : logs_) {
      if (id == leader || random_.Below(2) == 0) in_sync.push_back(id);
    }
    // Below the minimum nothing is committed, and those of before stay eligible.
    const bool commits = in_sync.size() >= min_in_sync_;
    const size_t before = committed_.size();
    // Nothing before all in sync hold the start of its own epoch (Replica::AdvanceHighWatermark).
    const auto own = std::find(whole.begin(), whole.end(), epoch) - whole.begin();
    const size_t least = static_cast<size_t>(own) + 1;
    const bool begins = random_.Below(4) == 0;
    const size_t high =
        !commits || begins ? before : least + random_.Below(whole.size() - least + 1);
    for (auto& [id, log] : logs_) {
      const bool must = std::find(in_sync.begin(), in_sync.end(), id) != in_sync.end();
      if (id == leader || (!must && random_.Below(2) == 0)) continue;
      log = Follow(log, whole, must ? high : 0);
    }
    if (!commits) return;
    isr_ = in_sync;
    committed_ = Beginning(whole, high);
  }

  static std::vector<int32_t> Beginning(const std::vector<int32_t>& log, size_t size) {
    return {log.begin(), log.begin() + static_cast<ptrdiff_t>(size)};
  }
  std::vector<int32_t> Follow(const std::vector<int32_t>& own, const std::vector<int32_t>& leaders,
                              size_t at_least) {
    const auto parts = std::mismatch(own.begin(), own.end(), leaders.begin(), leaders.end());
    const size_t least = std::max(at_least, static_cast<size_t>(parts.first - own.begin()));
    return Beginning(leaders, least + random_.Below(leaders.size() - least + 1));
  }

  Random random_;
  const size_t min_in_sync_;
  std::map<int32_t, std::vector<int32_t>> logs_;
  std::vector<int32_t> isr_;
  std::vector<int32_t> committed_;
};

TEST_F(ClusterRecoveryTest, WhoeverLeadsHoldsAllThatWasCommitted) {
  int led = 0;
  for (uint64_t seed = 1; seed <= 2'000; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    const auto nodes = static_cast<int32_t>(random.Between(1, 5));
    const auto minimum = static_cast<int32_t>(random.Between(1, nodes));
    const LostHistory lost(seed, nodes, minimum);
    cluster_ = TestCluster();
    Start(nodes, minimum);
    BeginHistory();
    std::vector<int32_t> order = replicas_;
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.Below(i)]);
    for (int32_t node : order) {
      if (partition().leader() != 0) break;
      const std::vector<int32_t>& log = lost.LogOf(node);
      Report(node, {log.empty() ? 0 : log.back(), static_cast<int64_t>(log.size())});
    }
    if (partition().leader() == 0) continue;  // Some have never held anything.
    ++led;
    const std::vector<int32_t>& log = lost.LogOf(partition().leader());
    ASSERT_GE(log.size(), lost.committed().size());
    ASSERT_TRUE(std::equal(lost.committed().begin(), lost.committed().end(), log.begin()));
  }
  EXPECT_GT(led, 1'000);
}

TEST_F(ClusterRecoveryTest, ASnapshotRemembersWhatWasSaid) {
  Start(3, 2);
  BeginHistory();
  Report(1, {1, 10});
  const auto restored = ClusterState::FromSnapshot(cluster_.state().Snapshot());
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(cluster_.state().Snapshot().SerializeAsString(),
            restored->Snapshot().SerializeAsString());
}

TEST_F(ClusterRecoveryTest, AViewOfALaterHistoryIsNewerWhateverItsIndex) {
  Start(1, 1);
  internal::v1::WatchClusterResponse of_before;
  *of_before.mutable_snapshot() = cluster_.state().Snapshot();
  of_before.mutable_snapshot()->set_index(1'000);
  const auto view = ClusterView::Advance(nullptr, of_before);
  ASSERT_TRUE(view.ok());
  BeginHistory();
  internal::v1::WatchClusterResponse of_now;
  *of_now.mutable_snapshot() = cluster_.state().Snapshot();
  const auto next = ClusterView::Advance(*view, of_now);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(1u, (*next)->recoveries());
  EXPECT_FALSE(ClusterView::Advance(*next, of_before).ok());
}

}  // namespace
}  // namespace falaj::cluster::testing
