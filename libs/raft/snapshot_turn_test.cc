// When members are to make their snapshots.
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/raft/test_cluster.h"

namespace falaj::raft {
namespace {

using ::testing::ElementsAre;

// Three voters between whom nothing is lost. Each makes its snapshots when they are due.
class SnapshotTurnTest : public testing::Test {
 protected:
  void SetUp() override {
    Restored empty;
    for (int id = 1; id <= 3; ++id) empty.snapshot.meta.mutable_membership()->add_voters(id);
    for (int id = 1; id <= 3; ++id) {
      Options options;
      options.self = NodeId(id);
      options.snapshot_entries = 12;
      cluster_.Add(options, empty);
    }
  }

  void Elect() {
    RaftCore& core = *cluster_.node(NodeId(1)).core;
    for (int ticks = 0; ticks < 100 && !core.is_leader(); ++ticks) {
      core.Tick();
      Settle();
    }
    ASSERT_TRUE(core.is_leader());
  }

  // Until everybody has applied `last`.
  void WriteUpTo(uint64_t last) {
    for (uint64_t index = cluster_.node(NodeId(1)).core->applied().value(); index < last; ++index) {
      ASSERT_TRUE(cluster_.node(NodeId(1)).core->Propose("x").ok());
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

 private:
  void Settle() {
    bool busy = true;
    while (busy) {
      busy = false;
      for (auto& [id, node] : cluster_.nodes()) {
        while (node.core->HasReady()) {
          cluster_.Take(id);
          cluster_.Finish(id);
          busy = true;
        }
      }
      for (const pb::RaftMessage& message : std::exchange(cluster_.in_flight(), {})) {
        ASSERT_TRUE(cluster_.Deliver(message).ok());
        busy = true;
      }
    }
  }

  TestCluster cluster_;
  std::map<NodeId, std::vector<uint64_t>> made_at_;
};

TEST_F(SnapshotTurnTest, MembersTakeThemOneAfterTheOther) {
  ASSERT_NO_FATAL_FAILURE(Elect());
  ASSERT_NO_FATAL_FAILURE(WriteUpTo(40));
  EXPECT_THAT(MadeAt(1), ElementsAre(12, 24, 36));
  EXPECT_THAT(MadeAt(2), ElementsAre(3, 15, 27, 39));
  EXPECT_THAT(MadeAt(3), ElementsAre(6, 18, 30));
}

}  // namespace
}  // namespace falaj::raft
