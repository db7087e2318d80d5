// MetadataNode: who belongs to the quorum, and where they are.
#include <utility>

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "services/metadata/metadata_node.h"

namespace falaj::metadata {
namespace {

// False for a refusal that would be the same the next time.
bool MayPass(const absl::Status& refused) {
  const Reason reason = ReasonOf(refused);
  return reason == Reason::kMembershipChanging || reason == Reason::kMetadataUnavailable ||
         reason == Reason::kQuotaExceeded;
}

}  // namespace

// What this node enters by itself is none of an operator's business: his change waits for it.
void MetadataNode::ChangeMembership(const raft::MembershipChange& change, ExecuteCallback done) {
  if (!Leads() || !KnowsHistory()) return done(NotLeader("none"));
  if (own_change_ > core_->committed()) {
    changes_waiting_.emplace_back(change, std::move(done));
    return;
  }
  const absl::StatusOr<raft::EntryId> entry = core_->ProposeMembership(change);
  if (!entry.ok()) {
    const bool elsewhere = ReasonOf(entry.status()) == Reason::kMetadataUnavailable;
    return done(elsewhere ? NotLeader("none") : entry.status());
  }
  pending_[entry->index] = {entry->term, now_, std::move(done)};
  FollowMembership();
}

void MetadataNode::SetAddresses(std::map<NodeId, std::string> addresses) {
  addresses_.Tell(std::move(addresses));
  FollowMembership();
}

void MetadataNode::FollowMembership() {
  if (addresses_.Follow(core_->membership()) && options_.on_addresses) {
    options_.on_addresses(addresses_.all());
  }
}

// Directories that have no name yet go first, then addresses. What is refused for good is not tried
// again; the rest is looked at again in the next round, until it is committed or can be proposed.
void MetadataNode::RecordMembers() {
  if (!Leads() || own_change_ > core_->committed()) return;
  for (auto& [change, done] : std::exchange(changes_waiting_, {})) {
    ChangeMembership(change, std::move(done));
  }
  if (!IsReady()) return;
  const std::optional<raft::MembershipChange> binding = core_->DueBinding();
  if (binding.has_value() && ProposeOwn(*binding).ok()) return;
  while (const auto due = addresses_.NextToRecord(core_->committed_membership())) {
    const absl::Status proposed = ProposeOwn(*due);
    if (proposed.ok() || MayPass(proposed)) return;
    log::Warning("a member's address cannot be entered",
                 {{"node", due->node}, {"address", due->address}, {"error", proposed}});
    addresses_.GiveUp(due->node);
  }
}

absl::Status MetadataNode::ProposeOwn(const raft::MembershipChange& change) {
  FALAJ_ASSIGN_OR_RETURN(const raft::EntryId entry, core_->ProposeMembership(change));
  own_change_ = entry.index;
  return absl::OkStatus();
}

}  // namespace falaj::metadata
