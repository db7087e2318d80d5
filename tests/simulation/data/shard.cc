#include "tests/simulation/data/shard.h"

#include <optional>
#include <utility>

#include "libs/base/status.h"
#include "tests/simulation/data/hosted_replica.h"
#include "tests/simulation/data/invariants.h"
#include "tests/simulation/data/replication.h"
#include "tests/simulation/data/storage_node.h"

namespace falaj::simulation::data {

Shard::Shard(const Parts& parts, uint64_t seed)
    : world_(parts.world),
      node_(parts.node),
      store_(parts.store),
      outbox_(parts.outbox),
      random_(seed) {}

Shard::~Shard() = default;

void Shard::Put(Item item) {
  mailbox_.push_back(std::move(item));
  if (!busy_) Turn();
}

void Shard::PutCommand(std::function<void()> command) {
  Put([this, command = std::move(command)] {
    // It must not see batches that are placed but may still fail to be written.
    if (!round_.batches.empty()) return false;
    command();
    return true;
  });
}

void Shard::Turn() {
  while (!mailbox_.empty()) {
    const Item item = std::move(mailbox_.front());
    mailbox_.pop_front();
    busy_ = true;  // What it sets going comes behind it.
    const bool done = item();
    busy_ = false;
    if (!done) {
      mailbox_.push_front(item);
      break;
    }
    // A round of one, or of all that is there: whatever the moment makes of it.
    if (random_.Below(4) == 0) break;
  }
  Commit();
}

void Shard::Commit() {
  for (Hosted* const hosted : touched_) {
    for (const record::ProducerRow& row : hosted->core.TakeProducerRows()) {
      round_.producers.emplace_back(hosted->partition, row);
    }
  }
  const bool empty = round_.empty();
  const bool synced = round_sync_ && !empty;
  absl::Status committed;
  if (!empty) {
    committed = store_->Commit(round_);
    if (committed.ok()) {
      world_->invariants->OnRound(node_->id(), round_);
    } else {
      world_->findings->Reach(Mark::kDiskFull);
    }
    round_ = Round();
  }
  round_sync_ = round_begins_epochs_ = false;
  std::vector<Hosted*> touched = std::exchange(touched_, {});
  for (const auto& [leader, batches] : std::exchange(consumed_, {})) {
    outbox_->Consumed(leader, batches);
  }
  Outcome outcome{.committed = committed, .synced = synced, .written = !empty && committed.ok()};
  if (empty) {
    FinishRound(std::move(touched), outcome);
    if (!mailbox_.empty() && !busy_) {
      busy_ = true;  // A turn of its own, so that a long mailbox is no deep recursion.
      node_->After(1, EventKind::kTimer, [this] {
        busy_ = false;
        Turn();
      });
    }
    return;
  }
  busy_ = true;
  if (world_->has_bug(replica::PlantedBug::kFollowerAcksBeforeFsync)) {
    std::vector<Hosted*> leaders;
    std::vector<Hosted*> followers;
    for (Hosted* const hosted : touched) {
      (hosted->core.role() == replica::Role::kLeader ? leaders : followers).push_back(hosted);
    }
    FinishRound(std::move(followers), outcome);
    touched = std::move(leaders);
  }
  if (synced && committed.ok()) ShowWritten(touched);
  const DiskWeather& disk = node_->disk_weather();
  const SimTime delay = random_.Between(10 * kMicrosecond, synced ? disk.sync_max : disk.write_max);
  node_->After(delay, EventKind::kDisk, [this, touched = std::move(touched), outcome]() mutable {
    if (outcome.synced && outcome.written) outcome.committed = store_->TrySync();
    FinishRound(touched, outcome);
    busy_ = false;
    Turn();
  });
}

// Followers may have what is written before it is synced here.
void Shard::ShowWritten(const std::vector<Hosted*>& touched) {
  for (Hosted* const hosted : touched) {
    replica::Replica& core = hosted->core;
    if (core.role() != replica::Role::kLeader) continue;
    IgnoreError(
        core.Step(replica::Written{core.log_end(), /*synced=*/false, Now()}, &hosted->effects),
        "never refuses");
    world_->invariants->OnReplica(node_->id(), hosted->partition);
    Publish(hosted);
  }
}

void Shard::FinishRound(std::vector<Hosted*> touched, const Outcome& outcome) {
  const bool was_busy = std::exchange(busy_, true);
  for (Hosted* const hosted : touched) Finish(hosted, outcome);
  outbox_->Flush();
  busy_ = was_busy;
}

void Shard::Finish(Hosted* hosted, const Outcome& outcome) {
  hosted->touched = false;
  replica::Replica& core = hosted->core;
  if (outcome.committed.ok() || outcome.written) {
    const bool synced = outcome.committed.ok() && outcome.synced;
    IgnoreError(core.Step(replica::Written{core.log_end(), synced, Now()}, &hosted->effects),
                "never refuses");
    if (!outcome.committed.ok()) {
      world_->findings->Reach(Mark::kSyncFailed);
      hosted->unsynced = true;  // It counts as held when Retry() has had it synced.
    } else if (synced) {
      hosted->unsynced = false;
    }
  } else {
    IgnoreError(core.Step(replica::WriteFailed{outcome.committed}, &hosted->effects),
                "never refuses");
    if (core.role() == replica::Role::kOffline) unapplied_[hosted->partition] = hosted->wanted;
  }
  world_->invariants->OnReplica(node_->id(), hosted->partition);
  Publish(hosted);
  AnswerReplies(hosted);
  SendToOthers(hosted);
  hosted->effects = replica::Effects();
}

void Shard::Publish(Hosted* hosted) {
  const replica::Replica& core = hosted->core;
  hosted->published = {.readable = core.readable(),
                       .serving = core.serving(),
                       .leads = core.role() == replica::Role::kLeader,
                       .epoch = core.epoch(),
                       .log_start = core.log_start(),
                       .high_watermark = core.high_watermark(),
                       .written_end = core.written_end(),
                       .in_sync_replicas = static_cast<int32_t>(core.isr().size()),
                       .required_in_sync = core.required_in_sync()};
  outbox_->OnPublished(hosted->partition);
}

void Shard::AnswerReplies(Hosted* hosted) {
  for (const replica::Reply& reply : std::exchange(hosted->effects.replies, {})) {
    const auto it = held_.find(reply.token);
    if (it == held_.end()) continue;
    NoteReply(*hosted, reply);
    const ProduceAnswer answer = std::move(it->second);
    held_.erase(it);
    answer(reply.status, reply.outcome);
  }
}

void Shard::NoteReply(const Hosted& hosted, const replica::Reply& reply) {
  if (reply.status.ok() && reply.outcome.duplicate) world_->findings->Reach(Mark::kDuplicate);
  const bool leads = hosted.core.role() == replica::Role::kLeader;
  if (ReasonOf(reply.status) == Reason::kAppendUncertain) {
    world_->findings->Reach(Mark::kUncertain);
  } else if (ReasonOf(reply.status) == Reason::kNotLeader) {
    world_->findings->Reach(Mark::kRefusedLate);
  } else if (reply.status.ok() && !leads) {
    world_->findings->Reach(Mark::kAnsweredByFollower);
  } else if (reply.outcome.duplicate && leads) {
    const StoredLog* const log = store_->Find(hosted.partition, Store::View::kWritten);
    const Batch* const first = log == nullptr ? nullptr : log->Find(reply.outcome.base);
    if (first != nullptr && first->epoch != hosted.core.epoch()) {
      world_->findings->Reach(Mark::kDuplicateElsewhere);
    }
  }
}

void Shard::Gather(Hosted* hosted) {
  world_->invariants->OnReplica(node_->id(), hosted->partition);
  replica::Effects& effects = hosted->effects;
  for (const replica::Placement& place : std::exchange(effects.placements, {})) {
    // Batches were placed as they came; what is left is the replica's own.
    Batch batch;
    batch.leader_change = true;
    Place(hosted, batch, place);
  }
  for (const replica::EpochEntry& entry : effects.epochs) {
    round_.epochs.emplace_back(hosted->partition, entry);
    round_begins_epochs_ = true;
    if (hosted->core.settings().fsync) round_sync_ = true;
  }
  effects.epochs.clear();
  if (const auto start = std::exchange(effects.log_start, std::nullopt)) {
    round_.log_starts.emplace_back(hosted->partition, *start);
    if (hosted->core.has_unwritten()) round_sync_ = true;
  }
  AnswerReplies(hosted);
  SendToOthers(hosted);
  if (std::exchange(hosted->touched, true)) return;
  touched_.push_back(hosted);
}

void Shard::Place(Hosted* hosted, Batch batch, const replica::Placement& place) {
  batch.base = place.base;
  batch.last = place.last;
  batch.epoch = place.epoch;
  if (hosted->core.settings().fsync) round_sync_ = true;
  round_.batches.emplace_back(hosted->partition, batch);
}

void Shard::SendToOthers(Hosted* hosted) {
  replica::Effects& effects = hosted->effects;
  const NodeId leader = hosted->core.leader();
  if (const auto attach = std::exchange(effects.attach, std::nullopt)) {
    if (world_->trace->on()) {
      (*world_->trace)("node ", node_->id(), " partition ", hosted->partition, " asks ", leader,
                       " for attach ", attach->attach_id, " in epoch ", attach->epoch,
                       ": last epoch ", attach->last_epoch, " end ", attach->log_end);
    }
    hosted->asked.reset();
    if (outbox_->Attach(hosted->partition, leader, *attach)) hosted->asked = world_->now();
  }
  if (const auto ack = std::exchange(effects.ack, std::nullopt)) {
    outbox_->Acknowledge(hosted->partition, leader, *ack);
  }
  if (const auto proposal = std::exchange(effects.isr_proposal, std::nullopt)) {
    outbox_->Propose(hosted->partition, *proposal);
  }
}

// ---- Producers ----

void Shard::Append(Produce produce, ProduceAnswer answer) {
  if (closed_) return answer(MakeError(Reason::kShuttingDown, "stopping"), {});
  if (const absl::Status may = CheckAppend(produce); !may.ok()) return answer(may, {});
  Put([this, produce = std::move(produce), answer = std::move(answer)] {
    return Take(produce, answer);
  });
}

// Partition::CheckAppend() of the real one.
absl::Status Shard::CheckAppend(const Produce& produce) const {
  const Published now = state(produce.partition);
  if (now.serving && now.epoch == produce.epoch) return absl::OkStatus();
  if (now.readable && now.epoch == produce.epoch && produce.acks == replica::Acks::kAll) {
    world_->findings->Reach(Mark::kNotEnoughToBegin);
    return replica::NotEnoughReplicas(now.in_sync_replicas, now.required_in_sync);
  }
  return MakeError(Reason::kNotLeader, "not the leader at this epoch");
}

bool Shard::Take(const Produce& produce, const ProduceAnswer& answer) {
  if (round_begins_epochs_) return false;  // Appends come after the start of their epoch.
  Hosted* const hosted = FindHosted(produce.partition);
  if (hosted == nullptr) {
    answer(MakeError(Reason::kPartitionNotFound, "not on this node"), {});
    return true;
  }
  const uint64_t token = world_->NextId();
  const absl::Status accepted =
      hosted->core.Step(replica::Append{.token = token,
                                        .epoch = produce.epoch,
                                        .acks = produce.acks,
                                        .now_ms = world_->now() / kMillisecond,
                                        .batch = {.record_count = produce.batch.record_count,
                                                  .size_bytes = 10,
                                                  .max_timestamp_ms = -1,
                                                  .producer_id = produce.batch.producer,
                                                  .producer_epoch = produce.batch.producer_epoch,
                                                  .base_sequence = produce.batch.sequence}},
                        &hosted->effects);
  if (!accepted.ok()) {
    if (ReasonOf(accepted) == Reason::kNotEnoughReplicas) {
      world_->findings->Reach(Mark::kNotEnoughReplicas);
    }
    if (ReasonOf(accepted) == Reason::kOutOfOrderSequence) {
      world_->findings->Reach(Mark::kOutOfOrder);
    }
    answer(accepted, {});
    return true;
  }
  held_.emplace(token, answer);
  for (const replica::Placement& place : std::exchange(hosted->effects.placements, {})) {
    Place(hosted, produce.batch, place);
  }
  Gather(hosted);
  return true;
}

void Shard::TruncatePrefix(PartitionNumber partition, Offset before) {
  PutCommand([this, partition, before] {
    Hosted* const hosted = FindHosted(partition);
    if (hosted == nullptr) return;
    const absl::Status moved =
        hosted->core.Step(replica::TruncatePrefix{hosted->core.epoch(), before}, &hosted->effects);
    if (!moved.ok()) return;
    if (hosted->effects.log_start.has_value()) world_->findings->Reach(Mark::kLogTrimmed);
    Gather(hosted);
    round_sync_ = true;
  });
}

void Shard::Checkpoint() {
  PutCommand([this] {
    for (const auto& [partition, hosted] : hosted_) {
      if (hosted->core.high_watermark() == hosted->checkpointed) continue;
      hosted->checkpointed = hosted->core.high_watermark();
      round_.high_watermarks.emplace_back(partition, hosted->checkpointed);
    }
  });
}

void Shard::Stop(std::function<void()> done) {
  closed_ = true;
  PutCommand([this] {
    for (const auto& [partition, hosted] : hosted_) {
      round_.high_watermarks.emplace_back(partition, hosted->core.high_watermark());
    }
    round_sync_ = true;
  });
  Put([this, done = std::move(done)] {
    if (!round_.empty()) return false;
    done();
    return true;
  });
}

const replica::Replica* Shard::Find(PartitionNumber partition) const {
  const auto it = hosted_.find(partition);
  return it == hosted_.end() ? nullptr : &it->second->core;
}

const replica::ProducerStates* Shard::Producers(PartitionNumber partition) const {
  const auto it = hosted_.find(partition);
  return it == hosted_.end() ? nullptr : &it->second->core.producers();
}

LeaderEpoch Shard::wanted_epoch(PartitionNumber partition) const {
  const auto it = hosted_.find(partition);
  return it == hosted_.end() ? LeaderEpoch{-1} : it->second->wanted.epoch;
}

Published Shard::state(PartitionNumber partition) const {
  const auto it = hosted_.find(partition);
  return it == hosted_.end() ? Published() : it->second->published;
}

std::vector<PartitionNumber> Shard::List() const {
  std::vector<PartitionNumber> all;
  all.reserve(hosted_.size());
  for (const auto& [partition, hosted] : hosted_) all.push_back(partition);
  return all;
}

Shard::Hosted* Shard::FindHosted(PartitionNumber partition) {
  const auto it = hosted_.find(partition);
  return it == hosted_.end() ? nullptr : it->second.get();
}

}  // namespace falaj::simulation::data
