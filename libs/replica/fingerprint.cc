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

}  // namespace

std::string InSyncSet::Fingerprint() const {
  std::string text = absl::StrCat("e", partition_epoch_, "i");
  for (const NodeId node : isr_) absl::StrAppend(&text, node, ",");
  for (const Follower& one : followers_) {
    absl::StrAppend(&text, "f", one.who.node, ".", one.who.node_epoch, ".", one.stream, ".",
                    one.heard, one.attached, ".", one.written, ".", one.flushed, ".", one.log_start,
                    ".", one.caught_up.has_value() ? one.caught_up->ns : -1, ".",
                    one.leader_end_at_ack, ".", one.acked_at.ns);
    if (one.refused_at.has_value()) absl::StrAppend(&text, "r", one.refused_at->ns);
  }
  if (pending_.has_value()) {
    absl::StrAppend(&text, "p", pending_->epoch, ".", pending_->partition_epoch, ask_again_, ".");
    for (const IsrMember& one : pending_->isr) {
      absl::StrAppend(&text, one.node, ".", one.node_epoch, ",");
    }
  }
  return text;
}

std::string Replica::Fingerprint() const {
  std::string text =
      absl::StrCat(static_cast<int>(role_), ".", leader_, ".", epoch_, ".", partition_epoch_, ".",
                   epoch_written_, ".", serve_from_, ".", replication_factor_, ".", now_.ns, "|");
  absl::StrAppend(&text, attached_, truncating_, ".", leader_hw_, ".", acked_written_, ".",
                  acked_flushed_, ".", acked_log_start_, ".", unclean_epoch_, "|");
  absl::StrAppend(&text, log_start_, ".", written_log_start_, ".", hw_, ".", flushed_end_, ".",
                  written_end_, ".", log_end_, "|");
  for (const EpochEntry& one : epochs_.entries()) {
    absl::StrAppend(&text, one.epoch, "@", one.start, ",");
  }
  if (epochs_before_.has_value()) {
    absl::StrAppend(&text, "b");
    for (const EpochEntry& one : epochs_before_->entries()) {
      absl::StrAppend(&text, one.epoch, "@", one.start, ",");
    }
  }
  for (const Waiter& one : waiters_) {
    absl::StrAppend(&text, "w", one.token, ".", static_cast<int>(one.acks), ".", one.base, ".",
                    one.record_count, ".", one.epoch, ".", one.duplicate);
  }
  for (const record::ProducerRow& one : producers_.Rows()) {
    absl::StrAppend(&text, "q", one.producer, ":", TextOf(one.history.window()), ":",
                    TextOf(one.history.settled()), "@", one.history.settled_end());
  }
  absl::StrAppend(&text, "|", TextOf(settings_), ".", in_sync_replicas_);
  return absl::StrCat(text, "|", role_ == Role::kLeader ? in_sync_.Fingerprint() : "");
}

}  // namespace falaj::replica
