#ifndef LIBS_LOG_RAFT_LOG_H_
#define LIBS_LOG_RAFT_LOG_H_

#include <functional>
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

namespace rocksdb {
class Env;
}  // namespace rocksdb

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
// Snapshots of this node's own are stored in two steps, so that the log goes on meanwhile: another
// thread writes the bytes (WriteSnapshot), the node's thread makes them current by one small write
// (CommitSnapshot). Until then nothing refers to them, and a crash leaves the old snapshot.
//
// Invariants:
//   Persist() is one atomic WriteBatch: never a term without its entries, never half of them
//   whose a directory is, its own id, what it is for and its first members are one synced write: a
//   directory in which an earlier Open() was interrupted before it counts as new
//   the stored entries are dense; a snapshot becomes the current one in one write, or not at all
//
// Threads: the node's, for everything but WriteSnapshot and DropObsolete, which belong to one other
// thread (or to the same); it must have ended before the RaftLog does. Failures: after a failed
// write the outcome is unknown and every further write returns STORAGE_FAILED; reopen. Damage found
// by Open() is CORRUPT_RECORD naming the directory, and never repaired silently: a voter that
// forgot its vote could elect two leaders.
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
    // The members of a new cluster, or, with `join`, those the node is to join; stored in a new
    // directory, ignored otherwise.
    raft::Membership initial_membership;
    // What a new directory is for. False: a founding voter, among the initial voters. True: a node
    // that an existing cluster will add as a learner; it is not among them, so it never stands for
    // election, and learns everything from the leader.
    bool join = false;
    // The incarnation of the quorum that a new directory is of.
    uint64_t incarnation_if_new = 0;
    rocksdb::Env* env = nullptr;  // Not owned. nullptr: the operating system's.
    // Called if the directory is new, before anything is written to it, to fill in the fields
    // above that only matter then; an error ends Open(). May be null.
    std::function<absl::Status(Options* options)> complete_if_new;
  };
  // What RecoverQuorum() did.
  struct Recovery {
    LogIndex last_index;  // Of the entry that makes the node the only voter.
    Term term;            // Of that entry.
    // Entries before it that this node did not know to be committed, and that are so now.
    uint64_t entries_not_known_committed = 0;
    std::vector<NodeId> former_voters;
    uint64_t incarnation = 0;
  };

  // Opens the directory, making it if it is missing or empty. Blocks on disk.
  // Returns CLUSTER_MISMATCH if it belongs to another node or cluster, CORRUPT_RECORD if what is
  // stored is damaged or contradicts itself, STORAGE_FAILED if it cannot be opened, INVALID_CONFIG.
  static absl::StatusOr<std::unique_ptr<RaftLog>> Open(const Options& options);

  // Last resort after the majority of the voters is lost for good: makes the node of this directory
  // the only voter, by an entry behind its last one in a new term, and begins the next incarnation
  // of the quorum. Of the options, directory, node_id and cluster_id count; `address` may be empty.
  // The node must be stopped.
  //
  // What is risked: entries that the lost majority had committed and this node had not received are
  // gone, though they were acknowledged. Entries this node holds become committed, even those whose
  // proposers were told that they failed. Fencing tokens, offsets and versions handed out from lost
  // entries may be handed out again. If a former voter is not lost but only unreachable and a
  // majority of the old membership comes back, two clusters go on under the same cluster id; they
  // refuse each other by their incarnations, but clients may find either. So: choose the node with
  // the highest last index, and erase the directories of the others before they start again.
  //
  // Returns INVALID_REQUEST if the node is no member, is the only voter already, or the address is
  // malformed; else as Open(), and CORRUPT_RECORD if there is no log.
  static absl::StatusOr<Recovery> RecoverQuorum(const Options& options, const std::string& address);
  ~RaftLog();

  RaftLog(const RaftLog&) = delete;
  RaftLog& operator=(const RaftLog&) = delete;

  // What was stored when the log was opened. Call once: gives it away.
  raft::Restored TakeRestored();
  // The cluster the directory belongs to.
  Uuid cluster_id() const;
  // Drawn when the directory was made, or when it was first opened by a version that knows of such
  // ids; on disk.
  Uuid directory_id() const;
  // How often the quorum was recovered from the loss of its majority. Nodes of different
  // incarnations hold different histories and must not talk to each other.
  uint64_t incarnation() const;

  // Writes both as one unit: the hard state if there is one, and the entries, which replace every
  // stored entry from the first one's index on. With sync it is on disk on return. Blocks on disk.
  // Requires: entries are dense and begin at or before one past the last stored one.
  absl::Status Persist(const std::optional<internal::v1::RaftHardState>& hard_state,
                       const std::vector<internal::v1::RaftEntry>& entries, bool sync);
  // Carries out steps 2 and 3 of a Ready. A snapshot in it is from the leader: it replaces the
  // whole log, in one write with the hard state and the entries behind it.
  absl::Status Persist(const raft::Ready& ready);

  // Writes a snapshot this node made to disk, beside the current one. Any one other thread may call
  // it while the node's thread goes on calling Persist(). One that is never made current, or is
  // overtaken by one from the leader, is thrown away later. Blocks on disk, for long.
  absl::Status WriteSnapshot(const raft::Snapshot& snapshot);
  // Makes the snapshot that WriteSnapshot() has written the current one, by one small write; does
  // nothing if a newer one is current already. Entries before `first_kept` are given up with their
  // generations, sooner or later. Of the node's thread. Blocks on disk.
  absl::Status CommitSnapshot(const raft::Snapshot& snapshot, LogIndex first_kept);
  // Gives back the space of what is obsolete. Of the thread that writes snapshots. The next
  // WriteSnapshot() or Open() does it, too. Blocks on disk.
  void DropObsolete();

 private:
  class Database;  // Everything RocksDB.
  explicit RaftLog(std::unique_ptr<Database> database);

  std::unique_ptr<Database> database_;
};

}  // namespace falaj::log

#endif  // LIBS_LOG_RAFT_LOG_H_
