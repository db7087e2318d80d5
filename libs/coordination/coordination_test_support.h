// Commands, and a state to apply them to, for the tests of this folder.
#ifndef LIBS_COORDINATION_COORDINATION_TEST_SUPPORT_H_
#define LIBS_COORDINATION_COORDINATION_TEST_SUPPORT_H_

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "falaj/internal/v1/coordination.pb.h"

#include "libs/base/status.h"
#include "libs/coordination/coordination_state.h"

namespace falaj::coordination::testing {

namespace pb = ::falaj::internal::v1;
using Command = pb::CoordinationCommand;

inline std::string SecretOf(int64_t seed) {
  std::string secret = absl::StrCat("secret of ", seed);
  secret.resize(16, '.');
  return secret;
}

inline Command OpenCommand(int32_t timeout_ms = 10'000, int64_t secret_seed = 1) {
  Command command;
  command.mutable_open_session()->set_secret(SecretOf(secret_seed));
  command.mutable_open_session()->set_timeout_ms(timeout_ms);
  return command;
}

inline Command CreateCommand(const std::string& path, const std::string& data = "") {
  Command command;
  command.mutable_create()->set_path(path);
  command.mutable_create()->set_data(data);
  return command;
}

inline Command SequentialCommand(const std::string& path) {
  Command command = CreateCommand(path);
  command.mutable_create()->set_sequential(true);
  return command;
}

inline Command EphemeralCommand(const std::string& path, const v1::SessionHandle& session) {
  Command command = CreateCommand(path);
  command.mutable_create()->set_ephemeral(true);
  *command.mutable_create()->mutable_options()->mutable_session() = session;
  return command;
}

inline Command SetCommand(const std::string& path, const std::string& data,
                          std::optional<int64_t> version = std::nullopt) {
  Command command;
  command.mutable_set()->set_path(path);
  command.mutable_set()->set_data(data);
  if (version.has_value()) command.mutable_set()->set_expected_version(*version);
  return command;
}

inline Command DeleteCommand(const std::string& path,
                             std::optional<int64_t> version = std::nullopt) {
  Command command;
  command.mutable_delete_()->set_path(path);
  if (version.has_value()) command.mutable_delete_()->set_expected_version(*version);
  return command;
}

inline Command CampaignCommand(const std::string& path, const v1::SessionHandle& session,
                               const std::string& value = "") {
  Command command;
  *command.mutable_campaign()->mutable_session() = session;
  command.mutable_campaign()->set_path(path);
  command.mutable_campaign()->set_value(value);
  return command;
}

inline Command ResignCommand(const std::string& path, const v1::SessionHandle& session) {
  Command command;
  *command.mutable_resign()->mutable_session() = session;
  command.mutable_resign()->set_path(path);
  return command;
}

inline Command CloseCommand(const v1::SessionHandle& session) {
  Command command;
  *command.mutable_close_session()->mutable_session() = session;
  return command;
}

// The multi of the operations of several single commands.
inline Command MultiCommand(const std::vector<Command>& steps) {
  Command command;
  for (const Command& step : steps) {
    v1::MultiOperation* const operation = command.mutable_multi()->add_operations();
    if (step.has_create()) *operation->mutable_create() = step.create();
    if (step.has_set()) *operation->mutable_set() = step.set();
    if (step.has_delete_()) *operation->mutable_delete_() = step.delete_();
  }
  return command;
}

// The options of a command that has them.
inline v1::WriteOptions* OptionsIn(Command* command) {
  if (command->has_create()) return command->mutable_create()->mutable_options();
  if (command->has_set()) return command->mutable_set()->mutable_options();
  if (command->has_delete_()) return command->mutable_delete_()->mutable_options();
  return command->mutable_multi()->mutable_options();
}

inline Command WithRequestId(Command command, const v1::SessionHandle& session, uint64_t id) {
  *OptionsIn(&command)->mutable_session() = session;
  OptionsIn(&command)->set_request_id(id);
  return command;
}

// A state, and the log's next index.
class Tree {
 public:
  absl::StatusOr<pb::CoordinationResult> Apply(const Command& command) {
    ++index;
    CoordinationState::Applied applied = state.Apply(index, TimeMs(), command);
    changes = std::move(applied.changes);
    return std::move(applied.result);
  }
  // The reason it was refused for; kNone if it was not.
  Reason ReasonFor(const Command& command) {
    status = Apply(command).status();
    return ReasonOf(status);
  }
  // What the last refusal says under `key`.
  std::string Said(const std::string& key) const { return MetadataOf(status)[key]; }

  v1::SessionHandle Open(int32_t timeout_ms = 10'000) {
    const auto result = Apply(OpenCommand(timeout_ms, static_cast<int64_t>(index.value()) + 1));
    EXPECT_TRUE(result.ok()) << result.status();
    return result->open_session().session();
  }
  void Create(const std::string& path, const std::string& data = "") {
    const auto result = Apply(CreateCommand(path, data));
    EXPECT_TRUE(result.ok()) << result.status();
  }
  void End(const v1::SessionHandle& session) {
    ++index;
    changes = state.EndSession(index, TimeMs(), SessionId(session.session_id()));
  }
  bool Has(absl::string_view path) const { return state.FindZnode(path) != nullptr; }

  // "created /a, changed /b": what the last entry did.
  std::string Changes() const {
    std::string text;
    for (const ZnodeChange& change : changes) {
      const char* const verb = change.type == v1::ZNODE_EVENT_TYPE_CREATED   ? "created "
                               : change.type == v1::ZNODE_EVENT_TYPE_CHANGED ? "changed "
                                                                             : "deleted ";
      absl::StrAppend(&text, text.empty() ? "" : ", ", verb, change.znode->path());
    }
    return text;
  }

  CoordinationState state;
  LogIndex index;
  ZnodeChanges changes;
  absl::Status status;

 private:
  int64_t TimeMs() const { return 1'000 * static_cast<int64_t>(index.value()); }
};

}  // namespace falaj::coordination::testing

#endif  // LIBS_COORDINATION_COORDINATION_TEST_SUPPORT_H_
