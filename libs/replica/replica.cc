#include "libs/replica/replica.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::replica {
namespace {

std::string Text(int64_t number) { return absl::StrCat(number); }

ProducerStates::Batch ProducerOf(const BatchInfo& batch) {
  return {.producer = batch.producer_id,
          .epoch = batch.producer_epoch,
          .base_sequence = batch.base_sequence,
          .record_count = batch.record_count};
}

}  // namespace

absl::Status NotEnoughReplicas(int32_t in_sync, int32_t required) {
  return MakeError(Reason::kNotEnoughReplicas,
                   absl::StrCat(in_sync, " replicas are in sync, the topic asks for ", required),
                   {{"in_sync", Text(in_sync)}, {"required", Text(required)}});
}

Replica::Replica(NodeId self, const Stored& stored, const Settings& settings, PlantedBug bug)
    : self_(self),
      bug_(bug),
      settings_(settings),
      in_sync_(self, bug),
      attach_id_(stored.attach_id),
      log_start_(stored.log_start),
      written_log_start_(stored.log_start),
      hw_(std::max(stored.high_watermark, stored.log_start)),
      flushed_end_(stored.log_end),
      written_end_(stored.log_end),
      log_end_(stored.log_end),
      producers_(stored.producers) {
  for (const EpochEntry& entry : stored.epochs) epochs_.Assign(entry);
  epochs_.TruncatePrefix(log_start_);  // Stores used to keep where the first began.
}

absl::Status Replica::Step(const Input& input, Effects* effects) {
  return std::visit([this, effects](const auto& one) { return Take(one, effects); }, input);
}

absl::Status Replica::Take(const BecomeLeader& input, Effects* effects) {
  FALAJ_RETURN_IF_ERROR(CheckNewer(input.epoch, input.partition_epoch));
  const std::optional<EpochEntry> latest = epochs_.Latest();
  if (latest.has_value() && latest->epoch > input.epoch) {
    return MakeError(Reason::kEpochFenced,
                     absl::StrCat("the log holds epoch ", latest->epoch, ", after ", input.epoch),
                     {{"leader_epoch", Text(latest->epoch.value())}});
  }
  const bool new_reign = role_ != Role::kLeader || epoch_ != input.epoch;
  role_ = Role::kLeader;
  leader_ = self_;
  epoch_ = input.epoch;
  partition_epoch_ = input.partition_epoch;
  replication_factor_ = std::max<int32_t>(1, static_cast<int32_t>(input.replicas.size()));
  AdvanceClock(input.now);
  if (new_reign) {
    BeginEpoch(input, effects);
  } else {
    in_sync_.Confirm(input);
  }
  AdvanceHighWatermark();
  Release(effects);
  return absl::OkStatus();
}

void Replica::BeginEpoch(const BecomeLeader& input, Effects* effects) {
  attached_ = truncating_ = false;
  in_sync_.Begin(input);
  const std::optional<EpochEntry> latest = epochs_.Latest();
  epoch_written_ = latest.has_value() && latest->epoch == epoch_;
  const bool has_followers = replication_factor_ > 1;
  if (epoch_written_) {
    const bool has_record = has_followers && log_end_ > latest->start;
    serve_from_ = has_record ? latest->start + 1 : latest->start;
    return;
  }
  if (has_bug(PlantedBug::kNoLeaderEpochEntry)) {
    epochs_before_ = epochs_;
  } else {
    AddEpoch(epoch_, effects);
  }
  serve_from_ = log_end_;
  if (!has_followers) return;
  effects->placements.push_back(
      {.base = log_end_, .last = log_end_, .epoch = epoch_, .leader_change = true});
  ++log_end_;
  serve_from_ = log_end_;
}

void Replica::AddEpoch(LeaderEpoch epoch, Effects* effects) {
  if (!epochs_before_.has_value()) epochs_before_ = epochs_;
  epochs_.Assign({epoch, log_end_});
  effects->epochs.push_back({epoch, log_end_});
}

absl::Status Replica::Take(const BecomeFollower& input, Effects* effects) {
  FALAJ_RETURN_IF_ERROR(CheckNewer(input.epoch, input.partition_epoch));
  const bool same_reign =
      role_ == Role::kFollower && epoch_ == input.epoch && leader_ == input.leader;
  if (has_bug(PlantedBug::kZombieLeaderServes) && role_ == Role::kLeader) return absl::OkStatus();
  partition_epoch_ = input.partition_epoch;
  if (same_reign) return absl::OkStatus();
  // Whoever waits for all replicas goes on waiting: this log and the new leader's will tell.
  FailWaiters([](const Waiter& waiter) { return waiter.acks != Acks::kAll; },
              MakeError(Reason::kAppendUncertain,
                        "the leadership moved before the batch was on the leader's disk"),
              effects);
  role_ = Role::kFollower;
  leader_ = input.leader;
  epoch_ = input.epoch;
  unclean_epoch_ = input.unclean_epoch;
  epoch_written_ = false;
  in_sync_.Clear();
  AskToAttach(effects);
  return absl::OkStatus();
}

absl::Status Replica::Take(const GoOffline& /*input*/, Effects* effects) {
  FailWaiters([](const Waiter&) { return true; },
              MakeError(Reason::kAppendUncertain, "the partition went offline"), effects);
  role_ = Role::kOffline;
  leader_ = NodeId{0};
  epoch_written_ = attached_ = truncating_ = false;
  in_sync_.Clear();
  return absl::OkStatus();
}

absl::Status Replica::Take(const ChangeSettings& input, Effects* effects) {
  settings_ = input.settings;
  AdvanceHighWatermark();  // fsync off, or fewer replicas asked for, may commit what was waiting.
  Release(effects);
  return absl::OkStatus();
}

absl::Status Replica::Take(const Append& input, Effects* effects) {
  FALAJ_RETURN_IF_ERROR(CheckLeader(input.epoch));
  const ProducerStates::Batch producer = ProducerOf(input.batch);
  FALAJ_ASSIGN_OR_RETURN(const ProducerStates::Verdict verdict, producers_.Check(producer));
  // Before all other checks: "not enough replicas, nothing was appended" would be wrong.
  if (verdict.duplicate) {
    AnswerDuplicate(input, verdict, effects);
    return absl::OkStatus();
  }
  FALAJ_RETURN_IF_ERROR(CheckAppend(input));
  const Placement placement{.token = input.token,
                            .base = log_end_,
                            .last = log_end_ + (input.batch.record_count - 1),
                            .epoch = epoch_,
                            .leader_change = false};
  producers_.Apply(producer,
                   {.base = placement.base, .append_time_ms = input.now_ms, .high_watermark = hw_});
  log_end_ = placement.last + 1;
  effects->placements.push_back(placement);
  if (input.acks == Acks::kNone) {
    effects->replies.push_back(
        {.token = input.token,
         .status = absl::OkStatus(),
         .outcome = {.record_count = input.batch.record_count,
                     .in_sync_replicas = static_cast<int32_t>(isr().size())}});
  } else {
    waiters_.push_back({input.token, input.acks, epoch_, placement.base, input.batch.record_count});
  }
  return absl::OkStatus();
}

// The first copy may not be written yet, nor committed: who repeats it is told when, and what, who
// sent it first is told. Also if its write fails.
void Replica::AnswerDuplicate(const Append& input, const ProducerStates::Verdict& first,
                              Effects* effects) {
  const auto place =
      std::upper_bound(waiters_.begin(), waiters_.end(), first.base,
                       [](Offset base, const Waiter& waiter) { return base < waiter.base; });
  // What lies below the log start was committed: only this reign's word is left of it.
  const Offset kept_from = std::max(first.base, log_start_);
  const bool kept = kept_from < first.base + first.record_count;
  const LeaderEpoch epoch = kept ? epochs_.EpochAt(kept_from).value_or(epoch_) : epoch_;
  // Acks::kNone waits as kLeader does: the answer then has an offset.
  waiters_.insert(place, {.token = input.token,
                          .acks = input.acks,
                          .epoch = epoch,
                          .base = first.base,
                          .record_count = first.record_count,
                          .duplicate = true,
                          .first_append_time_ms = first.append_time_ms});
  Release(effects);
}

absl::Status Replica::Take(const ForgetWaiters& input, Effects* /*effects*/) {
  std::vector<uint64_t> tokens = input.tokens;
  std::sort(tokens.begin(), tokens.end());
  std::erase_if(waiters_, [&tokens](const Waiter& waiter) {
    return std::binary_search(tokens.begin(), tokens.end(), waiter.token);
  });
  return absl::OkStatus();
}

absl::Status Replica::Take(const TruncatePrefix& input, Effects* effects) {
  FALAJ_RETURN_IF_ERROR(CheckLeader(input.epoch));
  if (input.before < log_start_ || input.before > hw_) {
    return MakeError(
        Reason::kOffsetOutOfRange,
        absl::StrCat("offset ", input.before, " is not between the log start ", log_start_,
                     " and the high watermark ", hw_),
        {{"log_start_offset", Text(log_start_.value())}, {"high_watermark", Text(hw_.value())}});
  }
  MoveLogStart(input.before, effects);
  return absl::OkStatus();
}

absl::Status Replica::Take(const Retain& input, Effects* effects) {
  MoveLogStart(std::min(input.before, hw_), effects);
  return absl::OkStatus();
}

absl::Status Replica::Take(const ExpireProducers& input, Effects* /*effects*/) {
  producers_.Expire(input.now_ms, input.silence);
  return absl::OkStatus();
}

absl::Status Replica::Take(const Written& input, Effects* effects) {
  AdvanceClock(input.now);
  if (role_ == Role::kLeader && input.end > written_end_) {
    in_sync_.Grow(written_end_, settings_.fsync, now_);
  }
  const bool begun_anew = log_start_ > written_end_;
  written_end_ = std::max(written_end_, std::min(input.end, log_end_));
  if (input.synced) flushed_end_ = written_end_;
  producers_.Written(written_end_);
  producers_before_.reset();
  written_log_start_ = log_start_;
  hw_ = std::max(hw_, log_start_);  // The leader's log may begin above what a follower had.
  if (epochs_before_.has_value()) {
    epochs_before_.reset();
    epoch_written_ = role_ == Role::kLeader;
  }
  // What was asked meanwhile, for a new epoch, was about the log before.
  if (begun_anew && role_ == Role::kFollower && !attached_) AskToAttach(effects);
  if (attached()) {
    FollowHighWatermark(effects);
    Acknowledge(effects);
    return absl::OkStatus();
  }
  AdvanceHighWatermark();
  Release(effects);
  return absl::OkStatus();
}

absl::Status Replica::Take(const WriteFailed& input, Effects* effects) {
  if (epochs_before_.has_value()) {
    epochs_ = *std::move(epochs_before_);
    epochs_before_.reset();
    if (role_ == Role::kLeader) {
      // The reign has not begun; the shell asks again when the disk takes writes.
      role_ = Role::kOffline;
      leader_ = NodeId{0};
      in_sync_.Clear();
    }
  }
  log_start_ = written_log_start_;
  // Of this reign alone: what an earlier one appended beyond this log's end was cut, not refused by
  // the disk, and another replica may have it, lead and commit it.
  FailWaiters(
      [this](const Waiter& waiter) {
        return role_ == Role::kLeader && waiter.epoch == epoch_ && waiter.base >= written_end_;
      },
      input.status, effects);
  log_end_ = written_end_;
  if (producers_before_.has_value()) producers_ = *std::exchange(producers_before_, std::nullopt);
  producers_.TakeBack(written_end_);
  // What the leader sent is lost to this follower: it asks for it again, when the shell says so.
  attached_ = false;
  return absl::OkStatus();
}

absl::Status Replica::Take(const AttachFollower& input, Effects* effects) {
  // Only the leader of the very epoch the follower is in may say where the logs part ways
  // (KIP-320): of another epoch it might not even know the records in question.
  FALAJ_RETURN_IF_ERROR(CheckLeader(input.epoch));
  FALAJ_RETURN_IF_ERROR(in_sync_.Check(input.from));
  AttachAnswer answer{.token = input.token,
                      .diverging = std::nullopt,
                      .log_start = log_start_,
                      .high_watermark = hw_};
  AdvanceClock(input.now);
  // Without an epoch the follower has no record.
  if (input.last_epoch.value() >= 0) {
    const std::optional<EpochEnd> end = epochs_.EndOf(input.last_epoch, log_end_);
    if (!end.has_value()) {
      return MakeError(Reason::kEpochFenced, "the follower knows an epoch that is to come",
                       {{"leader_epoch", Text(epoch_.value())}});
    }
    if (end->epoch != input.last_epoch || end->end < input.log_end) answer.diverging = end;
  } else if (input.log_end > log_end_) {
    // It began anew where an earlier leader's log did, below what was committed. This log does not
    // reach so far, so one of the two has lost committed records: the follower knows whether an
    // unclean election allows that.
    answer.diverging = {LeaderEpoch{-1}, log_end_};
  }
  if (!answer.diverging.has_value()) in_sync_.Attach(input, written_end_);
  effects->attach_answers.push_back(answer);
  ProposeJoin(effects);
  AdvanceHighWatermark();
  Release(effects);
  return absl::OkStatus();
}

absl::Status Replica::Take(const FollowerProgress& input, Effects* effects) {
  // An acknowledgement of another epoch says nothing about this log (KIP-320).
  const bool any_epoch = has_bug(PlantedBug::kOldEpochAckCounts);
  FALAJ_RETURN_IF_ERROR(CheckLeader(any_epoch ? epoch_ : input.epoch));
  FALAJ_RETURN_IF_ERROR(in_sync_.Advance(input, written_end_, settings_.fsync));
  AdvanceClock(input.now);
  AdvanceHighWatermark();
  ProposeJoin(effects);
  Release(effects);
  return absl::OkStatus();
}

absl::Status Replica::Take(const FollowerLeft& input, Effects* /*effects*/) {
  in_sync_.Leave(input, written_end_, settings_.fsync);
  return absl::OkStatus();
}

absl::Status Replica::Take(const CheckIsr& input, Effects* effects) {
  AdvanceClock(input.now);
  if (role_ != Role::kLeader || !epoch_written_) return absl::OkStatus();
  std::optional<IsrProposal> proposal = in_sync_.ProposeShrink(View());
  if (proposal.has_value()) {
    effects->isr_proposal = std::move(proposal);
    return absl::OkStatus();
  }
  ProposeJoin(effects);
  // Somebody who was about to join may have been given up: no more reason to wait for it.
  AdvanceHighWatermark();
  Release(effects);
  return absl::OkStatus();
}

bool Replica::IsSettled() const {
  if (role_ == Role::kFollower) return attached_;
  if (role_ != Role::kLeader) return true;
  return epoch_written_ && !has_unwritten() && waiters_.empty() && hw_ == written_end_ &&
         in_sync_.IsSettled(View());
}

absl::Status Replica::Take(const IsrAnswered& input, Effects* effects) {
  if (role_ != Role::kLeader || input.epoch != epoch_) return absl::OkStatus();
  AdvanceClock(input.now);
  in_sync_.Resolve(input);
  AdvanceHighWatermark();
  ProposeJoin(effects);
  Release(effects);
  return absl::OkStatus();
}

absl::Status Replica::CheckNewer(LeaderEpoch epoch, PartitionEpoch partition_epoch) const {
  if (epoch >= epoch_ && partition_epoch >= partition_epoch_) return absl::OkStatus();
  return MakeError(Reason::kEpochFenced,
                   absl::StrCat("epoch ", epoch, "/", partition_epoch, " is older than ", epoch_,
                                "/", partition_epoch_),
                   {{"leader_epoch", Text(epoch_.value())},
                    {"partition_epoch", Text(partition_epoch_.value())}});
}

absl::Status Replica::NotLeader() const {
  return MakeError(
      Reason::kNotLeader,
      absl::StrCat("node ", self_, " does not lead the partition at the epoch asked for"),
      {{"leader", Text(leader_.value())}, {"leader_epoch", Text(epoch_.value())}});
}

absl::Status Replica::CheckLeader(LeaderEpoch epoch) const {
  if (role_ != Role::kLeader || !epoch_written_ || epoch != epoch_) return NotLeader();
  return absl::OkStatus();
}

absl::Status Replica::CheckAppend(const Append& input) const {
  const BatchInfo& batch = input.batch;
  if (batch.record_count <= 0 ||
      log_end_.value() > std::numeric_limits<int64_t>::max() - batch.record_count) {
    return MakeError(Reason::kInvalidBatch,
                     absl::StrCat("a batch of ", batch.record_count, " records"));
  }
  if (batch.size_bytes > settings_.batch_bytes_max) {
    return MakeError(
        Reason::kRecordTooLarge,
        absl::StrCat("the batch has ", batch.size_bytes, " bytes, the topic allows ",
                     settings_.batch_bytes_max),
        {{"size_bytes", Text(batch.size_bytes)}, {"limit_bytes", Text(settings_.batch_bytes_max)}});
  }
  const int64_t ahead_ms = absl::ToInt64Milliseconds(kTimestampAheadMax);
  if (!settings_.append_time && batch.max_timestamp_ms > input.now_ms &&
      batch.max_timestamp_ms - input.now_ms > ahead_ms) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("timestamp ", batch.max_timestamp_ms, " lies more than ",
                                  absl::FormatDuration(kTimestampAheadMax), " ahead"),
                     {{"field", "timestamp"}, {"timestamp_ms", Text(batch.max_timestamp_ms)}});
  }
  const auto in_sync = static_cast<int32_t>(isr().size());
  if (input.acks == Acks::kAll && in_sync < required_in_sync()) {
    return NotEnoughReplicas(in_sync, required_in_sync());
  }
  return absl::OkStatus();
}

void Replica::AdvanceClock(MonotonicTime now) {
  if (now.ns > now_.ns) now_ = now;
}

void Replica::AdvanceHighWatermark() {
  if (role_ != Role::kLeader || !epoch_written_) return;
  if (static_cast<int32_t>(isr().size()) < required_in_sync()) return;
  const std::optional<Offset> held = in_sync_.HeldByAll(DurableEnd(), View());
  if (!held.has_value()) return;
  // Never what it inherited alone, although all in sync hold that: while they lack the start of
  // this epoch a log that parts from theirs below may be of a later one than they are. By elections
  // it cannot lead. But a recovered metadata quorum has only the logs to ask, and takes the latest
  // epoch for the fullest (libs/cluster; figure 8 of Raft).
  if (*held < serve_from_ && !has_bug(PlantedBug::kCommitBeforeEpochStart)) return;
  hw_ = std::max(hw_, *held);
}

void Replica::ProposeJoin(Effects* effects) {
  if (role_ != Role::kLeader || !epoch_written_) return;
  // Not "once the start of the epoch is committed": with too few in sync nothing is, until somebody
  // joins. Whoever holds all that this leader began with holds everything committed before.
  const Offset at_least = std::max(hw_, serve_from_);
  std::optional<IsrProposal> proposal = in_sync_.ProposeJoin(at_least, View());
  if (proposal.has_value()) effects->isr_proposal = std::move(proposal);
}

Replica::Fate Replica::FateOf(const Waiter& waiter) const {
  const Offset end = waiter.base + waiter.record_count;
  const Fate if_here =
      (waiter.acks == Acks::kAll ? hw_ : DurableEnd()) < end ? Fate::kOpen : Fate::kHeld;
  if (role_ == Role::kLeader && waiter.epoch == epoch_) return if_here;
  // Of a reign that is over. Its batch is where it was if this log still says so, and is committed
  // or lost with this log; once something of a later epoch is committed at or before its place, it
  // cannot be anywhere.
  if (end <= log_start_) return Fate::kUnknown;
  const std::optional<EpochEnd> reign = epochs_.EndOf(waiter.epoch, log_end_);
  if (!reign.has_value()) return Fate::kOpen;
  if (reign->epoch == waiter.epoch && reign->end >= end) return if_here;
  return hw_ > reign->end ? Fate::kLost : Fate::kOpen;
}

void Replica::Release(Effects* effects) {
  if (role_ == Role::kLeader) in_sync_replicas_ = static_cast<int32_t>(isr().size());
  size_t kept = 0;
  for (const Waiter& waiter : waiters_) {
    const Fate fate = FateOf(waiter);
    if (fate == Fate::kOpen) {
      waiters_[kept++] = waiter;
      continue;
    }
    Reply reply{.token = waiter.token, .status = absl::OkStatus(), .outcome = {}};
    if (fate == Fate::kHeld) {
      reply.outcome = {.base = waiter.base,
                       .record_count = waiter.record_count,
                       .duplicate = waiter.duplicate,
                       .first_append_time_ms = waiter.first_append_time_ms,
                       .in_sync_replicas = in_sync_replicas_,
                       .durable = flushed_end_ >= waiter.base + waiter.record_count};
    } else if (fate == Fate::kLost) {
      reply.status = NotLeader();
    } else {
      reply.status = MakeError(Reason::kAppendUncertain, "the log begins after the batch now");
    }
    effects->replies.push_back(std::move(reply));
  }
  waiters_.erase(waiters_.begin() + static_cast<std::ptrdiff_t>(kept), waiters_.end());
}

void Replica::FailWaiters(absl::FunctionRef<bool(const Waiter&)> which, const absl::Status& status,
                          Effects* effects) {
  const auto failed = std::stable_partition(
      waiters_.begin(), waiters_.end(), [which](const Waiter& waiter) { return !which(waiter); });
  for (auto it = failed; it != waiters_.end(); ++it) {
    effects->replies.push_back({.token = it->token, .status = status, .outcome = {}});
  }
  waiters_.erase(failed, waiters_.end());
}

void Replica::MoveLogStart(Offset before, Effects* effects) {
  if (before <= log_start_) return;
  log_start_ = before;
  effects->log_start = before;
}

}  // namespace falaj::replica
