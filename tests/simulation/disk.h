#ifndef TESTS_SIMULATION_DISK_H_
#define TESTS_SIMULATION_DISK_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "falaj/internal/v1/raft.pb.h"

#include "libs/base/ids.h"
#include "libs/base/random.h"
#include "libs/raft/ready.h"

namespace falaj::simulation {

// SimDisk is one metadata node's disk: what log::RaftLog is to a real one. It outlives its node.
//
// Writes go to a volatile suffix first; Sync() moves them to the durable prefix. A crash keeps the
// durable prefix and a random prefix of the suffix; the first write that does not survive may be
// torn in the middle. Each write is one atomic batch with a checksum, so a torn one counts as not
// written, as the recovery of RocksDB's log has it.
//
// Not here: how long anything takes, and whether it fails (SimNode).
class SimDisk {
 public:
  enum class View { kDurable, kWritten };

  explicit SimDisk(raft::Restored initial) : durable_(std::move(initial)) {}

  // Steps 2 and 3 of a Ready.
  void Write(const raft::Ready& ready);
  // A snapshot made by this node; has no effect if a newer one is there.
  void WriteOwnSnapshot(const raft::Snapshot& snapshot, LogIndex first_kept);
  void Sync();
  // Loses what a crash loses. Returns whether a write was torn.
  bool Crash(Random* random);
  // What a node that starts finds. Requires: nothing volatile, as after Crash().
  raft::Restored Restore() const;

  // The term of an entry or of the snapshot's last one; 0 for index 0, nullopt if it is not there.
  std::optional<Term> TermAt(LogIndex index, View view) const;
  // True if the entry is there, or lies before the end of the snapshot.
  bool Holds(LogIndex index, Term term, View view) const;
  LogIndex last_index(View view) const;
  bool has_volatile() const { return !volatile_.empty(); }
  uint64_t syncs() const { return syncs_; }

  // Planted bug snapshot-not-durable: syncs do not reach a leader's snapshot, only what comes after
  // it. From now on.
  void ForgetInstalledSnapshots() { forgets_snapshots_ = true; }

 private:
  // One atomic write.
  struct Batch {
    std::optional<internal::v1::RaftHardState> hard_state;
    std::optional<raft::Snapshot> snapshot;
    std::optional<LogIndex> first_kept;  // Set if the snapshot is this node's own.
    std::vector<internal::v1::RaftEntry> entries;
    std::optional<raft::Membership> initial_membership;
  };
  struct Content {
    explicit Content(raft::Restored restored);

    void Apply(Batch batch);

    internal::v1::RaftHardState hard_state;
    raft::Snapshot snapshot;
    std::deque<internal::v1::RaftEntry> entries;  // Dense.
  };

  LogIndex SnapshotIndex(View view) const;

  Content durable_;
  std::deque<Batch> volatile_;
  bool forgets_snapshots_ = false;
  std::optional<Content> before_snapshot_;  // What a crash brings back, with the planted bug.
  uint64_t syncs_ = 0;
};

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_DISK_H_
