// States as text, for tests that have to recognise one they have seen.
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "libs/replica/in_sync_set.h"
#include "libs/replica/replica.h"

namespace falaj::replica {
namespace {

std::string TextOf(const record::ProducerWindow& window) {
  if (window.empty()) return "-";
  std::string text = absl::StrCat("e", window.epoch());
  for (const record::ProducedBatch& one : window) {
    absl::StrAppend(&text, ".", one.base, ".", one.base_sequence, ".", one.record_count);
  }
  return text;
}

std::string TextOf(const Settings& settings) {
  return absl::StrCat(settings.fsync, ".", settings.batch_bytes_max, ".",
                      settings.min_in_sync_replicas, ".", settings.append_time, ".",
                      absl::ToInt64Nanoseconds(settings.replica_lag_max));
}

std::string TextOf(const EpochCache& epochs) {
  std::string text;
  for (const EpochEntry& one : epochs.entries()) {
    absl::StrAppend(&text, one.epoch, "@", one.start, ",");
  }
  return text;
}

}  // namespace

std::string InSyncSet::Fingerprint(const Settings& settings) const {
  // Nobody is in sync by time if a moment ago is too long ago.
  const bool timed = settings.replica_lag_max >= absl::ZeroDuration();
  std::string text = "i";
  for (const NodeId node : isr_) absl::StrAppend(&text, node, ",");
  for (const Follower& one : followers_) {
    absl::StrAppend(&text, "f", one.who.node, ".", one.who.node_epoch, ".", one.stream, ".",
                    one.heard, one.attached, ".", Held(one, settings.fsync), ".", one.log_start);
    if (!settings.fsync) absl::StrAppend(&text, ".", one.flushed);  // It may be on again.
    if (timed) {
      absl::StrAppend(&text, ".", one.caught_up.has_value() ? one.caught_up->ns : -1, ".",
                      one.leader_end_at_ack, ".", one.acked_at.ns);
    }
    if (one.refused_at.has_value()) absl::StrAppend(&text, "r", timed ? one.refused_at->ns : 0);
  }
  if (pending_.has_value()) {
    absl::StrAppend(&text, "p", ask_again_, ".");
    for (const IsrMember& one : pending_->isr) {
      absl::StrAppend(&text, one.node, ".", one.node_epoch, ",");
    }
  }
  return text;
}

std::string Replica::Fingerprint() const {
  std::string text =
      absl::StrCat(static_cast<int>(role_), ".", leader_, ".", epoch_, ".", now_.ns, "|");
  absl::StrAppend(&text, log_start_, ".", written_log_start_, ".", hw_, ".", flushed_end_, ".",
                  written_end_, ".", log_end_, "|", TextOf(epochs_));
  if (epochs_before_.has_value()) absl::StrAppend(&text, "b", TextOf(*epochs_before_));
  for (const Waiter& one : waiters_) {
    absl::StrAppend(&text, "w", one.token, ".", static_cast<int>(one.acks), ".", one.base, ".",
                    one.record_count, ".", one.epoch, ".", one.duplicate);
  }
  if (!waiters_.empty()) absl::StrAppend(&text, "s", in_sync_replicas_);
  for (const record::ProducerRow& one : producers_.Rows()) {
    absl::StrAppend(&text, "q", one.producer, ":", TextOf(one.history.window()), ":",
                    TextOf(one.history.settled()), "@", one.history.settled_end());
  }
  absl::StrAppend(&text, "|", TextOf(settings_), "|");
  if (role_ == Role::kLeader) {
    absl::StrAppend(&text, epoch_written_, ".", serve_from_, ".", replication_factor_, ".",
                    in_sync_.Fingerprint(settings_));
  } else if (role_ == Role::kFollower) {
    absl::StrAppend(&text, attached_, truncating_, ".", acked_written_, ".", acked_flushed_, ".",
                    acked_log_start_, ".", unclean_epoch_);
    if (attached_) absl::StrAppend(&text, ".", leader_hw_);
  }
  return text;
}

}  // namespace falaj::replica
