// Reads of single znodes and of children.

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/coordination/command_rules.h"
#include "libs/coordination/coordination_state.h"

namespace falaj::coordination {
namespace {

absl::Status NotFound(absl::string_view path) {
  return MakeError(Reason::kZnodeNotFound, absl::StrCat("'", path, "' does not exist"),
                   {{"field", "path"}, {"value", std::string(path)}});
}

}  // namespace

ZnodePtr CoordinationState::FindZnode(absl::string_view path) const {
  const ZnodePtr* const found = FindInTree(path);
  return found == nullptr ? nullptr : *found;
}

absl::StatusOr<v1::GetZnodeResponse> CoordinationState::Get(absl::string_view path) const {
  FALAJ_RETURN_IF_ERROR(ValidateReadPath(path));
  const ZnodePtr* const found = FindInTree(path);
  if (found == nullptr) return NotFound(path);
  v1::GetZnodeResponse response;
  FillWithData(**found, response.mutable_znode());
  return response;
}

absl::StatusOr<v1::ListChildrenResponse> CoordinationState::List(
    const v1::ListChildrenRequest& request) const {
  FALAJ_RETURN_IF_ERROR(ValidateList(request));
  const ZnodePtr* const found = FindInTree(request.path());
  if (found == nullptr) return NotFound(request.path());
  v1::ListChildrenResponse response;
  FillStat(**found, response.mutable_stat());
  const int32_t page_size = ChildrenPageSize(request);
  const ZnodeKey after(request.path(), request.page_token());
  for (auto at = tree_.LowerBound(after); at != tree_.end() && at.key().parent == after.parent;
       ++at) {
    if (at.key().name == after.name) continue;  // The last of the page before, or "/" itself.
    if (response.names_size() == page_size) {
      response.set_next_page_token(response.names(page_size - 1));
      break;
    }
    response.add_names(std::string(at.key().name));
  }
  return response;
}

}  // namespace falaj::coordination
