// Three voters between whom nothing is lost: what their leader waits for, and whose turn it is to
// make a snapshot.
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/raft/test_cluster.h"

namespace falaj::raft {
namespace {

using ::testing::ElementsAre;

class ThreeVotersTest : public testing::Test {
 protected:
  void Start(size_t inflight_max = 64) {
    Restored empty;
    for (int id = 1; id <= 3; ++id) empty.snapshot.meta.mutable_membership()->add_voters(id);
    for (int id = 1; id <= 3; ++id) {
      Options options;
      options.self = NodeId(id);
      options.snapshot_entries = 12;
      options.inflight_max = inflight_max;
      cluster_.Add(options, empty);
    }
  }

  void Elect() {
    for (int ticks = 0; ticks < 100 && !leader().is_leader(); ++ticks) {
      leader().Tick();
      Settle();
    }
    ASSERT_TRUE(leader().is_leader());
  }

  RaftCore& leader() { return *cluster_.node(NodeId(1)).core; }

  bool AllIsQuiet() {
    const Answers awaited = leader().awaited_answers();
    return !awaited.to_heartbeats && !awaited.to_appends;
  }

  // Until everybody has applied `last`. Each makes its snapshots when they are due.
  void WriteUpTo(uint64_t last) {
    for (uint64_t index = leader().applied().value(); index < last; ++index) {
      ASSERT_TRUE(leader().Propose("x").ok());
      Settle();
      for (auto& [id, node] : cluster_.nodes()) {
        if (!node.core->SnapshotDue()) continue;
        ASSERT_TRUE(cluster_.TakeSnapshot(id).ok());
        made_at_[id].push_back(node.core->applied().value());
        ASSERT_FALSE(node.core->SnapshotDue());
      }
    }
  }

  std::vector<uint64_t> MadeAt(int id) { return made_at_[NodeId(id)]; }

  // Everything that any node is ready for. Returns the messages that follow from it.
  std::vector<pb::RaftMessage> CarryOut() {
    for (auto& [id, node] : cluster_.nodes()) {
      while (node.core->HasReady()) {
        cluster_.Take(id);
        cluster_.Finish(id);
      }
    }
    return std::exchange(cluster_.in_flight(), {});
  }

  void Deliver(const std::vector<pb::RaftMessage>& messages) {
    for (const pb::RaftMessage& message : messages) {
      if (NodeId(message.from()) == silent_) continue;
      ASSERT_TRUE(cluster_.Deliver(message).ok());
    }
  }

  void Settle() {
    while (true) {
      const std::vector<pb::RaftMessage> messages = CarryOut();
      if (messages.empty()) return;
      Deliver(messages);
    }
  }

  // The leader has a new entry on disk, and both followers have, too: what they say of it.
  std::vector<pb::RaftMessage> AnswersToAnEntry() {
    EXPECT_TRUE(leader().Propose("x").ok());
    EXPECT_TRUE(leader().awaited_answers().to_appends);
    Deliver(CarryOut());
    return CarryOut();
  }

  NodeId silent_;  // Nobody hears it.

 private:
  TestCluster cluster_;
  std::map<NodeId, std::vector<uint64_t>> made_at_;
};

TEST_F(ThreeVotersTest, SnapshotsAreMadeByOneAfterTheOther) {
  Start();
  ASSERT_NO_FATAL_FAILURE(Elect());
  ASSERT_NO_FATAL_FAILURE(WriteUpTo(40));
  EXPECT_THAT(MadeAt(1), ElementsAre(12, 24, 36));
  EXPECT_THAT(MadeAt(2), ElementsAre(3, 15, 27, 39));
  EXPECT_THAT(MadeAt(3), ElementsAre(6, 18, 30));
}

// Of three voters the second acknowledgement tells the leader nothing that it has to act on.
TEST_F(ThreeVotersTest, AcknowledgementsAreAwaitedUntilAllIsCommitted) {
  Start();
  ASSERT_NO_FATAL_FAILURE(Elect());
  EXPECT_TRUE(AllIsQuiet());
  const std::vector<pb::RaftMessage> answers = AnswersToAnEntry();
  ASSERT_EQ(answers.size(), 2u);
  for (const pb::RaftMessage& answer : answers) {
    EXPECT_EQ(WhatItAnswers(answer), AnswerTo::kAppend);
    EXPECT_EQ(answer.to(), 1);
  }
  EXPECT_TRUE(leader().awaited_answers().to_appends);
  Deliver({answers[0]});
  EXPECT_FALSE(leader().awaited_answers().to_appends);
  Deliver({answers[1]});
  EXPECT_TRUE(AllIsQuiet());
}

TEST_F(ThreeVotersTest, AnAcknowledgementIsAwaitedThatLetsMoreBeSent) {
  Start(/*inflight_max=*/1);
  ASSERT_NO_FATAL_FAILURE(Elect());
  ASSERT_TRUE(leader().Propose("x").ok());
  const std::vector<pb::RaftMessage> first = CarryOut();
  ASSERT_EQ(first.size(), 2u);
  ASSERT_TRUE(leader().Propose("y").ok());
  EXPECT_TRUE(CarryOut().empty()) << "both windows are full";
  // Node 2 commits both by itself.
  Deliver({first[0]});
  Deliver(CarryOut());
  Deliver(CarryOut());
  Deliver(CarryOut());
  ASSERT_EQ(leader().committed(), leader().last_index());
  EXPECT_TRUE(leader().awaited_answers().to_appends) << "node 3 is yet to be sent the second";
}

TEST_F(ThreeVotersTest, AnAcknowledgementIsAwaitedBehindWhichACommitCanBeTold) {
  Start(/*inflight_max=*/1);
  ASSERT_NO_FATAL_FAILURE(Elect());
  const std::vector<pb::RaftMessage> answers = AnswersToAnEntry();
  ASSERT_EQ(answers.size(), 2u);
  Deliver({answers[0]});
  ASSERT_EQ(leader().committed(), leader().last_index());
  EXPECT_TRUE(leader().awaited_answers().to_appends) << "the other's window is full";
  Deliver(CarryOut());
  Deliver({answers[1]});
  EXPECT_FALSE(leader().awaited_answers().to_appends);
}

TEST_F(ThreeVotersTest, AnAcknowledgementIsAwaitedThatLetsTheLeadBeHandedOver) {
  Start();
  ASSERT_NO_FATAL_FAILURE(Elect());
  const std::vector<pb::RaftMessage> answers = AnswersToAnEntry();
  ASSERT_EQ(answers.size(), 2u);
  Deliver({answers[0]});
  ASSERT_FALSE(leader().awaited_answers().to_appends);
  ASSERT_TRUE(leader().TransferLeadership(NodeId(answers[1].from())).ok());
  EXPECT_TRUE(leader().awaited_answers().to_appends);
}

TEST_F(ThreeVotersTest, AFollowerThatIsNotInStepIsHeardAtOnce) {
  Start();
  silent_ = NodeId(3);
  ASSERT_NO_FATAL_FAILURE(Elect());
  ASSERT_EQ(leader().committed(), leader().last_index());
  EXPECT_TRUE(leader().awaited_answers().to_appends);
  EXPECT_TRUE(leader().awaited_answers().to_heartbeats);
}

TEST(AnswersTest, ARefusalIsNoAnswerThatMayWait) {
  pb::RaftMessage message;
  message.set_type(pb::RAFT_MESSAGE_TYPE_APPEND_REPLY);
  EXPECT_EQ(WhatItAnswers(message), AnswerTo::kAppend);
  message.set_reject(true);
  EXPECT_EQ(WhatItAnswers(message), std::nullopt);
  message.set_reject(false);
  message.set_type(pb::RAFT_MESSAGE_TYPE_HEARTBEAT_REPLY);
  EXPECT_EQ(WhatItAnswers(message), AnswerTo::kHeartbeat);
  message.set_type(pb::RAFT_MESSAGE_TYPE_APPEND);
  EXPECT_EQ(WhatItAnswers(message), std::nullopt);
}

TEST(AnswersTest, AreASet) {
  for (const AnswerTo what : {AnswerTo::kHeartbeat, AnswerTo::kAppend}) {
    const AnswerTo other = what == AnswerTo::kAppend ? AnswerTo::kHeartbeat : AnswerTo::kAppend;
    Answers one, same, different;
    one.Add(what);
    same.Add(what);
    different.Add(other);
    EXPECT_TRUE(one.Has(what));
    EXPECT_FALSE(one.Has(other));
    EXPECT_TRUE(one.Intersects(same));
    EXPECT_FALSE(one.Intersects(different));
    EXPECT_FALSE(one.Intersects(Answers{}));
  }
}

}  // namespace
}  // namespace falaj::raft
