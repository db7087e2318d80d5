// Sessions, what goes with them, and repeated requests.

#include <gtest/gtest.h>

#include "libs/coordination/command_rules.h"
#include "libs/coordination/coordination_test_support.h"
#include "libs/coordination/limits.h"

namespace falaj::coordination {
namespace {

using testing::CampaignCommand;
using testing::CloseCommand;
using testing::Command;
using testing::CreateCommand;
using testing::DeleteCommand;
using testing::EphemeralCommand;
using testing::MultiCommand;
using testing::OpenCommand;
using testing::ResignCommand;
using testing::SequentialCommand;
using testing::SetCommand;
using testing::Tree;
using testing::WithRequestId;

TEST(CoordinationSessionTest, AnIdIsTheIndexOfItsEntry) {
  Tree tree;
  tree.Create("/a");
  const auto result = tree.Apply(OpenCommand(1'500));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->open_session().session().session_id(), 2);
  EXPECT_EQ(result->open_session().session().secret(), testing::SecretOf(1));
  EXPECT_EQ(result->open_session().timeout().seconds(), 1);
  EXPECT_EQ(result->open_session().timeout().nanos(), 500'000'000);
  EXPECT_EQ(tree.state.FindSession(SessionId(2))->timeout_ms, 1'500);
}

TEST(CoordinationSessionTest, TimeoutsAreBounded) {
  Tree tree;
  for (const int32_t timeout_ms : {-1, 0, 999, 600'001}) {
    EXPECT_EQ(tree.ReasonFor(OpenCommand(timeout_ms)), Reason::kInvalidRequest) << timeout_ms;
    EXPECT_EQ(tree.Said("field"), "timeout");
  }
  EXPECT_EQ(tree.Said("limit"), "600000");
  EXPECT_TRUE(tree.Apply(OpenCommand(1'000)).ok());
  EXPECT_TRUE(tree.Apply(OpenCommand(600'000)).ok());
  Command command = OpenCommand();
  command.mutable_open_session()->set_secret("short");
  EXPECT_EQ(tree.ReasonFor(command), Reason::kInvalidRequest);
}

TEST(CoordinationSessionTest, AHandleMustBeRight) {
  Tree tree;
  const v1::SessionHandle session = tree.Open();
  EXPECT_TRUE(tree.state.CheckSession(session).ok());
  EXPECT_EQ(ReasonOf(tree.state.CheckSession({})), Reason::kInvalidRequest);
  v1::SessionHandle other = session;
  other.mutable_secret()->back() ^= 1;
  EXPECT_EQ(ReasonOf(tree.state.CheckSession(other)), Reason::kSessionMismatch);
  other.clear_secret();
  EXPECT_EQ(ReasonOf(tree.state.CheckSession(other)), Reason::kSessionMismatch);
  other = session;
  other.set_session_id(session.session_id() + 1);
  EXPECT_EQ(ReasonOf(tree.state.CheckSession(other)), Reason::kSessionExpired);
}

TEST(CoordinationSessionTest, EveryCommandChecksItsSession) {
  Tree tree;
  tree.Create("/a");
  v1::SessionHandle wrong = tree.Open();
  wrong.mutable_secret()->back() ^= 1;
  const v1::SessionHandle ended = tree.Open();
  tree.End(ended);
  const uint64_t digest = tree.state.digest();
  const auto check = [&tree](const v1::SessionHandle& session, Reason reason) {
    for (Command command : {CreateCommand("/b"), SetCommand("/a", ""), DeleteCommand("/a"),
                            MultiCommand({SetCommand("/a", "")})}) {
      *testing::OptionsIn(&command)->mutable_session() = session;
      EXPECT_EQ(tree.ReasonFor(command), reason);
      testing::OptionsIn(&command)->set_request_id(1);
      EXPECT_EQ(tree.ReasonFor(command), reason);
    }
    EXPECT_EQ(tree.ReasonFor(EphemeralCommand("/e", session)), reason);
    EXPECT_EQ(tree.ReasonFor(CampaignCommand("/a", session)), reason);
    EXPECT_EQ(tree.ReasonFor(ResignCommand("/a", session)), reason);
  };
  check(wrong, Reason::kSessionMismatch);
  check(ended, Reason::kSessionExpired);
  check({}, Reason::kInvalidRequest);
  EXPECT_EQ(tree.ReasonFor(CloseCommand(wrong)), Reason::kSessionMismatch);
  EXPECT_EQ(tree.ReasonFor(CloseCommand({})), Reason::kInvalidRequest);
  EXPECT_EQ(tree.state.digest(), digest);
}

TEST(CoordinationSessionTest, AllItsZnodesGoInOneEntry) {
  for (const bool closed : {false, true}) {
    Tree tree;
    const v1::SessionHandle session = tree.Open();
    const v1::SessionHandle other = tree.Open();
    for (const char* path : {"/a", "/b"}) tree.Create(path);
    for (const char* path : {"/b/1", "/e", "/a/2", "/a/1"}) {
      ASSERT_TRUE(tree.Apply(EphemeralCommand(path, session)).ok());
    }
    ASSERT_TRUE(tree.Apply(EphemeralCommand("/a/other", other)).ok());
    tree.Create("/a/stays");
    if (closed) {
      const auto result = tree.Apply(CloseCommand(session));
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ(result->close_session().index(), tree.index.value());
    } else {
      tree.End(session);
    }
    EXPECT_EQ(tree.Changes(), "deleted /e, deleted /a/1, deleted /a/2, deleted /b/1");
    EXPECT_EQ(tree.state.FindZnode("/a")->child_count, 2);
    EXPECT_EQ(tree.state.FindZnode("/a")->children_version, 6);
    EXPECT_EQ(tree.state.FindZnode("/a")->children_index, tree.index);
    EXPECT_EQ(tree.state.FindSession(SessionId(session.session_id())), nullptr);
    EXPECT_EQ(tree.state.ephemeral_count(), 1);

    EXPECT_TRUE(tree.Apply(CloseCommand(session)).ok()) << "it has ended already";
    EXPECT_TRUE(tree.changes.empty());
    tree.End(session);
    EXPECT_TRUE(tree.changes.empty());
  }
}

TEST(CoordinationSessionTest, AnEphemeralZnodeLeavesTheSessionWhenDeleted) {
  Tree tree;
  const v1::SessionHandle session = tree.Open();
  ASSERT_TRUE(tree.Apply(EphemeralCommand("/e", session)).ok());
  ASSERT_TRUE(tree.Apply(SetCommand("/e", "x")).ok());
  ASSERT_TRUE(tree.Apply(DeleteCommand("/e")).ok());
  tree.Create("/e");  // For good.
  tree.End(session);
  EXPECT_TRUE(tree.changes.empty());
  EXPECT_TRUE(tree.Has("/e"));
}

TEST(CoordinationSessionTest, ARepetitionGetsTheFirstAnswer) {
  Tree tree;
  const v1::SessionHandle session = tree.Open();
  const Command create = WithRequestId(SequentialCommand("/s-"), session, 1);
  const Command multi =
      WithRequestId(MultiCommand({SequentialCommand("/m-"), SetCommand("/", "x")}), session, 2);
  const Command failing =
      WithRequestId(MultiCommand({SetCommand("/", "y"), SetCommand("/none", "y")}), session, 3);
  const auto created = tree.Apply(create);
  const auto done = tree.Apply(multi);
  const absl::Status failed = tree.Apply(failing).status();
  ASSERT_TRUE(created.ok() && done.ok());
  tree.Create("/none");
  const uint64_t digest = tree.state.digest();
  for (int i = 0; i < 2; ++i) {
    const auto again = tree.Apply(create);
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(again->SerializeAsString(), created->SerializeAsString());
    EXPECT_TRUE(tree.changes.empty());
    EXPECT_EQ(tree.Apply(multi)->SerializeAsString(), done->SerializeAsString());
    EXPECT_EQ(tree.ReasonFor(failing), Reason::kZnodeNotFound);
    EXPECT_EQ(tree.status.message(), failed.message());
    EXPECT_EQ(MetadataOf(tree.status), MetadataOf(failed));
    EXPECT_EQ(tree.Said("operation"), "1");
    EXPECT_EQ(tree.state.digest(), digest);
    // Also after a restart.
    tree.state = *CoordinationState::FromSnapshot(tree.state.Snapshot());
  }
  EXPECT_EQ(tree.ReasonFor(WithRequestId(SetCommand("/", ""), session, 1)), Reason::kInvalidRequest)
      << "the answer kept is that of a create";
}

TEST(CoordinationSessionTest, TheNewestAnswersAreKept) {
  Tree tree;
  const v1::SessionHandle session = tree.Open();
  const auto set = [&](uint64_t id) {
    return tree.ReasonFor(WithRequestId(SetCommand("/", "x"), session, id));
  };
  const auto version = [&tree] { return tree.state.FindZnode("/")->version; };
  for (uint64_t id = 20; id <= 30; ++id) ASSERT_EQ(set(id), Reason::kNone);
  ASSERT_EQ(set(10), Reason::kNone) << "late, but nothing was dropped yet";
  for (uint64_t id = 31; id <= 34; ++id) ASSERT_EQ(set(id), Reason::kNone);
  EXPECT_EQ(version(), 16);
  EXPECT_EQ(set(10), Reason::kNone);
  EXPECT_EQ(set(9), Reason::kRequestTooOld);
  EXPECT_EQ(tree.Said("limit"), "10");
  EXPECT_EQ(set(35), Reason::kNone);
  EXPECT_EQ(set(10), Reason::kRequestTooOld);
  EXPECT_EQ(tree.Said("value"), "10");
  EXPECT_EQ(set(20), Reason::kNone);
  EXPECT_EQ(version(), 17);
  EXPECT_EQ(tree.state.FindSession(SessionId(session.session_id()))->answers.size(), 16u);
}

TEST(CoordinationSessionTest, ARequestIdNeedsASession) {
  Tree tree;
  Command command = SetCommand("/", "x");
  command.mutable_set()->mutable_options()->set_request_id(1);
  EXPECT_EQ(tree.ReasonFor(command), Reason::kInvalidRequest);
  EXPECT_EQ(tree.Said("field"), "options.request_id");
}

TEST(CoordinationSessionTest, AStorageNodesSessionIsNotForClients) {
  Tree tree;
  tree.changes =
      tree.state.OpenNodeSession(LogIndex(1), 5, SessionId(1), 500, "/falaj/nodes/7", "address");
  EXPECT_EQ(tree.Changes(), "created /falaj, created /falaj/nodes, created /falaj/nodes/7");
  EXPECT_TRUE(tree.state.FindZnode("/falaj/nodes/7")->is_ephemeral());
  EXPECT_FALSE(tree.state.FindZnode("/falaj/nodes")->is_ephemeral());
  EXPECT_TRUE(tree.state.FindSession(SessionId(1))->is_storage_node());
  v1::SessionHandle handle;
  handle.set_session_id(1);
  EXPECT_EQ(ReasonOf(tree.state.CheckSession(handle)), Reason::kSessionMismatch);
  EXPECT_EQ(tree.ReasonFor(CloseCommand(handle)), Reason::kSessionMismatch);

  // The node registers anew before its old session has ended.
  tree.changes =
      tree.state.OpenNodeSession(LogIndex(2), 6, SessionId(2), 500, "/falaj/nodes/7", "new");
  EXPECT_EQ(tree.Changes(), "deleted /falaj/nodes/7, created /falaj/nodes/7");
  EXPECT_TRUE(tree.state.EndSession(LogIndex(3), 7, SessionId(1)).empty());
  EXPECT_EQ(tree.state.FindZnode("/falaj/nodes/7")->data(), "new");
  tree.changes = tree.state.EndSession(LogIndex(4), 8, SessionId(2));
  EXPECT_EQ(tree.Changes(), "deleted /falaj/nodes/7");
  EXPECT_TRUE(tree.Has("/falaj/nodes"));
}

TEST(CoordinationSessionTest, SecretsAreNotInErrors) {
  Tree tree;
  v1::SessionHandle session = tree.Open();
  session.mutable_secret()->back() ^= 1;
  const absl::Status status = tree.state.CheckSession(session);
  EXPECT_EQ(status.ToString().find("secret of"), std::string::npos);
}

}  // namespace
}  // namespace falaj::coordination
