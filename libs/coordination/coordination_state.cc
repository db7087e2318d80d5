// Sessions, answers that are kept, and which command is which.

#include "libs/coordination/coordination_state.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/coordination/command_rules.h"
#include "libs/coordination/limits.h"
#include "libs/coordination/path_rules.h"

namespace falaj::coordination {
namespace {

namespace pb = ::falaj::internal::v1;

// The kind of result that a command's success has. The two oneofs have the same numbers.
bool IsAnswerTo(const pb::CoordinationResult& result, const pb::CoordinationCommand& command) {
  return static_cast<int>(result.result_case()) == static_cast<int>(command.command_case());
}

}  // namespace

CoordinationState::CoordinationState() {
  auto root = std::make_shared<Znode>();
  root->shared_path = ShareBytes(std::string(kRootPath));
  root->shared_data = ShareBytes("");
  Put(std::move(root));
}

CoordinationState::Applied CoordinationState::Apply(LogIndex index, int64_t time_ms,
                                                    const Command& command) {
  Entry entry{index, time_ms};
  const v1::WriteOptions* const options = OptionsOf(command);
  const bool once = options != nullptr && options->request_id() != 0 && options->has_session();
  absl::StatusOr<Result> result =
      once ? ExecuteOnce(&entry, command, *options) : Execute(&entry, command);
  return {std::move(result), std::move(entry.changes)};
}

absl::StatusOr<pb::CoordinationResult> CoordinationState::ExecuteOnce(
    Entry* entry, const Command& command, const v1::WriteOptions& options) {
  FALAJ_RETURN_IF_ERROR(CheckSession(options.session()));
  const SessionPtr session = *sessions_.Find(SessionId(options.session().session_id()));
  const uint64_t id = options.request_id();
  if (const SavedAnswer* const saved = session->FindAnswer(id); saved != nullptr) {
    absl::StatusOr<Result> result = LoadAnswer(*saved);
    if (!result.ok() || IsAnswerTo(*result, command)) return result;
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("request_id ", id, " was another kind of request"),
                     {{"field", "options.request_id"}, {"value", absl::StrCat(id)}});
  }
  if (session->IsTooOld(id)) {
    const std::string oldest = absl::StrCat(session->answers.front().request_id);
    return MakeError(
        Reason::kRequestTooOld,
        absl::StrCat("the oldest answer kept is that to request ", oldest, ", not to ", id),
        {{"field", "options.request_id"}, {"value", absl::StrCat(id)}, {"limit", oldest}});
  }
  // Not kept itself: there is no room for it. It has had no effect, so a repetition may have one.
  if (saved_answer_bytes_ >= quotas_.saved_answer_bytes_max) {
    return QuotaExceeded("saved_answer_bytes", saved_answer_bytes_, quotas_.saved_answer_bytes_max);
  }

  absl::StatusOr<Result> result = Execute(entry, command);
  auto next = std::make_shared<Session>(*session);
  const auto place = std::upper_bound(
      next->answers.begin(), next->answers.end(), id,
      [](uint64_t wanted, const SavedAnswer& answer) { return wanted < answer.request_id; });
  next->answers.insert(place, SaveAnswer(id, result));
  if (next->answers.size() > kSavedAnswersMax) next->answers.erase(next->answers.begin());
  PutSession(std::move(next));
  return result;
}

absl::StatusOr<pb::CoordinationResult> CoordinationState::Execute(Entry* entry,
                                                                  const Command& command) {
  FALAJ_RETURN_IF_ERROR(ValidateCommand(command));
  FALAJ_ASSIGN_OR_RETURN(const SessionId session, CheckSessionOf(command));
  Result result;
  switch (command.command_case()) {
    case Command::kOpenSession:
      return OpenSession(entry, command.open_session());
    case Command::kCloseSession:
      return CloseSession(entry, command.close_session());
    case Command::kCreate: {
      FALAJ_ASSIGN_OR_RETURN(const ZnodePtr znode, Create(entry, command.create(), session));
      FillWithoutData(*znode, result.mutable_create()->mutable_znode());
      result.mutable_create()->set_index(entry->index.value());
      return result;
    }
    case Command::kSet: {
      FALAJ_ASSIGN_OR_RETURN(const ZnodePtr znode, Set(entry, command.set()));
      FillWithoutData(*znode, result.mutable_set()->mutable_znode());
      result.mutable_set()->set_index(entry->index.value());
      return result;
    }
    case Command::kDelete:
      FALAJ_RETURN_IF_ERROR(Delete(entry, command.delete_()));
      result.mutable_delete_()->set_index(entry->index.value());
      return result;
    case Command::kMulti:
      return Multi(entry, command.multi());
    case Command::kCampaign:
      return Campaign(entry, command.campaign());
    case Command::kResign:
      return Resign(entry, command.resign());
    case Command::COMMAND_NOT_SET:
      break;
  }
  return MakeError(Reason::kInternal, "a valid command is of no kind");
}

absl::StatusOr<pb::CoordinationResult> CoordinationState::OpenSession(
    Entry* entry, const pb::OpenSessionCommand& command) {
  if (session_count() >= quotas_.sessions_max) {
    return QuotaExceeded("sessions", session_count() + 1, quotas_.sessions_max);
  }
  auto session = std::make_shared<Session>();
  session->id = SessionId(static_cast<int64_t>(entry->index.value()));
  session->secret = command.secret();
  session->timeout_ms = command.timeout_ms();
  Result result;
  v1::OpenSessionResponse* const response = result.mutable_open_session();
  response->mutable_session()->set_session_id(session->id.value());
  response->mutable_session()->set_secret(session->secret);
  response->mutable_timeout()->set_seconds(session->timeout_ms / 1'000);
  response->mutable_timeout()->set_nanos(session->timeout_ms % 1'000 * 1'000'000);
  response->set_index(entry->index.value());
  PutSession(std::move(session));
  return result;
}

absl::StatusOr<pb::CoordinationResult> CoordinationState::CloseSession(
    Entry* entry, const v1::CloseSessionRequest& request) {
  const Session* const session = FindSession(SessionId(request.session().session_id()));
  if (session != nullptr) {
    FALAJ_RETURN_IF_ERROR(CheckSession(request.session()));
    RemoveSession(entry, *session);
  }
  Result result;
  result.mutable_close_session()->set_index(entry->index.value());
  return result;
}

ZnodeChanges CoordinationState::EndSession(LogIndex index, int64_t time_ms, SessionId id) {
  Entry entry{index, time_ms};
  if (const Session* const session = FindSession(id); session != nullptr) {
    RemoveSession(&entry, *session);
  }
  return std::move(entry.changes);
}

ZnodeChanges CoordinationState::OpenNodeSession(LogIndex index, int64_t time_ms, SessionId id,
                                                int32_t timeout_ms, absl::string_view path,
                                                std::string data) {
  Entry entry{index, time_ms};
  auto session = std::make_shared<Session>();
  session->id = id;
  session->timeout_ms = timeout_ms;
  PutSession(std::move(session));
  if (const ZnodePtr last = FindZnode(path); last != nullptr) RemoveZnode(&entry, last);
  AddMissingParents(&entry, path);
  AddZnode(&entry, std::string(path), ShareBytes(std::move(data)), id);
  return std::move(entry.changes);
}

void CoordinationState::RemoveSession(Entry* entry, const Session& session) {
  std::vector<ZnodePtr> znodes;
  for (auto at = ephemerals_.LowerBound(EphemeralKey{session.id, ZnodeKey(kRootPath)});
       at != ephemerals_.end() && at.key().session == session.id; ++at) {
    znodes.push_back(*tree_.Find(at.key().key));
  }
  if (ephemeral_survives_ && !znodes.empty()) znodes.pop_back();  // The planted bug.
  entry->changes.reserve(entry->changes.size() + znodes.size());
  // Siblings stand side by side: a parent is counted down once, however many it loses.
  for (size_t begin = 0, end = 0; begin < znodes.size(); begin = end) {
    const absl::string_view parent = ParentOf(znodes[begin]->path());
    for (; end < znodes.size() && ParentOf(znodes[end]->path()) == parent; ++end) {
      Forget(*znodes[end]);
      entry->changes.push_back({v1::ZNODE_EVENT_TYPE_DELETED, znodes[end]});
    }
    CountChildren(*entry, parent, -static_cast<int64_t>(end - begin));
  }
  digest_ ^= session.Hash();
  saved_answer_bytes_ -= session.saved_bytes();
  sessions_.Erase(SessionId(session.id));
}

void CoordinationState::PutSession(SessionPtr session) {
  if (const Session* const last = FindSession(session->id); last != nullptr) {
    digest_ ^= last->Hash();
    saved_answer_bytes_ -= last->saved_bytes();
  }
  digest_ ^= session->Hash();
  saved_answer_bytes_ += session->saved_bytes();
  const SessionId id = session->id;
  sessions_.Assign(id, std::move(session));
}

const Session* CoordinationState::FindSession(SessionId id) const {
  const SessionPtr* const session = sessions_.Find(id);
  return session == nullptr ? nullptr : session->get();
}

absl::StatusOr<SessionId> CoordinationState::CheckSessionOf(const Command& command) const {
  const v1::SessionHandle* const handle = SessionOf(command);
  if (handle == nullptr) return SessionId(0);
  // To close a session that has ended is success.
  if (command.command_case() != Command::kCloseSession) {
    FALAJ_RETURN_IF_ERROR(CheckSession(*handle));
  }
  return SessionId(handle->session_id());
}

absl::Status CoordinationState::CheckSession(const v1::SessionHandle& handle) const {
  FALAJ_RETURN_IF_ERROR(ValidateSessionHandle(handle));
  const Session* const session = FindSession(SessionId(handle.session_id()));
  if (session != nullptr && session->HasSecret(handle.secret())) return absl::OkStatus();
  const std::string id = absl::StrCat(handle.session_id());
  const ErrorMetadata metadata = {{"field", "session"}, {"value", id}};
  if (session == nullptr) {
    return MakeError(Reason::kSessionExpired, absl::StrCat("session ", id, " has ended"), metadata);
  }
  return MakeError(Reason::kSessionMismatch, absl::StrCat("the secret is not that of session ", id),
                   metadata);
}

}  // namespace falaj::coordination
