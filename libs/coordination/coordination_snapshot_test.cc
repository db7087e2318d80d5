// Reads, digests, copies and snapshots.

#include <gtest/gtest.h>

#include <functional>

#include "absl/strings/str_format.h"

#include "libs/coordination/coordination_test_support.h"
#include "libs/coordination/limits.h"

namespace falaj::coordination {
namespace {

using testing::CreateCommand;
using testing::DeleteCommand;
using testing::EphemeralCommand;
using testing::SequentialCommand;
using testing::SetCommand;
using testing::Tree;
using testing::WithRequestId;
namespace pb = ::falaj::internal::v1;

v1::ListChildrenRequest ListRequest(const std::string& path, int32_t page_size = 0,
                                    const std::string& token = "") {
  v1::ListChildrenRequest request;
  request.set_path(path);
  request.set_page_size(page_size);
  request.set_page_token(token);
  return request;
}

TEST(CoordinationReadsTest, Refuse) {
  Tree tree;
  EXPECT_EQ(ReasonOf(tree.state.Get("/x").status()), Reason::kZnodeNotFound);
  EXPECT_EQ(ReasonOf(tree.state.Get("x").status()), Reason::kInvalidPath);
  EXPECT_EQ(ReasonOf(tree.state.List(ListRequest("/x")).status()), Reason::kZnodeNotFound);
  EXPECT_EQ(ReasonOf(tree.state.List(ListRequest("/", -1)).status()), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(tree.state.List(ListRequest("/", 1, "a/b")).status()),
            Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(tree.state.List(ListRequest("/", 1, std::string(256, 'a'))).status()),
            Reason::kInvalidRequest);
}

TEST(CoordinationReadsTest, ChildrenComeInOrderAPageAtATime) {
  Tree tree;
  for (const char* path : {"/p", "/p/b", "/p/a", "/p/c", "/p/b/deep", "/p!", "/pp", "/p/d"}) {
    tree.Create(path);
  }
  const auto all = tree.state.List(ListRequest("/p"));
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(std::vector<std::string>(all->names().begin(), all->names().end()),
            (std::vector<std::string>{"a", "b", "c", "d"}));
  EXPECT_EQ(all->next_page_token(), "");
  EXPECT_EQ(all->stat().child_count(), 4);
  std::string seen;
  std::string token;
  int pages = 0;
  do {
    const auto page = tree.state.List(ListRequest("/p", 2, token));
    ASSERT_TRUE(page.ok());
    for (const std::string& name : page->names()) seen += name;
    token = page->next_page_token();
    ++pages;
  } while (!token.empty());
  EXPECT_EQ(seen, "abcd");
  EXPECT_EQ(pages, 2);
  const auto root = tree.state.List(ListRequest("/"));
  EXPECT_EQ(root->names_size(), 3);  // p, p! and pp; "/" is not a child of itself.
  // The page's last name may have gone meanwhile.
  ASSERT_TRUE(tree.Apply(DeleteCommand("/p/c")).ok());
  EXPECT_EQ(tree.state.List(ListRequest("/p", 2, "c"))->names(0), "d");
}

TEST(CoordinationReadsTest, PagesAreBounded) {
  Tree tree;
  tree.Create("/p");
  for (int i = 0; i <= kChildrenPageMax; ++i) tree.Create(absl::StrFormat("/p/%06d", i));
  EXPECT_EQ(tree.state.List(ListRequest("/p"))->names_size(), kChildrenPageDefault);
  const auto page = tree.state.List(ListRequest("/p", 1'000'000));
  EXPECT_EQ(page->names_size(), kChildrenPageMax);
  EXPECT_EQ(page->next_page_token(), "009999");
}

// Some of everything.
Tree Furnished() {
  Tree tree;
  const v1::SessionHandle session = tree.Open();
  tree.Create("/a", "data");
  tree.Create("/a/b", "more");
  EXPECT_TRUE(tree.Apply(SequentialCommand("/a/s-")).ok());
  EXPECT_TRUE(tree.Apply(EphemeralCommand("/a/e", session)).ok());
  EXPECT_TRUE(tree.Apply(WithRequestId(SetCommand("/a/b", "x"), session, 3)).ok());
  EXPECT_FALSE(tree.Apply(WithRequestId(SetCommand("/none", "x"), session, 5)).ok());
  ++tree.index;
  tree.state.OpenNodeSession(tree.index, 9, SessionId(static_cast<int64_t>(tree.index.value())),
                             400, "/falaj/nodes/1", "node");
  return tree;
}

TEST(CoordinationSnapshotTest, RestoresTheSameState) {
  const Tree tree = Furnished();
  const pb::CoordinationState snapshot = tree.state.Snapshot();
  const auto restored = CoordinationState::FromSnapshot(snapshot);
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->Snapshot().SerializeAsString(), snapshot.SerializeAsString());
  EXPECT_EQ(tree.state.SerializeSnapshot(), snapshot.SerializeAsString());
  EXPECT_EQ(restored->digest(), tree.state.digest());
  EXPECT_EQ(restored->data_bytes(), tree.state.data_bytes());
  EXPECT_EQ(restored->saved_answer_bytes(), tree.state.saved_answer_bytes());
  EXPECT_EQ(restored->ephemeral_count(), 2);
  EXPECT_EQ(CoordinationState::FromSnapshot(CoordinationState().Snapshot())->digest(),
            CoordinationState().digest());
}

TEST(CoordinationSnapshotTest, TheDigestIsOfTheContentOnly) {
  Tree tree;
  Tree other;
  tree.Create("/a");  // 1
  tree.Create("/b");  // 2
  ++other.index;
  other.Create("/b");
  EXPECT_NE(tree.state.digest(), other.state.digest());
  const uint64_t two = tree.state.digest();
  // Of all that a snapshot holds, field by field.
  const Tree furnished = Furnished();
  for (const auto& change : std::vector<std::function<void(pb::CoordinationState*)>>{
           [](auto* s) { s->mutable_znodes(1)->set_data("Data"); },
           [](auto* s) { s->mutable_znodes(1)->set_version(7); },
           [](auto* s) { s->mutable_znodes(1)->set_modify_index(7); },
           [](auto* s) { s->mutable_znodes(1)->set_children_index(70); },
           [](auto* s) { s->mutable_znodes(1)->set_children_version(70); },
           [](auto* s) { s->mutable_znodes(1)->set_create_time_ms(7); },
           [](auto* s) { s->mutable_znodes(1)->set_modify_time_ms(7); },
           [](auto* s) { s->mutable_znodes(1)->set_next_sequence(70); },
           [](auto* s) { s->mutable_sessions(0)->set_timeout_ms(7); },
           [](auto* s) { s->mutable_sessions(0)->mutable_secret()->back() ^= 1; },
           [](auto* s) { s->mutable_sessions(0)->mutable_saved_results()->RemoveLast(); },
           [](auto* s) { s->mutable_sessions(0)->mutable_saved_results(1)->set_error_message(""); },
       }) {
    pb::CoordinationState snapshot = furnished.state.Snapshot();
    change(&snapshot);
    const auto changed = CoordinationState::FromSnapshot(snapshot);
    ASSERT_TRUE(changed.ok()) << changed.status();
    EXPECT_NE(changed->digest(), furnished.state.digest());
  }
  EXPECT_EQ(tree.state.digest(), two);
}

// A digest of today must be that of tomorrow's version: nodes of both compare theirs. The numbers
// were computed by another program.
TEST(CoordinationSnapshotTest, TheDigestIsTheSameEverywhere) {
  EXPECT_EQ(HashOf("falaj"), 0x2fa2795f816e314fu);
  EXPECT_EQ(HashOf("more than eight bytes"), 0x1dbb74735dd2982du);
  EXPECT_EQ(CoordinationState().digest(), 0xe7f9cab67c1906e5u);
}

TEST(CoordinationSnapshotTest, ACopyIsUnaffected) {
  Tree tree = Furnished();
  const CoordinationState copy = tree.state;
  const std::string before = copy.Snapshot().SerializeAsString();
  ASSERT_TRUE(tree.Apply(DeleteCommand("/a/b")).ok());
  tree.End(tree.Open());
  ASSERT_TRUE(tree.Apply(SetCommand("/a", "new")).ok());
  EXPECT_EQ(copy.Snapshot().SerializeAsString(), before);
  EXPECT_EQ(CoordinationState::FromSnapshot(copy.Snapshot())->digest(), copy.digest());
}

TEST(CoordinationSnapshotTest, RefusesWhatCannotBe) {
  // Sorted: "/", /a, /falaj, /a/b, /a/e, /a/s-0000000000, /falaj/nodes, /falaj/nodes/1.
  const pb::CoordinationState good = Furnished().state.Snapshot();
  ASSERT_EQ(good.znodes_size(), 8);
  ASSERT_EQ(good.znodes(4).path(), "/a/e");
  ASSERT_TRUE(CoordinationState::FromSnapshot(good).ok());
  int number = 0;
  for (const auto& damage : std::vector<std::function<void(pb::CoordinationState*)>>{
           [](auto* s) { s->Clear(); },
           [](auto* s) { s->mutable_znodes()->DeleteSubrange(0, 1); },
           [](auto* s) { s->mutable_znodes(0)->set_ephemeral_session_id(1); },
           [](auto* s) { s->mutable_znodes()->DeleteSubrange(1, 1); },
           [](auto* s) { s->mutable_znodes()->RemoveLast(); },
           [](auto* s) { s->mutable_znodes()->SwapElements(3, 4); },
           [](auto* s) { *s->add_znodes() = s->znodes(7); },
           [](auto* s) { s->mutable_znodes(1)->set_child_count(2); },
           [](auto* s) { s->mutable_znodes(1)->set_child_count(-1); },
           [](auto* s) {
             s->mutable_znodes(3)->set_child_count(1);
             s->mutable_znodes(3)->set_children_version(1);
           },
           [](auto* s) { s->mutable_znodes(1)->set_children_version(0); },
           [](auto* s) { s->mutable_znodes(1)->set_create_index(1'000); },
           [](auto* s) { s->mutable_znodes(1)->set_version(-1); },
           [](auto* s) { s->mutable_znodes(1)->set_next_sequence(uint64_t{1} << 60); },
           [](auto* s) { s->mutable_znodes(3)->set_path("/a//b"); },
           [](auto* s) { s->mutable_znodes(3)->set_data(std::string(kDataSizeMax + 1, 'd')); },
           [](auto* s) { s->mutable_znodes(4)->set_ephemeral_session_id(99); },
           [](auto* s) { s->mutable_znodes(1)->set_ephemeral_session_id(1); },
           [](auto* s) { s->mutable_sessions()->SwapElements(0, 1); },
           [](auto* s) { *s->add_sessions() = s->sessions(1); },
           [](auto* s) { s->mutable_sessions(0)->set_session_id(0); },
           [](auto* s) { s->mutable_sessions(0)->set_secret("short"); },
           [](auto* s) { s->mutable_sessions(0)->set_timeout_ms(0); },
           [](auto* s) { s->mutable_sessions(0)->mutable_saved_results()->SwapElements(0, 1); },
           [](auto* s) { s->mutable_sessions(0)->mutable_saved_results(0)->clear_result(); },
           [](auto* s) { s->mutable_sessions(0)->mutable_saved_results(0)->set_error_reason("X"); },
           [](auto* s) {
             for (uint64_t id = 6; id < 30; ++id) {
               *s->mutable_sessions(0)->add_saved_results() = s->sessions(0).saved_results(1);
               s->mutable_sessions(0)->mutable_saved_results()->rbegin()->set_request_id(id);
             }
           },
       }) {
    pb::CoordinationState snapshot = good;
    damage(&snapshot);
    const auto restored = CoordinationState::FromSnapshot(snapshot);
    EXPECT_EQ(ReasonOf(restored.status()), Reason::kCorruptRecord) << "damage " << number;
    ++number;
  }
}

}  // namespace
}  // namespace falaj::coordination
