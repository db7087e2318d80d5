#include "services/metadata/raft_node.h"

#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "libs/base/random.h"
#include "libs/base/status.h"
#include "services/metadata/agreeing_voter.h"

namespace falaj::metadata {
namespace {

class RaftNodeTest : public testing::Test {
 protected:
  RaftNodeTest() { Make(&clock_, {NodeId(1)}); }

  void Make(Clock* clock, std::vector<NodeId> voters) {
    directory_ = absl::StrCat(testing::TempDir(), "/raft_node_test_", Random::FromSystem().Next());
    log::RaftLog::Options log_options;
    log_options.directory = directory_;
    log_options.node_id = NodeId(1);
    log_options.cluster_id_if_new = Uuid::FromRandomBits(1, 2);
    log_options.initial_membership.voters = std::move(voters);
    auto log = log::RaftLog::Open(log_options);
    RaftNode::Options options;
    options.node.raft.self = NodeId(1);
    options.node.raft.snapshot_entries = 5;
    options.node.cluster_id = Uuid::FromRandomBits(1, 2);
    options.clock = clock;
    options.send = [this](raft::pb::RaftMessage message) { AnswerAsNodeTwo(message); };
    node_ = *RaftNode::Create(options, *std::move(log), &registry_);
  }
  ~RaftNodeTest() override {
    node_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  int64_t rounds() {
    return registry_.AddHistogram("falaj_raft_round_seconds", "", {{"raft_group", "metadata"}})
        ->count();
  }

  void AnswerAsNodeTwo(const raft::pb::RaftMessage& message) {
    if (auto answer = AgreeingAnswer(message)) node_->Step(*std::move(answer));
  }
  // Executes a command and waits for what becomes of it.
  absl::Status ExecuteOne() {
    std::promise<absl::Status> answered;
    node_->Post([&answered](MetadataNode* node, const absl::Status& refused) {
      if (node == nullptr) return answered.set_value(refused);
      internal::v1::ClusterCommand command;
      command.mutable_allocate_producer_ids()->set_count(1);
      node->Execute(std::move(command),
                    [&answered](const auto& done) { answered.set_value(done.status()); });
    });
    return answered.get_future().get();
  }

  std::string directory_;
  ManualClock clock_;
  telemetry::Registry registry_;
  std::unique_ptr<RaftNode> node_;
};

TEST_F(RaftNodeTest, LongWorkIsSpreadOverRoundsAndKeepsItsOrder) {
  std::vector<int> done;
  std::vector<int64_t> rounds_before;
  for (int i = 0; i < 6; ++i) {
    node_->Post([this, i, &done, &rounds_before](MetadataNode* node, const absl::Status&) {
      ASSERT_NE(nullptr, node);
      done.push_back(i);
      rounds_before.push_back(rounds());
      clock_.Advance(absl::Milliseconds(5));
    });
  }
  node_->Start();
  node_->Stop();  // After all that was posted.
  EXPECT_EQ((std::vector<int>{0, 1, 2, 3, 4, 5}), done);
  EXPECT_EQ((std::vector<int64_t>{0, 0, 1, 1, 2, 2}), rounds_before) << "two of 5 ms in 8 ms";
}

TEST_F(RaftNodeTest, SyncsAndSnapshotsAreMeasured) {
  node_->Start();
  const telemetry::Labels group = {{"raft_group", "metadata"}};
  const auto* const made = registry_.AddHistogram("falaj_raft_snapshot_seconds", "", group);
  int executed = 0;
  while (made->count() == 0) executed += ExecuteOne().ok() ? 1 : 0;
  node_->Stop();
  EXPECT_GE(executed, 3)
      << "the first member's is due with the fifth entry; two are the node's own";
  EXPECT_GE(registry_.AddHistogram("falaj_raft_sync_seconds", "", group)->count(), executed);
  EXPECT_NE(std::string::npos,
            registry_.Serialize().find(
                "falaj_raft_snapshots_total{direction=\"saved\",raft_group=\"metadata\"}"));
}

TEST_F(RaftNodeTest, TheRoundTripToAPeerIsMeasured) {
  node_.reset();
  std::filesystem::remove_all(directory_);
  Make(Clock::Real(), {NodeId(1), NodeId(2)});
  node_->Start();
  const auto* const round_trip = registry_.AddHistogram(
      "falaj_raft_peer_round_trip_seconds", "", {{"raft_group", "metadata"}, {"peer", "2"}});
  while (round_trip->count() < 2) std::this_thread::yield();
  node_->Stop();
}

}  // namespace
}  // namespace falaj::metadata
