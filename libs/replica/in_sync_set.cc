#include "libs/replica/in_sync_set.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::replica {
namespace {

bool Contains(const std::vector<NodeId>& nodes, NodeId node) {
  return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
}

absl::Status Fenced(const IsrMember& from, NodeEpoch known) {
  return MakeError(Reason::kEpochFenced,
                   absl::StrCat("node ", from.node, " of epoch ", from.node_epoch,
                                " is not the one that is attached"),
                   {{"node_epoch", absl::StrCat(known.value())}});
}

}  // namespace

void InSyncSet::Begin(const BecomeLeader& input) {
  Clear();
  Reassign(input);
}

void InSyncSet::Confirm(const BecomeLeader& input) {
  if (input.partition_epoch == partition_epoch_) return;
  Reassign(input);
}

void InSyncSet::Clear() {
  isr_.clear();
  followers_.clear();
  pending_.reset();
  ask_again_ = false;
}

void InSyncSet::Reassign(const BecomeLeader& input) {
  partition_epoch_ = input.partition_epoch;
  isr_ = input.isr;
  pending_.reset();
  ask_again_ = false;
  std::vector<Follower> followers;
  for (const NodeId node : input.replicas) {
    if (node == self_) continue;
    Follower fresh;
    fresh.who.node = node;
    // Who is in sync gets its time. Who is not has all to show first: counted as caught up, it
    // would hold the high watermark at whatever it attaches with, perhaps nothing.
    if (IsMember(node)) fresh.caught_up = input.now;
    const Follower* known = Find(node);
    followers.push_back(known == nullptr ? fresh : *known);
  }
  followers_ = std::move(followers);
}

const InSyncSet::Follower* InSyncSet::Find(NodeId node) const {
  const auto it = std::find_if(followers_.begin(), followers_.end(),
                               [node](const Follower& one) { return one.who.node == node; });
  return it == followers_.end() ? nullptr : &*it;
}

InSyncSet::Follower* InSyncSet::Find(NodeId node) {
  return const_cast<Follower*>(std::as_const(*this).Find(node));
}

bool InSyncSet::IsMember(NodeId node) const { return Contains(isr_, node); }

bool InSyncSet::MustHold(NodeId node) const {
  if (IsMember(node)) return true;
  if (has_bug(PlantedBug::kHighWatermarkOverCommittedIsr)) return false;
  return pending_.has_value() &&
         std::any_of(pending_->isr.begin(), pending_->isr.end(),
                     [node](const IsrMember& one) { return one.node == node; });
}

absl::Status InSyncSet::Check(const IsrMember& from) const {
  const Follower* const follower = Find(from.node);
  if (follower == nullptr) {
    return MakeError(Reason::kPartitionNotFound,
                     absl::StrCat("node ", from.node, " is not assigned the partition"),
                     {{"node", absl::StrCat(from.node.value())}});
  }
  if (from.node_epoch < follower->who.node_epoch) return Fenced(from, follower->who.node_epoch);
  return absl::OkStatus();
}

void InSyncSet::Attach(const AttachFollower& input, Offset leader_end) {
  Follower* const follower = Find(input.from.node);
  if (input.from.node_epoch != follower->who.node_epoch) follower->refused_at.reset();
  follower->who = input.from;
  follower->stream = input.stream;
  follower->heard = follower->attached = true;
  // What another incarnation held is no promise of this one.
  follower->written = std::min(input.log_end, leader_end);
  follower->flushed = std::min(input.flushed_end, leader_end);
  follower->log_start = input.log_start;
  follower->leader_end_at_ack = leader_end;
  follower->acked_at = input.now;
  if (input.log_end >= leader_end) follower->caught_up = input.now;
}

bool InSyncSet::IsOfAttach(const FollowerProgress& input, const Follower& follower) const {
  if (has_bug(PlantedBug::kOldEpochAckCounts)) return true;
  return follower.attached && follower.who == input.from && follower.stream == input.stream;
}

absl::Status InSyncSet::Advance(const FollowerProgress& input, Offset leader_end, bool fsync) {
  Follower* const follower = Find(input.from.node);
  if (follower == nullptr || !IsOfAttach(input, *follower)) {
    return Fenced(input.from, follower == nullptr ? NodeEpoch{0} : follower->who.node_epoch);
  }
  if (has_bug(PlantedBug::kOldEpochAckCounts)) follower->heard = true;
  follower->written = std::max(follower->written, std::min(input.written_end, leader_end));
  follower->flushed = std::max(follower->flushed, std::min(input.flushed_end, leader_end));
  follower->log_start = std::max(follower->log_start, input.log_start);
  const Offset held = Held(*follower, fsync);
  if (held >= leader_end) {
    follower->caught_up = input.now;
  } else if (held >= follower->leader_end_at_ack &&
             (!follower->caught_up.has_value() ||
              follower->acked_at.ns > follower->caught_up->ns)) {
    follower->caught_up = follower->acked_at;
  }
  follower->leader_end_at_ack = leader_end;
  follower->acked_at = input.now;
  return absl::OkStatus();
}

void InSyncSet::Leave(const FollowerLeft& input, Offset leader_end, bool fsync) {
  Follower* const follower = Find(input.from.node);
  if (follower == nullptr || !follower->attached || follower->who != input.from ||
      follower->stream != input.stream) {
    return;
  }
  if (Held(*follower, fsync) >= leader_end) follower->caught_up = input.now;
  follower->attached = false;
}

void InSyncSet::Grow(Offset leader_end, bool fsync, MonotonicTime now) {
  for (Follower& follower : followers_) {
    if (follower.attached && Held(follower, fsync) >= leader_end) follower.caught_up = now;
  }
}

bool InSyncSet::IsInSync(const Follower& follower, const View& view) {
  const bool holds_all =
      follower.attached && Held(follower, view.settings.fsync) >= view.leader_end;
  return holds_all || (follower.caught_up.has_value() &&
                       view.now - *follower.caught_up <= view.settings.replica_lag_max);
}

bool InSyncSet::MayJoin(const Follower& follower, const View& view) {
  if (!follower.attached || !IsInSync(follower, view)) return false;
  // It may have become eligible since.
  return !follower.refused_at.has_value() ||
         view.now - *follower.refused_at > view.settings.replica_lag_max / 10;
}

std::optional<Offset> InSyncSet::HeldByAll(Offset leader_held, const View& view) const {
  Offset held = leader_held;
  for (const Follower& follower : followers_) {
    if (MustHold(follower.who.node)) {
      if (!follower.heard) return std::nullopt;
    } else if (has_bug(PlantedBug::kHighWatermarkOverCommittedIsr) || !MayJoin(follower, view)) {
      continue;
    }
    held = std::min(held, Held(follower, view.settings.fsync));
  }
  return held;
}

IsrMember InSyncSet::Named(NodeId node) const {
  const Follower* const follower = Find(node);
  return follower == nullptr ? IsrMember{.node = node, .node_epoch = NodeEpoch{0}} : follower->who;
}

IsrProposal InSyncSet::Propose(LeaderEpoch epoch, std::vector<IsrMember> isr) {
  pending_ =
      IsrProposal{.epoch = epoch, .partition_epoch = partition_epoch_, .isr = std::move(isr)};
  ask_again_ = false;
  return *pending_;
}

std::optional<IsrProposal> InSyncSet::ProposeJoin(Offset at_least, const View& view) {
  if (pending_.has_value()) return std::nullopt;
  const bool all_joined = std::all_of(followers_.begin(), followers_.end(),
                                      [this](const auto& one) { return IsMember(one.who.node); });
  if (all_joined) return std::nullopt;
  std::vector<IsrMember> isr;
  for (const NodeId node : isr_) isr.push_back(Named(node));
  const size_t before = isr.size();
  for (const Follower& follower : followers_) {
    const bool early = has_bug(PlantedBug::kJoinBeforeCatchUp) && follower.attached;
    if (IsMember(follower.who.node) || (!MayJoin(follower, view) && !early)) continue;
    if (Held(follower, view.settings.fsync) < at_least && !early) continue;
    // Who was refused is tried by itself, lest it keep another one out for ever.
    if (follower.refused_at.has_value() && isr.size() > before) continue;
    isr.push_back(follower.who);
    if (follower.refused_at.has_value()) break;
  }
  if (isr.size() == before) return std::nullopt;
  return Propose(view.epoch, std::move(isr));
}

std::optional<IsrProposal> InSyncSet::ProposeShrink(const View& view) {
  if (pending_.has_value()) {
    // The same again: if it was done, the metadata service says so by refusing the old epoch.
    if (!std::exchange(ask_again_, false)) return std::nullopt;
    return pending_;
  }
  const auto stays = [this, &view](NodeId node) {
    const Follower* const follower = Find(node);  // Null: the leader itself.
    return follower == nullptr || IsInSync(*follower, view);
  };
  if (std::all_of(isr_.begin(), isr_.end(), stays)) return std::nullopt;
  std::vector<IsrMember> isr;
  for (const NodeId node : isr_) {
    if (stays(node)) isr.push_back(Named(node));
  }
  return Propose(view.epoch, std::move(isr));
}

bool InSyncSet::IsSettled(const View& view) const {
  if (pending_.has_value() || isr_.size() != followers_.size() + 1) return false;
  return std::all_of(followers_.begin(), followers_.end(), [&](const Follower& one) {
    return IsMember(one.who.node) && one.attached &&
           Held(one, view.settings.fsync) >= view.leader_end;
  });
}

void InSyncSet::Resolve(const IsrAnswered& answer) {
  if (!pending_.has_value() || answer.partition_epoch != pending_->partition_epoch) return;
  if (answer.outcome == IsrAnswered::Outcome::kUnknown) {
    ask_again_ = true;
    return;
  }
  for (const IsrMember& member : pending_->isr) {
    if (Follower* const one = Find(member.node); one != nullptr && !IsMember(member.node)) {
      one->refused_at = answer.now;
    }
  }
  pending_.reset();
}

Offset InSyncSet::LeastLogStart(Offset own) const {
  Offset least = own;
  for (const Follower& follower : followers_) {
    if (!MustHold(follower.who.node)) continue;
    least = std::min(least, follower.heard ? follower.log_start : Offset{0});
  }
  return least;
}

FollowerLags InSyncSet::Lags(Offset log_start, Offset high_watermark, Offset leader_end) const {
  FollowerLags lags;
  for (const Follower& follower : followers_) {
    const Offset unheard = IsMember(follower.who.node) ? high_watermark : log_start;
    // What was deleted from the front is not missing.
    const Offset held = std::max(log_start, follower.heard ? follower.written : unheard);
    lags.push_back({follower.who.node, std::max<int64_t>(leader_end - held, 0)});
  }
  return lags;
}

}  // namespace falaj::replica
