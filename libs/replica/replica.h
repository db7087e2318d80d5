// Replica is one replica of one partition as a pure state machine: who may append, which offsets
// records get, what is committed, and when a producer may be told.
//
// A store shard of the storage service owns one Replica per partition it hosts and feeds it inputs
// on its one thread. Step() answers with effects: rows to persist, and replies to send. The shell
// writes the rows of many replicas as one atomic round and reports the outcome as Written or
// WriteFailed; only then does a Replica let go of the replies that depend on the write. So
// "acknowledged before it was safe" cannot be written by accident: the shell has nothing to send.
//
//   replica.Step(Append{...}, &effects);      // effects.placements: where the batch goes
//   status = store->Commit(round, sync);
//   replica.Step(Written{end, sync}, &effects);   // effects.replies: who may be told
//
// Invariants:
//   log_start <= high_watermark <= written end <= log_end; the high watermark never moves back
//   offsets are dense: a batch begins where the one before ended
//   the high watermark is at most the smallest durable offset of the in-sync replicas, and does not
//     move while fewer than min(min_in_sync_replicas, replication factor) of them are there
//     (KIP-966)
//   a leader accepts appends only after the start of its epoch is on disk
//
// The start of an epoch is recorded as an epoch entry (KIP-101), not as a control record. A
// leader-change record commits the earlier epochs' records for followers that may hold uncommitted
// ones; while a partition has one replica there is no such follower, every record of the log is the
// leader's own, and offsets stay dense for consumers. BecomeLeader is where replication adds it.
//
// Idempotent producers: BatchInfo carries their ids and sequences and AppendOutcome the verdict;
// the sequence window belongs between them and is not there yet, every batch counts as new.
//
// Pure: no threads, no clock, no randomness, no disk. Not here: bytes of batches, their checksums.
#ifndef LIBS_REPLICA_REPLICA_H_
#define LIBS_REPLICA_REPLICA_H_

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "libs/base/ids.h"
#include "libs/replica/epoch_cache.h"

namespace falaj::replica {

// Create-time timestamps may lie so far ahead of the leader's clock, no further: KIP-937 with the
// default Kafka has had since 4.0. Later ones would keep retention from ever deleting.
inline constexpr absl::Duration kTimestampAheadMax = absl::Hours(1);

enum class Role { kOffline, kFollower, kLeader };
enum class Acks { kNone, kLeader, kAll };

// The settings of the topic that decide what a replica does.
struct Settings {
  bool fsync = true;  // A batch counts as held after fsync; else when it is written.
  int32_t batch_bytes_max = 1 << 20;
  int32_t min_in_sync_replicas = 1;
  bool append_time = false;  // The leader stamps the time; the producer's is not checked.
};

// What the disk knows of the partition when it is opened.
struct Stored {
  Offset log_start{};
  Offset log_end{};
  Offset high_watermark{};  // A lower bound.
  std::vector<EpochEntry> epochs{};
};

// What the header of a batch says.
struct BatchInfo {
  int32_t record_count = 0;
  int64_t size_bytes = 0;
  int64_t max_timestamp_ms = -1;
  ProducerId producer_id{-1};
  ProducerEpoch producer_epoch{-1};
  Sequence base_sequence{-1};
};

// ---- Inputs ----

// The metadata service made this replica the leader, or changed its in-sync replicas.
struct BecomeLeader {
  LeaderEpoch epoch{};
  PartitionEpoch partition_epoch{};
  std::vector<NodeId> isr{};
  int32_t replication_factor = 1;
};
// Somebody else leads.
struct BecomeFollower {
  LeaderEpoch epoch{};
  PartitionEpoch partition_epoch{};
  NodeId leader{};  // 0: nobody.
};
// The partition has left this node, or its disk has failed.
struct GoOffline {};
struct ChangeSettings {
  Settings settings{};
};
// A producer's batch. `token` names it in the reply.
struct Append {
  uint64_t token = 0;
  LeaderEpoch epoch{};
  Acks acks = Acks::kAll;
  int64_t now_ms = 0;
  BatchInfo batch{};
};
// Records below `before` shall go.
struct TruncatePrefix {
  LeaderEpoch epoch{};
  Offset before{};
};
// Retention by age or size; as TruncatePrefix, whoever leads.
struct Retain {
  Offset before{};
};
// Everything placed so far below `end` is written; with `synced` it is on disk.
struct Written {
  Offset end{};
  bool synced = false;
};
// The write failed and left nothing behind.
struct WriteFailed {
  absl::Status status{};
};
// A follower holds everything below `durable_end`.
struct FollowerProgress {
  NodeId node{};
  LeaderEpoch epoch{};
  Offset durable_end{};
};

using Input = std::variant<BecomeLeader, BecomeFollower, GoOffline, ChangeSettings, Append,
                           TruncatePrefix, Retain, Written, WriteFailed, FollowerProgress>;

// ---- Effects ----

// Where a batch goes: stamp these into its header and write it.
struct Placement {
  uint64_t token = 0;
  Offset base{};
  Offset last{};
  LeaderEpoch epoch{};
};

struct AppendOutcome {
  Offset base{-1};  // -1 with Acks::kNone: not known yet.
  int32_t record_count = 0;
  bool duplicate = false;
  int32_t in_sync_replicas = 0;
  bool durable = false;  // On this node's disk, not only in its page cache.
};

struct Reply {
  uint64_t token = 0;
  absl::Status status{};
  AppendOutcome outcome{};  // If status is OK.
};

// Step() adds to it; the shell takes out what it has done.
struct Effects {
  std::vector<EpochEntry> epochs{};     // Persist.
  std::vector<Placement> placements{};  // Persist.
  std::optional<Offset> log_start{};    // Persist.
  std::vector<Reply> replies{};         // Send.

  bool nothing_to_persist() const {
    return epochs.empty() && placements.empty() && !log_start.has_value();
  }
};

class Replica {
 public:
  Replica(NodeId self, const Stored& stored, const Settings& settings);

  // Takes one input. An error refuses it: nothing has changed, nothing was added to `effects`, and
  // (for Append) nobody else will answer. The reasons:
  //   NOT_LEADER           Append, TruncatePrefix: not the leader, or not of the epoch asked for
  //   EPOCH_FENCED         Become*: older than what is known
  //   NOT_ENOUGH_REPLICAS  Append with Acks::kAll
  //   RECORD_TOO_LARGE, INVALID_REQUEST   Append: too many bytes, a timestamp too far ahead
  //   OFFSET_OUT_OF_RANGE  TruncatePrefix: not between log start and high watermark
  [[nodiscard]] absl::Status Step(const Input& input, Effects* effects);

  Role role() const { return role_; }
  // The leader may be asked: the start of its epoch is on disk and everything below it committed.
  bool serving() const { return role_ == Role::kLeader && epoch_written_ && hw_ >= epoch_start_; }
  NodeId leader() const { return leader_; }  // 0 if nobody.
  LeaderEpoch epoch() const { return epoch_; }
  PartitionEpoch partition_epoch() const { return partition_epoch_; }
  Offset log_start() const { return log_start_; }
  Offset log_end() const { return log_end_; }
  Offset high_watermark() const { return hw_; }
  const Settings& settings() const { return settings_; }
  const EpochCache& epochs() const { return epochs_; }
  const std::vector<NodeId>& isr() const { return isr_; }
  int32_t replication_factor() const { return replication_factor_; }
  bool has_unwritten() const { return written_end_ < log_end_; }

 private:
  // A reply that waits for the write or for the high watermark.
  struct Waiter {
    uint64_t token;
    Acks acks;
    Offset base;
    int32_t record_count;
  };
  struct Progress {
    NodeId node;
    Offset durable_end;
  };

  absl::Status Take(const BecomeLeader& input, Effects* effects);
  absl::Status Take(const BecomeFollower& input, Effects* effects);
  absl::Status Take(const GoOffline& input, Effects* effects);
  absl::Status Take(const ChangeSettings& input, Effects* effects);
  absl::Status Take(const Append& input, Effects* effects);
  absl::Status Take(const TruncatePrefix& input, Effects* effects);
  absl::Status Take(const Retain& input, Effects* effects);
  absl::Status Take(const Written& input, Effects* effects);
  absl::Status Take(const WriteFailed& input, Effects* effects);
  absl::Status Take(const FollowerProgress& input, Effects* effects);

  absl::Status CheckNewer(LeaderEpoch epoch, PartitionEpoch partition_epoch) const;
  absl::Status CheckLeader(LeaderEpoch epoch) const;
  absl::Status CheckAppend(const Append& input) const;
  absl::Status NotLeader() const;
  int32_t RequiredInSync() const;
  Offset DurableEnd() const { return settings_.fsync ? flushed_end_ : written_end_; }
  void AdvanceHighWatermark();
  void Release(Effects* effects);
  void FailWaiters(const absl::Status& status, Effects* effects);
  void MoveLogStart(Offset before, Effects* effects);

  const NodeId self_;
  Settings settings_;
  Role role_ = Role::kOffline;
  NodeId leader_{0};
  LeaderEpoch epoch_{-1};
  PartitionEpoch partition_epoch_{-1};
  bool epoch_written_ = false;
  std::optional<EpochCache> epochs_before_;  // Set while the epoch's start is being written.
  Offset epoch_start_{0};
  std::vector<NodeId> isr_;          // As the metadata service has it.
  std::vector<Progress> followers_;  // Of this epoch; those never heard of hold nothing.
  int32_t replication_factor_ = 1;

  Offset log_start_;
  Offset written_log_start_;
  Offset hw_;
  Offset flushed_end_;  // On disk.
  Offset written_end_;  // In the store.
  Offset log_end_;      // Placed, perhaps not written yet.
  EpochCache epochs_;
  std::vector<Waiter> waiters_;  // By offset.
};

}  // namespace falaj::replica

#endif  // LIBS_REPLICA_REPLICA_H_
