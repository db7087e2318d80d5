#include "services/metadata/watch_hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "libs/base/status.h"

namespace falaj::metadata {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
namespace pb = ::falaj::internal::v1;

class FakeWatcher final : public Watcher {
 public:
  bool Push(const WatchEvent& event) override {
    if (gone) return false;
    const char* const kind = event.message->has_snapshot() ? "snapshot " : "delta ";
    seen.push_back(kind + std::to_string(event.message->index()));
    return true;
  }
  bool PushKeepalive(const WatchEvent& event) override {
    if (!gone) seen.push_back("alive " + std::to_string(event.message->index()));
    return !gone;
  }
  void Close(const absl::Status& status) override { closed = status; }

  std::vector<std::string> seen;
  absl::Status closed;
  bool gone = false;
};

class WatchHubTest : public ::testing::Test {
 protected:
  WatchHubTest() {
    pb::ClusterCommand init;
    init.mutable_init_cluster()->set_cluster_id(std::string(16, 'c'));
    state_.Apply(LogIndex(1), init);
  }
  // Registers a node: a change.
  void Change(WatchHub* hub) {
    pb::ClusterCommand command;
    pb::RegisterNodeCommand* const node = command.mutable_register_node();
    node->set_node_id(1);
    node->set_directory_id(std::string(16, 'd'));
    node->set_address("127.0.0.1:1");
    node->set_session_timeout_ms(1'000);
    hub->Publish(state_.Apply(state_.index() + 1, command).delta);
  }

  cluster::ClusterState state_;
};

TEST_F(WatchHubTest, ANewWatcherGetsASnapshotThenChanges) {
  WatchHub hub({});
  const auto watcher = std::make_shared<FakeWatcher>();
  ASSERT_TRUE(hub.Add(state_, 0, watcher).ok());
  Change(&hub);
  hub.Keepalive(state_.index());
  EXPECT_THAT(watcher->seen, ElementsAre("snapshot 1", "delta 2", "alive 2"));
}

TEST_F(WatchHubTest, AWatcherResumesAfterTheIndexItNames) {
  WatchHub hub({});
  for (int i = 0; i < 4; ++i) Change(&hub);
  const auto watcher = std::make_shared<FakeWatcher>();
  ASSERT_TRUE(hub.Add(state_, 3, watcher).ok());
  Change(&hub);
  EXPECT_THAT(watcher->seen, ElementsAre("delta 4", "delta 5", "alive 5", "delta 6"));
}

TEST_F(WatchHubTest, ATooOldIndexIsCompactedAndAnUnknownOneRefused) {
  WatchHub hub({.history_entries = 2});
  for (int i = 0; i < 5; ++i) Change(&hub);  // 2 to 6; 5 and 6 are kept.
  const auto watcher = std::make_shared<FakeWatcher>();
  EXPECT_EQ(Reason::kWatchCompacted, ReasonOf(hub.Add(state_, 3, watcher)));
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(hub.Add(state_, 7, watcher))) << "not yet there";
  EXPECT_THAT(watcher->seen, IsEmpty());
  EXPECT_TRUE(hub.Add(state_, 4, watcher).ok());
  EXPECT_THAT(watcher->seen, ElementsAre("delta 5", "delta 6", "alive 6"));
}

TEST_F(WatchHubTest, TheHistoryIsBoundedInBytesToo) {
  WatchHub hub({.history_bytes = 1});
  Change(&hub);
  const auto watcher = std::make_shared<FakeWatcher>();
  EXPECT_EQ(Reason::kWatchCompacted, ReasonOf(hub.Add(state_, 1, watcher)));
  EXPECT_TRUE(hub.Add(state_, 2, watcher).ok()) << "up to date is never too old";
}

TEST_F(WatchHubTest, ForgetsWatchersThatAreGoneAndRefusesTooMany) {
  WatchHub hub({.watchers_max = 1});
  const auto watcher = std::make_shared<FakeWatcher>();
  ASSERT_TRUE(hub.Add(state_, 0, watcher).ok());
  EXPECT_EQ(Reason::kQuotaExceeded, ReasonOf(hub.Add(state_, 0, std::make_shared<FakeWatcher>())));
  watcher->gone = true;
  Change(&hub);
  EXPECT_EQ(0u, hub.watcher_count());
}

TEST_F(WatchHubTest, AReplacedStateEndsAllWatches) {
  WatchHub hub({});
  const auto watcher = std::make_shared<FakeWatcher>();
  ASSERT_TRUE(hub.Add(state_, 0, watcher).ok());
  hub.Reset(LogIndex(100));
  EXPECT_EQ(Reason::kWatchCompacted, ReasonOf(watcher->closed));
  EXPECT_EQ(0u, hub.watcher_count());
}

}  // namespace
}  // namespace falaj::metadata
