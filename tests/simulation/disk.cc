#include "tests/simulation/disk.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace falaj::simulation {
namespace {

bool IsFromLeader(const std::optional<raft::Snapshot>& snapshot,
                  const std::optional<LogIndex>& first_kept) {
  return snapshot.has_value() && !first_kept.has_value();
}

}  // namespace

SimDisk::Content::Content(raft::Restored restored)
    : hard_state(std::move(restored.hard_state)),
      snapshot(std::move(restored.snapshot)),
      entries(std::make_move_iterator(restored.entries.begin()),
              std::make_move_iterator(restored.entries.end())) {}

void SimDisk::Content::Apply(Batch batch) {
  if (batch.hard_state) hard_state = *batch.hard_state;
  if (batch.initial_membership && snapshot.meta.index() == 0) {
    *snapshot.meta.mutable_membership() = batch.initial_membership->ToProto();
  }
  if (IsFromLeader(batch.snapshot, batch.first_kept)) {
    snapshot = *std::move(batch.snapshot);
    entries.clear();
  } else if (batch.snapshot && batch.snapshot->meta.index() > snapshot.meta.index()) {
    snapshot = *std::move(batch.snapshot);
    while (!entries.empty() && entries.front().index() < batch.first_kept->value()) {
      entries.pop_front();
    }
  }
  if (batch.entries.empty()) return;
  while (!entries.empty() && entries.back().index() >= batch.entries.front().index()) {
    entries.pop_back();
  }
  entries.insert(entries.end(), std::make_move_iterator(batch.entries.begin()),
                 std::make_move_iterator(batch.entries.end()));
}

void SimDisk::Write(const raft::Ready& ready) {
  Batch batch;
  batch.hard_state = ready.hard_state;
  batch.snapshot = ready.snapshot;
  batch.entries = ready.entries;
  batch.initial_membership = ready.initial_membership;
  if (!batch.hard_state && !batch.snapshot && batch.entries.empty() && !batch.initial_membership) {
    return;
  }
  volatile_.push_back(std::move(batch));
}

void SimDisk::WriteOwnSnapshot(const raft::Snapshot& snapshot, LogIndex first_kept) {
  Batch batch;
  batch.snapshot = snapshot;
  batch.first_kept = first_kept;
  volatile_.push_back(std::move(batch));
}

void SimDisk::Sync() {
  ++syncs_;
  for (Batch& batch : volatile_) {
    if (IsFromLeader(batch.snapshot, batch.first_kept)) {
      if (forgets_snapshots_ && !before_snapshot_) before_snapshot_ = durable_;
    } else if (batch.snapshot) {
      before_snapshot_.reset();  // A snapshot of its own makes up for it.
    }
    if (before_snapshot_ && batch.hard_state) before_snapshot_->hard_state = *batch.hard_state;
    durable_.Apply(std::move(batch));
  }
  volatile_.clear();
}

bool SimDisk::Crash(Random* random) {
  if (before_snapshot_) {
    durable_ = *std::exchange(before_snapshot_, std::nullopt);
    volatile_.clear();
    return false;
  }
  const size_t kept = volatile_.empty() ? 0 : random->Below(volatile_.size() + 1);
  const bool torn = kept < volatile_.size() && random->Below(2) == 0;
  volatile_.resize(kept);
  for (Batch& batch : volatile_) durable_.Apply(std::move(batch));
  volatile_.clear();
  return torn;
}

raft::Restored SimDisk::Restore() const {
  return {
      durable_.hard_state, durable_.snapshot, {durable_.entries.begin(), durable_.entries.end()}};
}

std::optional<Term> SimDisk::TermAt(LogIndex index, View view) const {
  const uint64_t i = index.value();
  if (view == View::kWritten) {
    for (auto batch = volatile_.rbegin(); batch != volatile_.rend(); ++batch) {
      if (!batch->entries.empty()) {
        const uint64_t first = batch->entries.front().index();
        if (i >= first + batch->entries.size()) return std::nullopt;
        if (i >= first) return Term(batch->entries[i - first].term());
      }
      if (IsFromLeader(batch->snapshot, batch->first_kept)) {
        if (i != batch->snapshot->meta.index()) return std::nullopt;
        return Term(batch->snapshot->meta.term());
      }
    }
  }
  if (i == durable_.snapshot.meta.index()) return Term(durable_.snapshot.meta.term());
  if (durable_.entries.empty() || i < durable_.entries.front().index() ||
      i > durable_.entries.back().index()) {
    return std::nullopt;
  }
  return Term(durable_.entries[i - durable_.entries.front().index()].term());
}

LogIndex SimDisk::SnapshotIndex(View view) const {
  uint64_t index = durable_.snapshot.meta.index();
  if (view == View::kDurable) return LogIndex(index);
  for (const Batch& batch : volatile_) {
    if (batch.snapshot) index = std::max(index, batch.snapshot->meta.index());
  }
  return LogIndex(index);
}

bool SimDisk::Holds(LogIndex index, Term term, View view) const {
  return index <= SnapshotIndex(view) || TermAt(index, view) == term;
}

LogIndex SimDisk::last_index(View view) const {
  if (view == View::kWritten) {
    for (auto batch = volatile_.rbegin(); batch != volatile_.rend(); ++batch) {
      if (!batch->entries.empty()) return LogIndex(batch->entries.back().index());
      if (IsFromLeader(batch->snapshot, batch->first_kept)) {
        return LogIndex(batch->snapshot->meta.index());
      }
    }
  }
  if (!durable_.entries.empty()) return LogIndex(durable_.entries.back().index());
  return LogIndex(durable_.snapshot.meta.index());
}

}  // namespace falaj::simulation
