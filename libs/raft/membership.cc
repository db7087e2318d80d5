#include "libs/raft/membership.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::raft {
namespace {

bool IsAscending(const std::vector<NodeId>& nodes) {
  return std::adjacent_find(nodes.begin(), nodes.end(), std::greater_equal<>()) == nodes.end();
}

bool Holds(const std::vector<NodeId>& nodes, NodeId node) {
  return std::binary_search(nodes.begin(), nodes.end(), node);
}

void Insert(std::vector<NodeId>* nodes, NodeId node) {
  nodes->insert(std::lower_bound(nodes->begin(), nodes->end(), node), node);
}

void Erase(std::vector<NodeId>* nodes, NodeId node) {
  nodes->erase(std::remove(nodes->begin(), nodes->end(), node), nodes->end());
}

absl::Status Refuse(absl::string_view why, NodeId node) {
  return MakeError(Reason::kInvalidRequest, absl::StrCat("node ", node, " ", why),
                   {{"node_id", absl::StrCat(node)}});
}

}  // namespace

absl::StatusOr<Membership> Membership::FromProto(const internal::v1::RaftMembership& proto) {
  Membership result;
  for (int32_t id : proto.voters()) result.voters.push_back(NodeId(id));
  for (int32_t id : proto.learners()) result.learners.push_back(NodeId(id));
  if (result.voters.empty()) {
    return MakeError(Reason::kInvalidRequest, "a membership needs a voter");
  }
  if (!IsAscending(result.voters) || !IsAscending(result.learners)) {
    return MakeError(Reason::kInvalidRequest, "the node ids of a membership must ascend");
  }
  for (NodeId node : result.learners) {
    if (node < NodeId(1)) return Refuse("is not a valid id", node);
    if (result.IsVoter(node)) return Refuse("is both voter and learner", node);
  }
  if (result.voters.front() < NodeId(1)) {
    return Refuse("is not a valid id", result.voters.front());
  }
  return result;
}

internal::v1::RaftMembership Membership::ToProto() const {
  internal::v1::RaftMembership proto;
  for (NodeId node : voters) proto.add_voters(node.value());
  for (NodeId node : learners) proto.add_learners(node.value());
  return proto;
}

bool Membership::IsVoter(NodeId node) const { return Holds(voters, node); }

bool Membership::IsLearner(NodeId node) const { return Holds(learners, node); }

std::vector<NodeId> Membership::All() const {
  std::vector<NodeId> all;
  all.reserve(voters.size() + learners.size());
  std::merge(voters.begin(), voters.end(), learners.begin(), learners.end(),
             std::back_inserter(all));
  return all;
}

absl::StatusOr<Membership> Membership::With(const MembershipChange& change) const {
  Membership result = *this;
  switch (change.kind) {
    case MembershipChange::Kind::kAddLearner:
      if (change.node < NodeId(1)) return Refuse("is not a valid id", change.node);
      if (Contains(change.node)) return Refuse("is a member already", change.node);
      Insert(&result.learners, change.node);
      return result;
    case MembershipChange::Kind::kPromote:
      if (!IsLearner(change.node)) return Refuse("is not a learner", change.node);
      Erase(&result.learners, change.node);
      Insert(&result.voters, change.node);
      return result;
    case MembershipChange::Kind::kRemove:
      if (!Contains(change.node)) return Refuse("is not a member", change.node);
      Erase(&result.learners, change.node);
      Erase(&result.voters, change.node);
      if (result.voters.empty()) return Refuse("is the last voter", change.node);
      return result;
  }
  return MakeError(Reason::kInvalidRequest, "unknown kind of membership change");
}

MembershipHistory::MembershipHistory(LogIndex base_index, Membership base) {
  Remember(base);
  changes_.emplace_back(base_index, std::move(base));
}

const Membership& MembershipHistory::At(LogIndex index) const {
  auto after = std::upper_bound(changes_.begin(), changes_.end(), index,
                                [](LogIndex i, const auto& change) { return i < change.first; });
  return after == changes_.begin() ? changes_.front().second : std::prev(after)->second;
}

void MembershipHistory::Add(LogIndex index, Membership membership) {
  Remember(membership);
  changes_.emplace_back(index, std::move(membership));
}

void MembershipHistory::Remember(const Membership& membership) {
  for (NodeId voter : membership.voters) {
    if (!Holds(ever_voted_, voter)) Insert(&ever_voted_, voter);
  }
}

void MembershipHistory::TruncateFrom(LogIndex index) {
  while (changes_.size() > 1 && current_index() >= index) changes_.pop_back();
}

void MembershipHistory::CompactTo(LogIndex index) {
  while (changes_.size() > 1 && changes_[1].first <= index) changes_.erase(changes_.begin());
}

}  // namespace falaj::raft
