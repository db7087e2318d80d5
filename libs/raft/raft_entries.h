#ifndef LIBS_RAFT_RAFT_ENTRIES_H_
#define LIBS_RAFT_RAFT_ENTRIES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "google/protobuf/repeated_field.h"

#include "falaj/internal/v1/raft.pb.h"

#include "libs/base/ids.h"
#include "libs/raft/ready.h"

namespace falaj::raft {

using EntryList = google::protobuf::RepeatedPtrField<pb::RaftEntry>;

inline LogIndex IndexOf(const pb::RaftEntry& entry) { return LogIndex(entry.index()); }
inline Term TermOf(const pb::RaftEntry& entry) { return Term(entry.term()); }

// RaftEntries is the log in memory: the entries behind an anchor, and how far they are written,
// committed and applied. CoreState owns it; every role works on it.
//
//   anchor ... applied <= handed_out <= committed <= last
//                         handed_out <= persisted <= last
//
// The anchor is the entry before the first one held: only its index and term are known.
//
// Writes are tracked by the number of the Ready that carried them, so that a late acknowledgement
// of entries that have been overwritten meanwhile is never taken for one of their successors.
class RaftEntries {
 public:
  // `entries` are dense from anchor.index + 1 on and stored already.
  RaftEntries(EntryId anchor, std::vector<pb::RaftEntry> entries, LogIndex committed,
              LogIndex applied);

  EntryId anchor() const { return anchor_; }
  LogIndex first_index() const { return anchor_.index + 1; }
  LogIndex last_index() const { return anchor_.index + (entries_.size() - forgotten_); }
  Term last_term() const { return *TermAt(last_index()); }
  LogIndex persisted() const { return persisted_; }
  LogIndex committed() const { return committed_; }
  LogIndex applied() const { return applied_; }
  size_t uncommitted_bytes() const { return uncommitted_bytes_; }
  size_t applied_bytes() const { return applied_bytes_; }  // Since the last Compact or restart.

  // nullopt outside [anchor, last].
  std::optional<Term> TermAt(LogIndex index) const;
  bool Matches(LogIndex index, Term term) const { return TermAt(index) == term; }
  // True if a log that ends with this entry holds at least what this one holds (paper 5.4.1).
  bool IsUpToDate(LogIndex index, Term term) const;
  // The last entry at or before `index` whose term is at most `term`: where a log that has `term`
  // at `index` can agree with this one at best. The anchor if there is none.
  EntryId LastNotAbove(LogIndex index, Term term) const;
  // Copies entries from `from` (>= first_index()) on while they fit in `bytes_max`, but at least
  // one if there is one, to the end of `out`.
  void CopyFrom(LogIndex from, size_t bytes_max, EntryList* out) const;

  // Appends one entry. Requires index == last_index() + 1.
  void Append(pb::RaftEntry entry);
  // Position of the first of `entries` this log does not hold; entries.size() if it holds all.
  int FirstMissing(const EntryList& entries) const;
  // Removes entries from `index` on. Requires committed() < index <= last_index().
  void TruncateFrom(LogIndex index);
  // Raises the commit index to min(index, last_index()). Returns whether it rose.
  bool CommitTo(LogIndex index);

  bool HasUnwritten() const { return next_to_write_ <= last_index(); }
  // The entries no Ready has carried yet; they now belong to Ready `number`.
  std::vector<pb::RaftEntry> TakeUnwritten(uint64_t number);
  void Persisted(uint64_t number);

  bool HasCommitted() const { return handed_out_ < std::min(committed_, persisted_); }
  // The next committed and persisted entries to apply.
  std::vector<pb::RaftEntry> TakeCommitted(size_t bytes_max);
  void Applied(LogIndex index);

  // Forgets the entries up to `anchor` and counts applied bytes from `snapshot_index` on. Requires
  // anchor <= snapshot_index <= applied(). Their memory is given back by ReleaseForgotten().
  void Compact(LogIndex anchor, LogIndex snapshot_index);
  bool HasForgotten() const { return forgotten_ > 0; }
  // Destroys at most so many forgotten entries: all at once would take a hundred milliseconds.
  void ReleaseForgotten(size_t entries_max);
  // Replaces everything by a snapshot that ends with `anchor`.
  void Reset(EntryId anchor);

 private:
  const pb::RaftEntry& At(LogIndex index) const {
    return entries_[forgotten_ + (index - first_index())];
  }

  EntryId anchor_;
  std::deque<pb::RaftEntry> entries_;
  size_t forgotten_ = 0;  // At the front of entries_.
  LogIndex next_to_write_;
  LogIndex persisted_;
  LogIndex committed_;
  LogIndex handed_out_;
  LogIndex applied_;
  // Writes under way: Ready number and the last entry it covers that was not overwritten since.
  std::deque<std::pair<uint64_t, LogIndex>> writing_;
  size_t uncommitted_bytes_ = 0;
  size_t applied_bytes_ = 0;
};

}  // namespace falaj::raft

#endif  // LIBS_RAFT_RAFT_ENTRIES_H_
