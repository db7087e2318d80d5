#include "services/storage/store_shard.h"

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

constexpr absl::Duration kDiskFullRetry = absl::Seconds(1);
// Who does not follow for so long is out of sync by then, unless the metadata service is away.
constexpr absl::Duration kTruncationMax = absl::Seconds(30);

replica::Stored ToStored(const log::StoredPartition& stored,
                         std::vector<record::ProducerRow> producers) {
  return {.log_start = stored.log_start,
          .log_end = stored.log_end,
          .high_watermark = stored.high_watermark,
          .epochs = stored.epochs,
          .producers = std::move(producers)};
}

bool SameRetention(const log::RetentionPolicy& a, const log::RetentionPolicy& b) {
  return a.age == b.age && a.size_bytes == b.size_bytes;
}

}  // namespace

StoreShard::StoreShard(const Options& options, const Parts& parts)
    : options_(options),
      store_(parts.store),
      tail_cache_(parts.tail_cache),
      metrics_(parts.metrics),
      clock_(parts.clock),
      outbox_(parts.outbox),
      history_(parts.history),
      thread_([this] { Run(); }) {}

StoreShard::~StoreShard() {
  {
    MutexLock lock(&mu_);
    closed_ = stopping_ = abandoned_ = true;
  }
  filled_->NotifyAll();
  if (thread_.joinable()) thread_.join();
}

absl::Status StoreShard::Append(AppendTask task) {
  const int64_t bytes = static_cast<int64_t>(task.batch.size());
  if (queued_bytes_.load() + bytes > options_.mailbox_bytes_max) {
    return WithRetryAfter(
        MakeError(Reason::kQuotaExceeded, "the storage node has too many batches waiting"),
        absl::Milliseconds(100));
  }
  {
    MutexLock lock(&mu_);
    if (closed_) return MakeError(Reason::kShuttingDown, "the storage node is stopping");
    queued_bytes_.fetch_add(bytes);
    mailbox_.emplace_back(std::move(task));
  }
  Wake();
  return absl::OkStatus();
}

bool StoreShard::Put(Item item) {
  {
    MutexLock lock(&mu_);
    if (stopping_) return false;
    mailbox_.push_back(std::move(item));
  }
  Wake();
  return true;
}

void StoreShard::Wake() {
  Turn::AtEnd(filled_.get(), [filled = filled_] { filled->NotifyOne(); });
}

bool StoreShard::Post(Command command) { return Put(std::move(command)); }

bool StoreShard::PostFor(const log::PartitionKey& key, Command command) {
  return Put(PartitionCommand{key, std::move(command)});
}

void StoreShard::Assign(Assignment assignment) {
  const log::PartitionKey key = assignment.key;
  PostFor(key, [this, assignment = std::move(assignment)] { Apply(assignment); });
}

void StoreShard::RetryAssignments() {
  Post([this] {
    // Else nothing can be written any more, the beginning of a reign neither.
    const bool writable = !failed();
    if (writable) {
      auto again = std::exchange(unapplied_, {});
      for (const auto& [key, assignment] : again) Apply(assignment);
    }
    const MonotonicTime now = clock_->MonotonicNow();
    for (Hosted* const hosted : WatchedPartitions()) {
      if (writable && hosted->unsynced) SyncWritten(hosted);
      if (writable && hosted->damaged) ReportDamageAgain(hosted, now);
      ReattachIfDetached(hosted, now);
    }
  });
}

void StoreShard::TruncatePrefix(std::shared_ptr<Partition> partition, LeaderEpoch epoch,
                                Offset before, TruncateDone done) {
  const bool posted = Post([this, partition = std::move(partition), epoch, before, done] {
    const absl::StatusOr<Offset> moved = Truncate(partition->key(), epoch, before);
    if (!moved.ok()) return done(moved);
    const MonotonicTime deadline = clock_->MonotonicNow() + kTruncationMax;
    truncations_.push_back({partition->key(), epoch, before, deadline, done});
  });
  if (!posted) done(MakeError(Reason::kShuttingDown, "the storage node is stopping"));
}

absl::StatusOr<Offset> StoreShard::Truncate(const log::PartitionKey& key, LeaderEpoch epoch,
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

void StoreShard::Retain(std::shared_ptr<Partition> partition, Offset before) {
  Post([this, partition = std::move(partition), before] {
    const auto it = hosted_.find(partition->key());
    if (it == hosted_.end()) return;
    Hosted* hosted = it->second.get();
    IgnoreError(hosted->core.Step(replica::Retain{before}, &hosted->effects), "never refuses");
    Gather(hosted);
  });
}

void StoreShard::ExpireProducers() {
  Post([this] {
    const replica::ExpireProducers expire{.now_ms = clock_->NowMs()};
    for (const auto& [key, hosted] : hosted_) {
      const size_t before = hosted->core.producers().size();
      IgnoreError(hosted->core.Step(expire, &hosted->effects), "never refuses");
      // A partition nobody writes to any more would else keep its rows for ever.
      if (hosted->core.producers().size() != before) Gather(hosted.get());
    }
  });
}

void StoreShard::CheckpointHighWatermarks() {
  Post([this] { Checkpoint(false); });
}

void StoreShard::Checkpoint(bool sync) {
  Commit();
  for (const auto& [key, hosted] : hosted_) {
    if (hosted->core.high_watermark() == hosted->checkpointed) continue;
    hosted->checkpointed = hosted->core.high_watermark();
    round_.high_watermarks.emplace_back(hosted->shared->id(), hosted->checkpointed);
  }
  round_sync_ = sync;
  Commit();
}

std::shared_ptr<Partition> StoreShard::Find(const log::PartitionKey& key) const {
  MutexLock lock(&mu_);
  const auto it = shared_.find(key);
  return it == shared_.end() ? nullptr : it->second;
}

std::vector<std::shared_ptr<Partition>> StoreShard::List() const {
  MutexLock lock(&mu_);
  std::vector<std::shared_ptr<Partition>> all;
  all.reserve(shared_.size());
  for (const auto& [key, partition] : shared_) all.push_back(partition);
  return all;
}

void StoreShard::Stop() {
  {
    MutexLock lock(&mu_);
    if (closed_) return;
    closed_ = true;
  }
  Post([this] {
    Checkpoint(true);
    MutexLock lock(&mu_);
    stopping_ = true;
  });
  filled_->NotifyOne();  // It is waited for here, not at the end of a turn.
  thread_.join();
}

void StoreShard::Run() {
  std::vector<Item> items;
  while (TakeItems(&items)) {
    for (Item& item : items) {
      std::visit([this](auto& one) { Take(std::move(one)); }, item);
      if (round_bytes_ >= options_.round_bytes_max) Commit();
    }
    items.clear();
    Commit();
    if (!truncations_.empty()) AnswerTruncations();
    if (!awaited_.empty()) TellWhatHasComeTrue();
  }
  for (const Truncation& one : truncations_) {
    one.done(MakeError(Reason::kShuttingDown, "the storage node is stopping"));
  }
}

bool StoreShard::TakeItems(std::vector<Item>* items) {
  MutexLock lock(&mu_);
  while (mailbox_.empty() && lagging_.empty() && !stopping_) filled_->Wait(&mu_);
  if (abandoned_ || (mailbox_.empty() && stopping_)) return false;
  items->swap(mailbox_);
  TakeLagging(items);
  return true;
}

void StoreShard::Take(PartitionCommand command) {
  const Hosted* const hosted = FindHosted(command.key);
  if (hosted != nullptr && hosted->core.has_unwritten()) Commit();
  command.command();
}

void StoreShard::Take(Command command) {
  // It must not see batches that are placed but may still fail to be written.
  if (!round_.batches.empty()) Commit();
  command();
}

void StoreShard::Take(AppendTask task) {
  queued_bytes_.fetch_sub(static_cast<int64_t>(task.batch.size()));
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

void StoreShard::Apply(const Assignment& assignment) {
  if (IsQuarantined(assignment.key)) {
    return log::Error("a partition is in quarantine here and is not served until it is released",
                      {{"topic", assignment.topic}, {"partition", assignment.key.partition}});
  }
  absl::StatusOr<Hosted*> hosted = Host(assignment);
  absl::Status status = hosted.status();
  // A new reign comes before new settings, which would else be applied to the old one: a lower
  // minimum of in-sync replicas, say, would commit what only this deposed leader holds. In one
  // reign the settings come first: they judge the ISR that comes with them.
  const bool new_reign = status.ok() && assignment.epoch > (*hosted)->core.epoch();
  if (new_reign && MayBeginAnew(**hosted, assignment)) {
    hosted = BeginAnew(*hosted, assignment);
    status = hosted.status();
  }
  if (new_reign && status.ok()) Lead(*hosted, assignment);
  if (status.ok()) status = ChangeSettings(*hosted, assignment);
  if (!status.ok()) {
    log::Warning(
        "cannot open a partition; will try again",
        {{"topic", assignment.topic}, {"partition", assignment.key.partition}, {"error", status}});
    unapplied_[assignment.key] = assignment;
    if (hosted.ok()) Gather(*hosted);
    return;
  }
  unapplied_.erase(assignment.key);
  if (!new_reign) Lead(*hosted, assignment);
  Gather(*hosted);
  if (new_reign && (*hosted)->damaged) ReportDamage(*hosted);
}

// Makes the replica the leader or a follower, as assigned.
void StoreShard::Lead(Hosted* hosted, const Assignment& assignment) {
  absl::Status status;
  if (assignment.leader == options_.node) {
    // Also in the epoch it led before: who is in sync with a log that cannot grow matters no more.
    if (failed() && hosted->core.role() != replica::Role::kLeader) return;
    status = hosted->core.Step(replica::BecomeLeader{.epoch = assignment.epoch,
                                                     .partition_epoch = assignment.partition_epoch,
                                                     .isr = assignment.isr,
                                                     .replicas = assignment.replicas,
                                                     .now = clock_->MonotonicNow()},
                               &hosted->effects);
  } else {
    status =
        hosted->core.Step(replica::BecomeFollower{.epoch = assignment.epoch,
                                                  .partition_epoch = assignment.partition_epoch,
                                                  .leader = assignment.leader,
                                                  .unclean_epoch = assignment.unclean_epoch},
                          &hosted->effects);
  }
  if (status.ok()) return;
  log::Error(
      "an assignment contradicts the log of the partition",
      {{"topic", assignment.topic}, {"partition", assignment.key.partition}, {"error", status}});
}

absl::StatusOr<StoreShard::Hosted*> StoreShard::Host(const Assignment& assignment) {
  const auto it = hosted_.find(assignment.key);
  if (it != hosted_.end()) return it->second.get();
  FALAJ_ASSIGN_OR_RETURN(const log::StoredPartition stored,
                         store_->OpenPartition(assignment.key, assignment.retention));
  FALAJ_ASSIGN_OR_RETURN(std::vector<record::ProducerRow> producers,
                         store_->LoadProducers(stored.id));
  replica::Stored known = ToStored(stored, std::move(producers));
  known.attach_id = attach_id_;
  auto shared = std::make_shared<Partition>(assignment.key, assignment.topic,
                                            log::TailKey{options_.index, stored.id},
                                            metrics_->Topic(assignment.topic));
  auto hosted = std::make_unique<Hosted>(Hosted{
      .shared = shared,
      .core = replica::Replica(options_.node, known, assignment.settings, options_.planted_bug),
      .wanted = assignment,
      .effects = {},
      .checkpointed = stored.high_watermark,
      .reported = {},
      .asked = {}});
  Hosted* result = hosted.get();
  hosted_.emplace(assignment.key, std::move(hosted));
  MutexLock lock(&mu_);
  shared_.emplace(assignment.key, std::move(shared));
  return result;
}

absl::Status StoreShard::ChangeSettings(Hosted* hosted, const Assignment& assignment) {
  if (!SameRetention(hosted->wanted.retention, assignment.retention)) {
    FALAJ_RETURN_IF_ERROR(store_->SetRetention(hosted->shared->id(), assignment.retention));
  }
  hosted->wanted = assignment;
  if (assignment.settings.fsync && !hosted->core.settings().fsync) SyncWritten(hosted);
  return hosted->core.Step(replica::ChangeSettings{assignment.settings}, &hosted->effects);
}

// What was only written so far is synced with this round: nobody might come to write any more, and
// until then the partition would not be in sync.
void StoreShard::SyncWritten(Hosted* hosted) {
  round_.high_watermarks.emplace_back(hosted->shared->id(), hosted->core.high_watermark());
  round_sync_ = true;
  Gather(hosted);
}

void StoreShard::Place(Hosted* hosted, const replica::Placement& place, Bytes batch,
                       int64_t max_timestamp_ms) {
  round_bytes_ += static_cast<int64_t>(batch.size());
  round_.batches.push_back({.partition = hosted->shared->id(),
                            .base_offset = place.base,
                            .last_offset = place.last,
                            .max_timestamp_ms = max_timestamp_ms,
                            .batch = std::move(batch)});
}

void StoreShard::Gather(Hosted* hosted) {
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

void StoreShard::Commit() {
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
      log::Error("a write has failed", {{"error", committed}});
      if (ReasonOf(committed) != Reason::kDiskFull) failed_.store(true);
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

absl::Status StoreShard::WriteRound(bool sync, MonotonicTime start) {
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

void StoreShard::FillTailCache(MonotonicTime start) {
  for (const log::BatchWrite& write : round_.batches) {
    tail_cache_->Insert({options_.index, write.partition},
                        {write.base_offset, write.last_offset, start, write.batch});
  }
}

void StoreShard::ShowWritten(MonotonicTime start) {
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
void StoreShard::GatherProducers(Hosted* hosted) {
  const LocalPartitionId id = hosted->shared->id();
  for (record::ProducerRow& row : hosted->core.TakeProducerRows()) {
    round_.producers.emplace_back(id, std::move(row));
  }
}

void StoreShard::Finish(Hosted* hosted, const absl::Status& committed, bool synced) {
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

void StoreShard::Watch(Hosted* hosted) {
  if (hosted->watched) return;
  hosted->watched = hosted->unsynced || hosted->damaged || !hosted->core.IsSettled();
  if (hosted->watched) watched_.insert(hosted->shared->key());
}

std::vector<StoreShard::Hosted*> StoreShard::WatchedPartitions() {
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

absl::Status StoreShard::NameFailure(const absl::Status& status) const {
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

void StoreShard::Publish(Hosted* hosted) {
  const replica::Replica& core = hosted->core;
  const Offset log_start = core.log_start();
  if (log_start > hosted->shared->state().log_start) {
    tail_cache_->TruncatePrefix(hosted->shared->tail_key(), log_start);
  }
  hosted->shared->Publish({.gone = false,
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
                           .settings = core.settings()},
                          core.epochs());
}

}  // namespace falaj::storage
