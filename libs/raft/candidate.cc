#include "libs/raft/candidate.h"

#include <utility>

#include "libs/raft/quorum.h"

namespace falaj::raft {

Next Candidate::Start() {
  state_->leader = NodeId();
  state_->timer.ResetForElection();
  const bool pre = kind_ == Kind::kPreVote;
  if (pre) {
    votes_[state_->self()] = true;
  } else {
    state_->vote = state_->self();
  }
  for (NodeId voter : state_->electorate().nodes) {
    if (voter == state_->self()) continue;
    pb::RaftMessage request = state_->NewMessage(
        pre ? pb::RAFT_MESSAGE_TYPE_PRE_VOTE : pb::RAFT_MESSAGE_TYPE_VOTE, voter);
    if (pre) request.set_term(state_->term.value() + 1);
    request.set_log_index(state_->log.last_index().value());
    request.set_log_term(state_->log.last_term().value());
    request.set_transfer(kind_ == Kind::kTransferVote);
    // With the log it speaks of on disk, and for a real vote the new term too.
    state_->SendAfterPersist(std::move(request));
  }
  return Count();
}

absl::StatusOr<Next> Candidate::Step(const pb::RaftMessage& message) {
  const auto awaited = kind_ == Kind::kPreVote ? pb::RAFT_MESSAGE_TYPE_PRE_VOTE_REPLY
                                               : pb::RAFT_MESSAGE_TYPE_VOTE_REPLY;
  if (message.type() != awaited) return Next::kStay;
  if (!state_->IsOfMember(message)) return Next::kStay;
  // A late grant of an earlier pre-vote: its term has come since.
  if (Term(message.term()) == state_->term && kind_ == Kind::kPreVote && !message.reject()) {
    return Next::kStay;
  }
  votes_.emplace(NodeId(message.from()), !message.reject());
  return Count();
}

Next Candidate::Tick() {
  if (!state_->timer.Tick()) return Next::kStay;
  if (!state_->MayStand()) return Next::kFollow;
  // Nobody to ask: only the disk is slow, and another term would not make it faster.
  if (state_->IsOnlyVoter()) return kind_ == Kind::kPreVote ? Next::kCampaign : Next::kStay;
  return Next::kPreCampaign;
}

Next Candidate::OnPersisted() {
  if (kind_ == Kind::kPreVote || !state_->OwnVoteIsDurable()) return Next::kStay;
  votes_[state_->self()] = true;
  return Count();
}

Next Candidate::Count() const {
  const auto answered = [this](bool answer) {
    return [this, answer](NodeId voter) {
      const auto vote = votes_.find(voter);
      return vote != votes_.end() && vote->second == answer;
    };
  };
  const Electorate electorate = state_->electorate();
  if (HoldsForMajority(electorate, answered(true))) {
    return kind_ == Kind::kPreVote ? Next::kCampaign : Next::kLead;
  }
  if (HoldsForMajority(electorate, answered(false))) return Next::kFollow;
  return Next::kStay;
}

}  // namespace falaj::raft
