// A metadata node alone, without threads, disk and network, for tests of what it answers, and when.
#ifndef SERVICES_METADATA_METADATA_NODE_FIXTURE_H_
#define SERVICES_METADATA_METADATA_NODE_FIXTURE_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "services/metadata/metadata_node.h"

namespace falaj::metadata {

inline constexpr NodeId kSelf(1);
inline constexpr NodeId kOther(2);

// Watches the cluster in memory.
class FakeClusterWatcher final : public Watcher {
 public:
  bool Push(const WatchEvent& event) override {
    seen.push_back(event.message->index());
    return true;
  }
  bool PushKeepalive(const WatchEvent& event) override { return Push(event); }
  void Close(const absl::Status& status) override { closed = ReasonOf(status); }

  std::vector<uint64_t> seen;
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
    internal::v1::RaftMembership* const members = restored.snapshot.meta.mutable_membership();
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
      if (!ready.snapshot) node_->Apply(ready);
      ASSERT_TRUE(node_->Prepare(ready).ok());
      node_->Persisted(ready);
      for (auto& message : ready.messages_after_persist) sent_.push_back(message);
      if (ready.snapshot) node_->Apply(ready);
    }
  }

  absl::StatusOr<internal::v1::ExecuteResponse> Execute(internal::v1::CoordinationCommand command) {
    internal::v1::ClusterCommand entry;
    *entry.mutable_coordination() = std::move(command);
    return Execute(std::move(entry));
  }
  absl::StatusOr<internal::v1::ExecuteResponse> Execute(internal::v1::ClusterCommand command) {
    std::optional<absl::StatusOr<internal::v1::ExecuteResponse>> answer;
    node_->Execute(std::move(command), [&](auto response) { answer = std::move(response); });
    Drain();
    EXPECT_TRUE(answer.has_value()) << "no answer";
    return answer.value_or(absl::UnknownError("no answer"));
  }
  v1::SessionHandle OpenSession(int timeout_ms = 10'000) {
    internal::v1::CoordinationCommand command;
    command.mutable_open_session()->set_timeout_ms(timeout_ms);
    const auto opened = Execute(std::move(command));
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened->coordination().open_session().session();
  }
  absl::Status Create(const std::string& path, const v1::SessionHandle* session = nullptr) {
    internal::v1::CoordinationCommand command;
    command.mutable_create()->set_path(path);
    if (session != nullptr) {
      *command.mutable_create()->mutable_options()->mutable_session() = *session;
      command.mutable_create()->set_ephemeral(true);
    }
    return Execute(std::move(command)).status();
  }
  absl::Status Register(int32_t id, int timeout_ms = 10'000) {
    internal::v1::ClusterCommand command;
    internal::v1::RegisterNodeCommand* const node = command.mutable_register_node();
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

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_METADATA_NODE_FIXTURE_H_
