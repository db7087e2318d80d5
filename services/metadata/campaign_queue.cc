#include "services/metadata/campaign_queue.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/coordination/path_rules.h"

namespace falaj::metadata {
namespace {

constexpr absl::Duration kLookInterval = absl::Milliseconds(100);

// Why a candidacy whose znode is gone has ended.
absl::Status Ended(const CampaignQueue::Candidate& candidate,
                   const coordination::CoordinationState& state) {
  const std::string& path = candidate.response.znode_path();
  if (state.FindSession(candidate.session) == nullptr) {
    return MakeError(
        Reason::kSessionExpired,
        absl::StrCat("the session of the candidacy ", path, " has ended before it was won"),
        {{"znode_path", path}});
  }
  return MakeError(Reason::kZnodeNotFound,
                   absl::StrCat("the candidacy ", path,
                                " was resigned, or its znode removed, before it was won"),
                   {{"znode_path", path}});
}

}  // namespace

bool CampaignQueue::TryAnswer(Candidate* candidate, const coordination::CoordinationState& state,
                              LogIndex index) {
  const std::string path = candidate->response.znode_path();
  const auto own = state.FindZnode(path);
  if (own == nullptr || own->create_index.value() != candidate->response.fencing_token()) {
    candidate->done(Ended(*candidate, state));
    return true;
  }
  const auto first = state.FirstCandidate(candidate->election_path);
  if (first == nullptr || first->path() != path) return false;
  candidate->response.set_index(index.value());
  candidate->done(std::move(candidate->response));
  return true;
}

void CampaignQueue::TryAnswer(Candidates* candidates, const std::string& path,
                              const coordination::CoordinationState& state, LogIndex index) {
  auto [at, end] = candidates->equal_range(path);
  while (at != end) {
    if (TryAnswer(&at->second, state, index)) {
      at = candidates->erase(at);
      --size_;
    } else {
      ++at;
    }
  }
}

void CampaignQueue::Add(Candidate candidate, const coordination::CoordinationState& state,
                        LogIndex index) {
  if (TryAnswer(&candidate, state, index)) return;
  ++size_;
  next_look_ = std::min(next_look_, candidate.deadline);
  Candidates* const candidates = &waiting_[candidate.election_path];
  std::string path = candidate.response.znode_path();
  candidates->emplace(std::move(path), std::move(candidate));
}

void CampaignQueue::Removed(const std::string& path, const coordination::CoordinationState& state,
                            LogIndex index) {
  const std::string election_path(coordination::ParentOf(path));
  const auto found = waiting_.find(election_path);
  if (found == waiting_.end()) return;
  TryAnswer(&found->second, path, state, index);
  if (const auto first = state.FirstCandidate(election_path); first != nullptr) {
    TryAnswer(&found->second, std::string(first->path()), state, index);
  }
  if (found->second.empty()) waiting_.erase(found);
}

void CampaignQueue::Expire(MonotonicTime now) {
  if (now < next_look_) return;
  next_look_ = now + kLookInterval;
  for (auto& [election_path, candidates] : waiting_) {
    size_ -= std::erase_if(candidates, [this, now](const auto& entry) {
      const Candidate& candidate = entry.second;
      const bool given_up = candidate.given_up && candidate.given_up();
      if (now < candidate.deadline && !given_up) {
        next_look_ = std::min(next_look_, candidate.deadline);
        return false;
      }
      candidate.done(MakeError(Reason::kTimedOut, "the election was not won in time",
                               {{"znode_path", candidate.response.znode_path()}}));
      return true;
    });
  }
  std::erase_if(waiting_, [](const auto& entry) { return entry.second.empty(); });
}

void CampaignQueue::FailAll(const absl::Status& why) {
  std::map<std::string, Candidates> failed;
  failed.swap(waiting_);
  size_ = 0;
  for (auto& [election_path, candidates] : failed) {
    for (auto& [znode_path, candidate] : candidates) candidate.done(why);
  }
}

}  // namespace falaj::metadata
