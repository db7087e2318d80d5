// What goes into and comes out of RaftCore: options, restored state, and Ready, the list of
// effects.
#ifndef LIBS_RAFT_READY_H_
#define LIBS_RAFT_READY_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "falaj/internal/v1/raft.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/ids.h"
#include "libs/raft/membership.h"
#include "libs/raft/planted_bug.h"

namespace falaj::raft {

namespace pb = ::falaj::internal::v1;

enum class Role { kFounder, kFollower, kLearner, kPreCandidate, kCandidate, kLeader };

// "founder", "follower", "learner", "pre-candidate", "candidate" or "leader".
absl::string_view RoleName(Role role);

struct Options {
  NodeId self;  // >= 1; also the sender of every message.

  // Time is counted in calls of Tick(). With a tick of 30 ms the defaults are an election timeout
  // drawn from 450 to 900 ms and a heartbeat every 150 ms.
  int election_ticks_min = 15;
  int election_ticks_max = 30;
  int heartbeat_ticks = 5;
  // For the election timeouts, and for telling the reads of a node's lives apart: differs between
  // nodes and between the lives of a node.
  uint64_t random_seed = 1;
  // Drawn when the node's directory was made, and on its disk. Nil: it has none, and a founder that
  // comes back empty votes again.
  Uuid directory;

  // What was committed is told to followers with the next entries, or when TellCommits() is called;
  // else at once, in a message of its own if there are no entries.
  bool commits_ride = false;

  // Limits. An entry larger than message_bytes_max still travels, alone.
  size_t entry_bytes_max = 4 << 20;         // Larger proposals are refused.
  size_t message_bytes_max = 1 << 20;       // Entries per append message.
  size_t inflight_max = 64;                 // Append messages under way per follower.
  size_t uncommitted_bytes_max = 64 << 20;  // Then Propose() answers QUOTA_EXCEEDED.
  size_t apply_bytes_max = 4 << 20;         // Committed entries per Ready.
  size_t reads_waiting_max = 10'000;        // Then ReadIndex() answers QUOTA_EXCEEDED.

  // Snapshots: due when either is reached by applied entries since the last one; sooner by entries
  // if it is this node's turn, for members take theirs one after the other.
  size_t snapshot_entries = 100'000;
  size_t snapshot_log_bytes = 64 << 20;
  uint64_t entries_kept = 10'000;           // Behind a snapshot, for slow followers.
  size_t snapshot_chunk_bytes = 1 << 20;    // Per snapshot message.
  int64_t snapshot_bytes_max = 1LL << 30;   // Larger ones are refused.
  uint64_t promote_lag_max_entries = 1000;  // A learner further behind cannot become a voter.

  // A mistake others shipped, switched on only by tests that must catch it; services never set it.
  PlantedBug planted_bug = PlantedBug::kNone;

  // Returns kInvalidArgument (INVALID_CONFIG) naming the first setting outside its range.
  absl::Status Validate() const;
};

// A snapshot of the state machine: what it covers, and its bytes.
struct Snapshot {
  pb::RaftSnapshot meta;  // index 0: no snapshot; its membership is then the initial one.
  Bytes data;
};

// The snapshot that `meta` (from RaftCore::DescribeSnapshot) and the state's bytes make: fills in
// size and checksum. Pure: any thread may make it.
Snapshot FinishSnapshot(pb::RaftSnapshot meta, Bytes data);

// What the disk held when the node started. `entries` are dense and ascending. They may begin
// before the snapshot's end, and begin at the latest right behind it.
struct Restored {
  pb::RaftHardState hard_state;
  Snapshot snapshot;
  std::vector<pb::RaftEntry> entries;
};

// Where a proposal went. It is committed when an entry of this index *and term* comes out of
// Ready::committed_entries; if another term comes out at the index, the proposal was lost.
struct EntryId {
  LogIndex index;
  Term term;

  friend bool operator==(const EntryId&, const EntryId&) = default;
};

// Whether a read may wait for the leader's next scheduled heartbeats, and so cost next to nothing,
// or is to have a round of heartbeats at once. Only the time of the answer depends on it.
enum class ReadPatience { kNone, kNextHeartbeat };

// A linearizable read may be served by a state machine that has applied `index`.
struct ReadState {
  uint64_t request_id = 0;
  LogIndex index;

  friend bool operator==(const ReadState&, const ReadState&) = default;
};

// Answers of other nodes that may not be worth a wake-up.
enum class AnswerTo { kHeartbeat, kAppend };

// Nothing if `message` is no such answer. A refused append is none: something has to be done.
std::optional<AnswerTo> WhatItAnswers(const pb::RaftMessage& message);

// A set of them.
struct Answers {
  bool to_heartbeats = false;
  bool to_appends = false;

  bool Has(AnswerTo what) const {
    return what == AnswerTo::kHeartbeat ? to_heartbeats : to_appends;
  }
  void Add(AnswerTo what) { (what == AnswerTo::kHeartbeat ? to_heartbeats : to_appends) = true; }
  bool Intersects(const Answers& other) const {
    return (to_heartbeats && other.to_heartbeats) || (to_appends && other.to_appends);
  }
};

// Who leads, as far as this node knows. Needs no storing.
struct SoftState {
  Role role = Role::kFollower;
  NodeId leader;  // 0: unknown.
  Term term;

  friend bool operator==(const SoftState&, const SoftState&) = default;
};

// Ready is a batch of effects the shell must carry out, in this order:
//
//   1. send `messages` (they do not depend on this node's disk)
//   2. if `snapshot` is set, store it, replacing the whole log, and load the state machine from it
//   3. write `initial_membership` (in place of the stored one; nothing if there is a `snapshot`),
//      `hard_state` and `entries` as ONE atomic unit; an entry replaces the stored one of its index
//      and removes all behind it. If `must_sync`, it must be on disk before step 4
//   4. call RaftCore::Persisted(number)
//   5. send `messages_after_persist`: votes, acknowledgements and everything else that promises
//      what was written in step 3
//   6. apply `committed_entries`, call RaftCore::Applied(), answer `reads` and fail `dropped_reads`
//
// If step 2 or 3 fails, call RaftCore::StorageFailed() and send nothing of step 5: what is on disk
// is unknown. Several Readies may be under way if their steps 3 to 5 happen in order. Step 6 need
// not wait for 2 to 5 unless `snapshot` is set: what is committed was stored by earlier Readies.
// Those that wait to be stored may be stored as one: Join().
struct Ready {
  uint64_t number = 0;
  std::vector<pb::RaftMessage> messages;
  std::optional<Snapshot> snapshot;
  std::optional<Membership> initial_membership;  // Set once, if this node is a founder: founder.h.
  std::optional<pb::RaftHardState> hard_state;   // Set if it changed.
  std::vector<pb::RaftEntry> entries;
  bool must_sync = false;
  std::vector<pb::RaftMessage> messages_after_persist;
  std::vector<pb::RaftEntry> committed_entries;
  std::vector<ReadState> reads;
  std::vector<uint64_t> dropped_reads;  // The leader was lost or did not answer: ask again.
  std::optional<SoftState> soft_state;  // Set if it changed.
};

// Makes one of `ready` and `next`, which was taken behind it, while neither is stored: one write
// does for both, Persisted() of the later number tells of both, and what was to be sent after
// either is sent after both. Requires: of `ready` all else is done, and it has no snapshot; of
// `next` step 1, and step 6 unless it has one.
void Join(Ready* ready, Ready next);

// What an operator may want to know about one follower; kept by the leader.
struct FollowerStatus {
  NodeId node;
  bool learner = false;
  bool active = false;  // Was heard from within an election timeout.
  bool receiving_snapshot = false;
  LogIndex match;
};

// What an operator may want to know about the node.
struct CoreStatus {
  SoftState soft;
  NodeId vote;
  LogIndex first_index;  // First entry still held.
  LogIndex last_index;
  LogIndex persisted;
  LogIndex committed;
  LogIndex applied;
  LogIndex snapshot_index;
  Membership membership;
  NodeId transferring_to;  // 0: no leadership transfer under way.
  bool storage_failed = false;
  std::vector<FollowerStatus> followers;  // On the leader, ascending by node.
  std::vector<NodeId> founders_awaited;   // By a founder, ascending.
  std::string refusal;                    // RaftCore::refusal().
};

}  // namespace falaj::raft

#endif  // LIBS_RAFT_READY_H_
