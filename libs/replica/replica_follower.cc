// The follower's half of Replica: find out where its log and the leader's part ways, cut what is
// not the leader's, then take what the leader sends.
//
//                 BecomeFollower, Reattach, Truncated
//                              │
//                              ▼            AttachAnswered: go on
//   WriteFailed ─▶ not attached, asking ─────────────────────────▶ attached ── Replicate ──┐
//                              │                                      ▲  └──── LeaderMarks ─┤
//          AttachAnswered: cut │                                      └────────────────────┘
//                              ▼
//                        truncating ── Truncated ──▶ asking again
//
// The question is repeated until both agree (KIP-279): two quick changes of leader can leave a
// follower with an epoch the leader never heard of, and one answer names only the nearest one.
#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/replica/replica.h"

namespace falaj::replica {

void Replica::AskToAttach(Effects* effects) {
  attached_ = truncating_ = false;
  ++attach_id_;  // Answers and batches of earlier attaches count no more.
  if (leader_ == NodeId{0}) return;
  effects->attach = {.attach_id = attach_id_,
                     .epoch = epoch_,
                     .last_epoch = EpochOfLastWritten(),
                     .log_end = written_end_,
                     .flushed_end = flushed_end_,
                     .log_start = written_log_start_};
  acked_written_ = written_end_;
  acked_flushed_ = flushed_end_;
  acked_log_start_ = written_log_start_;
}

LeaderEpoch Replica::EpochOfLastWritten() const {
  // An entry that begins at the log's end has no record. A log that began anew keeps one, of what
  // it held before: compared by that, it would seem to part ways with the leader's below where it
  // begins, that is, below its high watermark.
  const EpochCache& written = epochs_before_.has_value() ? *epochs_before_ : epochs_;
  for (auto it = written.entries().rbegin(); it != written.entries().rend(); ++it) {
    if (it->start < written_end_) return it->epoch;
  }
  return LeaderEpoch{-1};
}

bool Replica::CommittedMayBeLost() const {
  return unclean_epoch_ > LeaderEpoch{0} && EpochOfLastWritten() < unclean_epoch_;
}

absl::Status Replica::CheckAttach(uint64_t attach_id) const {
  if (role_ == Role::kFollower && attach_id == attach_id_) return absl::OkStatus();
  return MakeError(Reason::kEpochFenced, "of an attach that is over");
}

absl::Status Replica::Take(const Reattach& /*input*/, Effects* effects) {
  if (role_ == Role::kFollower && !truncating_) AskToAttach(effects);
  return absl::OkStatus();
}

Offset Replica::CutFor(const AttachAnswered& answer) const {
  const EpochEnd& diverging = *answer.diverging;
  const std::optional<EpochEnd> own = epochs_.EndOf(diverging.epoch, log_end_);
  // An epoch this log knows ends where the shorter of the two logs ends it. Of one it does not
  // know, nothing above the largest epoch below it can be shared.
  const Offset cut = own.has_value() && own->epoch != diverging.epoch
                         ? own->end
                         : std::min(own.has_value() ? own->end : log_end_, diverging.end);
  // Nothing is left, so it may as well begin where the leader's does, and miss nothing.
  return cut < log_start_ ? std::min(cut, answer.log_start) : cut;
}

absl::Status Replica::Take(const AttachAnswered& input, Effects* effects) {
  FALAJ_RETURN_IF_ERROR(CheckAttach(input.attach_id));
  if (attached_ || truncating_) {
    return MakeError(Reason::kEpochFenced, "the attach is answered already");
  }
  if (has_bug(PlantedBug::kTruncateToHighWatermark) && log_end_ > hw_) {
    truncating_ = true;
    effects->truncate_suffix = hw_;
    return absl::OkStatus();
  }
  if (!input.diverging.has_value()) {
    attached_ = true;
    TakeMarks(input.log_start, input.high_watermark, effects);
    Acknowledge(effects);  // A sync may have ended since it asked; nothing else might tell of it.
    return absl::OkStatus();
  }
  const Offset cut = CutFor(input);
  if (cut < hw_ && !CommittedMayBeLost()) {
    return MakeError(
        Reason::kCorruptRecord,
        absl::StrCat("the leader's log parts ways with this one at ", cut,
                     ", but everything below ", hw_, " is committed"),
        {{"offset", absl::StrCat(cut.value())}, {"high_watermark", absl::StrCat(hw_.value())}});
  }
  truncating_ = true;
  effects->truncate_suffix = cut;
  return absl::OkStatus();
}

absl::Status Replica::Take(const Truncated& input, Effects* effects) {
  truncating_ = false;
  log_start_ = written_log_start_ = input.log_start;
  log_end_ = written_end_ = flushed_end_ = input.log_end;
  epochs_.TruncateSuffix(log_end_);
  producers_ = ProducerStates(input.producers);
  hw_ = std::clamp(hw_, log_start_, log_end_);
  AskToAttach(effects);
  return absl::OkStatus();
}

absl::Status Replica::Take(const Replicate& input, Effects* effects) {
  FALAJ_RETURN_IF_ERROR(CheckAttach(input.attach_id));
  if (!attached_) return MakeError(Reason::kEpochFenced, "not attached yet");
  const std::optional<EpochEntry> latest = epochs_.Latest();
  const LeaderEpoch at_least = latest.has_value() ? latest->epoch : LeaderEpoch{0};
  // A log that began anew begins where the leader's does, which may be within a batch.
  const bool fits = input.base == log_end_ ||
                    (log_start_ == log_end_ && input.base < log_end_ && input.last >= log_end_) ||
                    has_bug(PlantedBug::kLogStartAheadIgnored);
  if (!fits || input.last < input.base || input.batch_epoch < at_least ||
      input.batch_epoch > epoch_) {
    attached_ = false;  // To be asked for again, when the shell says so.
    return MakeError(
        Reason::kCorruptRecord,
        absl::StrCat("batch ", input.base, " to ", input.last, " of epoch ", input.batch_epoch,
                     " does not continue a log that ends at ", log_end_, " in epoch ", at_least),
        {{"offset", absl::StrCat(input.base.value())}});
  }
  if (!latest.has_value() || latest->epoch != input.batch_epoch) {
    AddEpoch(input.batch_epoch, effects);
  }
  effects->placements.push_back({.token = input.token,
                                 .base = input.base,
                                 .last = input.last,
                                 .epoch = input.batch_epoch,
                                 .leader_change = false});
  producers_.Apply(input.producer,
                   {.base = input.base, .append_time_ms = input.now_ms, .high_watermark = hw_});
  log_end_ = input.last + 1;
  return absl::OkStatus();
}

absl::Status Replica::Take(const LeaderMarks& input, Effects* effects) {
  FALAJ_RETURN_IF_ERROR(CheckAttach(input.attach_id));
  if (!attached_) return MakeError(Reason::kEpochFenced, "not attached yet");
  TakeMarks(input.log_start, input.high_watermark, effects);
  return absl::OkStatus();
}

void Replica::TakeMarks(Offset leader_start, Offset leader_hw, Effects* effects) {
  leader_hw_ = leader_hw;
  if (has_bug(PlantedBug::kLogStartAheadIgnored)) leader_start = std::min(leader_start, log_end_);
  if (leader_start > log_end_) {
    // The leader no longer has what comes next: the log begins anew where the leader's does.
    if (!epochs_before_.has_value()) epochs_before_ = epochs_;
    log_end_ = leader_start;
    // What the producers did in between this replica has not seen.
    if (!producers_before_.has_value()) producers_before_ = producers_;
    producers_.ForgetAll();
    epochs_.TruncatePrefix(leader_start);
  }
  MoveLogStart(leader_start, effects);
  FollowHighWatermark(effects);
}

void Replica::Acknowledge(Effects* effects) {
  if (written_end_ == acked_written_ && flushed_end_ == acked_flushed_ &&
      written_log_start_ == acked_log_start_) {
    return;
  }
  acked_written_ = written_end_;
  acked_flushed_ = flushed_end_;
  acked_log_start_ = written_log_start_;
  effects->ack = {attach_id_, written_end_, flushed_end_, written_log_start_};
}

// Those who waited when this replica still led may learn now what became of their batches.
void Replica::FollowHighWatermark(Effects* effects) {
  hw_ = std::max(hw_, std::min(leader_hw_, written_end_));
  Release(effects);
}

}  // namespace falaj::replica
