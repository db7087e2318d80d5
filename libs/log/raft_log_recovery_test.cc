// A node that joins, and the offline recovery of a lost majority.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "libs/log/raft_log_fixture.h"
#include "libs/raft/raft_core.h"

namespace falaj::log {
namespace {

class RaftLogRecoveryTest : public RaftLogTest {
 protected:
  RaftLogRecoveryTest() { options_.initial_membership.voters = {NodeId(1), NodeId(2), NodeId(3)}; }

  absl::StatusOr<RaftLog::Recovery> Recover(const std::string& address = "one:9301") {
    log_.reset();
    return RaftLog::RecoverQuorum(options_, address);
  }
  std::unique_ptr<raft::RaftCore> StartCore() {
    raft::Options options;
    options.self = options_.node_id;
    auto core = raft::RaftCore::Create(options, std::move(restored_));
    EXPECT_TRUE(core.ok()) << core.status();
    return *std::move(core);
  }
  // Carries out what the core asks for; returns the commands it applies.
  std::vector<std::string> Run(raft::RaftCore* core) {
    std::vector<std::string> applied;
    while (core->HasReady()) {
      const raft::Ready ready = core->TakeReady();
      EXPECT_TRUE(log_->Persist(ready).ok());
      core->Persisted(ready.number);
      for (const pb::RaftEntry& entry : ready.committed_entries) {
        if (entry.type() == pb::RAFT_ENTRY_TYPE_COMMAND) applied.push_back(entry.data());
        core->Applied(LogIndex(entry.index()));
      }
    }
    return applied;
  }
};

TEST_F(RaftLogRecoveryTest, TheNodeBecomesTheOnlyVoterAndCommitsWhatItHolds) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 5, 3, 2);
  EXPECT_EQ(log_->incarnation(), 0u);
  const auto done = Recover();
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->last_index, LogIndex(6));
  EXPECT_EQ(done->term, Term(4));
  EXPECT_EQ(done->entries_not_known_committed, 3u);
  EXPECT_EQ(done->former_voters, (std::vector<NodeId>{NodeId(1), NodeId(2), NodeId(3)}));
  EXPECT_EQ(done->incarnation, 1u);

  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(log_->incarnation(), 1u);
  EXPECT_EQ(RestoredLog(), "1/3 2/3 3/3 4/3 5/3 6/4");
  const auto core = StartCore();
  EXPECT_EQ(Run(core.get()), (std::vector<std::string>{"e1", "e2", "e3", "e4", "e5"}));
  EXPECT_TRUE(core->is_leader());
  EXPECT_EQ(core->membership().voters, std::vector<NodeId>{NodeId(1)});
  EXPECT_EQ(core->membership().addresses.at(NodeId(1)), "one:9301");
  EXPECT_EQ(core->membership().directories.at(NodeId(1)), log_->directory_id());
  ASSERT_TRUE(core->Propose("onwards").ok());
  EXPECT_EQ(Run(core.get()), std::vector<std::string>{"onwards"});
}

TEST_F(RaftLogRecoveryTest, WorksBehindASnapshotAndOnTheNewestMembership) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 5, 1, 5);
  raft::Membership members;
  members.voters = {NodeId(1), NodeId(4)};
  raft::Snapshot snapshot = MakeSnapshot(5, 1, "state");
  *snapshot.meta.mutable_membership() = members.ToProto();
  ASSERT_TRUE(Save(snapshot, 6).ok());
  const auto done = Recover("");
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->entries_not_known_committed, 0u);
  EXPECT_EQ(done->former_voters, members.voters);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(RestoredLog(), "6/2");
  const auto core = StartCore();
  Run(core.get());
  EXPECT_TRUE(core->is_leader());
  EXPECT_TRUE(core->membership().addresses.empty());
}

TEST_F(RaftLogRecoveryTest, IncarnationsRise) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 1, 1, 1);
  ASSERT_TRUE(Recover().ok());
  ASSERT_TRUE(Reopen().ok());
  const auto core = StartCore();
  Run(core.get());
  raft::MembershipChange add;
  add.node = NodeId(2);
  ASSERT_TRUE(core->ProposeMembership(add).ok());
  Run(core.get());
  add.kind = raft::MembershipChange::Kind::kPromote;
  EXPECT_EQ(ReasonOf(Recover().status()), Reason::kInvalidRequest) << "a majority of one";
  ASSERT_TRUE(Reopen().ok());
  pb::RaftMembership both;
  both.add_voters(1);
  both.add_voters(2);
  pb::RaftEntry entry = Entry(restored_.entries.back().index() + 1, restored_.hard_state.term(),
                              both.SerializeAsString());
  entry.set_type(pb::RAFT_ENTRY_TYPE_MEMBERSHIP);
  ASSERT_TRUE(log_->Persist(std::nullopt, {entry}, true).ok());
  const auto again = Recover();
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->incarnation, 2u);
}

TEST_F(RaftLogRecoveryTest, RefusesWhatCannotBeMeant) {
  EXPECT_EQ(ReasonOf(Recover().status()), Reason::kCorruptRecord) << "there is no log";
  ASSERT_TRUE(Reopen().ok());
  Write(1, 3, 1, 1);
  EXPECT_EQ(ReasonOf(RaftLog::RecoverQuorum(options_, "one:9301").status()), Reason::kStorageFailed)
      << "the node runs";
  EXPECT_EQ(ReasonOf(Recover("no port").status()), Reason::kInvalidRequest);
  options_.node_id = NodeId(2);
  EXPECT_EQ(ReasonOf(Recover().status()), Reason::kClusterMismatch);
  options_.node_id = NodeId(1);
  options_.cluster_id = Uuid::FromRandomBits(7, 7);
  EXPECT_EQ(ReasonOf(Recover().status()), Reason::kClusterMismatch);
  options_.cluster_id = Uuid();
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(RestoredLog(), "1/1 2/1 3/1") << "nothing has changed";
  EXPECT_EQ(log_->incarnation(), 0u);
}

TEST_F(RaftLogRecoveryTest, AJoiningNodeIsNoVoterAndNeverStands) {
  options_.node_id = NodeId(4);
  EXPECT_EQ(ReasonOf(Reopen()), Reason::kInvalidConfig) << "only a node that joins may be missing";
  options_.join = true;
  ASSERT_TRUE(Reopen().ok());
  ASSERT_TRUE(Reopen().ok()) << "and again";
  const auto core = StartCore();
  for (int i = 0; i < 1000; ++i) core->Tick();
  EXPECT_EQ(core->term(), Term(0));
  EXPECT_FALSE(core->membership().Contains(NodeId(4)));
  EXPECT_EQ(ReasonOf(Recover().status()), Reason::kInvalidRequest) << "it is no member yet";
}

TEST_F(RaftLogRecoveryTest, AMemberCannotJoin) {
  options_.join = true;
  EXPECT_EQ(ReasonOf(Reopen()), Reason::kInvalidConfig);
}

TEST_F(RaftLogRecoveryTest, AFirstStartIsInterruptedBeforeOrAfterButNotWithinTheIdentity) {
  RaftLog::Options bare;
  bare.directory = options_.directory;
  bare.node_id = NodeId(4);
  options_ = bare;
  options_.complete_if_new = [](RaftLog::Options*) {
    return MakeError(Reason::kShuttingDown, "killed");
  };
  EXPECT_EQ(ReasonOf(Reopen()), Reason::kShuttingDown);
  EXPECT_TRUE(fs::exists(options_.directory + "/CURRENT")) << "there is a database";

  int asked = 0;
  options_ = bare;
  options_.complete_if_new = [&asked](RaftLog::Options* options) {
    ++asked;
    options->cluster_id_if_new = Uuid::FromRandomBits(3, 4);
    options->initial_membership.voters = {NodeId(1), NodeId(2), NodeId(3)};
    options->join = true;
    options->incarnation_if_new = 2;
    return absl::OkStatus();
  };
  ASSERT_TRUE(Reopen().ok()) << "still new, so it may join";
  CrashAndKeepFiles();
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(asked, 1) << "it is not new any more";
  EXPECT_EQ(log_->cluster_id(), Uuid::FromRandomBits(3, 4));
  EXPECT_EQ(log_->incarnation(), 2u);
  EXPECT_FALSE(StartCore()->membership().Contains(NodeId(4)));
}

}  // namespace
}  // namespace falaj::log
