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
// README.md has the life of a batch over three replicas, and what happens when the leader changes.
//
// Invariants:
//   log_start <= high_watermark <= written end <= log_end; the high watermark never moves back, but
//     where an unclean election has cost committed records
//   offsets are dense: a batch begins where the one before ended
//   a leader's high watermark is at most the smallest durable offset of the maximal ISR, and does
//     not move while fewer than min(min_in_sync_replicas, replicas) are in sync (KIP-966), nor
//     before all of the maximal ISR hold the start of its epoch: so of copies that must include one
//     of theirs the one of the latest epoch, and of equals the longest, has all that is committed
//   a leader accepts appends only after the start of its epoch is written (and synced, if records
//     are), and serves once all it inherited, and its own leader-change record, are committed
//   a follower takes records only after the leader of this very epoch has said where their logs
//     agree (KIP-101, 279, 320), and never cuts below its high watermark, but for a log without a
//     record of the latest unclean epoch or a later one: what it knows to be committed is from
//     before
//
// Every epoch of a partition with several replicas begins with a leader-change record: it commits
// the earlier epochs' records for the new leader, and followers learn from it that the epoch is. A
// partition with one replica has nobody to tell: its epochs are entries of the epoch cache alone,
// and its offsets stay dense for consumers.
//
// Idempotent producers: a batch that repeats one of the newest is not placed again; its reply waits
// with the first copy's and carries its place (ProducerStates). What the store has to remember of
// them goes into the same write as the batches: TakeProducerRows().
//
// Pure: no threads, no clock, no randomness, no disk. Not here: bytes of batches, their checksums.
#ifndef LIBS_REPLICA_REPLICA_H_
#define LIBS_REPLICA_REPLICA_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"

#include "libs/base/ids.h"
#include "libs/replica/effects.h"
#include "libs/replica/epoch_cache.h"
#include "libs/replica/in_sync_set.h"
#include "libs/replica/input.h"
#include "libs/replica/planted_bug.h"
#include "libs/replica/producer_states.h"

namespace falaj::replica {

// Create-time timestamps may lie so far ahead of the leader's clock, no further: KIP-937 with the
// default Kafka has had since 4.0. Later ones would keep retention from ever deleting.
inline constexpr absl::Duration kTimestampAheadMax = absl::Hours(1);

enum class Role { kOffline, kFollower, kLeader };

// NOT_ENOUGH_REPLICAS, for an append with Acks::kAll.
absl::Status NotEnoughReplicas(int32_t in_sync, int32_t required);

class Replica {
 public:
  // `bug` is for tests alone.
  Replica(NodeId self, const Stored& stored, const Settings& settings,
          PlantedBug bug = PlantedBug::kNone);

  // Takes one input. An error refuses it: nothing has changed, nothing was added to `effects`, and
  // (for Append and AttachFollower) nobody else will answer. The reasons:
  //   NOT_LEADER           Append, TruncatePrefix, AttachFollower, FollowerProgress: not the
  //                        leader, or not of the epoch asked for
  //   EPOCH_FENCED         Become*: older than what is known; AttachFollower, FollowerProgress: an
  //                        older incarnation; Replicate, AttachAnswered, LeaderMarks: of an attach
  //                        that is over
  //   NOT_ENOUGH_REPLICAS  Append with Acks::kAll
  //   RECORD_TOO_LARGE, INVALID_REQUEST   Append: too many bytes, a timestamp too far ahead
  //   PRODUCER_FENCED, OUT_OF_ORDER_SEQUENCE, QUOTA_EXCEEDED, INVALID_BATCH   Append: the batch
  //                        does not continue its producer's (ProducerStates::Check)
  //   OFFSET_OUT_OF_RANGE  TruncatePrefix: not between log start and high watermark
  //   PARTITION_NOT_FOUND  AttachFollower: the node is not assigned the partition
  //   CORRUPT_RECORD       AttachAnswered: what the leader says contradicts committed records; the
  //                        replica must not go on. Replicate: it leaves a gap; the replica has
  //                        detached itself, and asks again when told to
  [[nodiscard]] absl::Status Step(const Input& input, Effects* effects);

  // What the store does not know yet of the producers: to be written with what Step() wants
  // persisted, once for each write. Written or WriteFailed must follow.
  std::vector<record::ProducerRow> TakeProducerRows() { return producers_.TakeRows(); }
  const ProducerStates& producers() const { return producers_; }

  Role role() const { return role_; }
  // The leader may be asked: the start of its epoch is written and everything below it committed.
  bool serving() const { return role_ == Role::kLeader && epoch_written_ && hw_ >= serve_from_; }
  // What lies below its high watermark may be read. Also of a leader that cannot serve for want of
  // replicas, which may last: it does not know whether more is committed. With enough of them it
  // will know in a moment, and until then nobody is shown a high watermark of the past.
  bool readable() const {
    const bool too_few = static_cast<int32_t>(isr().size()) < required_in_sync();
    return serving() || (role_ == Role::kLeader && epoch_written_ && too_few);
  }
  // A follower whose log is part of the leader's, as of this epoch.
  bool attached() const { return role_ == Role::kFollower && attached_; }
  uint64_t attach_id() const { return attach_id_; }  // Of the latest attach asked for.
  NodeId leader() const { return leader_; }          // 0 if nobody.
  LeaderEpoch epoch() const { return epoch_; }
  PartitionEpoch partition_epoch() const { return partition_epoch_; }
  Offset log_start() const { return log_start_; }
  Offset log_end() const { return log_end_; }
  Offset written_end() const { return written_end_; }
  Offset high_watermark() const { return hw_; }
  const Settings& settings() const { return settings_; }
  const EpochCache& epochs() const { return epochs_; }
  const std::vector<NodeId>& isr() const { return in_sync_.isr(); }  // Leader only.
  int32_t replication_factor() const { return replication_factor_; }
  // So many replicas must be in sync for anything to be committed.
  int32_t required_in_sync() const {
    return std::min(settings_.min_in_sync_replicas, replication_factor_);
  }
  size_t waiting() const { return waiters_.size(); }  // Appends without a reply.
  bool has_unwritten() const { return written_end_ < log_end_; }
  // True if CheckIsr and Reattach would do nothing, however late they came, as long as nothing else
  // happens.
  bool IsSettled() const;
  // Every field that decides what it does next, for tests that have to recognise a state. But for
  //   - the numbers of attaches, which only must differ
  //   - the partition epochs, which only must rise; whether it knows the latest one it cannot tell
  //   - what followers have written and not synced, while the topic wants it synced
  //   - when batches were appended, which decides only when a producer is forgotten
  //   - what a failed write takes back of the producers, and which of their rows are due: nothing,
  //     if every write is answered within the step that caused it, as in these tests
  std::string Fingerprint() const;
  // Leader only: what lies below is deleted, on disk, wherever a leader may come from.
  Offset log_start_in_sync() const { return in_sync_.LeastLogStart(written_log_start_); }
  // Leader only: offsets that are missing at each follower.
  FollowerLags follower_lags() const { return in_sync_.Lags(log_start_, hw_, written_end_); }

 private:
  // A reply that waits for the write or for the high watermark.
  struct Waiter {
    uint64_t token;
    Acks acks;
    LeaderEpoch epoch;  // Of the batch.
    Offset base;
    int32_t record_count;
    bool duplicate = false;
    int64_t first_append_time_ms = -1;
  };
  // What has become of a waiter's batch.
  enum class Fate { kOpen, kHeld, kLost, kUnknown };

  absl::Status Take(const BecomeLeader& input, Effects* effects);
  absl::Status Take(const BecomeFollower& input, Effects* effects);
  absl::Status Take(const GoOffline& input, Effects* effects);
  absl::Status Take(const ChangeSettings& input, Effects* effects);
  absl::Status Take(const IsrAnswered& input, Effects* effects);
  absl::Status Take(const Append& input, Effects* effects);
  absl::Status Take(const ForgetWaiters& input, Effects* effects);
  absl::Status Take(const TruncatePrefix& input, Effects* effects);
  absl::Status Take(const Retain& input, Effects* effects);
  absl::Status Take(const ExpireProducers& input, Effects* effects);
  absl::Status Take(const Written& input, Effects* effects);
  absl::Status Take(const WriteFailed& input, Effects* effects);
  absl::Status Take(const AttachFollower& input, Effects* effects);
  absl::Status Take(const FollowerProgress& input, Effects* effects);
  absl::Status Take(const FollowerLeft& input, Effects* effects);
  absl::Status Take(const CheckIsr& input, Effects* effects);
  // replica_follower.cc
  absl::Status Take(const Truncated& input, Effects* effects);
  absl::Status Take(const Reattach& input, Effects* effects);
  absl::Status Take(const AttachAnswered& input, Effects* effects);
  absl::Status Take(const Replicate& input, Effects* effects);
  absl::Status Take(const LeaderMarks& input, Effects* effects);

  absl::Status CheckNewer(LeaderEpoch epoch, PartitionEpoch partition_epoch) const;
  absl::Status CheckLeader(LeaderEpoch epoch) const;
  absl::Status CheckAppend(const Append& input) const;
  void AnswerDuplicate(const Append& input, const ProducerStates::Verdict& first, Effects* effects);
  absl::Status NotLeader() const;
  void BeginEpoch(const BecomeLeader& input, Effects* effects);
  // Starts an epoch at the log's end, so that a failed write can take it back.
  void AddEpoch(LeaderEpoch epoch, Effects* effects);
  InSyncSet::View View() const { return {epoch_, written_end_, settings_, now_}; }
  Offset DurableEnd() const { return settings_.fsync ? flushed_end_ : written_end_; }
  void AdvanceClock(MonotonicTime now);
  void AdvanceHighWatermark();
  void ProposeJoin(Effects* effects);
  void Release(Effects* effects);
  Fate FateOf(const Waiter& waiter) const;
  void FailWaiters(absl::FunctionRef<bool(const Waiter&)> which, const absl::Status& status,
                   Effects* effects);
  void MoveLogStart(Offset before, Effects* effects);

  absl::Status CheckAttach(uint64_t attach_id) const;
  void AskToAttach(Effects* effects);
  // -1: there is no record.
  LeaderEpoch EpochOfLastWritten() const;
  // An unclean election has come after all this log holds: its high watermark says what was
  // committed before that.
  bool CommittedMayBeLost() const;
  // Where to cut a log that parts ways with the leader's as that says.
  Offset CutFor(const AttachAnswered& answer) const;
  void TakeMarks(Offset leader_start, Offset leader_hw, Effects* effects);
  void Acknowledge(Effects* effects);
  void FollowHighWatermark(Effects* effects);

  bool has_bug(PlantedBug bug) const { return bug_ == bug; }

  const NodeId self_;
  const PlantedBug bug_;
  Settings settings_;
  Role role_ = Role::kOffline;
  NodeId leader_{0};
  LeaderEpoch epoch_{-1};
  PartitionEpoch partition_epoch_{-1};
  std::optional<EpochCache> epochs_before_;  // Set while the start of an epoch is being written.

  // Of a leader.
  bool epoch_written_ = false;
  Offset serve_from_{0};
  InSyncSet in_sync_;
  int32_t replication_factor_ = 1;
  MonotonicTime now_;             // The latest time heard of.
  std::vector<Waiter> waiters_;   // By offset; kept by a leader that has become a follower.
  int32_t in_sync_replicas_ = 0;  // As this replica last knew, as the leader.

  // Of a follower.
  uint64_t attach_id_ = 0;  // Of the latest attach asked for; never used twice.
  bool attached_ = false;
  bool truncating_ = false;
  LeaderEpoch unclean_epoch_{0};
  Offset leader_hw_{0};
  Offset acked_written_{0};  // What the leader has been told.
  Offset acked_flushed_{0};
  Offset acked_log_start_{0};

  Offset log_start_;
  Offset written_log_start_;
  Offset hw_;
  Offset flushed_end_;  // On disk.
  Offset written_end_;  // In the store.
  Offset log_end_;      // Placed, perhaps not written yet.
  EpochCache epochs_;
  ProducerStates producers_;
  std::optional<ProducerStates> producers_before_;  // Set while a log that begins anew is written.
};

}  // namespace falaj::replica

#endif  // LIBS_REPLICA_REPLICA_H_
