// MemberAddresses is where the members of the quorum are to be found: what the membership says, and
// what this node was told when it started, which counts more. What it was told and the membership
// lacks is to be entered there, one address at a time, by whoever leads: members learn from the log
// where the others are. Founders that did not know their ports when they began are entered so; what
// is entered already is only changed on demand.
//
// Threads: one at a time. Not here: proposing, which MetadataNode does.
#ifndef SERVICES_METADATA_MEMBER_ADDRESSES_H_
#define SERVICES_METADATA_MEMBER_ADDRESSES_H_

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "libs/base/ids.h"
#include "libs/raft/membership.h"

namespace falaj::metadata {

class MemberAddresses {
 public:
  using Addresses = std::map<NodeId, std::string>;

  void Tell(Addresses told) { unrecorded_ = told_ = std::move(told); }
  // Returns true if an address has changed.
  bool Follow(const raft::Membership& members);
  // What is to be entered next, if anything is: a change that `members` lacks.
  std::optional<raft::MembershipChange> NextToRecord(const raft::Membership& members);
  // It is refused for good.
  void GiveUp(NodeId node) { unrecorded_.erase(node); }
  bool all_recorded() const { return unrecorded_.empty(); }

  const Addresses& all() const { return all_; }
  std::string Of(NodeId node) const;  // Empty if it is not known.

 private:
  Addresses told_;  // By the operator.
  Addresses all_;
  Addresses unrecorded_;  // Told, and maybe not in the membership yet.
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_MEMBER_ADDRESSES_H_
