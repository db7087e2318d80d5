#include "services/storage/shard_core.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "libs/base/turn.h"
#include "libs/record/batch_header.h"
#include "libs/record/control_batch.h"
#include "services/storage/hosted_partition.h"

namespace falaj::storage {
namespace {

// What is quick: a producer or two, a record at a time. More of it is better gathered.
constexpr size_t kQuickItemsMax = 32;
constexpr size_t kWokenHereMax = 4;  // The thread has others waiting for it.
constexpr absl::Duration kDiskFullRetry = absl::Seconds(1);
// Who does not follow for so long is out of sync by then, unless the metadata service is away.
constexpr absl::Duration kTruncationMax = absl::Seconds(30);

}  // namespace

ShardCore::ShardCore(const Options& options, const Parts& parts, ShardFront* front)
    : options_(options),
      store_(parts.store),
      tail_cache_(parts.tail_cache),
      metrics_(parts.metrics),
      clock_(parts.clock),
      outbox_(parts.outbox),
      history_(parts.history),
      front_(front) {}

ShardCore::~ShardCore() = default;

void ShardCore::TruncatePrefix(const log::PartitionKey& key, LeaderEpoch epoch, Offset before,
                               const TruncateDone& done) {
  const absl::StatusOr<Offset> moved = Truncate(key, epoch, before);
  if (!moved.ok()) return done(moved);
  const MonotonicTime deadline = clock_->MonotonicNow() + kTruncationMax;
  truncations_.push_back({key, epoch, before, deadline, done});
}

absl::StatusOr<Offset> ShardCore::Truncate(const log::PartitionKey& key, LeaderEpoch epoch,
                                           Offset before) {
  Commit();
  const auto it = hosted_.find(key);
  if (it == hosted_.end()) {
    return MakeError(Reason::kPartitionNotFound, "the partition is no longer on this node");
  }
  Hosted* hosted = it->second.get();
  FALAJ_RETURN_IF_ERROR(
      hosted->core.Step(replica::TruncatePrefix{epoch, before}, &hosted->effects));
  Gather(hosted);
  round_sync_ = true;
  Commit();
  if (hosted->core.log_start() >= before) return hosted->core.log_start();
  return NameFailure(
      MakeError(failed() ? Reason::kStorageFailed : Reason::kDiskFull, "not written"));
}

void ShardCore::Retain(const log::PartitionKey& key, Offset before) {
  Hosted* const hosted = FindHosted(key);
  if (hosted == nullptr) return;
  IgnoreError(hosted->core.Step(replica::Retain{before}, &hosted->effects), "never refuses");
  Gather(hosted);
}

void ShardCore::ExpireProducers() {
  const replica::ExpireProducers expire{.now_ms = clock_->NowMs()};
  for (const auto& [key, hosted] : hosted_) {
    const size_t before = hosted->core.producers().size();
    IgnoreError(hosted->core.Step(expire, &hosted->effects), "never refuses");
    // A partition nobody writes to any more would else keep its rows for ever.
    if (hosted->core.producers().size() != before) Gather(hosted.get());
  }
}

void ShardCore::Checkpoint(bool sync) {
  Commit();
  for (const auto& [key, hosted] : hosted_) {
    if (hosted->core.high_watermark() == hosted->checkpointed) continue;
    hosted->checkpointed = hosted->core.high_watermark();
    round_.high_watermarks.emplace_back(hosted->shared->id(), hosted->checkpointed);
  }
  round_sync_ = sync;
  Commit();
}

void ShardCore::WorkOffHere(std::vector<ShardItem>* items, Woken* woken) {
  woken_here_ = woken;
  WorkOff(items);
  woken_here_ = nullptr;
}

void ShardCore::WorkOff(std::vector<ShardItem>* items) {
  for (ShardItem& item : *items) {
    std::visit([this](auto& one) { Take(std::move(one)); }, item);
    if (round_bytes_ >= options_.round_bytes_max) Commit();
  }
  items->clear();
  Commit();
  if (!truncations_.empty()) AnswerTruncations();
  if (!awaited_.empty()) TellWhatHasComeTrue();
}

bool ShardCore::IsQuick(const std::vector<ShardItem>& items) const {
  if (failed() || items.size() > kQuickItemsMax || !awaited_.empty()) return false;
  int64_t bytes = 0;
  for (const ShardItem& item : items) {
    if (!IsQuick(item, &bytes) || bytes > kQuickBytesMax) return false;
  }
  return true;
}

bool ShardCore::IsQuick(const ShardItem& item, int64_t* bytes) const {
  if (const auto* append = std::get_if<AppendTask>(&item)) {
    *bytes += static_cast<int64_t>(append->batch.size());
    const Hosted* const hosted = FindHosted(append->partition->key());
    return hosted == nullptr || !hosted->core.settings().fsync;
  }
  if (const auto* replicate = std::get_if<ReplicateTask>(&item)) {
    *bytes += replicate->bytes;
    const Hosted* const hosted = FindHosted(replicate->key);
    // A log that begins anew is synced whatever the topic asks for.
    return hosted == nullptr || (!hosted->core.settings().fsync &&
                                 replicate->marks.log_start <= hosted->core.written_end());
  }
  return std::holds_alternative<ProgressTask>(item);  // An acknowledgement: nothing is written.
}

void ShardCore::End() {
  for (const Truncation& one : truncations_) {
    one.done(MakeError(Reason::kShuttingDown, "the storage node is stopping"));
  }
}

void ShardCore::Take(PartitionCommand command) {
  const Hosted* const hosted = FindHosted(command.key);
  if (hosted != nullptr && hosted->core.has_unwritten()) Commit();
  command.command(this);
}

void ShardCore::Take(ShardCommand command) {
  // It must not see batches that are placed but may still fail to be written.
  if (!round_.batches.empty()) Commit();
  command(this);
}

void ShardCore::Take(AppendTask task) {
  front_->queued_bytes.fetch_sub(static_cast<int64_t>(task.batch.size()));
  if (task.sink->Abandoned()) {
    return Refuse(task, MakeError(Reason::kCancelled, "the stream has ended"));
  }
  if (task.deadline.ns != 0 && clock_->MonotonicNow() >= task.deadline) {
    return Refuse(task, MakeError(Reason::kTimedOut,
                                  "the batch waited longer than its timeout and was dropped; "
                                  "nothing was appended",
                                  {{"appended", "false"}}));
  }
  if (failed()) return Refuse(task, NameFailure(absl::InternalError("")));
  if (round_begins_epochs_) Commit();  // Appends come after the start of their epoch.
  const auto it = hosted_.find(task.partition->key());
  if (it == hosted_.end()) {
    return Refuse(task,
                  MakeError(Reason::kPartitionNotFound, "the partition is no longer on this node"));
  }
  Hosted* hosted = it->second.get();
  const int64_t now_ms = clock_->NowMs();
  const uint64_t token = next_token_++;
  const absl::Status accepted = hosted->core.Step(replica::Append{.token = token,
                                                                  .epoch = task.epoch,
                                                                  .acks = task.acks,
                                                                  .now_ms = now_ms,
                                                                  .batch = task.info},
                                                  &hosted->effects);
  if (!accepted.ok()) return Refuse(task, accepted);
  held_.emplace(token, HeldAppend{.sink = std::move(task.sink),
                                  .partition = task.partition,
                                  .request_id = task.request_id,
                                  .size_bytes = static_cast<int64_t>(task.batch.size()),
                                  .append_time_ms = now_ms,
                                  .received = task.received,
                                  .deadline = task.deadline,
                                  .acks = task.acks});
  Bytes batch = std::move(task.batch);
  int64_t max_timestamp_ms = task.info.max_timestamp_ms;
  if (hosted->core.settings().append_time) {
    batch = record::RewriteTimestamps(batch, now_ms);
    max_timestamp_ms = now_ms;
  }
  for (const replica::Placement& place : std::exchange(hosted->effects.placements, {})) {
    Place(hosted, place, record::StampBatch(batch, place.base, place.epoch), max_timestamp_ms);
  }
  if (hosted->core.settings().fsync) round_sync_ = true;
  Gather(hosted);
}

void ShardCore::Place(Hosted* hosted, const replica::Placement& place, Bytes batch,
                      int64_t max_timestamp_ms) {
  round_bytes_ += static_cast<int64_t>(batch.size());
  round_.batches.push_back({.partition = hosted->shared->id(),
                            .base_offset = place.base,
                            .last_offset = place.last,
                            .max_timestamp_ms = max_timestamp_ms,
                            .batch = std::move(batch)});
}

void ShardCore::Gather(Hosted* hosted) {
  replica::Effects& effects = hosted->effects;
  for (const replica::Placement& place : std::exchange(effects.placements, {})) {
    // Batches were placed as they came; what is left is the replica's own.
    const int64_t now_ms = clock_->NowMs();
    Place(hosted, place,
          record::MakeLeaderChangeBatch(place.base, place.epoch, options_.node, now_ms), now_ms);
  }
  const LocalPartitionId id = hosted->shared->id();
  for (const replica::EpochEntry& entry : effects.epochs) {
    round_.epochs.push_back({id, {entry.epoch, entry.start}});
    round_begins_epochs_ = true;
    // As durable as the records are: a sync for a topic that asks for none would have to take along
    // all that such topics have written since the last, and everybody would wait.
    if (hosted->core.settings().fsync) round_sync_ = true;
  }
  effects.epochs.clear();
  if (effects.log_start.has_value()) {
    round_.log_starts.emplace_back(id, *std::exchange(effects.log_start, std::nullopt));
    // A log that begins anew elsewhere: what it holds, nothing, is to be acknowledged as synced.
    if (hosted->core.has_unwritten()) round_sync_ = true;
  }
  for (const replica::Reply& reply : std::exchange(effects.replies, {})) Answer(reply);
  SendToOthers(hosted);
  if (hosted->touched) return;
  hosted->touched = true;
  touched_.push_back(hosted);
}

void ShardCore::Commit() {
  absl::Status committed;
  for (Hosted* hosted : touched_) GatherProducers(hosted);
  const bool synced = round_sync_;
  const MonotonicTime start = clock_->MonotonicNow();
  if (!round_.empty()) {
    committed = WriteRound(synced, start);
    const absl::Duration took = clock_->MonotonicNow() - start;
    metrics_->write_seconds()->Observe(took);
    if (synced) metrics_->sync_seconds()->Observe(took);
    if (!committed.ok()) {
      // That the disk is full the store has said, once; here it would be once for each batch.
      if (ReasonOf(committed) != Reason::kDiskFull) {
        log::Error("a write has failed", {{"error", committed}});
        front_->failed.store(true);
      }
      committed = NameFailure(committed);
    }
  }
  {
    Turn turn;  // Followers get what is new of all partitions at its end.
    for (Hosted* hosted : touched_) Finish(hosted, committed, synced && !round_.empty());
  }
  touched_.clear();
  for (const auto& [source, bytes] : std::exchange(consumed_, {})) outbox_->Consumed(source, bytes);
  if (outbox_ != nullptr) outbox_->Flush();
  round_ = log::Round();
  round_bytes_ = 0;
  round_sync_ = round_begins_epochs_ = round_written_ = false;
  FlushSinks();
}

absl::Status ShardCore::WriteRound(bool sync, MonotonicTime start) {
  const bool in_steps =
      sync && std::any_of(touched_.begin(), touched_.end(), [](const Hosted* hosted) {
        return hosted->core.role() == replica::Role::kLeader &&
               hosted->core.replication_factor() > 1 && hosted->core.has_unwritten();
      });
  if (in_steps) {
    return store_->CommitInSteps(round_, [this, start] {
      round_written_ = true;
      ShowWritten(start);
    });
  }
  FALAJ_RETURN_IF_ERROR(store_->Commit(round_, sync));
  FillTailCache(start);
  return absl::OkStatus();
}

void ShardCore::FillTailCache(MonotonicTime start) {
  for (const log::BatchWrite& write : round_.batches) {
    tail_cache_->Insert({options_.index, write.partition},
                        {write.base_offset, write.last_offset, start, write.batch});
  }
}

void ShardCore::ShowWritten(MonotonicTime start) {
  FillTailCache(start);
  Turn turn;  // Followers get what is new of all partitions at its end.
  for (Hosted* hosted : touched_) {
    if (hosted->core.role() != replica::Role::kLeader) continue;  // Nobody asks a follower.
    IgnoreError(hosted->core.Step(replica::Written{hosted->core.log_end(), /*synced=*/false,
                                                   clock_->MonotonicNow()},
                                  &hosted->effects),
                "never refuses");
    Publish(hosted);
  }
}

// Once for each partition of a round: a row says what it says after all batches of its producer.
void ShardCore::GatherProducers(Hosted* hosted) {
  const LocalPartitionId id = hosted->shared->id();
  for (record::ProducerRow& row : hosted->core.TakeProducerRows()) {
    round_.producers.emplace_back(id, std::move(row));
  }
}

void ShardCore::Finish(Hosted* hosted, const absl::Status& committed, bool synced) {
  hosted->touched = false;
  replica::Input outcome = replica::WriteFailed{committed};
  if (committed.ok()) {
    outcome = replica::Written{hosted->core.log_end(), synced, clock_->MonotonicNow()};
    if (synced) hosted->unsynced = false;
  } else if (round_written_ && failed()) {
    outcome = replica::GoOffline{};  // Others may have it by now: it cannot be taken back.
  } else if (round_written_) {
    // It is in the log, and counts as held when RetryAssignments() has had it synced.
    outcome = replica::Written{hosted->core.log_end(), /*synced=*/false, clock_->MonotonicNow()};
    hosted->unsynced = true;
  }
  IgnoreError(hosted->core.Step(outcome, &hosted->effects), "never refuses");
  if (!committed.ok() && hosted->core.role() == replica::Role::kOffline) {
    unapplied_[hosted->wanted.key] = hosted->wanted;
  }
  Publish(hosted);  // Before the answers: whoever is told may read at once.
  for (const replica::Reply& reply : std::exchange(hosted->effects.replies, {})) Answer(reply);
  SendToOthers(hosted);
  hosted->effects = replica::Effects();
  Watch(hosted);
}

void ShardCore::Watch(Hosted* hosted) {
  if (hosted->watched) return;
  hosted->watched = hosted->unsynced || hosted->damaged || !hosted->core.IsSettled();
  if (hosted->watched) watched_.insert(hosted->shared->key());
}

std::vector<ShardCore::Hosted*> ShardCore::WatchedPartitions() {
  std::vector<Hosted*> watched;
  for (const log::PartitionKey& key : std::exchange(watched_, {})) {
    Hosted* const hosted = FindHosted(key);
    if (hosted == nullptr) continue;
    hosted->watched = false;
    Watch(hosted);
    if (hosted->watched) watched.push_back(hosted);
  }
  return watched;
}

absl::Status ShardCore::NameFailure(const absl::Status& status) const {
  const ErrorMetadata node = {{"node", absl::StrCat(options_.node.value())}};
  if (ReasonOf(status) == Reason::kDiskFull) {
    return WithRetryAfter(
        MakeError(Reason::kDiskFull, absl::StrCat("storage node ", options_.node, " has no room"),
                  node),
        kDiskFullRetry);
  }
  // The store stays shut until it is reopened: whatever was not synced may be lost (a failed sync
  // is not worth repeating, the kernel has dropped the pages).
  return MakeError(Reason::kStorageFailed,
                   absl::StrCat("storage node ", options_.node, " cannot write to its disk"), node);
}

void ShardCore::Publish(Hosted* hosted) {
  const replica::Replica& core = hosted->core;
  const Offset log_start = core.log_start();
  if (log_start > hosted->shared->state().log_start) {
    tail_cache_->TruncatePrefix(hosted->shared->tail_key(), log_start);
  }
  Publish(hosted, {.gone = false,
                   .readable = core.readable(),
                   .serving = core.serving(),
                   .leads = core.role() == replica::Role::kLeader,
                   .leader = core.leader(),
                   .epoch = core.epoch(),
                   .log_start = log_start,
                   .high_watermark = core.high_watermark(),
                   .written_end = core.written_end(),
                   .log_end = core.log_end(),
                   .isr = {core.isr().begin(), core.isr().end()},
                   .in_sync_replicas = static_cast<int32_t>(core.isr().size()),
                   .required_in_sync = core.required_in_sync(),
                   .replicas = core.replication_factor(),
                   .waiting = core.waiting(),
                   .replica_lags = core.follower_lags(),
                   .settings = core.settings()});
}

void ShardCore::Publish(Hosted* hosted, const PartitionState& state) {
  for (std::shared_ptr<Partition::Waiter>& waiter :
       hosted->shared->Publish(state, hosted->core.epochs())) {
    if (woken_here_ != nullptr && woken_here_->size() < kWokenHereMax) {
      woken_here_->push_back(std::move(waiter));
    } else {
      waiter->Wake(GoOn::kElsewhere);
    }
  }
}

}  // namespace falaj::storage
