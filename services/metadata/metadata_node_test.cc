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

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr NodeId kSelf(1);
constexpr NodeId kOther(2);

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

class MetadataNodeTest : public ::testing::Test {
 protected:
  // The only voter if `others` is empty.
  void Start(std::vector<NodeId> others = {}) {
    options_.raft.self = kSelf;
    options_.raft.snapshot_entries = 20;
    options_.raft.entries_kept = 5;
    options_.cluster_id = Uuid::FromRandomBits(1, 2);
    raft::Restored restored;
    pb::RaftMembership* const members = restored.snapshot.meta.mutable_membership();
    members->add_voters(kSelf.value());
    for (NodeId node : others) members->add_voters(node.value());
    auto node = MetadataNode::Create(options_, std::move(restored), now_, &registry_);
    ASSERT_TRUE(node.ok()) << node.status();
    node_ = *std::move(node);
    Round();
    Round();
  }

  // One round; everything is stored at once, messages are remembered.
  void Round(absl::Duration passed = absl::Milliseconds(10)) {
    now_ = now_ + passed;
    node_->Tick(now_, wall_ms_ += absl::ToInt64Milliseconds(passed), 1);
    node_->EndRound();
    Drain();
  }
  void Drain() {
    while (node_->HasReady()) {
      raft::Ready ready = node_->TakeReady();
      for (auto& message : ready.messages) sent_.push_back(message);
      ASSERT_TRUE(node_->Prepare(ready).ok());
      node_->Persisted(ready);
      for (auto& message : ready.messages_after_persist) sent_.push_back(message);
      node_->Apply(ready);
    }
  }

  absl::StatusOr<pb::ExecuteResponse> Execute(pb::CoordinationCommand command) {
    pb::ClusterCommand entry;
    *entry.mutable_coordination() = std::move(command);
    return Execute(std::move(entry));
  }
  absl::StatusOr<pb::ExecuteResponse> Execute(pb::ClusterCommand command) {
    std::optional<absl::StatusOr<pb::ExecuteResponse>> answer;
    node_->Execute(std::move(command), [&](auto response) { answer = std::move(response); });
    Drain();
    EXPECT_TRUE(answer.has_value()) << "no answer";
    return answer.value_or(absl::UnknownError("no answer"));
  }
  v1::SessionHandle OpenSession(int timeout_ms = 10'000) {
    pb::CoordinationCommand command;
    command.mutable_open_session()->set_timeout_ms(timeout_ms);
    const auto opened = Execute(std::move(command));
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened->coordination().open_session().session();
  }
  absl::Status Create(const std::string& path, const v1::SessionHandle* session = nullptr) {
    pb::CoordinationCommand command;
    command.mutable_create()->set_path(path);
    if (session != nullptr) {
      *command.mutable_create()->mutable_options()->mutable_session() = *session;
      command.mutable_create()->set_ephemeral(true);
    }
    return Execute(std::move(command)).status();
  }
  absl::Status Register(int32_t id, int timeout_ms = 10'000) {
    pb::ClusterCommand command;
    pb::RegisterNodeCommand* const node = command.mutable_register_node();
    node->set_node_id(id);
    node->set_directory_id(std::string(16, static_cast<char>('a' + id)));
    node->set_address(absl::StrCat("127.0.0.1:", 7'000 + id));
    node->set_zone("zone \"a\"");
    node->set_session_timeout_ms(timeout_ms);
    return Execute(std::move(command)).status();
  }
  std::string DataOf(const std::string& path) {
    const auto found = node_->state().coordination().Get(path);
    return found.ok() ? found->znode().data() : "";
  }
  bool Exists(const std::string& path) {
    return node_->state().coordination().FindZnode(path) != nullptr;
  }
  // A message from node 2.
  raft::pb::RaftMessage FromOther(raft::pb::RaftMessageType type) {
    raft::pb::RaftMessage message;
    message.set_type(type);
    message.set_from(kOther.value());
    message.set_to(kSelf.value());
    message.set_term(node_->core().term().value());
    return message;
  }

  // With the vote of node 2; what is proposed then waits for Acknowledge().
  void Lead() {
    for (int i = 0; i < 40 && node_->core().role() == raft::Role::kFollower; ++i) Round();
    auto vote = FromOther(raft::pb::RAFT_MESSAGE_TYPE_PRE_VOTE_REPLY);
    vote.set_term(vote.term() + 1);
    ASSERT_TRUE(node_->Step(vote).ok());
    Drain();
    ASSERT_TRUE(node_->Step(FromOther(raft::pb::RAFT_MESSAGE_TYPE_VOTE_REPLY)).ok());
    ASSERT_TRUE(node_->core().is_leader());
  }
  // Node 2 has everything.
  void Acknowledge() {
    Drain();
    auto reply = FromOther(raft::pb::RAFT_MESSAGE_TYPE_APPEND_REPLY);
    reply.set_log_index(node_->core().status().last_index.value());
    ASSERT_TRUE(node_->Step(reply).ok());
    Drain();
  }
  bool Counted(absl::string_view metric, int value) {
    return absl::StrContains(registry_.Serialize(), absl::StrCat("\n", metric, " ", value, "\n"));
  }

  MetadataNode::Options options_;
  telemetry::Registry registry_;
  MonotonicTime now_;
  int64_t wall_ms_ = 1'700'000'000'000;
  std::unique_ptr<MetadataNode> node_;
  std::vector<raft::pb::RaftMessage> sent_;
};

TEST_F(MetadataNodeTest, AloneItLeadsNamesTheClusterAndBecomesReady) {
  Start();
  Round();
  EXPECT_TRUE(node_->core().is_leader());
  EXPECT_EQ(options_.cluster_id, node_->state().cluster().cluster_id());
  EXPECT_TRUE(node_->IsReady());
}

TEST_F(MetadataNodeTest, AStorageNodeIsASessionWithAnEphemeralZnode) {
  Start();
  ASSERT_TRUE(Register(7).ok());
  EXPECT_EQ(R"({"address":"127.0.0.1:7007","zone":"zone \"a\"","node_epoch":)" +
                absl::StrCat(node_->state().cluster().nodes().at(7).node_epoch(), "}"),
            DataOf("/falaj/nodes/7"));
  const int64_t first = node_->state().cluster().nodes().at(7).session_id();
  ASSERT_TRUE(Register(7).ok()) << "the newer process replaces the older";
  EXPECT_TRUE(Exists("/falaj/nodes/7"));
  EXPECT_EQ(Reason::kSessionExpired, ReasonOf(node_->Heartbeat(SessionId(first))));
  Round(absl::Seconds(11));
  EXPECT_FALSE(Exists("/falaj/nodes/7"));
  EXPECT_EQ(0, node_->state().cluster().nodes().at(7).session_id()) << "it ends in both halves";
}

TEST_F(MetadataNodeTest, ASilentSessionEndsWithItsEphemeralsAndALivelyOneStays) {
  Start();
  const v1::SessionHandle silent = OpenSession();
  const v1::SessionHandle lively = OpenSession();
  const v1::SessionHandle writer = OpenSession();
  ASSERT_TRUE(Create("/silent", &silent).ok());
  ASSERT_TRUE(Create("/lively", &lively).ok());
  Round(absl::Seconds(9));
  EXPECT_EQ(absl::Seconds(10), *node_->KeepSession(lively));
  ASSERT_TRUE(Create("/writer", &writer).ok()) << "a write is a sign of life";
  Round(absl::Seconds(2));
  EXPECT_FALSE(Exists("/silent"));
  EXPECT_TRUE(Exists("/lively"));
  EXPECT_TRUE(Exists("/writer"));
  EXPECT_EQ(Reason::kSessionExpired, ReasonOf(node_->KeepSession(silent).status()));
}

TEST_F(MetadataNodeTest, SomebodyElsesSecretKeepsNoSessionAlive) {
  Start();
  v1::SessionHandle session = OpenSession();
  session.set_secret(std::string(16, 'x'));
  EXPECT_EQ(Reason::kSessionMismatch, ReasonOf(node_->KeepSession(session).status()));
  EXPECT_EQ(Reason::kSessionMismatch, ReasonOf(Create("/mine", &session)));
  Round(absl::Seconds(11));
  EXPECT_EQ(0, node_->state().coordination().session_count());
}

TEST_F(MetadataNodeTest, ANewLeaderThatHasNotAppliedAllCallsNobodysSessionEnded) {
  Start({kOther});
  Lead();
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(node_->Heartbeat(SessionId(1))));
  Drain();
  v1::SessionHandle session;
  session.set_session_id(1);
  session.set_secret(std::string(16, 's'));
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(node_->KeepSession(session).status()))
      << "its first entry is not committed";
}

TEST_F(MetadataNodeTest, ASessionCountsAsExpiredOnceItsEndIsApplied) {
  constexpr char kExpired[] = "falaj_cluster_sessions_expired_total";
  Start({kOther});
  Lead();
  Acknowledge();
  pb::ClusterCommand open;
  open.mutable_coordination()->mutable_open_session()->set_timeout_ms(10'000);
  node_->Execute(open, [](const auto& opened) { EXPECT_TRUE(opened.ok()) << opened.status(); });
  Acknowledge();
  ASSERT_EQ(1, node_->Status().sessions);
  node_->Transfer(kOther, [](const absl::Status&) {});
  ASSERT_EQ(kOther, node_->core().transferring_to());
  Round(absl::Seconds(11));
  Round();
  ASSERT_EQ(kOther, node_->core().transferring_to());
  EXPECT_TRUE(Counted(kExpired, 0)) << "nothing can be proposed while the lead is handed over";
  for (int i = 0; i < 100 && node_->core().transferring_to() != NodeId(); ++i) {
    ASSERT_TRUE(node_->Step(FromOther(raft::pb::RAFT_MESSAGE_TYPE_HEARTBEAT_REPLY)).ok());
    Round();
  }
  ASSERT_TRUE(node_->core().is_leader()) << "node 2 has not taken the lead";
  Round();
  EXPECT_EQ(1, node_->Status().sessions);
  EXPECT_TRUE(Counted(kExpired, 0)) << "its end is not committed";
  Acknowledge();
  EXPECT_EQ(0, node_->Status().sessions);
  EXPECT_TRUE(Counted(kExpired, 1));
}

TEST_F(MetadataNodeTest, APauseOfTheProcessEndsNoSession) {
  Start();
  const v1::SessionHandle session = OpenSession();
  node_->StoodStill(absl::Seconds(60));
  Round(absl::Seconds(60));
  EXPECT_TRUE(node_->KeepSession(session).ok());
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
