#include "libs/raft/raft_entries.h"

#include <iterator>

namespace falaj::raft {
namespace {

size_t SizeOf(const pb::RaftEntry& entry) { return entry.ByteSizeLong(); }

}  // namespace

RaftEntries::RaftEntries(EntryId anchor, std::vector<pb::RaftEntry> entries, LogIndex committed,
                         LogIndex applied)
    : anchor_(anchor),
      entries_(std::make_move_iterator(entries.begin()), std::make_move_iterator(entries.end())),
      next_to_write_(last_index() + 1),
      persisted_(last_index()),
      committed_(committed),
      handed_out_(applied),
      applied_(applied) {
  for (LogIndex i = std::max(committed_ + 1, first_index()); i <= last_index(); ++i) {
    uncommitted_bytes_ += SizeOf(At(i));
  }
}

std::optional<Term> RaftEntries::TermAt(LogIndex index) const {
  if (index == anchor_.index) return anchor_.term;
  if (index < anchor_.index || index > last_index()) return std::nullopt;
  return TermOf(At(index));
}

bool RaftEntries::IsUpToDate(LogIndex index, Term term) const {
  return term > last_term() || (term == last_term() && index >= last_index());
}

EntryId RaftEntries::LastNotAbove(LogIndex index, Term term) const {
  index = std::min(index, last_index());
  while (index > anchor_.index && TermOf(At(index)) > term) index = index - 1;
  if (index <= anchor_.index) return anchor_;
  return {index, TermOf(At(index))};
}

void RaftEntries::CopyFrom(LogIndex from, size_t bytes_max, EntryList* out) const {
  size_t bytes = 0;
  for (LogIndex i = from; i <= last_index(); ++i) {
    bytes += SizeOf(At(i));
    if (i != from && bytes > bytes_max) return;
    *out->Add() = At(i);
  }
}

void RaftEntries::Append(pb::RaftEntry entry) {
  uncommitted_bytes_ += SizeOf(entry);
  entries_.push_back(std::move(entry));
}

int RaftEntries::FirstMissing(const EntryList& entries) const {
  int position = 0;
  while (position < entries.size() &&
         Matches(IndexOf(entries[position]), TermOf(entries[position]))) {
    ++position;
  }
  return position;
}

void RaftEntries::TruncateFrom(LogIndex index) {
  while (last_index() >= index) {
    uncommitted_bytes_ -= SizeOf(entries_.back());
    entries_.pop_back();
  }
  next_to_write_ = std::min(next_to_write_, index);
  persisted_ = std::min(persisted_, index - 1);
  for (auto& [number, last] : writing_) last = std::min(last, index - 1);
}

bool RaftEntries::CommitTo(LogIndex index) {
  index = std::min(index, last_index());
  if (index <= committed_) return false;
  for (LogIndex i = committed_ + 1; i <= index; ++i) uncommitted_bytes_ -= SizeOf(At(i));
  committed_ = index;
  return true;
}

std::vector<pb::RaftEntry> RaftEntries::TakeUnwritten(uint64_t number) {
  std::vector<pb::RaftEntry> taken;
  for (; next_to_write_ <= last_index(); ++next_to_write_) taken.push_back(At(next_to_write_));
  if (!taken.empty()) writing_.emplace_back(number, last_index());
  return taken;
}

void RaftEntries::Persisted(uint64_t number) {
  while (!writing_.empty() && writing_.front().first <= number) {
    persisted_ = std::max(persisted_, writing_.front().second);
    writing_.pop_front();
  }
}

std::vector<pb::RaftEntry> RaftEntries::TakeCommitted(size_t bytes_max) {
  std::vector<pb::RaftEntry> taken;
  size_t bytes = 0;
  while (HasCommitted()) {
    const pb::RaftEntry& next = At(handed_out_ + 1);
    bytes += SizeOf(next);
    if (!taken.empty() && bytes > bytes_max) break;
    taken.push_back(next);
    ++handed_out_;
  }
  return taken;
}

void RaftEntries::Applied(LogIndex index) {
  index = std::min(index, handed_out_);
  while (applied_ < index) {
    ++applied_;
    applied_bytes_ += SizeOf(At(applied_));
  }
}

void RaftEntries::Compact(LogIndex anchor, LogIndex snapshot_index) {
  applied_bytes_ = 0;
  for (LogIndex i = snapshot_index + 1; i <= applied_; ++i) applied_bytes_ += SizeOf(At(i));
  if (anchor <= anchor_.index) return;
  const EntryId next_anchor{anchor, *TermAt(anchor)};
  forgotten_ += anchor - anchor_.index;
  anchor_ = next_anchor;
}

void RaftEntries::ReleaseForgotten(size_t entries_max) {
  const size_t released = std::min(forgotten_, entries_max);
  entries_.erase(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(released));
  forgotten_ -= released;
}

void RaftEntries::Reset(EntryId anchor) {
  entries_.clear();
  forgotten_ = 0;
  anchor_ = anchor;
  next_to_write_ = anchor.index + 1;
  persisted_ = committed_ = handed_out_ = applied_ = anchor.index;
  writing_.clear();
  uncommitted_bytes_ = 0;
  applied_bytes_ = 0;
}

}  // namespace falaj::raft
