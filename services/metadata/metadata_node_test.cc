// A metadata node alone, without threads, disk and network: what it answers, and when.
#include "services/metadata/metadata_node.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "services/metadata/metadata_node_fixture.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
// Watches in memory.
class FakeWatcher final : public coordination::ZnodeWatcher {
 public:
  bool Push(const coordination::ZnodeWatchMessage& message) override {
    last_alive = message.response->index();
    for (const v1::ZnodeEvent& event : message.response->events()) {
      events.push_back(absl::StrCat(v1::ZnodeEventType_Name(event.type()).substr(17), " ",
                                    event.znode().path()));
    }
    return true;
  }
  bool PushKeepalive(uint64_t index) override {
    last_alive = index;
    return true;
  }
  void Close(const absl::Status& status) override { closed = ReasonOf(status); }

  std::vector<std::string> events;
  uint64_t last_alive = 0;
  Reason closed = Reason::kNone;
};

TEST_F(MetadataNodeTest, AloneItLeadsNamesTheClusterAndBecomesReady) {
  Start();
  Round();
  EXPECT_TRUE(node_->core().is_leader());
  EXPECT_EQ(options_.cluster_id, node_->state().cluster().cluster_id());
  EXPECT_TRUE(node_->IsReady());
}

TEST_F(MetadataNodeTest, CandidatesLeadOneAfterTheOtherWithRisingTokens) {
  Start();
  std::vector<v1::SessionHandle> sessions = {OpenSession(), OpenSession(), OpenSession()};
  std::vector<std::pair<int, uint64_t>> winners;
  for (int i = 0; i < 3; ++i) {
    v1::CampaignRequest request;
    *request.mutable_session() = sessions[static_cast<size_t>(i)];
    request.set_path("/service/leader");
    request.set_value(absl::StrCat("contender ", i));
    node_->Campaign(request, now_ + absl::Hours(1), nullptr, [&winners, i](auto won) {
      winners.emplace_back(i, won.ok() ? won->fencing_token() : 0);
    });
    Drain();
  }
  ASSERT_EQ(1u, winners.size()) << "the others wait";
  EXPECT_EQ("contender 0", node_->state().coordination().GetLeader("/service/leader")->value());
  pb::CoordinationCommand close;
  *close.mutable_close_session()->mutable_session() = sessions[0];
  ASSERT_TRUE(Execute(close).ok());
  ASSERT_EQ(2u, winners.size());
  pb::CoordinationCommand resign;
  *resign.mutable_resign()->mutable_session() = sessions[1];
  resign.mutable_resign()->set_path("/service/leader");
  ASSERT_TRUE(Execute(resign).ok());
  ASSERT_EQ(3u, winners.size());
  EXPECT_EQ(1, winners[1].first);
  EXPECT_EQ(2, winners[2].first);
  EXPECT_LT(winners[0].second, winners[1].second);
  EXPECT_LT(winners[1].second, winners[2].second);
}

TEST_F(MetadataNodeTest, ACandidateWhoseSessionEndsIsToldSoAndOneWithoutPatienceToo) {
  Start();
  std::vector<v1::SessionHandle> sessions = {OpenSession(600'000), OpenSession(5'000),
                                             OpenSession(600'000), OpenSession(600'000)};
  std::vector<Reason> outcomes(4, Reason::kNone);
  bool gone = false;
  for (size_t i = 0; i < 4; ++i) {
    v1::CampaignRequest request;
    *request.mutable_session() = sessions[i];
    request.set_path("/lock");
    node_->Campaign(request, now_ + (i == 2 ? absl::Seconds(3) : absl::Hours(1)),
                    i == 3 ? std::function<bool()>([&gone] { return gone; }) : nullptr,
                    [&outcomes, i](auto won) { outcomes[i] = ReasonOf(won.status()); });
    Drain();
  }
  Round(absl::Seconds(4));
  EXPECT_THAT(outcomes,
              ElementsAre(Reason::kNone, Reason::kNone, Reason::kTimedOut, Reason::kNone));
  gone = true;
  Round(absl::Seconds(2));
  EXPECT_THAT(outcomes, ElementsAre(Reason::kNone, Reason::kSessionExpired, Reason::kTimedOut,
                                    Reason::kTimedOut));
}

TEST_F(MetadataNodeTest, ACandidacyResignedWhileACallWaitsOnItIsNotTakenForTheEndOfTheSession) {
  Start();
  const std::vector<v1::SessionHandle> sessions = {OpenSession(), OpenSession(), OpenSession(),
                                                   OpenSession()};
  std::vector<absl::Status> outcomes(sessions.size(), absl::UnknownError("it waits"));
  for (size_t i = 0; i < sessions.size(); ++i) {
    v1::CampaignRequest request;
    *request.mutable_session() = sessions[i];
    request.set_path("/lock");
    node_->Campaign(request, now_ + absl::Hours(1), nullptr,
                    [&outcomes, i](const auto& won) { outcomes[i] = won.status(); });
    Drain();
  }
  pb::CoordinationCommand resign;
  *resign.mutable_resign()->mutable_session() = sessions[1];
  resign.mutable_resign()->set_path("/lock");
  ASSERT_TRUE(Execute(resign).ok());
  EXPECT_EQ(Reason::kZnodeNotFound, ReasonOf(outcomes[1]));
  EXPECT_THAT(std::string(outcomes[1].message()), HasSubstr("resigned"));
  pb::CoordinationCommand remove;
  remove.mutable_delete_()->set_path("/lock/candidate-0000000002");
  ASSERT_TRUE(Execute(remove).ok());
  EXPECT_EQ(Reason::kZnodeNotFound, ReasonOf(outcomes[2]));
  pb::CoordinationCommand close;
  *close.mutable_close_session()->mutable_session() = sessions[3];
  ASSERT_TRUE(Execute(close).ok());
  EXPECT_EQ(Reason::kSessionExpired, ReasonOf(outcomes[3]));
}

// Takes minutes, more than a test may, if a removal looks at all who wait.
TEST_F(MetadataNodeTest, ALongQueueOfCandidatesEmptiesFromEitherEnd) {
  Start();
  constexpr size_t kCandidates = 20'000;
  std::vector<v1::SessionHandle> sessions;
  std::vector<Reason> outcomes(kCandidates, Reason::kTimedOut);
  for (size_t i = 0; i < kCandidates; ++i) {
    sessions.push_back(OpenSession());
    v1::CampaignRequest request;
    *request.mutable_session() = sessions[i];
    request.set_path("/lock");
    node_->Campaign(request, now_ + absl::Hours(1), nullptr,
                    [&outcomes, i](const auto& won) { outcomes[i] = ReasonOf(won.status()); });
    Drain();
  }
  const auto close = [&](size_t i) {
    pb::CoordinationCommand command;
    *command.mutable_close_session()->mutable_session() = sessions[i];
    ASSERT_TRUE(Execute(std::move(command)).ok());
  };
  for (size_t i = kCandidates - 1; i > kCandidates / 2; --i) {
    close(i);
    ASSERT_EQ(Reason::kSessionExpired, outcomes[i]) << i;
  }
  for (size_t i = 0; i < kCandidates / 2; ++i) {
    ASSERT_EQ(Reason::kNone, outcomes[i]) << i;
    ASSERT_EQ(Reason::kTimedOut, outcomes[i + 1]) << i << " leads";
    close(i);
  }
  EXPECT_EQ(Reason::kNone, outcomes[kCandidates / 2]);
  EXPECT_EQ(0, node_->Status().candidates_waiting);
}

TEST_F(MetadataNodeTest, ACallRepeatedForTheSameCandidacyIsAnsweredLikeTheFirst) {
  Start();
  const std::vector<v1::SessionHandle> sessions = {OpenSession(), OpenSession()};
  std::vector<uint64_t> tokens;
  for (const size_t session : {0, 1, 1}) {
    v1::CampaignRequest request;
    *request.mutable_session() = sessions[session];
    request.set_path("/lock");
    node_->Campaign(request, now_ + absl::Hours(1), nullptr, [&tokens](const auto& won) {
      ASSERT_TRUE(won.ok()) << won.status();
      tokens.push_back(won->fencing_token());
    });
    Drain();
  }
  EXPECT_EQ(1u, tokens.size());
  pb::CoordinationCommand close;
  *close.mutable_close_session()->mutable_session() = sessions[0];
  ASSERT_TRUE(Execute(close).ok());
  ASSERT_EQ(3u, tokens.size());
  EXPECT_EQ(tokens[1], tokens[2]);
}

TEST_F(MetadataNodeTest, AWatchSeesWhatComesAfterItsIndexAndTheEndOfTheNode) {
  Start();
  ASSERT_TRUE(Create("/app").ok());
  const uint64_t index = node_->state().index().value();
  ASSERT_TRUE(Create("/app/a").ok());
  const auto watcher = std::make_shared<FakeWatcher>();
  v1::WatchZnodesRequest request;
  v1::ZnodeWatch* const watch = request.add_watches();
  watch->set_path("/app");
  watch->set_scope(v1::WATCH_SCOPE_SUBTREE);
  request.set_after_index(index);
  absl::Status begun = absl::UnknownError("not called");
  node_->WatchZnodes(request, now_ + absl::Seconds(1), watcher,
                     [&begun](const absl::Status& status) { begun = status; });
  Drain();
  ASSERT_TRUE(begun.ok()) << begun;
  ASSERT_TRUE(Create("/app/b").ok());
  ASSERT_TRUE(Create("/other").ok());
  EXPECT_THAT(watcher->events, ElementsAre("CREATED /app/a", "CREATED /app/b"));
  Round(absl::Seconds(2));
  EXPECT_EQ(node_->state().index().value(), watcher->last_alive);
  node_->Stop();
  EXPECT_EQ(Reason::kShuttingDown, watcher->closed);
}

TEST_F(MetadataNodeTest, AWatchAheadOfThisNodeWaitsForIt) {
  Start();
  const uint64_t index = node_->state().index().value() + 1;
  const auto watcher = std::make_shared<FakeWatcher>();
  v1::WatchZnodesRequest request;
  request.add_watches()->set_path("/");
  request.mutable_watches(0)->set_scope(v1::WATCH_SCOPE_CHILDREN);
  request.set_after_index(index);
  std::optional<absl::Status> begun;
  node_->WatchZnodes(request, now_ + absl::Seconds(1), watcher,
                     [&begun](const absl::Status& status) { begun = status; });
  Drain();
  EXPECT_FALSE(begun.has_value());
  ASSERT_TRUE(Create("/a").ok());
  ASSERT_TRUE(begun.has_value());
  EXPECT_TRUE(begun->ok());
  EXPECT_THAT(watcher->events, IsEmpty()) << "its client has seen that entry";
}

TEST_F(MetadataNodeTest, AClusterWatchAheadOfThisNodeWaitsForIt) {
  Start();
  const uint64_t ahead = node_->state().index().value() + 1;
  pb::WatchClusterRequest request;
  request.set_after_index(ahead);
  const auto watcher = std::make_shared<FakeClusterWatcher>();
  std::optional<absl::Status> begun;
  node_->Watch(request, watcher, [&begun](const absl::Status& status) { begun = status; });
  Drain();
  EXPECT_FALSE(begun.has_value());
  ASSERT_TRUE(Create("/a").ok());
  ASSERT_TRUE(begun.has_value());
  EXPECT_TRUE(begun->ok()) << *begun;
  EXPECT_THAT(watcher->seen, ElementsAre(ahead));
}

TEST_F(MetadataNodeTest, AClusterWatchIsSentElsewhereByANodeThatLags) {
  Start();
  pb::WatchClusterRequest request;
  request.set_after_index(node_->state().index().value() + 5);
  const auto watcher = std::make_shared<FakeClusterWatcher>();
  std::optional<absl::Status> begun;
  node_->Watch(request, watcher, [&begun](const absl::Status& status) { begun = status; });
  Round(absl::Seconds(3));
  Round();
  ASSERT_TRUE(begun.has_value());
  EXPECT_EQ(Reason::kTimedOut, ReasonOf(*begun)) << "a snapshot would take the watcher back";
  EXPECT_THAT(watcher->seen, IsEmpty());
}

TEST_F(MetadataNodeTest, ASnapshotForAWatchWaitsForTheMajority) {
  Start({kOther});
  Lead();
  // Answers the heartbeats, as node 2 would.
  const auto answer = [this] {
    for (const raft::pb::RaftMessage& message : std::exchange(sent_, {})) {
      if (message.type() != raft::pb::RAFT_MESSAGE_TYPE_HEARTBEAT) continue;
      auto reply = FromOther(raft::pb::RAFT_MESSAGE_TYPE_HEARTBEAT_REPLY);
      reply.set_read_round(message.read_round());
      ASSERT_TRUE(node_->Step(reply).ok());
    }
    Drain();
  };
  for (int i = 0; i < 20 && !node_->IsReady(); ++i) {
    Acknowledge();
    Round();
    answer();
  }
  ASSERT_TRUE(node_->IsReady());
  const auto watcher = std::make_shared<FakeClusterWatcher>();
  node_->Watch(pb::WatchClusterRequest(), watcher, [](const absl::Status&) {});
  Drain();
  EXPECT_THAT(watcher->seen, IsEmpty()) << "another node may know more by now";
  answer();
  EXPECT_THAT(watcher->seen, ElementsAre(node_->state().index().value()));
}

TEST_F(MetadataNodeTest, WithoutAMajorityNothingIsAnswered) {
  Start({kOther, NodeId(3)});
  std::optional<absl::StatusOr<pb::ExecuteResponse>> answer;
  pb::ClusterCommand command;
  command.mutable_coordination()->mutable_create()->set_path("/a");
  node_->Execute(command, [&](auto response) { answer = std::move(response); });
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(answer->status()));
  EXPECT_EQ("none", MetadataOf(answer->status())["outcome"]);
  absl::Status read;
  node_->Read({.linearizable = true, .min_index = {}, .deadline = now_ + absl::Seconds(1)},
              [&read](const absl::Status& status) { read = status; });
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(read));
  EXPECT_FALSE(node_->IsReady());
}

TEST_F(MetadataNodeTest, ALeaderThatIsReplacedLeavesTheOutcomeOpen) {
  Start({kOther});
  Lead();
  Drain();
  std::optional<absl::StatusOr<pb::ExecuteResponse>> answer;
  pb::ClusterCommand command;
  command.mutable_coordination()->mutable_create()->set_path("/a");
  node_->Execute(command, [&](auto response) { answer = std::move(response); });
  Drain();
  EXPECT_FALSE(answer.has_value()) << "node 2 has not acknowledged it";
  auto heartbeat = FromOther(raft::pb::RAFT_MESSAGE_TYPE_HEARTBEAT);
  heartbeat.set_term(heartbeat.term() + 1);
  ASSERT_TRUE(node_->Step(heartbeat).ok());
  Drain();
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ("unknown", MetadataOf(answer->status())["outcome"]);
}

TEST_F(MetadataNodeTest, TheFirstLeaderOfARecoveredQuorumBeginsANewHistory) {
  options_.recoveries = 1;
  Start({kOther});
  Lead();
  Drain();
  pb::ClusterCommand command;
  command.mutable_coordination()->mutable_create()->set_path("/a");
  Reason refused = Reason::kNone;
  node_->Execute(command, [&](const auto& response) { refused = ReasonOf(response.status()); });
  EXPECT_EQ(Reason::kMetadataUnavailable, refused) << "nothing comes before the new history";
  Acknowledge();
  EXPECT_EQ(1u, node_->state().cluster().recoveries());
  Round();
  Acknowledge();
  node_->Execute(command, [&](const auto& response) { refused = ReasonOf(response.status()); });
  Acknowledge();
  EXPECT_EQ(Reason::kNone, refused);
}

TEST_F(MetadataNodeTest, ANewHistoryThatTwoLeadersProposeBeginsOnce) {
  options_.recoveries = 1;
  Start({kOther});
  Lead();
  Drain();
  // Node 2 leads before that is committed, and is not heard of again.
  auto heartbeat = FromOther(raft::pb::RAFT_MESSAGE_TYPE_HEARTBEAT);
  heartbeat.set_term(heartbeat.term() + 1);
  ASSERT_TRUE(node_->Step(heartbeat).ok());
  Drain();
  ASSERT_FALSE(node_->core().is_leader());
  const LogIndex proposed = node_->core().status().last_index;
  Lead();
  Drain();
  EXPECT_EQ(0u, node_->state().cluster().recoveries());
  EXPECT_EQ(proposed + 3, node_->core().status().last_index)
      << "the start of its term, the name of the cluster, and the new history";
  Acknowledge();
  EXPECT_EQ(1u, node_->state().cluster().recoveries());
  EXPECT_EQ(1, node_->state().cluster().Snapshot().next_producer_id() >> 40)
      << "producer ids rise by 2^40 each time";
}

TEST_F(MetadataNodeTest, AWatchDoesNotGoOnInAnotherHistory) {
  options_.recoveries = 1;
  Start();
  ASSERT_TRUE(Register(1).ok());
  pb::WatchClusterRequest request;
  request.set_after_index(1);
  Reason reason = Reason::kNone;
  node_->Watch(request, nullptr, [&](const absl::Status& status) { reason = ReasonOf(status); });
  EXPECT_EQ(Reason::kWatchCompacted, reason);
}

TEST_F(MetadataNodeTest, AnAddressThatIsRefusedKeepsNoOtherFromBeingEntered) {
  Start();
  for (const int32_t node : {2, 3, 4}) {
    raft::MembershipChange add;
    add.node = NodeId(node);
    node_->ChangeMembership(add, [](const auto& added) { EXPECT_TRUE(added.ok()); });
    Drain();
  }
  node_->SetAddresses({{NodeId(2), "no address"}, {NodeId(3), "three:1"}, {NodeId(4), "four:1"}});
  for (int i = 0; i < 5; ++i) Round();
  const raft::Membership& members = node_->core().committed_membership();
  EXPECT_FALSE(members.addresses.contains(NodeId(2)));
  EXPECT_EQ("three:1", members.addresses.at(NodeId(3)));
  EXPECT_EQ("four:1", members.addresses.at(NodeId(4)));
}

TEST_F(MetadataNodeTest, AnAddressWaitsForAnotherChangeOfTheMembers) {
  Start({kOther});
  Lead();
  Acknowledge();
  Acknowledge();  // The name of the cluster.
  Round();        // It asks how far the log is committed.
  auto confirmed = FromOther(raft::pb::RAFT_MESSAGE_TYPE_HEARTBEAT_REPLY);
  for (const auto& message : sent_) {
    confirmed.set_read_round(std::max(confirmed.read_round(), message.read_round()));
  }
  ASSERT_TRUE(node_->Step(confirmed).ok());
  Drain();
  ASSERT_TRUE(node_->IsReady());
  raft::MembershipChange add;
  add.node = NodeId(3);
  node_->ChangeMembership(add, [](const auto& added) { EXPECT_TRUE(added.ok()); });
  node_->SetAddresses({{kOther, "two:1"}});
  Round();
  Round();
  EXPECT_TRUE(node_->core().membership().addresses.empty());
  Acknowledge();
  Round();
  Acknowledge();
  EXPECT_EQ("two:1", node_->core().committed_membership().addresses.at(kOther));
}

TEST_F(MetadataNodeTest, AChangeOfTheMembersWaitsForWhatTheNodeEntersByItself) {
  Start();
  const auto add = [this](int32_t node, Reason* outcome) {
    raft::MembershipChange change;
    change.node = NodeId(node);
    node_->ChangeMembership(change, [outcome](const auto& added) {
      *outcome = added.ok() ? Reason::kNone : ReasonOf(added.status());
    });
  };
  Reason first = Reason::kInternal;
  Reason second = Reason::kInternal;
  node_->SetAddresses({{kSelf, "one:1"}});
  now_ = now_ + absl::Milliseconds(10);
  node_->Tick(now_, wall_ms_ += 10, 1);
  node_->EndRound();  // Proposes the address, which is not committed before Drain().
  add(2, &first);
  EXPECT_EQ(first, Reason::kInternal) << "it waits";
  Drain();
  Round();
  EXPECT_EQ(first, Reason::kNone);
  EXPECT_TRUE(node_->core().committed_membership().IsLearner(NodeId(2)));
  // Behind one that somebody asked for there is no waiting.
  add(3, &first);
  add(4, &second);
  EXPECT_EQ(second, Reason::kMembershipChanging);
  Drain();
  EXPECT_EQ(first, Reason::kNone);
}

TEST_F(MetadataNodeTest, FollowersHearOfACommitWithTheNextEntriesOrALittleLater) {
  options_.raft.commits_ride = true;
  Start({kOther});
  Lead();
  for (int i = 0; i < 3; ++i) Acknowledge();
  Round();
  Acknowledge();
  Round();
  sent_.clear();
  const auto told = [this] {
    uint64_t commit = 0;
    for (const auto& message : sent_) {
      if (message.type() == raft::pb::RAFT_MESSAGE_TYPE_APPEND) commit = message.commit();
    }
    return commit;
  };
  pb::ClusterCommand command;
  command.mutable_coordination()->mutable_create()->set_path("/a");
  bool answered = false;
  node_->Execute(command, [&](const auto& response) { answered = response.ok(); });
  Acknowledge();
  const uint64_t committed = node_->core().committed().value();
  EXPECT_TRUE(answered);
  EXPECT_LT(told(), committed);
  Round(absl::ZeroDuration());
  EXPECT_LT(told(), committed);
  const MonotonicTime hurry_by = node_->HurryBy();
  EXPECT_GT(hurry_by, now_) << "it sleeps meanwhile";
  EXPECT_LE(hurry_by, now_ + absl::Milliseconds(1)) << "but not for long";
  Round(absl::ZeroDuration());
  EXPECT_EQ(node_->HurryBy(), hurry_by) << "nothing puts it off";
  Round(hurry_by - now_);
  EXPECT_EQ(told(), committed);
  EXPECT_GT(node_->HurryBy(), now_ + absl::Seconds(1));
}

TEST_F(MetadataNodeTest, ASnapshotIsTakenWhileTheNodeGoesOnAndRestoresTheSameState) {
  Start();
  const v1::SessionHandle session = OpenSession();
  ASSERT_TRUE(Register(3).ok());
  std::optional<SnapshotJob> job;
  for (int i = 0; i < 40 && !job.has_value(); ++i) {
    ASSERT_TRUE(Create(absl::StrCat("/z", i), &session).ok());
    job = node_->TakeSnapshotJob();
  }
  ASSERT_TRUE(job.has_value());
  const uint64_t digest = node_->state().Digest();
  ASSERT_TRUE(Create("/later").ok());
  EXPECT_FALSE(node_->TakeSnapshotJob().has_value()) << "one at a time";
  const raft::Snapshot snapshot = job->Build();
  EXPECT_EQ(job->meta.index(), snapshot.meta.index());
  pb::MetadataSnapshot parsed;
  ASSERT_TRUE(parsed.ParseFromString(snapshot.data.ToString()));
  const auto restored = MetadataState::FromSnapshot(parsed);
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(digest, restored->Digest());
  EXPECT_EQ(nullptr, restored->coordination().FindZnode("/later"));
  node_->SnapshotStored(snapshot);
  EXPECT_EQ(snapshot.meta.index(), node_->core().status().snapshot_index.value());
}

TEST_F(MetadataNodeTest, AFailedDiskEndsItsPart) {
  Start();
  Round();
  const auto watcher = std::make_shared<FakeWatcher>();
  v1::WatchZnodesRequest request;
  request.add_watches()->set_path("/");
  request.mutable_watches(0)->set_scope(v1::WATCH_SCOPE_CHILDREN);
  node_->WatchZnodes(request, now_ + absl::Seconds(1), watcher, [](const absl::Status&) {});
  Drain();
  node_->StorageFailed(MakeError(Reason::kStorageFailed, "the disk is gone"));
  EXPECT_FALSE(node_->IsReady());
  EXPECT_FALSE(node_->Status().live);
  EXPECT_EQ(Reason::kMetadataUnavailable, watcher->closed);
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(Create("/a")));
}

}  // namespace
}  // namespace falaj::metadata
