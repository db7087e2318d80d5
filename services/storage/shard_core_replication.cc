// What a shard does for replication: passes inputs from other nodes to the replicas, and what they
// say to the outbox. The decisions are the replicas'.
#include <utility>

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "services/storage/hosted_partition.h"
#include "services/storage/shard_core.h"

namespace falaj::storage {
namespace {

// Asked again, a leader answers the new question only: to ask before it can have answered would
// never end. It has to answer all partitions of the pair of nodes, and syncs meanwhile.
constexpr absl::Duration kAttachPatience = absl::Seconds(10);

}  // namespace

ShardCore::Hosted* ShardCore::FindHosted(const log::PartitionKey& key) const {
  const auto it = hosted_.find(key);
  return it == hosted_.end() ? nullptr : it->second.get();
}

void ShardCore::Feed(Hosted* hosted, const replica::Input& input) {
  IgnoreError(hosted->core.Step(input, &hosted->effects),
              "it came too late: of another epoch, incarnation or attach");
  Gather(hosted);
}

void ShardCore::SendToOthers(Hosted* hosted) {
  if (outbox_ == nullptr) return;
  replica::Effects& effects = hosted->effects;
  const log::PartitionKey& key = hosted->shared->key();
  const Source source{hosted->core.leader(), hosted->lane};
  if (const auto attach = std::exchange(effects.attach, std::nullopt)) {
    hosted->asked.reset();
    if (outbox_->Attach(key, source, *attach)) hosted->asked = clock_->MonotonicNow();
  }
  if (const auto ack = std::exchange(effects.ack, std::nullopt)) {
    outbox_->Acknowledge(key, source, *ack);
  }
  const auto proposal = std::exchange(effects.isr_proposal, std::nullopt);
  // Whose disk has failed is no judge of who is in sync: it would put out all others in the end.
  if (proposal.has_value() && !failed()) outbox_->Propose(key, *proposal);
}

void ShardCore::AttachFollower(const log::PartitionKey& key, replica::AttachFollower attach,
                               const AttachDone& done) {
  Hosted* const hosted = FindHosted(key);
  if (hosted == nullptr) {
    return done(MakeError(Reason::kNotLeader, "the partition is no longer on this node"));
  }
  attach.now = clock_->MonotonicNow();
  const absl::Status accepted = hosted->core.Step(attach, &hosted->effects);
  if (!accepted.ok()) return done(accepted);
  const replica::AttachAnswer answer = hosted->effects.attach_answers.back();
  hosted->effects.attach_answers.clear();
  Gather(hosted);
  done(answer);
}

void ShardCore::Take(ProgressTask task) {
  Hosted* const hosted = FindHosted(task.partition->key());
  if (hosted == nullptr) return;
  task.progress.now = clock_->MonotonicNow();
  Feed(hosted, task.progress);
}

void ShardCore::FollowerLeft(const log::PartitionKey& key, replica::FollowerLeft left) {
  Hosted* const hosted = FindHosted(key);
  left.now = clock_->MonotonicNow();
  if (hosted != nullptr) Feed(hosted, left);
}

void ShardCore::AttachAnswered(const log::PartitionKey& key,
                               const replica::AttachAnswered& answer) {
  Hosted* const hosted = FindHosted(key);
  if (hosted == nullptr) return;
  const absl::Status taken = hosted->core.Step(answer, &hosted->effects);
  if (ReasonOf(taken) == Reason::kCorruptRecord) return GiveUp(hosted, taken);
  if (taken.ok()) hosted->asked.reset();
  if (hosted->effects.truncate_suffix.has_value()) {
    const absl::Status cut = CutSuffix(hosted);
    if (ReasonOf(cut) == Reason::kCorruptRecord) MarkDamaged(hosted);
    if (!cut.ok()) return GiveUp(hosted, cut);
  }
  Gather(hosted);
}

absl::Status ShardCore::CutSuffix(Hosted* hosted) {
  const Offset end = *std::exchange(hosted->effects.truncate_suffix, std::nullopt);
  const log::PartitionKey& key = hosted->shared->key();
  const log::Fields what = {{"topic", hosted->shared->topic()},
                            {"partition", key.partition},
                            {"from_offset", end},
                            {"high_watermark", hosted->core.high_watermark()},
                            {"log_end_offset", hosted->core.log_end()},
                            {"leader_epoch", hosted->core.epoch()}};
  if (end < hosted->core.high_watermark()) {
    log::Warning("cutting committed records, which an unclean election has given up", what);
  } else {
    log::Info("cutting what is not in the leader's log", what);
  }
  FALAJ_RETURN_IF_ERROR(store_->TruncateSuffix(hosted->shared->id(), end));
  tail_cache_->TruncateSuffix(hosted->shared->tail_key(), end);
  FALAJ_ASSIGN_OR_RETURN(const log::StoredPartition stored,
                         store_->OpenPartition(key, hosted->wanted.retention));
  FALAJ_ASSIGN_OR_RETURN(std::vector<record::ProducerRow> producers,
                         store_->LoadProducers(stored.id));
  const replica::Truncated truncated{stored.log_start, stored.log_end, std::move(producers)};
  return hosted->core.Step(truncated, &hosted->effects);
}

// The replica must not go on as it is. It stays on disk, and offline: until the disk has room, or
// else until the next assignment.
void ShardCore::GiveUp(Hosted* hosted, const absl::Status& status) {
  log::Error("a replica cannot follow its leader and is taken offline",
             {{"topic", hosted->shared->topic()},
              {"partition", hosted->shared->key().partition},
              {"error", status}});
  if (ReasonOf(status) == Reason::kDiskFull) unapplied_[hosted->wanted.key] = hosted->wanted;
  Feed(hosted, replica::GoOffline{});
}

void ShardCore::Take(ReplicateTask task) {
  consumed_.emplace_back(task.source, task.bytes);
  Hosted* const hosted = FindHosted(task.key);
  if (hosted == nullptr) return;
  replica::Replica& core = hosted->core;
  // A log that begins anew is a round of its own: the store moves log starts first.
  if (task.marks.log_start > core.log_end()) Commit();
  Feed(hosted, task.marks);
  if (task.marks.log_start > core.written_end()) Commit();
  const int64_t now_ms = clock_->NowMs();
  for (ReplicaBatch& batch : task.batches) {
    const absl::Status taken = core.Step(replica::Replicate{.token = 0,
                                                            .attach_id = task.marks.attach_id,
                                                            .base = batch.base,
                                                            .last = batch.last,
                                                            .batch_epoch = batch.epoch,
                                                            .now_ms = now_ms,
                                                            .producer = batch.producer},
                                         &hosted->effects);
    if (!taken.ok()) {
      if (ReasonOf(taken) != Reason::kCorruptRecord) return;  // Of an attach that is over.
      // Detached now, and watched when the round is over: RetryAssignments() asks again.
      Gather(hosted);
      log::Warning("what a leader sent does not fit", {{"topic", hosted->shared->topic()},
                                                       {"partition", task.key.partition},
                                                       {"error", taken}});
      return;
    }
    for (const replica::Placement& place : std::exchange(hosted->effects.placements, {})) {
      Place(hosted, place, std::move(batch.batch), batch.max_timestamp_ms);
    }
    if (core.settings().fsync) round_sync_ = true;
    Gather(hosted);
  }
}

void ShardCore::MoveTo(const log::PartitionKey& key, const Source& source) {
  Hosted* const hosted = FindHosted(key);
  if (hosted == nullptr || hosted->core.leader() != source.leader) return;
  hosted->lane = source.lane;
  Feed(hosted, replica::Reattach{});
}

void ShardCore::Reattach(const log::PartitionKey& key, const Source& source) {
  Hosted* const hosted = FindHosted(key);
  if (hosted == nullptr || Source{hosted->core.leader(), hosted->lane} != source) return;
  // Also if it believes to be attached: the leader knows better.
  Feed(hosted, replica::Reattach{});
}

void ShardCore::ReattachTo(NodeId leader) {
  for (const auto& [key, hosted] : hosted_) {
    if (hosted->core.leader() == leader) Feed(hosted.get(), replica::Reattach{});
  }
}

void ShardCore::ReattachDetached() {
  const MonotonicTime now = clock_->MonotonicNow();
  for (Hosted* const hosted : WatchedPartitions()) ReattachIfDetached(hosted, now);
}

void ShardCore::ReattachIfDetached(Hosted* hosted, MonotonicTime now) {
  if (hosted->core.role() != replica::Role::kFollower || hosted->core.attached()) return;
  if (hosted->asked.has_value() && now - *hosted->asked < kAttachPatience) return;
  Feed(hosted, replica::Reattach{});
}

void ShardCore::CheckIsrs() {
  if (failed()) return;
  const MonotonicTime now = clock_->MonotonicNow();
  for (Hosted* const hosted : WatchedPartitions()) CheckIsr(hosted, now);
}

void ShardCore::CheckIsr(Hosted* hosted, MonotonicTime now) {
  const replica::Replica& core = hosted->core;
  if (core.role() != replica::Role::kLeader || core.replication_factor() == 1) return;
  const Offset before = core.high_watermark();
  IgnoreError(hosted->core.Step(replica::CheckIsr{now}, &hosted->effects), "never refuses");
  // Mostly there is nothing to do, and then nothing is published either.
  SendToOthers(hosted);
  if (core.high_watermark() != before || !hosted->effects.replies.empty()) Gather(hosted);
}

void ShardCore::IsrAnswered(const log::PartitionKey& key, replica::IsrAnswered answer) {
  Hosted* const hosted = FindHosted(key);
  if (hosted == nullptr) return;
  answer.now = clock_->MonotonicNow();
  Feed(hosted, answer);
}

}  // namespace falaj::storage
