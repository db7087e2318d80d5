#include "services/metadata/raft_node.h"

#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "libs/base/random.h"
#include "libs/base/status.h"

namespace falaj::metadata {
namespace {

class RaftNodeTest : public testing::Test {
 protected:
  RaftNodeTest() {
    directory_ = absl::StrCat(testing::TempDir(), "/raft_node_test_", Random::FromSystem().Next());
    log::RaftLog::Options log_options;
    log_options.directory = directory_;
    log_options.node_id = NodeId(1);
    log_options.cluster_id_if_new = Uuid::FromRandomBits(1, 2);
    log_options.initial_membership.voters = {NodeId(1)};
    auto log = log::RaftLog::Open(log_options);
    RaftNode::Options options;
    options.node.raft.self = NodeId(1);
    options.clock = &clock_;
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
      clock_.Advance(absl::Milliseconds(15));
    });
  }
  node_->Start();
  node_->Stop();  // After all that was posted.
  EXPECT_EQ((std::vector<int>{0, 1, 2, 3, 4, 5}), done);
  EXPECT_EQ((std::vector<int64_t>{0, 0, 1, 1, 2, 2}), rounds_before) << "two of 15 ms in 20 ms";
}

}  // namespace
}  // namespace falaj::metadata
