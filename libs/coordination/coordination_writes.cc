// Requests to change znodes: judged as a whole before anything is changed.

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/coordination/command_rules.h"
#include "libs/coordination/coordination_state.h"
#include "libs/coordination/limits.h"
#include "libs/coordination/path_rules.h"

namespace falaj::coordination {
namespace {

namespace pb = ::falaj::internal::v1;

absl::Status AboutPath(Reason reason, absl::string_view path, absl::string_view what) {
  return MakeError(reason, absl::StrCat("'", path, "' ", what),
                   {{"field", "path"}, {"value", std::string(path)}});
}

// What a path that is to be created adds to the tree besides itself.
struct Missing {
  const Znode* ancestor = nullptr;  // The nearest znode above it that exists.
  int64_t znodes = 0;               // Those between.
  int64_t bytes = 0;
};

template <typename FindFunction>
Missing FindMissing(absl::string_view path, FindFunction&& find) {
  Missing missing;
  absl::string_view parent = ParentOf(path);
  const ZnodePtr* found = find(parent);
  for (; found == nullptr; found = find(parent)) {  // "/" is always found.
    ++missing.znodes;
    missing.bytes += static_cast<int64_t>(parent.size());
    parent = ParentOf(parent);
  }
  missing.ancestor = found->get();
  return missing;
}

}  // namespace

absl::Status CoordinationState::CheckQuota(int64_t more_znodes, int64_t more_bytes) const {
  if (more_znodes > 0 && znode_count() + more_znodes > quotas_.znodes_max) {
    return QuotaExceeded("znodes", znode_count() + more_znodes, quotas_.znodes_max);
  }
  // What makes the tree smaller is always welcome.
  if (more_bytes > 0 && data_bytes_ + more_bytes > quotas_.data_bytes_max) {
    return QuotaExceeded("data_bytes", data_bytes_ + more_bytes, quotas_.data_bytes_max);
  }
  return absl::OkStatus();
}

absl::StatusOr<ZnodePtr> CoordinationState::FindExpected(
    absl::string_view path, std::optional<int64_t> expected_version) const {
  const ZnodePtr* const found = FindInTree(path);
  if (found == nullptr) return AboutPath(Reason::kZnodeNotFound, path, "does not exist");
  const int64_t version = (*found)->version;
  if (!expected_version.has_value() || *expected_version == version) return *found;
  return MakeError(Reason::kVersionMismatch,
                   absl::StrCat("'", path, "' has version ", version, ", not ", *expected_version),
                   {{"field", "expected_version"},
                    {"value", absl::StrCat(*expected_version)},
                    {"version", absl::StrCat(version)},
                    {"path", std::string(path)}});
}

// A number whose name is taken, by a znode somebody gave that name, is skipped.
absl::StatusOr<std::string> CoordinationState::FinalPath(const Planned& planned,
                                                         const Znode* parent) const {
  if (!planned.sequential) {
    if (FindInTree(planned.path) == nullptr) return std::string(planned.path);
    return AboutPath(Reason::kZnodeAlreadyExists, planned.path, "exists");
  }
  uint64_t number = parent == nullptr ? 0 : parent->next_sequence;
  for (; number <= kSequenceMax; ++number) {
    std::string path = absl::StrCat(planned.path, SequenceSuffix(number));
    if (parent == nullptr || FindInTree(path) == nullptr) return path;
  }
  return QuotaExceeded("sequence", static_cast<int64_t>(number), kSequenceMax);
}

absl::StatusOr<ZnodePtr> CoordinationState::Create(Entry* entry,
                                                   const v1::CreateZnodeRequest& request,
                                                   SessionId session) {
  Planned planned{request.path(), request.data()};
  planned.owner = request.ephemeral() ? session : SessionId(0);
  planned.sequential = request.sequential();
  planned.create_parents = request.create_parents();
  return Create(entry, std::move(planned));
}

absl::StatusOr<ZnodePtr> CoordinationState::Create(Entry* entry, Planned planned) {
  if (planned.path == kRootPath && !planned.sequential) {
    return AboutPath(Reason::kZnodeAlreadyExists, kRootPath, "exists");
  }
  const Missing missing =
      FindMissing(planned.path, [this](absl::string_view path) { return FindInTree(path); });
  if (missing.znodes > 0 && !planned.create_parents) {
    return AboutPath(Reason::kZnodeNotFound, ParentOf(planned.path), "does not exist");
  }
  if (missing.ancestor->is_ephemeral()) {
    return AboutPath(Reason::kZnodeIsEphemeral, missing.ancestor->path(),
                     "is ephemeral: it has no children");
  }
  const Znode* const parent = missing.znodes > 0 ? nullptr : missing.ancestor;
  FALAJ_ASSIGN_OR_RETURN(std::string path, FinalPath(planned, parent));
  FALAJ_RETURN_IF_ERROR(CheckQuota(
      missing.znodes + 1, missing.bytes + static_cast<int64_t>(path.size() + planned.data.size())));

  AddMissingParents(entry, path);
  if (planned.sequential) RaiseSequence(path);
  AddZnode(entry, std::move(path), ShareBytes(std::move(planned.data)), planned.owner);
  return entry->changes.back().znode;
}

absl::StatusOr<ZnodePtr> CoordinationState::Set(Entry* entry, const v1::SetZnodeRequest& request) {
  std::optional<int64_t> expected;
  if (request.has_expected_version()) expected = request.expected_version();
  FALAJ_ASSIGN_OR_RETURN(const ZnodePtr znode, FindExpected(request.path(), expected));
  const auto size = static_cast<int64_t>(request.data().size());
  FALAJ_RETURN_IF_ERROR(CheckQuota(0, size - static_cast<int64_t>(znode->data().size())));
  return ChangeData(entry, *znode, ShareBytes(request.data()));
}

absl::Status CoordinationState::Delete(Entry* entry, const v1::DeleteZnodeRequest& request) {
  std::optional<int64_t> expected;
  if (request.has_expected_version()) expected = request.expected_version();
  FALAJ_ASSIGN_OR_RETURN(ZnodePtr znode, FindExpected(request.path(), expected));
  if (znode->child_count > 0) {
    return MakeError(Reason::kZnodeNotEmpty,
                     absl::StrCat("'", request.path(), "' has ", znode->child_count, " children"),
                     {{"field", "path"},
                      {"value", request.path()},
                      {"child_count", absl::StrCat(znode->child_count)}});
  }
  RemoveZnode(entry, std::move(znode));
  return absl::OkStatus();
}

absl::StatusOr<pb::CoordinationResult> CoordinationState::Multi(
    Entry* entry, const v1::ExecuteMultiRequest& request) {
  const CoordinationState before = *this;  // A few pointers: what a refusal goes back to.
  const SessionId session(request.options().session().session_id());
  Result result;
  v1::ExecuteMultiResponse* const response = result.mutable_multi();
  for (int i = 0; i < request.operations_size(); ++i) {
    absl::Status status = MultiStep(entry, request.operations(i), session, response->add_znodes());
    if (!status.ok()) {
      *this = before;
      entry->changes.clear();
      return AtOperation(status, i);
    }
  }
  response->set_index(entry->index.value());
  return result;
}

absl::Status CoordinationState::MultiStep(Entry* entry, const v1::MultiOperation& operation,
                                          SessionId session, v1::Znode* outcome) {
  switch (operation.operation_case()) {
    case v1::MultiOperation::kCreate: {
      FALAJ_ASSIGN_OR_RETURN(const ZnodePtr znode, Create(entry, operation.create(), session));
      FillWithoutData(*znode, outcome);
      return absl::OkStatus();
    }
    case v1::MultiOperation::kSet: {
      FALAJ_ASSIGN_OR_RETURN(const ZnodePtr znode, Set(entry, operation.set()));
      FillWithoutData(*znode, outcome);
      return absl::OkStatus();
    }
    case v1::MultiOperation::kDelete:
      outcome->set_path(operation.delete_().path());
      return Delete(entry, operation.delete_());
    case v1::MultiOperation::kCheck: {
      const v1::CheckVersion& check = operation.check();
      outcome->set_path(check.path());
      std::optional<int64_t> expected;
      if (check.has_expected_version()) expected = check.expected_version();
      return FindExpected(check.path(), expected).status();
    }
    case v1::MultiOperation::OPERATION_NOT_SET:
      break;
  }
  return MakeError(Reason::kInternal, "a valid operation is of no kind");
}

}  // namespace falaj::coordination
