// Create, set, delete and multi, and their answers to what is wrong.

#include <gtest/gtest.h>

#include "absl/strings/match.h"

#include "libs/coordination/command_rules.h"
#include "libs/coordination/coordination_test_support.h"
#include "libs/coordination/limits.h"

namespace falaj::coordination {

class QuotaPeer {
 public:
  static Quotas& Of(CoordinationState* state) { return state->quotas_; }
};

namespace {

using testing::Command;
using testing::CreateCommand;
using testing::DeleteCommand;
using testing::EphemeralCommand;
using testing::MultiCommand;
using testing::OpenCommand;
using testing::SequentialCommand;
using testing::SetCommand;
using testing::Tree;
using testing::WithRequestId;
namespace pb = ::falaj::internal::v1;

TEST(CoordinationWritesTest, TheRootIsAlwaysThere) {
  Tree tree;
  EXPECT_TRUE(tree.Has("/"));
  EXPECT_EQ(tree.state.znode_count(), 1);
  EXPECT_EQ(tree.ReasonFor(CreateCommand("/")), Reason::kZnodeAlreadyExists);
  EXPECT_EQ(tree.ReasonFor(DeleteCommand("/")), Reason::kInvalidPath);
  EXPECT_TRUE(tree.Apply(SetCommand("/", "data")).ok());
  EXPECT_EQ(tree.Changes(), "changed /");
}

TEST(CoordinationWritesTest, CreateAnswersWithTheStat) {
  Tree tree;
  const auto result = tree.Apply(CreateCommand("/a", "data"));
  ASSERT_TRUE(result.ok()) << result.status();
  const v1::Znode& znode = result->create().znode();
  EXPECT_EQ(result->create().index(), 1u);
  EXPECT_EQ(znode.path(), "/a");
  EXPECT_EQ(znode.data(), "");
  EXPECT_EQ(znode.stat().create_index(), 1u);
  EXPECT_EQ(znode.stat().modify_index(), 1u);
  EXPECT_EQ(znode.stat().children_index(), 1u);
  EXPECT_EQ(znode.stat().version(), 0);
  EXPECT_EQ(znode.stat().create_time().seconds(), 1);
  EXPECT_EQ(tree.Changes(), "created /a");
  const auto read = tree.state.Get("/a");
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->znode().data(), "data");
  EXPECT_EQ(read->znode().stat().SerializeAsString(), znode.stat().SerializeAsString());
}

TEST(CoordinationWritesTest, CreateCountsAtTheParent) {
  Tree tree;
  tree.Create("/a");                                    // 1
  tree.Create("/a/x");                                  // 2
  tree.Create("/a/y");                                  // 3
  ASSERT_TRUE(tree.Apply(DeleteCommand("/a/x")).ok());  // 4
  const ZnodePtr parent = tree.state.FindZnode("/a");
  EXPECT_EQ(parent->child_count, 1);
  EXPECT_EQ(parent->children_version, 3);
  EXPECT_EQ(parent->children_index, LogIndex(4));
  EXPECT_EQ(parent->modify_index, LogIndex(1));
  EXPECT_EQ(parent->version, 0);
}

TEST(CoordinationWritesTest, CreateRefuses) {
  Tree tree;
  tree.Create("/a");
  EXPECT_EQ(tree.ReasonFor(CreateCommand("/a")), Reason::kZnodeAlreadyExists);
  EXPECT_EQ(tree.Said("value"), "/a");
  EXPECT_EQ(tree.ReasonFor(CreateCommand("/b/c")), Reason::kZnodeNotFound);
  EXPECT_EQ(tree.Said("value"), "/b");
  EXPECT_EQ(tree.ReasonFor(CreateCommand("a")), Reason::kInvalidPath);
  EXPECT_EQ(tree.ReasonFor(CreateCommand("/a/")), Reason::kInvalidPath);
  EXPECT_EQ(tree.ReasonFor(CreateCommand("/falaj")), Reason::kPathReserved);
  EXPECT_EQ(tree.ReasonFor(CreateCommand("/falaj/x")), Reason::kPathReserved);
  EXPECT_EQ(tree.ReasonFor(CreateCommand("/c", std::string(kDataSizeMax + 1, 'd'))),
            Reason::kZnodeTooLarge);
  EXPECT_EQ(tree.Said("field"), "data");
  EXPECT_EQ(tree.Said("value"), "1048577");
  EXPECT_EQ(tree.Said("limit"), "1048576");
  EXPECT_TRUE(tree.Apply(CreateCommand("/c", std::string(kDataSizeMax, 'd'))).ok());
  Command ephemeral = CreateCommand("/e");
  ephemeral.mutable_create()->set_ephemeral(true);
  EXPECT_EQ(tree.ReasonFor(ephemeral), Reason::kInvalidRequest);
  EXPECT_EQ(tree.Said("field"), "options.session");
  EXPECT_TRUE(tree.changes.empty());
}

TEST(CoordinationWritesTest, CreateMakesParentsWhenAsked) {
  Tree tree;
  Command command = CreateCommand("/a/b/c", "data");
  command.mutable_create()->set_create_parents(true);
  ASSERT_TRUE(tree.Apply(command).ok());
  EXPECT_EQ(tree.Changes(), "created /a, created /a/b, created /a/b/c");
  EXPECT_EQ(tree.state.FindZnode("/a/b")->data(), "");
  EXPECT_EQ(tree.ReasonFor(command), Reason::kZnodeAlreadyExists);
  command.mutable_create()->set_path("/falaj/b/c");
  EXPECT_EQ(tree.ReasonFor(command), Reason::kPathReserved);
}

TEST(CoordinationWritesTest, AnEphemeralZnodeHasNoChildren) {
  Tree tree;
  const v1::SessionHandle session = tree.Open();
  ASSERT_TRUE(tree.Apply(EphemeralCommand("/e", session)).ok());
  EXPECT_EQ(tree.state.FindZnode("/e")->ephemeral_session.value(), session.session_id());
  EXPECT_EQ(tree.ReasonFor(CreateCommand("/e/child")), Reason::kZnodeIsEphemeral);
  EXPECT_EQ(tree.Said("value"), "/e");
  EXPECT_EQ(tree.ReasonFor(EphemeralCommand("/e/child", session)), Reason::kZnodeIsEphemeral);
  Command deep = CreateCommand("/e/x/y");
  deep.mutable_create()->set_create_parents(true);
  EXPECT_EQ(tree.ReasonFor(deep), Reason::kZnodeIsEphemeral);
  EXPECT_EQ(tree.ReasonFor(testing::CampaignCommand("/e", session)), Reason::kZnodeIsEphemeral);
}

TEST(CoordinationWritesTest, SequentialNumbersAreNeverUsedAgain) {
  Tree tree;
  tree.Create("/q");
  const auto create = [&tree](const std::string& path) {
    const auto result = tree.Apply(SequentialCommand(path));
    return result.ok() ? result->create().znode().path() : std::string(result.status().message());
  };
  EXPECT_EQ(create("/q/job-"), "/q/job-0000000000");
  EXPECT_EQ(create("/q/"), "/q/0000000001");
  ASSERT_TRUE(tree.Apply(DeleteCommand("/q/0000000001")).ok());
  EXPECT_EQ(create("/q/"), "/q/0000000002");
  tree.Create("/q/job-0000000003");  // Somebody else's idea.
  EXPECT_EQ(create("/q/job-"), "/q/job-0000000004");
  EXPECT_EQ(tree.state.FindZnode("/q")->next_sequence, 5u);
  EXPECT_EQ(create("/"), "/0000000000");
  EXPECT_EQ(create("/falaj"), "/falaj0000000001");  // A name of its own.
  EXPECT_EQ(tree.ReasonFor(SequentialCommand("/falaj/")), Reason::kPathReserved);
  EXPECT_EQ(tree.ReasonFor(SequentialCommand("/none/x")), Reason::kZnodeNotFound);
}

TEST(CoordinationWritesTest, SetRaisesTheVersion) {
  Tree tree;
  tree.Create("/a", "0");
  for (int64_t version = 0; version < 3; ++version) {
    const auto result = tree.Apply(SetCommand("/a", "x", version));
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->set().znode().stat().version(), version + 1);
    EXPECT_EQ(result->set().znode().stat().modify_index(), tree.index.value());
    EXPECT_EQ(result->set().znode().stat().create_index(), 1u);
    EXPECT_EQ(tree.Changes(), "changed /a");
  }
  EXPECT_EQ(tree.ReasonFor(SetCommand("/a", "y", 2)), Reason::kVersionMismatch);
  EXPECT_EQ(tree.Said("value"), "2");
  EXPECT_EQ(tree.Said("version"), "3");
  EXPECT_EQ(tree.ReasonFor(SetCommand("/a", "y", -1)), Reason::kInvalidRequest);
  EXPECT_EQ(tree.ReasonFor(SetCommand("/b", "y")), Reason::kZnodeNotFound);
  EXPECT_EQ(tree.ReasonFor(SetCommand("/falaj", "y")), Reason::kPathReserved);
  EXPECT_EQ(tree.ReasonFor(SetCommand("/a", std::string(kDataSizeMax + 1, 'y'))),
            Reason::kZnodeTooLarge);
  EXPECT_EQ(tree.state.FindZnode("/a")->data(), "x");
}

TEST(CoordinationWritesTest, DeleteRefuses) {
  Tree tree;
  tree.Create("/a");
  tree.Create("/a/b");
  EXPECT_EQ(tree.ReasonFor(DeleteCommand("/a")), Reason::kZnodeNotEmpty);
  EXPECT_EQ(tree.Said("child_count"), "1");
  EXPECT_EQ(tree.ReasonFor(DeleteCommand("/a/b", 1)), Reason::kVersionMismatch);
  EXPECT_EQ(tree.ReasonFor(DeleteCommand("/x")), Reason::kZnodeNotFound);
  EXPECT_EQ(tree.ReasonFor(DeleteCommand("/falaj/nodes")), Reason::kPathReserved);
  EXPECT_TRUE(tree.Apply(DeleteCommand("/a/b", 0)).ok());
  EXPECT_EQ(tree.Changes(), "deleted /a/b");
  EXPECT_TRUE(tree.Apply(DeleteCommand("/a")).ok());
  EXPECT_EQ(tree.state.znode_count(), 1);
}

TEST(CoordinationWritesTest, MultiSeesWhatCameBefore) {
  Tree tree;
  Command multi = MultiCommand({CreateCommand("/a", "0"), CreateCommand("/a/b"),
                                SetCommand("/a", "1", 0), SetCommand("/a", "2", 1),
                                DeleteCommand("/a/b"), CreateCommand("/a/b", "again")});
  multi.mutable_multi()->add_operations()->mutable_check()->set_path("/a");
  multi.mutable_multi()->mutable_operations(6)->mutable_check()->set_expected_version(2);
  const auto result = tree.Apply(multi);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->multi().znodes_size(), 7);
  EXPECT_EQ(result->multi().index(), 1u);
  EXPECT_EQ(result->multi().znodes(2).stat().version(), 1);
  EXPECT_EQ(result->multi().znodes(4).path(), "/a/b");
  EXPECT_FALSE(result->multi().znodes(4).has_stat());
  EXPECT_EQ(result->multi().znodes(6).path(), "/a");
  EXPECT_EQ(tree.Changes(),
            "created /a, created /a/b, changed /a, changed /a, deleted /a/b, created /a/b");
  EXPECT_EQ(tree.changes[2].znode->data(), "1");
  EXPECT_EQ(tree.changes[3].znode->data(), "2");
}

TEST(CoordinationWritesTest, MultiIsAllOrNothing) {
  Tree tree;
  tree.Create("/a", "old");
  const std::string before = tree.state.Snapshot().SerializeAsString();
  const uint64_t digest = tree.state.digest();
  EXPECT_EQ(tree.ReasonFor(MultiCommand(
                {SetCommand("/a", "new"), SequentialCommand("/a/s"), DeleteCommand("/nothing")})),
            Reason::kZnodeNotFound);
  EXPECT_EQ(tree.Said("operation"), "2");
  EXPECT_TRUE(absl::StrContains(tree.status.message(), "operation 2"));
  EXPECT_TRUE(tree.changes.empty());
  EXPECT_EQ(tree.state.Snapshot().SerializeAsString(), before);
  EXPECT_EQ(tree.state.digest(), digest);
  EXPECT_EQ(tree.state.data_bytes(), 1 + 2 + 3);
}

TEST(CoordinationWritesTest, MultiRefuses) {
  Tree tree;
  EXPECT_EQ(tree.ReasonFor(MultiCommand({CreateCommand("/a"), CreateCommand("/falaj/a")})),
            Reason::kPathReserved);
  EXPECT_EQ(tree.Said("operation"), "1");
  Command empty;
  empty.mutable_multi();
  EXPECT_EQ(tree.ReasonFor(empty), Reason::kInvalidRequest);
  EXPECT_EQ(tree.Said("limit"), "1");
  EXPECT_EQ(tree.ReasonFor(MultiCommand({CreateCommand("/a"), Command()})),
            Reason::kInvalidRequest);
  EXPECT_EQ(tree.Said("operation"), "1");
  Command options = MultiCommand({SetCommand("/", "x")});
  options.mutable_multi()->mutable_operations(0)->mutable_set()->mutable_options();
  EXPECT_EQ(tree.ReasonFor(options), Reason::kInvalidRequest);
  EXPECT_EQ(tree.Said("field"), "options");

  const std::vector<Command> most(kMultiOperationsMax, SetCommand("/", "x"));
  EXPECT_TRUE(tree.Apply(MultiCommand(most)).ok());
  const std::vector<Command> more(kMultiOperationsMax + 1, SetCommand("/", "x"));
  EXPECT_EQ(tree.ReasonFor(MultiCommand(more)), Reason::kInvalidRequest);
  EXPECT_EQ(tree.Said("limit"), "128");
  const std::vector<Command> large(3, SetCommand("/", std::string(700'000, 'x')));
  EXPECT_EQ(tree.ReasonFor(MultiCommand(large)), Reason::kZnodeTooLarge);
  EXPECT_EQ(tree.Said("field"), "multi");
  EXPECT_EQ(tree.Said("limit"), "2097152");
}

TEST(CoordinationWritesTest, BytesHaveAQuota) {
  Tree tree;
  tree.Create("/a", "1234");
  QuotaPeer::Of(&tree.state).data_bytes_max = tree.state.data_bytes() + 2;
  EXPECT_EQ(tree.ReasonFor(CreateCommand("/b", "1")), Reason::kQuotaExceeded);
  EXPECT_EQ(tree.Said("field"), "data_bytes");
  EXPECT_EQ(tree.Said("value"), "10");
  EXPECT_EQ(tree.Said("limit"), "9");
  EXPECT_EQ(tree.ReasonFor(SetCommand("/a", "1234567")), Reason::kQuotaExceeded);
  EXPECT_TRUE(tree.Apply(SetCommand("/a", "123456")).ok());
  QuotaPeer::Of(&tree.state).data_bytes_max = 1;
  EXPECT_TRUE(tree.Apply(SetCommand("/a", "12345")).ok()) << "what shrinks is welcome";
  EXPECT_TRUE(tree.Apply(DeleteCommand("/a")).ok());
}

TEST(CoordinationWritesTest, ZnodesHaveAQuota) {
  Tree tree;
  QuotaPeer::Of(&tree.state).znodes_max = 3;
  Command deep = CreateCommand("/a/b/c");
  deep.mutable_create()->set_create_parents(true);
  EXPECT_EQ(tree.ReasonFor(deep), Reason::kQuotaExceeded);
  EXPECT_EQ(tree.Said("field"), "znodes");
  EXPECT_EQ(tree.Said("value"), "4");
  EXPECT_EQ(tree.Said("limit"), "3");
  EXPECT_EQ(tree.state.znode_count(), 1);
  deep.mutable_create()->set_path("/a/b");
  EXPECT_TRUE(tree.Apply(deep).ok());
  EXPECT_EQ(tree.ReasonFor(CreateCommand("/c")), Reason::kQuotaExceeded);
  // The cluster's own are not refused.
  tree.state.OpenNodeSession(LogIndex(100), 0, SessionId(100), 1'000, "/falaj/nodes/1", "");
  EXPECT_TRUE(tree.Has("/falaj/nodes/1"));
}

TEST(CoordinationWritesTest, SessionsAndAnswersHaveQuotas) {
  Tree tree;
  const v1::SessionHandle first = tree.Open();
  QuotaPeer::Of(&tree.state).sessions_max = 1;
  EXPECT_EQ(tree.ReasonFor(OpenCommand()), Reason::kQuotaExceeded);
  EXPECT_EQ(tree.Said("field"), "sessions");
  QuotaPeer::Of(&tree.state).saved_answer_bytes_max = 1;
  EXPECT_TRUE(tree.Apply(WithRequestId(SetCommand("/", ""), first, 1)).ok());
  const Command second = WithRequestId(SetCommand("/", ""), first, 2);
  EXPECT_EQ(tree.ReasonFor(second), Reason::kQuotaExceeded);
  EXPECT_EQ(tree.Said("field"), "saved_answer_bytes");
  EXPECT_TRUE(tree.Apply(WithRequestId(SetCommand("/", ""), first, 1)).ok()) << "answered already";
  EXPECT_TRUE(tree.Apply(SetCommand("/", "")).ok());
  QuotaPeer::Of(&tree.state) = {};
  EXPECT_TRUE(tree.Apply(second).ok()) << "the refusal was not kept";
  tree.End(first);
  EXPECT_EQ(tree.state.saved_answer_bytes(), 0);
}

TEST(CoordinationWritesTest, TheQuotasAreTheseOnes) {
  EXPECT_EQ(Quotas().znodes_max, 1'000'000);
  EXPECT_EQ(Quotas().data_bytes_max, 268'435'456);
  EXPECT_EQ(Quotas().sessions_max, 100'000);
}

TEST(CoordinationWritesTest, UnknownCommandsAreRefused) {
  Tree tree;
  EXPECT_EQ(tree.ReasonFor(Command()), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(ValidateCommand(Command())), Reason::kInvalidRequest);
}

}  // namespace
}  // namespace falaj::coordination
