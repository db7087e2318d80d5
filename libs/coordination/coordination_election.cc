// Elections: candidates are znodes, and whoever stands first leads.

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/coordination/coordination_state.h"
#include "libs/coordination/path_rules.h"

namespace falaj::coordination {
namespace {

namespace pb = ::falaj::internal::v1;

bool IsCandidate(const Znode& znode) {
  return znode.is_ephemeral() && IsCandidateName(NameOf(znode.path()));
}

// Calls `visit(candidate)` for the candidates of `path` in order, while it returns true. All names
// that begin like a candidate's stand side by side.
template <typename Tree, typename Visit>
void VisitCandidates(const Tree& tree, absl::string_view path, Visit&& visit) {
  const ZnodeKey first(path, kCandidatePrefix);
  for (auto at = tree.LowerBound(first); at != tree.end() && at.key().parent == first.parent &&
                                         absl::StartsWith(at.key().name, kCandidatePrefix);
       ++at) {
    if (IsCandidate(*at.value()) && !visit(at.value())) return;
  }
}

}  // namespace

absl::StatusOr<pb::CoordinationResult> CoordinationState::Campaign(
    Entry* entry, const v1::CampaignRequest& request) {
  const SessionId session(request.session().session_id());
  ZnodePtr candidate = CandidateOf(session, request.path());
  if (candidate == nullptr) {
    const std::string path = JoinPath(request.path(), kCandidatePrefix);
    Planned planned{path, request.value(), session, /*sequential=*/true, /*create_parents=*/true};
    FALAJ_ASSIGN_OR_RETURN(candidate, Create(entry, std::move(planned)));
  }
  Result result;
  v1::CampaignResponse* const response = result.mutable_campaign();
  response->set_fencing_token(candidate->create_index.value());
  response->set_znode_path(candidate->path());
  response->set_index(entry->index.value());
  return result;
}

absl::StatusOr<pb::CoordinationResult> CoordinationState::Resign(
    Entry* entry, const v1::ResignCampaignRequest& request) {
  const SessionId session(request.session().session_id());
  if (ZnodePtr candidate = CandidateOf(session, request.path()); candidate != nullptr) {
    RemoveZnode(entry, std::move(candidate));
  }
  Result result;
  result.mutable_resign()->set_index(entry->index.value());
  return result;
}

ZnodePtr CoordinationState::CandidateOf(SessionId session, absl::string_view path) const {
  const EphemeralKey first{session, ZnodeKey(path, kCandidatePrefix)};
  for (auto at = ephemerals_.LowerBound(first);
       at != ephemerals_.end() && at.key().session == session &&
       at.key().key.parent == first.key.parent &&
       absl::StartsWith(at.key().key.name, kCandidatePrefix);
       ++at) {
    if (IsCandidateName(at.key().key.name)) return *tree_.Find(at.key().key);
  }
  return nullptr;
}

ZnodePtr CoordinationState::FirstCandidate(absl::string_view path) const {
  ZnodePtr first;
  VisitCandidates(tree_, path, [&first](const ZnodePtr& candidate) {
    first = candidate;
    return false;
  });
  return first;
}

bool CoordinationState::Leads(absl::string_view candidate_path) const {
  const ZnodePtr first = FirstCandidate(ParentOf(candidate_path));
  return first != nullptr && first->path() == candidate_path;
}

absl::StatusOr<v1::GetLeaderResponse> CoordinationState::GetLeader(absl::string_view path) const {
  FALAJ_RETURN_IF_ERROR(ValidatePath(path));
  const ZnodePtr first = FirstCandidate(path);
  if (first == nullptr) {
    return MakeError(Reason::kZnodeNotFound, absl::StrCat("nobody leads at '", path, "'"),
                     {{"field", "path"}, {"value", std::string(path)}});
  }
  v1::GetLeaderResponse response;
  response.set_fencing_token(first->create_index.value());
  response.set_value(first->data());
  response.set_znode_path(first->path());
  int64_t count = 0;
  VisitCandidates(tree_, path, [&count](const ZnodePtr&) {
    ++count;
    return true;
  });
  response.set_candidate_count(count);
  return response;
}

}  // namespace falaj::coordination
