#include "libs/raft/founder.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::raft {

Next Founder::Begin() {
  Ask();
  return Decide();
}

absl::StatusOr<Next> Founder::Step(const pb::RaftMessage& message) {
  const NodeId from(message.from());
  if (!state_->refusal.empty()) return Next::kStay;
  if (message.type() == pb::RAFT_MESSAGE_TYPE_FOUNDING) Reply(message);
  if (message.type() != pb::RAFT_MESSAGE_TYPE_FOUNDING_REPLY) return Next::kStay;
  // An answer to the directory before this one says nothing of what has happened since.
  if (message.to_directory() != state_->options.directory.bytes()) return Next::kStay;
  FALAJ_ASSIGN_OR_RETURN(Membership membership, Membership::FromProto(message.membership()));
  if (message.reject()) return Join(from, std::move(membership));
  // Founders that were told of different ones would begin different clusters.
  if (!founders().IsVoter(from) || membership.voters != founders().voters) return Next::kStay;
  // Nor does one that was long under way, or one to the life before this one.
  if (!IsRecent(message.read_round())) return Next::kStay;
  FALAJ_ASSIGN_OR_RETURN(const Uuid directory, Uuid::FromBytes(message.from_directory()));
  Answer& answer = empty_[from];
  // Of a directory before this one, perhaps, and overtaken.
  if (message.read_round() < answer.question) return Next::kStay;
  answer = {directory, message.read_round()};
  return Decide();
}

Next Founder::Tick() {
  if (!state_->refusal.empty() || ++elapsed_ < state_->options.heartbeat_ticks) return Next::kStay;
  Ask();
  return Next::kStay;
}

int Founder::TicksUntilDue() const {
  return state_->refusal.empty() ? state_->options.heartbeat_ticks - elapsed_ : kNoTickMatters;
}

std::vector<NodeId> Founder::awaited() const {
  std::vector<NodeId> nodes;
  for (NodeId node : founders().voters) {
    if (node == state_->self()) continue;
    const auto answer = empty_.find(node);
    if (answer == empty_.end() || !IsRecent(answer->second.question)) nodes.push_back(node);
  }
  return nodes;
}

bool Founder::IsRecent(uint64_t question) const {
  const Options& options = state_->options;
  const uint64_t newest = state_->read_batch;
  const int asked_max = options.election_ticks_min / options.heartbeat_ticks;
  return question <= newest && newest - question < static_cast<uint64_t>(asked_max);
}

void Founder::Ask() {
  elapsed_ = 0;
  ++state_->read_batch;
  for (NodeId node : founders().voters) {
    if (node == state_->self()) continue;
    pb::RaftMessage question = state_->NewMessage(pb::RAFT_MESSAGE_TYPE_FOUNDING, node);
    question.set_read_round(state_->read_batch);
    state_->SendNow(std::move(question));
  }
}

void Founder::Reply(const pb::RaftMessage& question) {
  pb::RaftMessage answer =
      state_->NewMessage(pb::RAFT_MESSAGE_TYPE_FOUNDING_REPLY, NodeId(question.from()));
  answer.set_to_directory(question.from_directory());
  answer.set_read_round(question.read_round());
  *answer.mutable_membership() = founders().ToProto();
  state_->SendNow(std::move(answer));
}

// One decides, so that there is one decision. All must have answered: with a majority of them, two
// that have lost their disks could not be told from two of a cluster that has not begun.
Next Founder::Decide() {
  if (state_->self() != founders().voters.front() || !awaited().empty()) return Next::kStay;
  // Who answered first may have lost its disk while the others were waited for.
  if (!empty_.empty() && !IsRecent(last_question_)) {
    Ask();
    last_question_ = state_->read_batch;
  }
  Membership membership = founders();
  for (const auto& [node, answer] : empty_) {
    if (answer.question < last_question_) return Next::kStay;
    membership.directories[node] = answer.directory;
  }
  membership.directories[state_->self()] = state_->options.directory;
  state_->Found(membership);
  for (NodeId node : membership.voters) {
    if (node != state_->self()) state_->SendMembership(node, membership.DirectoryOf(node));
  }
  // In this order on the same stream, so that the others know what they vote by.
  return state_->IsOnlyVoter() ? Next::kCampaign : Next::kPreCampaign;
}

Next Founder::Join(NodeId informant, Membership membership) {
  const NodeId self = state_->self();
  const Uuid& own = state_->options.directory;
  const Uuid named = membership.DirectoryOf(self);
  if (named == own) {
    state_->Found(std::move(membership));
    return Next::kFollow;
  }
  const std::string whose = !membership.Contains(self) ? "the node is no member of it"
                            : named.is_nil()
                                ? "what it knows of the node is older than this directory"
                                : absl::StrCat("the node's directory there is ", named.ToString());
  state_->refusal = absl::StrCat(
      "the directory of node ", self, ", ", own.ToString(), ", is empty, but node ", informant,
      " knows that the cluster has begun, and ", whose, ". ", LostDirectoryRemedy(self));
  return Next::kStay;
}

}  // namespace falaj::raft
