#include "libs/raft/membership.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
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

constexpr size_t kAddressBytesMax = 261;

absl::Status NotFound(NodeId node) {
  return MakeError(Reason::kNodeNotFound, absl::StrCat("node ", node, " is not a member"),
                   {{"node_id", absl::StrCat(node)}});
}

absl::Status Refuse(absl::string_view why, NodeId node) {
  return MakeError(Reason::kInvalidRequest, absl::StrCat("node ", node, " ", why),
                   {{"node_id", absl::StrCat(node)}});
}

// The addresses of a membership whose voters and learners are known.
absl::Status ReadAddresses(const internal::v1::RaftMembership& proto, Membership* membership) {
  NodeId last;
  for (const internal::v1::RaftMemberAddress& member : proto.addresses()) {
    const NodeId node(member.node_id());
    if (!membership->Contains(node)) return Refuse("has an address, but is not a member", node);
    if (node <= last) return Refuse("has its address out of order", node);
    FALAJ_RETURN_IF_ERROR(CheckAddress(member.address()));
    membership->addresses[node] = member.address();
    last = node;
  }
  return absl::OkStatus();
}

// As above.
absl::Status ReadDirectories(const internal::v1::RaftMembership& proto, Membership* membership) {
  NodeId last;
  for (const internal::v1::RaftMemberDirectory& member : proto.directories()) {
    const NodeId node(member.node_id());
    if (!membership->Contains(node)) return Refuse("has a directory, but is not a member", node);
    if (node <= last) return Refuse("has its directory out of order", node);
    FALAJ_ASSIGN_OR_RETURN(const Uuid directory, Uuid::FromBytes(member.directory_id()));
    if (directory.is_nil()) return Refuse("has a directory without an id", node);
    membership->directories[node] = directory;
    last = node;
  }
  return absl::OkStatus();
}

}  // namespace

std::string LostDirectoryRemedy(NodeId node) {
  return absl::StrCat(
      "If its disk is only not mounted, mount it. If it is lost, remove the node (falaj metadata "
      "members remove ",
      node, ") and start an empty one under a new id with --join");
}

absl::Status CheckAddress(absl::string_view address) {
  const size_t colon = address.rfind(':');
  uint32_t port = 0;
  const bool has_port = colon != absl::string_view::npos && colon > 0 &&
                        absl::SimpleAtoi(address.substr(colon + 1), &port) && port > 0 &&
                        port <= 65535;
  const bool printable = std::all_of(address.begin(), address.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c));
  });
  if (has_port && printable && address.size() <= kAddressBytesMax) return absl::OkStatus();
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("an address of a member must be host:port of at most ",
                                kAddressBytesMax, " bytes"),
                   {{"field", "address"}});
}

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
  FALAJ_RETURN_IF_ERROR(ReadAddresses(proto, &result));
  FALAJ_RETURN_IF_ERROR(ReadDirectories(proto, &result));
  return result;
}

internal::v1::RaftMembership Membership::ToProto() const {
  internal::v1::RaftMembership proto;
  for (NodeId node : voters) proto.add_voters(node.value());
  for (NodeId node : learners) proto.add_learners(node.value());
  for (const auto& [node, address] : addresses) {
    internal::v1::RaftMemberAddress* member = proto.add_addresses();
    member->set_node_id(node.value());
    member->set_address(address);
  }
  for (const auto& [node, directory] : directories) {
    internal::v1::RaftMemberDirectory* member = proto.add_directories();
    member->set_node_id(node.value());
    member->set_directory_id(std::string(directory.bytes()));
  }
  return proto;
}

bool Membership::IsVoter(NodeId node) const { return Holds(voters, node); }

bool Membership::IsLearner(NodeId node) const { return Holds(learners, node); }

Uuid Membership::DirectoryOf(NodeId node) const {
  const auto found = directories.find(node);
  return found == directories.end() ? Uuid() : found->second;
}

std::vector<NodeId> Membership::All() const {
  std::vector<NodeId> all;
  all.reserve(voters.size() + learners.size());
  std::merge(voters.begin(), voters.end(), learners.begin(), learners.end(),
             std::back_inserter(all));
  return all;
}

namespace {

absl::Status AddLearner(const MembershipChange& change, Membership* members) {
  if (change.node < NodeId(1)) return Refuse("is not a valid id", change.node);
  if (members->Contains(change.node)) return Refuse("is a member already", change.node);
  Insert(&members->learners, change.node);
  if (change.address.empty()) return absl::OkStatus();
  FALAJ_RETURN_IF_ERROR(CheckAddress(change.address));
  members->addresses[change.node] = change.address;
  return absl::OkStatus();
}

// From now on its votes and acknowledgements count: those of this directory, and of no other.
absl::Status Promote(const MembershipChange& change, Membership* members) {
  if (!members->IsLearner(change.node)) return Refuse("votes already", change.node);
  Erase(&members->learners, change.node);
  Insert(&members->voters, change.node);
  if (!change.directory.is_nil()) members->directories.try_emplace(change.node, change.directory);
  return absl::OkStatus();
}

absl::Status Remove(NodeId node, Membership* members) {
  members->addresses.erase(node);
  members->directories.erase(node);
  Erase(&members->learners, node);
  Erase(&members->voters, node);
  if (members->voters.empty()) return Refuse("is the last voter", node);
  return absl::OkStatus();
}

absl::Status SetAddress(const MembershipChange& change, Membership* members) {
  FALAJ_RETURN_IF_ERROR(CheckAddress(change.address));
  std::string& address = members->addresses[change.node];
  if (address == change.address) return Refuse("has this address already", change.node);
  address = change.address;
  return absl::OkStatus();
}

absl::Status BindDirectory(const MembershipChange& change, Membership* members) {
  if (change.directory.is_nil()) return Refuse("has a directory without an id", change.node);
  if (!members->directories.try_emplace(change.node, change.directory).second) {
    return Refuse("has a directory already", change.node);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Membership> Membership::With(const MembershipChange& change) const {
  const bool adds = change.kind == MembershipChange::Kind::kAddLearner;
  if (!adds && !Contains(change.node)) return NotFound(change.node);
  Membership result = *this;
  absl::Status changed = MakeError(Reason::kInvalidRequest, "unknown kind of membership change");
  switch (change.kind) {
    case MembershipChange::Kind::kAddLearner:
      changed = AddLearner(change, &result);
      break;
    case MembershipChange::Kind::kPromote:
      changed = Promote(change, &result);
      break;
    case MembershipChange::Kind::kRemove:
      changed = Remove(change.node, &result);
      break;
    case MembershipChange::Kind::kSetAddress:
      changed = SetAddress(change, &result);
      break;
    case MembershipChange::Kind::kBindDirectory:
      changed = BindDirectory(change, &result);
      break;
  }
  FALAJ_RETURN_IF_ERROR(changed);
  return result;
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
