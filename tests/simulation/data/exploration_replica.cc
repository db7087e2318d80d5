#include "tests/simulation/data/exploration_replica.h"

#include <initializer_list>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::simulation::data {
namespace {

using replica::Effects;
using replica::PlantedBug;
using replica::Replica;
using replica::Role;

replica::Settings ModelSettings(Syncing syncing) {
  replica::Settings settings;
  settings.fsync = syncing != Syncing::kUnasked;
  settings.min_in_sync_replicas = kMinInSync;
  // Time stands still, and nothing is ever in time: who does not hold everything may be put out at
  // any check, and who was refused may be proposed again at once.
  settings.replica_lag_max = -absl::Nanoseconds(10);
  return settings;
}

uint64_t PackArguments(std::initializer_list<int> values) {
  uint64_t packed = 0;
  for (const int one : values) packed = packed << 8 | static_cast<uint8_t>(one);
  return packed;
}

}  // namespace

enum class ReplicaTable::Kind : uint8_t {
  kLead,
  kFollow,
  kAppend,
  kAttach,
  kAnswer,
  kFetch,
  kProgress,
  kCheckIsr,
  kRefuse,
  kSync,
  kGoOffline,
  kCrash,
};

struct ReplicaTable::Host {
  Host(int number, const replica::Stored& stored, const Rules& rules)
      : node(number), core(NodeId{number + 1}, stored, ModelSettings(rules.syncing), rules.bug) {}

  int node;
  Replica core;
  PackedLog log = 0;
  int synced = 0;
  int node_epoch = 1;
  std::optional<replica::AttachRequest> asks;
  Offset acked_written{0};
  Offset acked_flushed{0};
  std::optional<replica::IsrProposal> proposal;  // No more than what the core itself remembers.
};

ReplicaTable::ReplicaTable(const Rules& rules) : rules_(rules) {}
ReplicaTable::~ReplicaTable() = default;

ReplicaNumber ReplicaTable::Start(int node) {
  return Intern(std::make_unique<Host>(node, replica::Stored(), rules_));
}

ReplicaTable::Outcome ReplicaTable::Remember(ReplicaNumber replica, Kind kind, uint64_t arguments,
                                             Change change) {
  const Key key{replica, arguments << 8 | static_cast<uint8_t>(kind)};
  if (const auto known = outcomes_.find(key); known != outcomes_.end()) return known->second;
  auto host = std::make_unique<Host>(*hosts_[replica]);
  Outcome outcome{.next = replica};
  outcome.taken = change(host.get(), &outcome);
  if (outcome.taken) {
    if (host->core.high_watermark() < hosts_[replica]->core.high_watermark()) {
      Report("MonotonicHw", "a high watermark went back");
    }
    outcome.next = Intern(std::move(host));
  }
  outcomes_.emplace(key, outcome);
  return outcome;
}

ReplicaNumber ReplicaTable::Intern(std::unique_ptr<Host> host) {
  const Replica& core = host->core;
  std::string text = absl::StrCat(host->node, ".", host->node_epoch, ".", host->synced, ".",
                                  host->log, ";", core.Fingerprint());
  if (host->asks) {
    absl::StrAppend(&text, "a", host->asks->last_epoch, ".", host->asks->log_end, ".",
                    host->asks->flushed_end);
  }
  const auto [known, is_new] =
      numbers_.try_emplace(std::move(text), static_cast<ReplicaNumber>(hosts_.size()));
  if (!is_new) return known->second;
  ReplicaView view{.log = host->log,
                   .role = core.role(),
                   .attached = core.attached(),
                   .asks = host->asks.has_value(),
                   .epoch = static_cast<int8_t>(core.epoch().value()),
                   .leader = static_cast<int8_t>(core.leader().value()),
                   .high_watermark = static_cast<int8_t>(core.high_watermark().value()),
                   .length = static_cast<int8_t>(LengthOf(host->log)),
                   .held = static_cast<int8_t>(
                       rules_.syncing == Syncing::kUnasked ? LengthOf(host->log) : host->synced),
                   .synced = static_cast<int8_t>(host->synced),
                   .node_epoch = static_cast<int8_t>(host->node_epoch),
                   .acked_written = static_cast<int8_t>(host->acked_written.value()),
                   .acked_flushed = static_cast<int8_t>(host->acked_flushed.value()),
                   .proposes = host->proposal.has_value()};
  const std::optional<replica::EpochEntry> newest = core.epochs().Latest();
  if (newest) view.newest_epoch = static_cast<int8_t>(newest->epoch.value());
  if (host->asks) view.last_epoch = static_cast<int8_t>(host->asks->last_epoch.value());
  if (host->proposal) {
    for (const replica::IsrMember& one : host->proposal->isr) {
      const int node = one.node.value() - 1;
      view.proposed = static_cast<uint8_t>(view.proposed | 1 << node);
      view.proposed_as[static_cast<size_t>(node)] = static_cast<int8_t>(one.node_epoch.value());
    }
  }
  views_.push_back(view);
  hosts_.push_back(std::move(host));
  Check(*hosts_.back());
  return known->second;
}

// ---- The host of a replica ----

bool ReplicaTable::Feed(Host* host, const replica::Input& input, int copy) {
  Effects effects;
  if (!host->core.Step(input, &effects).ok()) return false;
  Persist(host, &effects, copy);
  if (effects.attach.has_value()) {
    host->asks = effects.attach;
    host->acked_written = effects.attach->log_end;
    host->acked_flushed = effects.attach->flushed_end;
  }
  if (effects.ack.has_value()) {
    host->acked_written = effects.ack->written_end;
    host->acked_flushed = effects.ack->flushed_end;
  }
  if (effects.isr_proposal.has_value()) host->proposal = effects.isr_proposal;
  return true;
}

void ReplicaTable::Persist(Host* host, Effects* effects, int copy) {
  const bool writes = !effects->nothing_to_persist();
  Replica& core = host->core;
  for (const replica::Placement& place : effects->placements) {
    const int at = LengthOf(host->log);
    if (place.base.value() != at || at >= kLogLengthMax) return Report("Dense", "a hole");
    const uint8_t record = PackRecord(place.epoch.value(), place.leader_change ? 0 : copy);
    host->log |= PackedLog{record} << (8 * at);
  }
  if (effects->truncate_suffix.has_value()) {
    const Offset end = *effects->truncate_suffix;
    if (end < core.high_watermark()) Report("ValidHw", "a cut below a high watermark");
    host->log = Prefix(host->log, static_cast<int>(end.value()));
    host->synced = LengthOf(host->log);  // A cut is synced, and with it what is left.
    effects->attach.reset();
    IgnoreError(core.Step(replica::Truncated{Offset{0}, end}, effects), "never refuses");
  }
  if (!writes) return;
  const bool at_once = rules_.syncing == Syncing::kAtOnce;
  if (at_once) host->synced = LengthOf(host->log);
  const bool lies = rules_.bug == PlantedBug::kFollowerAcksBeforeFsync;
  const bool synced = at_once || (lies && core.role() == Role::kFollower);
  IgnoreError(core.Step(replica::Written{core.log_end(), synced, {}}, effects), "never refuses");
}

// ---- What it may be told ----

ReplicaTable::Outcome ReplicaTable::Lead(ReplicaNumber replica, int epoch, unsigned isr) {
  const uint64_t arguments = PackArguments({epoch, static_cast<int>(isr)});
  return Remember(replica, Kind::kLead, arguments, [&](Host* host, Outcome*) {
    replica::BecomeLeader lead{.epoch = LeaderEpoch{epoch},
                               .partition_epoch = host->core.partition_epoch() + 1};
    for (int node = 0; node < kNodes; ++node) {
      if ((isr >> node & 1) != 0) lead.isr.emplace_back(node + 1);
      lead.replicas.emplace_back(node + 1);
    }
    host->asks.reset();
    host->proposal.reset();
    return Feed(host, lead);
  });
}

ReplicaTable::Outcome ReplicaTable::Follow(ReplicaNumber replica, int epoch, int leader) {
  return Remember(
      replica, Kind::kFollow, PackArguments({epoch, leader}), [&](Host* host, Outcome*) {
        host->asks.reset();
        host->proposal.reset();
        if (!Feed(host,
                  replica::BecomeFollower{LeaderEpoch{epoch}, host->core.partition_epoch() + 1,
                                          NodeId{leader}})) {
          return false;
        }
        if (host->core.role() == Role::kLeader) Report("OneLeader", "it knows of its successor");
        return true;
      });
}

ReplicaTable::Outcome ReplicaTable::Append(ReplicaNumber replica, int copy) {
  return Remember(replica, Kind::kAppend, PackArguments({copy}), [&](Host* host, Outcome*) {
    const replica::Append append{.token = 1,
                                 .epoch = host->core.epoch(),
                                 .acks = replica::Acks::kNone,
                                 .batch = {.record_count = 1, .size_bytes = 1}};
    return Feed(host, append, copy);
  });
}

ReplicaTable::Outcome ReplicaTable::Attach(ReplicaNumber leader, int from,
                                           const ReplicaView& follower) {
  const uint64_t arguments =
      PackArguments({from, follower.node_epoch, follower.epoch, follower.last_epoch,
                     follower.acked_written, follower.acked_flushed});
  return Remember(leader, Kind::kAttach, arguments, [&](Host* host, Outcome* outcome) {
    Effects effects;
    const replica::AttachFollower attach{.token = 1,
                                         .stream = 1,
                                         .from = {NodeId{from + 1}, NodeEpoch{follower.node_epoch}},
                                         .epoch = LeaderEpoch{follower.epoch},
                                         .last_epoch = LeaderEpoch{follower.last_epoch},
                                         .log_end = Offset{follower.acked_written},
                                         .flushed_end = Offset{follower.acked_flushed}};
    if (!host->core.Step(attach, &effects).ok()) return false;
    if (effects.isr_proposal.has_value()) host->proposal = effects.isr_proposal;
    const replica::AttachAnswer& answer = effects.attach_answers.front();
    outcome->high_watermark = static_cast<int8_t>(answer.high_watermark.value());
    if (answer.diverging.has_value()) {
      outcome->diverges = true;
      outcome->diverging_epoch = static_cast<int8_t>(answer.diverging->epoch.value());
      outcome->diverging_end = static_cast<int8_t>(answer.diverging->end.value());
    }
    return true;
  });
}

ReplicaTable::Outcome ReplicaTable::Answer(ReplicaNumber replica, const Outcome& answer) {
  const uint64_t arguments = PackArguments(
      {answer.high_watermark, answer.diverges, answer.diverging_epoch, answer.diverging_end});
  return Remember(replica, Kind::kAnswer, arguments, [&](Host* host, Outcome*) {
    replica::AttachAnswered answered{.attach_id = host->asks->attach_id,
                                     .log_start = Offset{0},
                                     .high_watermark = Offset{answer.high_watermark}};
    if (answer.diverges) {
      answered.diverging = {LeaderEpoch{answer.diverging_epoch}, Offset{answer.diverging_end}};
    }
    host->asks.reset();
    if (Feed(host, answered)) return true;
    Report("ValidHw", "a replica cannot follow its leader without a cut below its high watermark");
    return false;
  });
}

ReplicaTable::Outcome ReplicaTable::Fetch(ReplicaNumber replica, int high_watermark,
                                          uint8_t record) {
  const uint64_t arguments = PackArguments({high_watermark, record});
  return Remember(replica, Kind::kFetch, arguments, [&](Host* host, Outcome*) {
    const replica::LeaderMarks marks{.attach_id = host->core.attach_id(),
                                     .log_start = Offset{0},
                                     .high_watermark = Offset{high_watermark}};
    if (!Feed(host, marks)) return false;
    if (record == 0) return true;
    const Offset end = host->core.log_end();
    const replica::Replicate replicate{.token = 1,
                                       .attach_id = host->core.attach_id(),
                                       .base = end,
                                       .last = end,
                                       .batch_epoch = LeaderEpoch{record >> 4}};
    if (Feed(host, replicate, record & 15)) return true;
    Report("Matching", "an attached follower cannot take its leader's next record");
    return false;
  });
}

ReplicaTable::Outcome ReplicaTable::TakeProgress(ReplicaNumber leader, int from,
                                                 const Progress& progress) {
  const uint64_t arguments = PackArguments(
      {from, progress.node_epoch, progress.epoch, progress.written, progress.flushed});
  return Remember(leader, Kind::kProgress, arguments, [&](Host* host, Outcome*) {
    return Feed(
        host, replica::FollowerProgress{.stream = 1,
                                        .from = {NodeId{from + 1}, NodeEpoch{progress.node_epoch}},
                                        .epoch = LeaderEpoch{progress.epoch},
                                        .written_end = Offset{progress.written},
                                        .flushed_end = Offset{progress.flushed}});
  });
}

ReplicaTable::Outcome ReplicaTable::CheckIsr(ReplicaNumber replica) {
  return Remember(replica, Kind::kCheckIsr, 0,
                  [&](Host* host, Outcome*) { return Feed(host, replica::CheckIsr{}); });
}

ReplicaTable::Outcome ReplicaTable::Refuse(ReplicaNumber replica) {
  return Remember(replica, Kind::kRefuse, 0, [&](Host* host, Outcome*) {
    const replica::IsrProposal proposal = *std::exchange(host->proposal, std::nullopt);
    return Feed(host, replica::IsrAnswered{.epoch = proposal.epoch,
                                           .partition_epoch = proposal.partition_epoch,
                                           .outcome = replica::IsrAnswered::Outcome::kRefused});
  });
}

ReplicaTable::Outcome ReplicaTable::Sync(ReplicaNumber replica) {
  return Remember(replica, Kind::kSync, 0, [&](Host* host, Outcome*) {
    host->synced = LengthOf(host->log);
    return Feed(host, replica::Written{host->core.log_end(), /*synced=*/true, {}});
  });
}

ReplicaTable::Outcome ReplicaTable::GoOffline(ReplicaNumber replica) {
  return Remember(replica, Kind::kGoOffline, 0, [&](Host* host, Outcome*) {
    host->asks.reset();
    host->proposal.reset();
    return Feed(host, replica::GoOffline{});
  });
}

ReplicaTable::Outcome ReplicaTable::Crash(ReplicaNumber replica) {
  const Key key{replica, static_cast<uint8_t>(Kind::kCrash)};
  if (const auto known = outcomes_.find(key); known != outcomes_.end()) return known->second;
  const Host& host = *hosts_[replica];
  replica::EpochCache epochs = host.core.epochs();
  const Offset end{host.synced};
  epochs.TruncateSuffix(end);
  auto restarted = std::make_unique<Host>(
      host.node,
      replica::Stored{.log_end = end, .high_watermark = Offset{0}, .epochs = epochs.entries()},
      rules_);
  restarted->log = Prefix(host.log, host.synced);
  restarted->synced = host.synced;
  const bool same = rules_.bug == PlantedBug::kRestartWithoutIncarnation;
  restarted->node_epoch = host.node_epoch + (same ? 0 : 1);
  const Outcome outcome{.next = Intern(std::move(restarted)), .taken = true};
  outcomes_.emplace(key, outcome);
  return outcome;
}

// ---- What must hold of one replica ----

void ReplicaTable::Check(const Host& host) {
  const int length = LengthOf(host.log);
  for (int at = 1; at < length; ++at) {
    if (RecordAt(host.log, at) >> 4 < RecordAt(host.log, at - 1) >> 4) {
      Report("Epochs", "they fall along a log");
    }
  }
  if (host.core.high_watermark().value() > length) Report("ValidHw", "above the end of the log");
  if (rules_.bug == PlantedBug::kNone) CheckFencing(host);
}

// Acknowledgements of earlier reigns are dropped on their way, as they change nothing; this is why.
void ReplicaTable::CheckFencing(const Host& host) {
  if (host.core.role() != Role::kLeader) return;
  for (int from = 1; from <= kNodes; ++from) {
    if (from == host.node + 1) continue;
    Replica core = host.core;
    Effects effects;
    const replica::FollowerProgress old{.stream = 1,
                                        .from = {NodeId{from}, NodeEpoch{1}},
                                        .epoch = core.epoch() - 1,
                                        .written_end = core.log_end(),
                                        .flushed_end = core.log_end()};
    if (core.Step(old, &effects).ok()) Report("Fencing", "an acknowledgement of another epoch");
  }
}

void ReplicaTable::Report(const char* invariant, std::string what) {
  if (!finding_) finding_ = Finding{invariant, std::move(what)};
}

}  // namespace falaj::simulation::data
