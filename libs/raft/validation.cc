#include "libs/raft/validation.h"

#include <string>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::raft {
namespace {

absl::Status Malformed(absl::string_view why) {
  return MakeError(Reason::kInvalidRequest, absl::StrCat("malformed Raft message: ", why));
}

absl::Status Corrupt(absl::string_view why) {
  return MakeError(Reason::kCorruptRecord,
                   absl::StrCat("the Raft state on disk is damaged: ", why));
}

bool IsKnownType(pb::RaftEntryType type) {
  return type == pb::RAFT_ENTRY_TYPE_NO_OP || type == pb::RAFT_ENTRY_TYPE_COMMAND ||
         type == pb::RAFT_ENTRY_TYPE_MEMBERSHIP;
}

// Empty if the entries follow the entry (index, term) densely, no term falls, and none is above
// term_max; else what is wrong.
template <typename Entries>
std::string FaultIn(const Entries& entries, uint64_t index, uint64_t term, uint64_t term_max) {
  for (const pb::RaftEntry& entry : entries) {
    if (entry.index() != ++index) return absl::StrCat("entry ", index, " is missing");
    if (entry.term() < term || entry.term() > term_max) {
      return absl::StrCat("entry ", index, " has the impossible term ", entry.term());
    }
    if (!IsKnownType(entry.type())) return absl::StrCat("entry ", index, " is of unknown type");
    term = entry.term();
  }
  return "";
}

}  // namespace

absl::Status CheckMessage(const pb::RaftMessage& message, NodeId self) {
  if (message.type() == pb::RAFT_MESSAGE_TYPE_UNSPECIFIED ||
      !pb::RaftMessageType_IsValid(message.type())) {
    return Malformed("unknown type");
  }
  if (NodeId(message.to()) != self) return Malformed("it is for another node");
  if (message.from() < 1 || NodeId(message.from()) == self) return Malformed("impossible sender");
  const bool is_founding = message.type() == pb::RAFT_MESSAGE_TYPE_FOUNDING ||
                           message.type() == pb::RAFT_MESSAGE_TYPE_FOUNDING_REPLY;
  if (is_founding && message.from_directory().size() != Uuid::kSize && !message.reject()) {
    return Malformed("a founder without a directory");
  }
  if (message.term() == 0 && !is_founding) return Malformed("term 0");
  const bool is_read = message.type() == pb::RAFT_MESSAGE_TYPE_READ_INDEX ||
                       message.type() == pb::RAFT_MESSAGE_TYPE_READ_INDEX_REPLY;
  if (is_read && message.read_round() == 0) return Malformed("a batch of reads without a number");
  const bool may_have_entries = message.type() == pb::RAFT_MESSAGE_TYPE_APPEND;
  if (!may_have_entries && message.entries_size() > 0) return Malformed("unexpected entries");
  const std::string fault =
      FaultIn(message.entries(), message.log_index(), message.log_term(), message.term());
  if (!fault.empty()) return Malformed(fault);
  if (message.type() == pb::RAFT_MESSAGE_TYPE_SNAPSHOT &&
      (message.snapshot().index() == 0 || message.snapshot().term() > message.term())) {
    return Malformed("impossible snapshot");
  }
  return absl::OkStatus();
}

absl::Status CheckRestored(const Restored& restored) {
  const pb::RaftSnapshot& meta = restored.snapshot.meta;
  const uint64_t term = restored.hard_state.term();
  if (meta.term() > term) return Corrupt("the snapshot is of a term after the last one known");
  uint64_t last = meta.index();
  if (!restored.entries.empty()) {
    const pb::RaftEntry& first = restored.entries.front();
    if (first.index() == 0 || first.index() > meta.index() + 1) {
      return Corrupt(
          absl::StrCat("entries between ", meta.index(), " and ", first.index(), " are missing"));
    }
    const bool follows = first.index() == meta.index() + 1;
    const std::string fault =
        FaultIn(restored.entries, first.index() - 1, follows ? meta.term() : 0, term);
    if (!fault.empty()) return Corrupt(fault);
    last = restored.entries.back().index();
    if (last < meta.index()) return Corrupt("the log ends before its snapshot");
    if (!follows && restored.entries[meta.index() - first.index()].term() != meta.term()) {
      return Corrupt("snapshot and log disagree about a term");
    }
  }
  if (restored.hard_state.commit() > last) {
    return Corrupt(absl::StrCat("entries are committed up to ", restored.hard_state.commit(),
                                ", but the log ends at ", last));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::pair<LogIndex, Membership>>> MembershipChangesIn(
    const Restored& restored) {
  std::vector<std::pair<LogIndex, Membership>> changes;
  for (const pb::RaftEntry& entry : restored.entries) {
    if (entry.type() != pb::RAFT_ENTRY_TYPE_MEMBERSHIP) continue;
    if (entry.index() <= restored.snapshot.meta.index()) continue;
    pb::RaftMembership proto;
    if (!proto.ParseFromString(entry.data())) return Corrupt("a membership cannot be read");
    absl::StatusOr<Membership> membership = Membership::FromProto(proto);
    if (!membership.ok()) return Corrupt(membership.status().message());
    changes.emplace_back(LogIndex(entry.index()), *std::move(membership));
  }
  return changes;
}

}  // namespace falaj::raft
