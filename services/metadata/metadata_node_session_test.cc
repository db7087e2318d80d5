// Sessions on a metadata node alone: what keeps them alive, and what ends them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "libs/base/status.h"
#include "services/metadata/metadata_node_fixture.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;

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

// Remembers why it was closed.
class FakeHolder final : public SessionHolder {
 public:
  void Close(const absl::Status& status) override { closed.push_back(ReasonOf(status)); }
  std::vector<Reason> closed;
};

TEST_F(MetadataNodeTest, TheEndOfTheCallThatHoldsASessionEndsItUnlessTheProcessIsHeardOf) {
  Start();
  const auto session = [this](int32_t node) {
    return SessionId(node_->state().cluster().nodes().at(node).session_id());
  };
  const auto holder = std::make_shared<FakeHolder>();
  for (int32_t node : {1, 2, 3, 4}) {
    ASSERT_TRUE(Register(node).ok());
    ASSERT_TRUE(node_->Hold(session(node), holder).ok());
  }
  Round(absl::Seconds(3));
  const auto newer = std::make_shared<FakeHolder>();
  ASSERT_TRUE(node_->Hold(session(4), newer).ok());
  for (int32_t node : {1, 2, 3, 4}) node_->HoldBroke(session(node), holder.get());
  ASSERT_TRUE(node_->Heartbeat(session(2)).ok());
  ASSERT_TRUE(node_->Hold(session(3), holder).ok());
  Round(options_.broken_hold_grace / 2);
  EXPECT_NE(SessionId(0), session(1)) << "it has its grace";
  Round(options_.broken_hold_grace);
  EXPECT_EQ(SessionId(0), session(1));
  EXPECT_NE(SessionId(0), session(2)) << "a heartbeat came";
  EXPECT_NE(SessionId(0), session(3)) << "it is held again";
  EXPECT_NE(SessionId(0), session(4)) << "another call held it";
  EXPECT_THAT(holder->closed, ::testing::ElementsAre(Reason::kCancelled));
}

TEST_F(MetadataNodeTest, ALeaderThatIsReplacedLetsGoOfTheSessionsItHolds) {
  Start({kOther});
  Lead();
  Acknowledge();
  pb::ClusterCommand command;
  command.mutable_coordination()->mutable_open_session()->set_timeout_ms(10'000);
  node_->Execute(std::move(command), [](const auto&) {});
  Acknowledge();
  const SessionId session = (*node_->state().coordination().sessions().begin()).key;
  const auto holder = std::make_shared<FakeHolder>();
  ASSERT_TRUE(node_->Hold(session, holder).ok());
  auto newer = FromOther(raft::pb::RAFT_MESSAGE_TYPE_HEARTBEAT);
  newer.set_term(newer.term() + 1);
  ASSERT_TRUE(node_->Step(newer).ok());
  Drain();
  EXPECT_THAT(holder->closed, ::testing::ElementsAre(Reason::kMetadataUnavailable));
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(node_->Hold(session, holder)));
}
}  // namespace
}  // namespace falaj::metadata
