#include "services/metadata/member_addresses.h"

#include <utility>

namespace falaj::metadata {

bool MemberAddresses::Follow(const raft::Membership& members) {
  Addresses addresses = members.addresses;
  for (const auto& [node, address] : told_) addresses[node] = address;
  if (addresses == all_) return false;
  all_ = std::move(addresses);
  return true;
}

std::optional<raft::MembershipChange> MemberAddresses::NextToRecord(
    const raft::Membership& members) {
  while (!unrecorded_.empty()) {
    const auto& [node, address] = *unrecorded_.begin();
    if (members.Contains(node) && !members.addresses.contains(node)) {
      raft::MembershipChange change;
      change.kind = raft::MembershipChange::Kind::kSetAddress;
      change.node = node;
      change.address = address;
      return change;
    }
    unrecorded_.erase(unrecorded_.begin());
  }
  return std::nullopt;
}

std::string MemberAddresses::Of(NodeId node) const {
  const auto found = all_.find(node);
  return found == all_.end() ? "" : found->second;
}

}  // namespace falaj::metadata
