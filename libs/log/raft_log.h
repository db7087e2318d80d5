#ifndef LIBS_LOG_RAFT_LOG_H_
#define LIBS_LOG_RAFT_LOG_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "falaj/internal/v1/raft.pb.h"

#include "libs/base/ids.h"
#include "libs/raft/membership.h"
#include "libs/raft/ready.h"

namespace falaj::log {

// RaftLog keeps the Raft state of one metadata node on disk: term and vote, the log, the newest
// snapshot, and whose directory it is. It is a RocksDB database of its own.
//
// The metadata service owns one and calls it between RaftCore::TakeReady() and Persisted().
//
// Layout: the default column family holds the small keys (identity, hard state, snapshot
// description, oldest generation). A generation N is a pair of column families, log-N with entries
// by index and snapshot-N with the snapshot that began it, in chunks. A new snapshot begins a new
// generation; generations that hold nothing needed any more are dropped whole, so there are no
// range deletes and no compaction of the log.
//
// Invariants:
//   Persist() is one atomic WriteBatch: never a term without its entries, never half of them
//   the stored entries are dense; a snapshot becomes the current one in one write, or not at all
//
// Threads: one at a time. Failures: after a failed write the outcome is unknown and every further
// write returns STORAGE_FAILED; reopen. Damage found by Open() is CORRUPT_RECORD naming the
// directory, and never repaired silently: a voter that forgot its vote could elect two leaders.
//
// Not here: what the entries mean, and when to take a snapshot (raft::RaftCore).
class RaftLog {
 public:
  struct Options {
    std::string directory;
    NodeId node_id;
    // The cluster the directory must belong to; nil accepts any.
    Uuid cluster_id;
    // What a new directory is stamped with if cluster_id is nil. Must not be nil then.
    Uuid cluster_id_if_new;
    // The members of a new cluster; stored in a new directory, ignored otherwise.
    raft::Membership initial_membership;
  };

  // Opens the directory, making it if it is missing or empty. Blocks on disk.
  // Returns CLUSTER_MISMATCH if it belongs to another node or cluster, CORRUPT_RECORD if what is
  // stored is damaged or contradicts itself, STORAGE_FAILED if it cannot be opened, INVALID_CONFIG.
  static absl::StatusOr<std::unique_ptr<RaftLog>> Open(const Options& options);
  ~RaftLog();

  RaftLog(const RaftLog&) = delete;
  RaftLog& operator=(const RaftLog&) = delete;

  // What was stored when the log was opened. Call once: gives it away.
  raft::Restored TakeRestored();
  // The cluster the directory belongs to.
  Uuid cluster_id() const;

  // Writes both as one unit: the hard state if there is one, and the entries, which replace every
  // stored entry from the first one's index on. With sync it is on disk on return. Blocks on disk.
  // Requires: entries are dense and begin at or before one past the last stored one.
  absl::Status Persist(const std::optional<internal::v1::RaftHardState>& hard_state,
                       const std::vector<internal::v1::RaftEntry>& entries, bool sync);
  // Carries out steps 2 and 3 of a Ready. A snapshot in it is from the leader: it replaces the
  // whole log, in one write with the hard state and the entries behind it.
  absl::Status Persist(const raft::Ready& ready);

  // Stores a snapshot this node made, durably; does nothing if a newer one is stored already;
  // entries before `first_kept` are given up with their generations, sooner or later. Blocks on
  // disk.
  absl::Status SaveSnapshot(const raft::Snapshot& snapshot, LogIndex first_kept);

 private:
  class Database;  // Everything RocksDB.
  explicit RaftLog(std::unique_ptr<Database> database);

  std::unique_ptr<Database> database_;
};

}  // namespace falaj::log

#endif  // LIBS_LOG_RAFT_LOG_H_
