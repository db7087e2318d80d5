#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/log/raft_log_database.h"
#include "libs/raft/membership.h"
#include "libs/raft/validation.h"

namespace falaj::log {
namespace {

namespace pb = ::falaj::internal::v1;

// The newest membership, committed or not.
absl::StatusOr<raft::Membership> NewestMembership(const raft::Restored& restored) {
  FALAJ_ASSIGN_OR_RETURN(auto changes, raft::MembershipChangesIn(restored));
  if (!changes.empty()) return std::move(changes.back().second);
  return raft::Membership::FromProto(restored.snapshot.meta.membership());
}

pb::RaftEntry OnlyVoterEntry(LogIndex index, Term term, NodeId node, const Uuid& directory,
                             const std::string& address) {
  raft::Membership alone;
  alone.voters = {node};
  alone.directories[node] = directory;
  if (!address.empty()) alone.addresses[node] = address;
  pb::RaftEntry entry;
  entry.set_index(index.value());
  entry.set_term(term.value());
  entry.set_type(pb::RAFT_ENTRY_TYPE_MEMBERSHIP);
  entry.set_data(alone.ToProto().SerializeAsString());
  return entry;
}

}  // namespace

absl::StatusOr<RaftLog::Recovery> RaftLog::Database::RecoverQuorum(NodeId node,
                                                                   const std::string& address) {
  if (!address.empty()) FALAJ_RETURN_IF_ERROR(raft::CheckAddress(address));
  FALAJ_ASSIGN_OR_RETURN(const raft::Membership former, NewestMembership(restored));
  if (!former.Contains(node)) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("node ", node, " is not a member of the quorum it shall recover"),
                     {{"node_id", absl::StrCat(node)}});
  }
  if (former.IsVoter(node) && former.voters.size() == 1) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("node ", node, " is the only voter: no majority is lost"),
                     {{"node_id", absl::StrCat(node)}});
  }
  Recovery done;
  done.last_index = LogIndex(last_index() + 1);
  done.term = Term(restored.hard_state.term() + 1);
  done.entries_not_known_committed =
      last_index() - std::max(restored.hard_state.commit(), snapshot_index_);
  done.former_voters = former.voters;
  done.incarnation = incarnation + 1;

  pb::RaftHardState hard;
  hard.set_term(done.term.value());
  hard.set_vote(node.value());
  hard.set_commit(done.last_index.value());
  const std::vector<pb::RaftEntry> entries = {
      OnlyVoterEntry(done.last_index, done.term, node, directory_id, address)};
  rocksdb::WriteBatch batch;
  batch.Put(default_, kHardStateKey, hard.SerializeAsString());
  batch.Put(default_, kIncarnationKey, EncodeNumber(done.incarnation));
  PutEntries(entries, &batch);
  FALAJ_RETURN_IF_ERROR(Write(&batch, true));
  RememberEntries(entries);
  return done;
}

}  // namespace falaj::log
