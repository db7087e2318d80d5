// Random commands, thousands of them, against a model that is as simple as can be: a std::map of
// paths that is scanned for every question. The state gives the same answers and changes, holds the
// same znodes, and its copies and snapshots are what it was.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_format.h"

#include "libs/base/random.h"
#include "libs/coordination/coordination_test_support.h"
#include "libs/coordination/path_rules.h"

namespace falaj::coordination {
namespace {

using testing::Command;
using testing::Tree;
namespace pb = ::falaj::internal::v1;

struct ModelZnode {
  std::string data;
  uint64_t create_index = 0;
  uint64_t modify_index = 0;
  uint64_t children_index = 0;
  int64_t version = 0;
  int64_t children_version = 0;
  int64_t owner = 0;
  uint64_t next_sequence = 0;
};

// What the model says of a command. Changes as Tree::Changes() words them.
struct Outcome {
  Reason reason = Reason::kNone;
  std::string changes;
};

class Model {
 public:
  std::map<std::string, ModelZnode> znodes = {{"/", {}}};
  std::set<int64_t> sessions;

  Outcome Apply(uint64_t index, const Command& command) {
    index_ = index;
    changes_.clear();
    const Reason reason = Execute(command);
    return {reason, reason == Reason::kNone ? changes_ : ""};
  }

  Outcome End(uint64_t index, int64_t session) {
    index_ = index;
    changes_.clear();
    std::vector<std::pair<std::string, std::string>> owned;  // In the order of the tree.
    for (const auto& [path, znode] : znodes) {
      if (session != 0 && znode.owner == session) owned.emplace_back(Key(path));
    }
    std::sort(owned.begin(), owned.end());
    for (const auto& [parent, name] : owned) Remove(parent + "/" + name);
    sessions.erase(session);
    return {Reason::kNone, changes_};
  }

  int64_t ChildCount(const std::string& path) const {
    return std::count_if(znodes.begin(), znodes.end(), [&path](const auto& entry) {
      return entry.first != "/" && ParentOf(entry.first) == path;
    });
  }

  static std::pair<std::string, std::string> Key(const std::string& path) {
    const size_t slash = path.rfind('/');
    return {path.substr(0, slash), path.substr(slash + 1)};
  }

 private:
  Reason Execute(const Command& command) {
    if (command.has_open_session()) {
      sessions.insert(static_cast<int64_t>(index_));
      return Reason::kNone;
    }
    if (command.has_close_session()) {
      return End(index_, command.close_session().session().session_id()).reason;
    }
    if (command.has_campaign()) return Campaign(command.campaign());
    if (command.has_resign()) return Resign(command.resign());
    const v1::WriteOptions& options = *testing::OptionsIn(const_cast<Command*>(&command));
    const int64_t session = options.session().session_id();
    if (options.has_session() && sessions.count(session) == 0) return Reason::kSessionExpired;
    if (command.has_create()) return Create(command.create(), session);
    if (command.has_set()) return Set(command.set());
    if (command.has_delete_()) return Delete(command.delete_());
    const std::map<std::string, ModelZnode> before = znodes;
    for (const v1::MultiOperation& step : command.multi().operations()) {
      Reason reason = Reason::kNone;
      if (step.has_create()) reason = Create(step.create(), session);
      if (step.has_set()) reason = Set(step.set());
      if (step.has_delete_()) reason = Delete(step.delete_());
      if (step.has_check()) {
        reason = Expect(step.check().path(), step.check().has_expected_version(),
                        step.check().expected_version());
      }
      if (reason == Reason::kNone) continue;
      znodes = before;
      return reason;
    }
    return Reason::kNone;
  }

  Reason Expect(const std::string& path, bool has_version, int64_t version) const {
    const auto found = znodes.find(path);
    if (found == znodes.end()) return Reason::kZnodeNotFound;
    return has_version && version != found->second.version ? Reason::kVersionMismatch
                                                           : Reason::kNone;
  }

  Reason Create(const v1::CreateZnodeRequest& request, int64_t session) {
    if (!request.sequential() && request.path() == "/") return Reason::kZnodeAlreadyExists;
    std::vector<std::string> missing;
    std::string parent(ParentOf(request.path()));
    for (; znodes.count(parent) == 0; parent = std::string(ParentOf(parent))) {
      missing.insert(missing.begin(), parent);
    }
    if (!missing.empty() && !request.create_parents()) return Reason::kZnodeNotFound;
    if (znodes[parent].owner != 0) return Reason::kZnodeIsEphemeral;
    if (!request.sequential() && znodes.count(request.path()) > 0) {
      return Reason::kZnodeAlreadyExists;
    }
    for (const std::string& path : missing) Add(path, "", 0);
    std::string path = request.path();
    if (request.sequential()) {
      ModelZnode& counting = znodes[std::string(ParentOf(request.path()))];
      do {
        path = request.path() + absl::StrFormat("%010d", counting.next_sequence++);
      } while (znodes.count(path) > 0);
    }
    Add(path, request.data(), request.ephemeral() ? session : 0);
    return Reason::kNone;
  }

  Reason Set(const v1::SetZnodeRequest& request) {
    const Reason reason =
        Expect(request.path(), request.has_expected_version(), request.expected_version());
    if (reason != Reason::kNone) return reason;
    ModelZnode& znode = znodes[request.path()];
    znode.data = request.data();
    znode.modify_index = index_;
    ++znode.version;
    Say("changed ", request.path());
    return Reason::kNone;
  }

  Reason Delete(const v1::DeleteZnodeRequest& request) {
    const Reason reason =
        Expect(request.path(), request.has_expected_version(), request.expected_version());
    if (reason != Reason::kNone) return reason;
    if (ChildCount(request.path()) > 0) return Reason::kZnodeNotEmpty;
    Remove(request.path());
    return Reason::kNone;
  }

  std::string CandidateOf(const std::string& path, int64_t session) const {
    for (const auto& [candidate, znode] : znodes) {
      if (candidate != "/" && ParentOf(candidate) == path && znode.owner == session &&
          IsCandidateName(NameOf(candidate))) {
        return candidate;
      }
    }
    return "";
  }

  Reason Campaign(const v1::CampaignRequest& request) {
    const int64_t session = request.session().session_id();
    if (sessions.count(session) == 0) return Reason::kSessionExpired;
    if (!CandidateOf(request.path(), session).empty()) return Reason::kNone;
    v1::CreateZnodeRequest create;
    create.set_path(JoinPath(request.path(), "candidate-"));
    create.set_data(request.value());
    create.set_ephemeral(true);
    create.set_sequential(true);
    create.set_create_parents(true);
    return Create(create, session);
  }

  Reason Resign(const v1::ResignCampaignRequest& request) {
    const int64_t session = request.session().session_id();
    if (sessions.count(session) == 0) return Reason::kSessionExpired;
    const std::string candidate = CandidateOf(request.path(), session);
    if (!candidate.empty()) Remove(candidate);
    return Reason::kNone;
  }

  void Add(const std::string& path, const std::string& data, int64_t owner) {
    ModelZnode& znode = znodes[path];
    znode.data = data;
    znode.create_index = znode.modify_index = znode.children_index = index_;
    znode.owner = owner;
    TouchParent(path);
    Say("created ", path);
  }

  void Remove(const std::string& path) {
    znodes.erase(path);
    TouchParent(path);
    Say("deleted ", path);
  }

  void TouchParent(const std::string& path) {
    ModelZnode& parent = znodes[std::string(ParentOf(path))];
    ++parent.children_version;
    parent.children_index = index_;
  }

  void Say(const std::string& verb, const std::string& path) {
    changes_ += (changes_.empty() ? "" : ", ") + verb + path;
  }

  uint64_t index_ = 0;
  std::string changes_;
};

// Draws commands over a few paths and sessions, so that they get in each other's way.
class CommandSource {
 public:
  explicit CommandSource(uint64_t seed) : random_(seed) {}

  Command Next() {
    switch (random_.Below(12)) {
      case 0:
        return testing::OpenCommand();
      case 1:
        return testing::CloseCommand(Session());
      case 2:
        return testing::CampaignCommand(Path(), Session(), Data());
      case 3:
        return testing::ResignCommand(Path(), Session());
      case 4:
      case 5: {
        std::vector<Command> steps;
        for (uint64_t count = random_.Between(1, 4); count > 0; --count) steps.push_back(Single());
        Command multi = testing::MultiCommand(steps);
        if (random_.Below(2) == 0) {
          v1::CheckVersion* const check = multi.mutable_multi()->add_operations()->mutable_check();
          check->set_path(Path());
          check->set_expected_version(static_cast<int64_t>(random_.Below(2)));
        }
        for (v1::MultiOperation& step : *multi.mutable_multi()->mutable_operations()) {
          if (!step.has_create()) continue;
          step.mutable_create()->clear_options();
          if (step.create().ephemeral()) *testing::OptionsIn(&multi)->mutable_session() = Session();
        }
        return multi;
      }
      default:
        return Single();
    }
  }

  void Opened(const v1::SessionHandle& session) { sessions_.push_back(session); }
  // One of the newest few; some have ended.
  v1::SessionHandle Session() {
    const size_t newest = std::min<size_t>(sessions_.size(), 5);
    return sessions_[sessions_.size() - 1 - random_.Below(newest)];
  }
  Random& random() { return random_; }

 private:
  Command Single() {
    switch (random_.Below(5)) {
      case 0:
        return testing::SetCommand(Path(), Data(), Version());
      case 1:
        return Deletable();
      default: {
        Command command = random_.Below(2) == 0 ? testing::EphemeralCommand(Path(), Session())
                                                : testing::CreateCommand(Path(), Data());
        command.mutable_create()->set_sequential(random_.Below(3) == 0);
        command.mutable_create()->set_create_parents(random_.Below(3) == 0);
        return command;
      }
    }
  }

  Command Deletable() {
    std::string path = Path();
    if (random_.Below(3) == 0) path += absl::StrFormat("%010d", random_.Below(4));
    if (path == "/") path = "/a";
    return testing::DeleteCommand(path, Version());
  }

  std::string Path() {
    std::string path;
    for (uint64_t depth = random_.Below(4); depth > 0; --depth) {
      path += "/";
      path += "abA"[random_.Below(3)];
    }
    return path.empty() ? "/" : path;
  }
  std::string Data() { return std::string(random_.Below(30), 'd'); }
  std::optional<int64_t> Version() {
    if (random_.Below(2) == 0) return std::nullopt;
    return static_cast<int64_t>(random_.Below(2));
  }

  Random random_;
  std::vector<v1::SessionHandle> sessions_;
};

void ExpectEqual(const Model& model, const CoordinationState& state) {
  const pb::CoordinationState snapshot = state.Snapshot();
  ASSERT_EQ(snapshot.znodes_size(), static_cast<int>(model.znodes.size()));
  for (const pb::ZnodeState& znode : snapshot.znodes()) {
    const auto found = model.znodes.find(znode.path());
    ASSERT_NE(found, model.znodes.end()) << znode.path();
    const ModelZnode& expected = found->second;
    ASSERT_EQ(znode.data(), expected.data) << znode.path();
    ASSERT_EQ(znode.create_index(), expected.create_index) << znode.path();
    ASSERT_EQ(znode.modify_index(), expected.modify_index) << znode.path();
    ASSERT_EQ(znode.children_index(), expected.children_index) << znode.path();
    ASSERT_EQ(znode.version(), expected.version) << znode.path();
    ASSERT_EQ(znode.children_version(), expected.children_version) << znode.path();
    ASSERT_EQ(znode.child_count(), model.ChildCount(znode.path())) << znode.path();
    ASSERT_EQ(znode.ephemeral_session_id(), expected.owner) << znode.path();
    ASSERT_EQ(znode.next_sequence(), expected.next_sequence) << znode.path();
  }
  ASSERT_EQ(snapshot.sessions_size(), static_cast<int>(model.sessions.size()));
  for (const pb::CoordinationSession& session : snapshot.sessions()) {
    ASSERT_EQ(model.sessions.count(session.session_id()), 1u);
  }
  const auto restored = CoordinationState::FromSnapshot(snapshot);
  ASSERT_TRUE(restored.ok()) << restored.status();
  ASSERT_EQ(restored->digest(), state.digest());
  ASSERT_EQ(restored->data_bytes(), state.data_bytes());
  ASSERT_EQ(restored->ephemeral_count(), state.ephemeral_count());
  ASSERT_EQ(restored->saved_answer_bytes(), state.saved_answer_bytes());
  ASSERT_EQ(restored->Snapshot().SerializeAsString(), snapshot.SerializeAsString());
}

TEST(CoordinationRandomTest, EqualsTheModel) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    CommandSource source(seed);
    Tree tree;
    Model model;
    std::vector<std::pair<CoordinationState, std::string>> copies;
    for (int step = 0; step < 1'500; ++step) {
      const bool open = step == 0;
      if (!open && source.random().Below(40) == 0) {  // Expired, alive or not.
        const v1::SessionHandle session = source.Session();
        tree.End(session);
        ASSERT_EQ(tree.Changes(), model.End(tree.index.value(), session.session_id()).changes);
        continue;
      }
      const Command command = open ? testing::OpenCommand() : source.Next();
      const uint64_t before = tree.state.digest();
      const auto result = tree.Apply(command);
      if (result.ok() && result->has_open_session()) {
        source.Opened(result->open_session().session());
      }
      const Outcome expected = model.Apply(tree.index.value(), command);
      ASSERT_EQ(ReasonOf(result.status()), expected.reason)
          << command.ShortDebugString() << result.status();
      ASSERT_EQ(tree.Changes(), expected.changes) << command.ShortDebugString();
      if (!result.ok()) {
        ASSERT_EQ(tree.state.digest(), before);
      }
      if (step % 25 == 0) {
        ASSERT_NO_FATAL_FAILURE(ExpectEqual(model, tree.state));
      }
      if (step % 200 == 0) {
        copies.emplace_back(tree.state, tree.state.Snapshot().SerializeAsString());
      }
    }
    for (const auto& [copy, bytes] : copies) {
      ASSERT_EQ(copy.Snapshot().SerializeAsString(), bytes);
    }
  }
}

// An answer as text, errors with all a client sees of them.
std::string TextOf(const absl::StatusOr<pb::CoordinationResult>& answer) {
  if (answer.ok()) return answer->SerializeAsString();
  std::string text =
      absl::StrCat(ReasonName(ReasonOf(answer.status())), ": ", answer.status().message());
  for (const auto& [key, value] : MetadataOf(answer.status())) {
    absl::StrAppend(&text, " ", key, "=", value);
  }
  return text;
}

// A client whose answers get lost repeats its requests, the newest sixteen of them at any time, in
// any order, while the state is saved and restored: every request takes effect once.
TEST(CoordinationRandomTest, RepeatedRequestsTakeEffectOnce) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    Tree tree;
    const v1::SessionHandle session = tree.Open();
    std::vector<std::pair<Command, std::string>> done;  // With the first answer.
    for (int step = 0; step < 600; ++step) {
      if (!done.empty() && random.Below(2) == 0) {
        const size_t back = random.Below(std::min<size_t>(done.size(), 16));
        const auto& [command, answer] = done[done.size() - 1 - back];
        const uint64_t digest = tree.state.digest();
        const auto again = tree.Apply(command);
        ASSERT_EQ(TextOf(again), answer);
        ASSERT_EQ(tree.state.digest(), digest);
        ASSERT_TRUE(tree.changes.empty());
        continue;
      }
      Command command =
          testing::MultiCommand({testing::SetCommand("/", "", std::nullopt),
                                 testing::CreateCommand(absl::StrCat("/", random.Below(50)))});
      if (random.Below(2) == 0) command = testing::SequentialCommand("/s");
      command = testing::WithRequestId(command, session, done.size() + 1);
      const auto first = tree.Apply(command);
      done.emplace_back(command, TextOf(first));
      if (random.Below(20) == 0) {
        tree.state = *CoordinationState::FromSnapshot(tree.state.Snapshot());
      }
    }
    ASSERT_EQ(tree.ReasonFor(done.front().first), Reason::kRequestTooOld);
  }
}

}  // namespace
}  // namespace falaj::coordination
