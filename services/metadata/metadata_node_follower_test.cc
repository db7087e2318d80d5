// A metadata node that follows: whom it keeps, and whether it calls itself ready.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/status.h"
#include "services/metadata/metadata_node_fixture.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;
using ::testing::IsEmpty;

// A follower of node 2, which has named the cluster.
class FollowerNodeTest : public MetadataNodeTest {
 protected:
  FollowerNodeTest() { FollowNode2(); }

  void FollowNode2() {
    Start({kOther, NodeId(3)});
    raft::pb::RaftMessage append = FromLeader(raft::pb::RAFT_MESSAGE_TYPE_APPEND);
    pb::ClusterCommand init;
    init.mutable_init_cluster()->set_cluster_id(std::string(16, 'c'));
    raft::pb::RaftEntry& entry = *append.add_entries();
    entry.set_index(1);
    entry.set_term(1);
    entry.set_type(raft::pb::RAFT_ENTRY_TYPE_COMMAND);
    entry.set_data(init.SerializeAsString());
    append.set_commit(1);
    EXPECT_TRUE(node_->Step(append).ok());
    Drain();
  }

  raft::pb::RaftMessage FromLeader(raft::pb::RaftMessageType type) {
    raft::pb::RaftMessage message = FromOther(type);
    message.set_term(1);
    return message;
  }
  // The leader is heard of for so long; if it hears of this node, too, it answers.
  void Follow(absl::Duration span, bool heard) {
    for (const MonotonicTime end = now_ + span; now_ < end;) {
      Round(absl::Milliseconds(100));
      raft::pb::RaftMessage beat = FromLeader(raft::pb::RAFT_MESSAGE_TYPE_HEARTBEAT);
      beat.set_commit(1);
      ASSERT_TRUE(node_->Step(beat).ok());
      for (const raft::pb::RaftMessage& message : std::exchange(sent_, {})) {
        if (!heard || message.type() != raft::pb::RAFT_MESSAGE_TYPE_READ_INDEX) continue;
        auto reply = FromLeader(raft::pb::RAFT_MESSAGE_TYPE_READ_INDEX_REPLY);
        reply.set_read_round(message.read_round());
        reply.set_log_index(1);
        ASSERT_TRUE(node_->Step(reply).ok());
      }
      Drain();
    }
  }
};

TEST_F(FollowerNodeTest, KeepsItsWatchersWhileItsLeaderConfirmsWhatItHas) {
  Follow(absl::Seconds(1), /*heard=*/true);
  ASSERT_TRUE(node_->IsReady());
  const auto watcher = std::make_shared<FakeClusterWatcher>();
  pb::WatchClusterRequest request;
  request.set_after_index(1);
  node_->Watch(request, watcher, [](const absl::Status& begun) { ASSERT_TRUE(begun.ok()); });
  Follow(absl::Seconds(10), /*heard=*/true);
  EXPECT_TRUE(node_->IsReady());
  EXPECT_EQ(Reason::kNone, watcher->closed);
  EXPECT_GE(watcher->seen.size(), 9u) << "a sign of life every second";
}

TEST_F(FollowerNodeTest, SendsItsWatchersAwayIfItsLeaderDoesNotHearIt) {
  Follow(absl::Seconds(1), /*heard=*/true);
  const auto watcher = std::make_shared<FakeClusterWatcher>();
  pb::WatchClusterRequest request;
  request.set_after_index(1);
  node_->Watch(request, watcher, [](const absl::Status& begun) { ASSERT_TRUE(begun.ok()); });
  watcher->seen.clear();
  Follow(absl::Seconds(5), /*heard=*/false);
  EXPECT_THAT(watcher->seen, IsEmpty()) << "there may be newer states than this node's";
  EXPECT_EQ(Reason::kMetadataUnavailable, watcher->closed);
  EXPECT_EQ(kOther, node_->core().leader());
  EXPECT_FALSE(node_->IsReady());
  std::optional<absl::Status> begun;
  node_->Watch(request, watcher, [&begun](const absl::Status& status) { begun = status; });
  ASSERT_TRUE(begun.has_value());
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(*begun));
  Follow(absl::Seconds(2), /*heard=*/true);
  EXPECT_TRUE(node_->IsReady());
}

// The node waited for its disk until the time of a read was up; the answer had come before.
TEST_F(FollowerNodeTest, AnAnswerThatCameDuringALongWriteIsInTime) {
  Follow(absl::Seconds(1), /*heard=*/true);
  std::optional<absl::Status> read;
  node_->Read({.linearizable = true, .min_index = {}, .deadline = now_ + absl::Milliseconds(300)},
              [&read](const absl::Status& status) { read = status; });
  Drain();
  ASSERT_FALSE(sent_.empty());
  auto reply = FromLeader(raft::pb::RAFT_MESSAGE_TYPE_READ_INDEX_REPLY);
  reply.set_read_round(sent_.back().read_round());
  reply.set_log_index(1);
  now_ = now_ + absl::Milliseconds(400);
  node_->Tick(now_, wall_ms_ += 400, 1);
  ASSERT_TRUE(node_->Step(reply).ok());
  node_->EndRound();
  Drain();
  ASSERT_TRUE(read.has_value());
  EXPECT_TRUE(read->ok()) << *read;
  // Without one, the next round ends it.
  read.reset();
  node_->Read({.linearizable = true, .min_index = {}, .deadline = now_ + absl::Milliseconds(20)},
              [&read](const absl::Status& status) { read = status; });
  for (int i = 0; i < 4 && !read.has_value(); ++i) Round();
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(Reason::kTimedOut, ReasonOf(*read));
}

// Every answer takes 1.8 seconds, as with disks that take hundreds of milliseconds for a write.
TEST_F(FollowerNodeTest, StaysReadyOnSlowDisks) {
  Follow(absl::Seconds(1), /*heard=*/true);
  ASSERT_TRUE(node_->IsReady());
  std::vector<std::pair<MonotonicTime, uint64_t>> asked;
  for (const MonotonicTime end = now_ + absl::Seconds(20); now_ < end;) {
    Round(absl::Milliseconds(30));
    raft::pb::RaftMessage beat = FromLeader(raft::pb::RAFT_MESSAGE_TYPE_HEARTBEAT);
    beat.set_commit(1);
    ASSERT_TRUE(node_->Step(beat).ok());
    for (const raft::pb::RaftMessage& message : std::exchange(sent_, {})) {
      if (message.type() != raft::pb::RAFT_MESSAGE_TYPE_READ_INDEX) continue;
      asked.emplace_back(now_, message.read_round());
    }
    while (!asked.empty() && asked.front().first + absl::Milliseconds(1'800) <= now_) {
      auto reply = FromLeader(raft::pb::RAFT_MESSAGE_TYPE_READ_INDEX_REPLY);
      reply.set_read_round(asked.front().second);
      reply.set_log_index(1);
      ASSERT_TRUE(node_->Step(reply).ok());
      asked.erase(asked.begin());
    }
    Drain();
    ASSERT_TRUE(node_->IsReady());
  }
}

TEST_F(FollowerNodeTest, StaysReadyHoweverManyReadsWait) {
  options_.waiting_max = 3;
  options_.raft.reads_waiting_max = 3;
  FollowNode2();
  Follow(absl::Seconds(1), /*heard=*/true);
  PendingReads::Options read;
  read.linearizable = false;
  read.min_index = LogIndex(1'000);
  read.deadline = now_ + absl::Seconds(60);
  int refused = 0;
  for (int i = 0; i < 5; ++i) {
    node_->Read(read, [&refused](const absl::Status& status) {
      refused += ReasonOf(status) == Reason::kQuotaExceeded ? 1 : 0;
    });
  }
  EXPECT_GE(refused, 2);
  Follow(absl::Seconds(10), /*heard=*/true);
  EXPECT_TRUE(node_->IsReady());
  node_->Stop();
}

}  // namespace
}  // namespace falaj::metadata
