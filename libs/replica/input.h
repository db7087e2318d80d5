// What a Replica is told: by the metadata service, by producers, by the disk, by other replicas.
#ifndef LIBS_REPLICA_INPUT_H_
#define LIBS_REPLICA_INPUT_H_

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/record/producer_window.h"
#include "libs/replica/epoch_cache.h"
#include "libs/replica/producer_states.h"

namespace falaj::replica {

enum class Acks { kNone, kLeader, kAll };

// The settings of the topic and the node that decide what a replica does.
struct Settings {
  bool fsync = true;  // A batch counts as held after fsync; else when it is written.
  int32_t batch_bytes_max = 1 << 20;
  int32_t min_in_sync_replicas = 1;
  bool append_time = false;  // The leader stamps the time; the producer's is not checked.
  // A follower that has not been caught up for so long leaves the in-sync replicas.
  absl::Duration replica_lag_max = absl::Seconds(10);
};

// What the disk knows of the partition when it is opened.
struct Stored {
  Offset log_start{};
  Offset log_end{};
  Offset high_watermark{};  // A lower bound.
  std::vector<EpochEntry> epochs{};
  std::vector<record::ProducerRow> producers{};
  // A number that no attach asked for in this process is beyond: of replicas of the partition that
  // were here before, answers may still be under way.
  uint64_t attach_id = 0;
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

// One member of an ISR, as this incarnation. Node epoch 0: whichever is registered.
struct IsrMember {
  NodeId node{};
  NodeEpoch node_epoch{};

  friend bool operator==(const IsrMember&, const IsrMember&) = default;
};

// ---- From the metadata service ----

// This replica leads, or its in-sync replicas have changed. `replicas` has all that are assigned;
// empty: this one alone.
struct BecomeLeader {
  LeaderEpoch epoch{};
  PartitionEpoch partition_epoch{};
  std::vector<NodeId> isr{};
  std::vector<NodeId> replicas{};
  MonotonicTime now{};
};
// Somebody else leads.
struct BecomeFollower {
  LeaderEpoch epoch{};
  PartitionEpoch partition_epoch{};
  NodeId leader{};  // 0: nobody.
  // Began with the latest unclean election; 0: there was none. What was committed in earlier epochs
  // may be lost.
  LeaderEpoch unclean_epoch{0};
};
// The partition has left this node, or its disk has failed.
struct GoOffline {};
struct ChangeSettings {
  Settings settings{};
};
// What became of an IsrProposal. Nothing is said of one that was done, as BecomeLeader will tell,
// nor of one that came too late, as the partition epoch had moved on: perhaps by this very
// proposal, asked twice.
struct IsrAnswered {
  enum class Outcome {
    kRefused,  // A member may not join; the ISR is the one before.
    kUnknown,  // To be asked again.
  };
  LeaderEpoch epoch{};               // Of the proposal.
  PartitionEpoch partition_epoch{};  // Of the proposal.
  Outcome outcome = Outcome::kUnknown;
  MonotonicTime now{};
};

// ---- From clients ----

// A producer's batch. `token` names it in the reply.
struct Append {
  uint64_t token = 0;
  LeaderEpoch epoch{};
  Acks acks = Acks::kAll;
  int64_t now_ms = 0;
  BatchInfo batch{};
};
// Nobody waits for the replies to these appends any more: none will come.
struct ForgetWaiters {
  std::vector<uint64_t> tokens{};
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
// Producers that have been silent for longer are forgotten.
struct ExpireProducers {
  int64_t now_ms = 0;
  absl::Duration silence = kProducerExpiry;
};

// ---- From the disk ----

// Everything placed so far below `end` is written; with `synced` it is on disk.
struct Written {
  Offset end{};
  bool synced = false;
  MonotonicTime now{};
};
// The write failed and left nothing behind.
struct WriteFailed {
  absl::Status status{};
};
// The suffix that Effects::truncate_suffix named is gone, on disk; the producers are as the store
// has made them fit the shorter log.
struct Truncated {
  Offset log_start{};
  Offset log_end{};
  std::vector<record::ProducerRow> producers{};
};

// ---- From the leader, to a follower ----

// The way to the leader is open (again): ask where to go on.
struct Reattach {};
// The leader's answer to the attach of this number.
struct AttachAnswered {
  uint64_t attach_id = 0;
  // Set: the logs part ways no later than here; else the follower's log is part of the leader's.
  std::optional<EpochEnd> diverging{};
  Offset log_start{};
  Offset high_watermark{};
};
// A batch of the leader's log. `token` names it in the placement.
struct Replicate {
  uint64_t token = 0;
  uint64_t attach_id = 0;
  Offset base{};
  Offset last{};
  LeaderEpoch batch_epoch{};
  int64_t now_ms = 0;
  ProducerStates::Batch producer{};
};
// How far the leader's log reaches.
struct LeaderMarks {
  uint64_t attach_id = 0;
  Offset log_start{};
  Offset high_watermark{};
};

// ---- From followers, to the leader ----

// A follower asks where its log and this one part ways. `token` names it in the answer.
struct AttachFollower {
  uint64_t token = 0;
  uint64_t stream = 0;  // On which it asked. What came on another one counts no more.
  IsrMember from{};
  LeaderEpoch epoch{};       // The follower's.
  LeaderEpoch last_epoch{};  // Of its last record; -1: it has none.
  Offset log_end{};
  Offset flushed_end{};
  Offset log_start{};
  MonotonicTime now{};
};
// A follower holds everything below these ends, and from this start on.
struct FollowerProgress {
  uint64_t stream = 0;  // Of the attach.
  IsrMember from{};
  LeaderEpoch epoch{};
  Offset written_end{};
  Offset flushed_end{};
  Offset log_start{};
  MonotonicTime now{};
};
// The stream of a follower has broken.
struct FollowerLeft {
  uint64_t stream = 0;
  IsrMember from{};
  MonotonicTime now{};
};
// Time passes: is everybody still in sync?
struct CheckIsr {
  MonotonicTime now{};
};

using Input = std::variant<BecomeLeader, BecomeFollower, GoOffline, ChangeSettings, IsrAnswered,
                           Append, ForgetWaiters, TruncatePrefix, Retain, ExpireProducers, Written,
                           WriteFailed, Truncated, Reattach, AttachAnswered, Replicate, LeaderMarks,
                           AttachFollower, FollowerProgress, FollowerLeft, CheckIsr>;

}  // namespace falaj::replica

#endif  // LIBS_REPLICA_INPUT_H_
