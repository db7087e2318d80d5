#include "libs/coordination/command_rules.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/coordination/limits.h"
#include "libs/coordination/path_rules.h"

namespace falaj::coordination {
namespace {

namespace pb = ::falaj::internal::v1;

absl::Status OutOfRange(absl::string_view field, int64_t value, int64_t low, int64_t high) {
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat(field, " must be ", low, " to ", high, ", not ", value),
                   {{"field", std::string(field)},
                    {"value", absl::StrCat(value)},
                    {"limit", absl::StrCat(value < low ? low : high)}});
}

absl::Status InvalidField(absl::string_view field, absl::string_view rule) {
  return MakeError(Reason::kInvalidRequest, absl::StrCat(field, " ", rule),
                   {{"field", std::string(field)}});
}

absl::Status CheckSize(absl::string_view field, size_t size, size_t limit) {
  if (size <= limit) return absl::OkStatus();
  return MakeError(Reason::kZnodeTooLarge,
                   absl::StrCat(field, " has ", size, " bytes, more than ", limit),
                   {{"field", std::string(field)},
                    {"value", absl::StrCat(size)},
                    {"limit", absl::StrCat(limit)}});
}

absl::Status ValidateOptions(const v1::WriteOptions& options) {
  if (options.has_session()) return ValidateSessionHandle(options.session());
  if (options.request_id() == 0) return absl::OkStatus();
  return InvalidField("options.request_id", "needs a session");
}

// A path that is to be changed.
absl::Status ValidateWritePath(absl::string_view path) {
  FALAJ_RETURN_IF_ERROR(ValidatePath(path));
  return CheckNotReserved(path);
}

absl::Status ValidateVersion(bool is_set, int64_t version) {
  if (!is_set || version >= 0) return absl::OkStatus();
  return MakeError(
      Reason::kInvalidRequest,
      absl::StrCat("expected_version must be 0 or more, not ", version,
                   "; leave it unset for any version"),
      {{"field", "expected_version"}, {"value", absl::StrCat(version)}, {"limit", "0"}});
}

absl::Status CheckEphemeral(const v1::CreateZnodeRequest& request, bool has_session) {
  if (!has_session) return InvalidField("options.session", "must be set for an ephemeral znode");
  // A candidate with a number of its own choice would jump the queue.
  const absl::string_view name = NameOf(request.path());
  if (request.sequential() ? name != kCandidatePrefix : !IsCandidateName(name)) {
    return absl::OkStatus();
  }
  return MakeError(Reason::kInvalidPath,
                   absl::StrCat("path '", request.path(), "': only Campaign makes candidates"),
                   {{"field", "path"}, {"value", request.path()}, {"rule", "no candidate"}});
}

absl::Status ValidateCreatePath(const v1::CreateZnodeRequest& request) {
  if (!request.sequential()) return ValidateWritePath(request.path());
  FALAJ_RETURN_IF_ERROR(ValidateSequentialPath(request.path()));
  // "/falaj" itself becomes another name by its number; only what it hangs below counts.
  return CheckNotReserved(ParentOf(request.path()));
}

absl::Status ValidateCreate(const v1::CreateZnodeRequest& request, bool has_session) {
  FALAJ_RETURN_IF_ERROR(ValidateCreatePath(request));
  FALAJ_RETURN_IF_ERROR(CheckSize("data", request.data().size(), kDataSizeMax));
  return request.ephemeral() ? CheckEphemeral(request, has_session) : absl::OkStatus();
}

absl::Status ValidateSet(const v1::SetZnodeRequest& request) {
  FALAJ_RETURN_IF_ERROR(ValidateWritePath(request.path()));
  FALAJ_RETURN_IF_ERROR(CheckSize("data", request.data().size(), kDataSizeMax));
  return ValidateVersion(request.has_expected_version(), request.expected_version());
}

absl::Status ValidateDelete(const v1::DeleteZnodeRequest& request) {
  FALAJ_RETURN_IF_ERROR(ValidateWritePath(request.path()));
  if (request.path() == kRootPath) {
    return MakeError(Reason::kInvalidPath, "path '/': it is always there",
                     {{"field", "path"}, {"value", "/"}, {"rule", "not the root"}});
  }
  return ValidateVersion(request.has_expected_version(), request.expected_version());
}

absl::Status ValidateOperation(const v1::MultiOperation& operation, bool has_session) {
  switch (operation.operation_case()) {
    case v1::MultiOperation::kCreate:
      if (operation.create().has_options()) break;
      return ValidateCreate(operation.create(), has_session);
    case v1::MultiOperation::kSet:
      if (operation.set().has_options()) break;
      return ValidateSet(operation.set());
    case v1::MultiOperation::kDelete:
      if (operation.delete_().has_options()) break;
      return ValidateDelete(operation.delete_());
    case v1::MultiOperation::kCheck:
      FALAJ_RETURN_IF_ERROR(ValidatePath(operation.check().path()));
      return ValidateVersion(operation.check().has_expected_version(),
                             operation.check().expected_version());
    case v1::MultiOperation::OPERATION_NOT_SET:
      return InvalidField("operation", "must be set to one this version knows");
  }
  return InvalidField("options", "must be unset inside a multi: it has its own");
}

absl::Status ValidateMulti(const v1::ExecuteMultiRequest& request) {
  const int count = request.operations_size();
  if (count < 1 || count > kMultiOperationsMax) {
    return OutOfRange("operations", count, 1, kMultiOperationsMax);
  }
  FALAJ_RETURN_IF_ERROR(CheckSize("multi", request.ByteSizeLong(), kMultiSizeMax));
  const bool has_session = request.options().has_session();
  for (int i = 0; i < count; ++i) {
    absl::Status status = ValidateOperation(request.operations(i), has_session);
    if (!status.ok()) return AtOperation(status, i);
  }
  return absl::OkStatus();
}

absl::Status ValidateCampaign(const v1::CampaignRequest& request) {
  FALAJ_RETURN_IF_ERROR(ValidateSessionHandle(request.session()));
  FALAJ_RETURN_IF_ERROR(ValidateWritePath(request.path()));
  FALAJ_RETURN_IF_ERROR(ValidateSequentialPath(JoinPath(request.path(), kCandidatePrefix)));
  return CheckSize("value", request.value().size(), kDataSizeMax);
}

absl::Status ValidateOpenSession(const pb::OpenSessionCommand& command) {
  if (command.secret().size() != kSessionSecretSize) {
    return InvalidField("secret", absl::StrCat("must have ", kSessionSecretSize, " bytes"));
  }
  return ValidateSessionTimeout(command.timeout_ms());
}

}  // namespace

absl::Status AtOperation(const absl::Status& status, int operation) {
  ErrorMetadata metadata = MetadataOf(status);
  metadata["operation"] = absl::StrCat(operation);
  return MakeError(ReasonOf(status), absl::StrCat("operation ", operation, ": ", status.message()),
                   metadata);
}

absl::Status QuotaExceeded(absl::string_view limit_name, int64_t value, int64_t limit) {
  return MakeError(Reason::kQuotaExceeded,
                   absl::StrCat(limit_name, " would be ", value, ", more than ", limit),
                   {{"field", std::string(limit_name)},
                    {"value", absl::StrCat(value)},
                    {"limit", absl::StrCat(limit)}});
}

absl::Status ValidateCommand(const pb::CoordinationCommand& command) {
  if (const v1::WriteOptions* const options = OptionsOf(command); options != nullptr) {
    FALAJ_RETURN_IF_ERROR(ValidateOptions(*options));
  }
  switch (command.command_case()) {
    case pb::CoordinationCommand::kOpenSession:
      return ValidateOpenSession(command.open_session());
    case pb::CoordinationCommand::kCloseSession:
      return ValidateSessionHandle(command.close_session().session());
    case pb::CoordinationCommand::kCreate:
      return ValidateCreate(command.create(), command.create().options().has_session());
    case pb::CoordinationCommand::kSet:
      return ValidateSet(command.set());
    case pb::CoordinationCommand::kDelete:
      return ValidateDelete(command.delete_());
    case pb::CoordinationCommand::kMulti:
      return ValidateMulti(command.multi());
    case pb::CoordinationCommand::kCampaign:
      return ValidateCampaign(command.campaign());
    case pb::CoordinationCommand::kResign:
      FALAJ_RETURN_IF_ERROR(ValidateSessionHandle(command.resign().session()));
      return ValidateWritePath(command.resign().path());
    case pb::CoordinationCommand::COMMAND_NOT_SET:
      break;
  }
  return InvalidField("command", "must be set to a command this version knows");
}

absl::Status ValidateWatch(const v1::WatchZnodesRequest& request) {
  const int count = request.watches_size();
  if (count < 1 || count > kWatchesMax) return OutOfRange("watches", count, 1, kWatchesMax);
  for (const v1::ZnodeWatch& watch : request.watches()) {
    FALAJ_RETURN_IF_ERROR(ValidatePath(watch.path(), "watches.path"));
    if (watch.scope() == v1::WATCH_SCOPE_UNSPECIFIED || !v1::WatchScope_IsValid(watch.scope())) {
      return MakeError(Reason::kInvalidRequest,
                       absl::StrCat("watches.scope ", watch.scope(), " is unknown"),
                       {{"field", "watches.scope"}, {"value", absl::StrCat(watch.scope())}});
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateReadPath(absl::string_view path) { return ValidatePath(path); }

absl::Status ValidateList(const v1::ListChildrenRequest& request) {
  FALAJ_RETURN_IF_ERROR(ValidatePath(request.path()));
  if (request.page_size() < 0) {
    return MakeError(
        Reason::kInvalidRequest,
        absl::StrCat("page_size must be 0 or more, not ", request.page_size()),
        {{"field", "page_size"}, {"value", absl::StrCat(request.page_size())}, {"limit", "0"}});
  }
  // A page ends with a name, and its token is that name: it need not exist any more.
  if (request.page_token().size() > kNameSizeMax ||
      request.page_token().find('/') != std::string::npos) {
    return InvalidField("page_token", "is not one this list gave out");
  }
  return absl::OkStatus();
}

absl::Status ValidateSessionTimeout(int64_t timeout_ms) {
  if (timeout_ms >= kSessionTimeoutMsMin && timeout_ms <= kSessionTimeoutMsMax) {
    return absl::OkStatus();
  }
  return OutOfRange("timeout", timeout_ms, kSessionTimeoutMsMin, kSessionTimeoutMsMax);
}

absl::Status ValidateSessionHandle(const v1::SessionHandle& session) {
  if (session.session_id() > 0) return absl::OkStatus();
  return InvalidField("session", "must be set to what OpenSession gave out");
}

int32_t ChildrenPageSize(const v1::ListChildrenRequest& request) {
  if (request.page_size() == 0) return kChildrenPageDefault;
  return std::min(request.page_size(), kChildrenPageMax);
}

const v1::WriteOptions* OptionsOf(const pb::CoordinationCommand& command) {
  switch (command.command_case()) {
    case pb::CoordinationCommand::kCreate:
      return command.create().has_options() ? &command.create().options() : nullptr;
    case pb::CoordinationCommand::kSet:
      return command.set().has_options() ? &command.set().options() : nullptr;
    case pb::CoordinationCommand::kDelete:
      return command.delete_().has_options() ? &command.delete_().options() : nullptr;
    case pb::CoordinationCommand::kMulti:
      return command.multi().has_options() ? &command.multi().options() : nullptr;
    default:
      return nullptr;
  }
}

const v1::SessionHandle* SessionOf(const pb::CoordinationCommand& command) {
  switch (command.command_case()) {
    case pb::CoordinationCommand::kCloseSession:
      return &command.close_session().session();
    case pb::CoordinationCommand::kCampaign:
      return &command.campaign().session();
    case pb::CoordinationCommand::kResign:
      return &command.resign().session();
    default:
      break;
  }
  const v1::WriteOptions* const options = OptionsOf(command);
  return options != nullptr && options->has_session() ? &options->session() : nullptr;
}

}  // namespace falaj::coordination
