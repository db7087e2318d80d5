// The public face of RocksLogStore and its write path: partitions, rounds, truncation.
#include "libs/log/rocks_log_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rocksdb/slice.h"

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "libs/log/rocks_log_impl.h"

namespace falaj::log {
namespace {

// A batch buffer larger than this is given back after a round.
constexpr size_t kKeptBufferMax = 16 << 20;

absl::Status NoPartition(LocalPartitionId id) {
  return MakeError(Reason::kPartitionNotFound,
                   absl::StrCat("the store holds no partition with local id ", id),
                   {{"local_partition", absl::StrCat(id)}});
}

}  // namespace

absl::StatusOr<RocksLogStore::Impl::Partition*> RocksLogStore::Impl::Find(
    LocalPartitionId id) const {
  const auto found = partitions_.find(id);
  if (found == partitions_.end()) return NoPartition(id);
  return found->second.get();
}

StoredPartition RocksLogStore::Impl::Describe(LocalPartitionId id,
                                              const Partition& partition) const {
  const State& state = partition.state;
  StoredPartition result{.id = id,
                         .key = partition.key,
                         .log_start = state.log_start,
                         .log_end = state.log_end,
                         .high_watermark = state.high_watermark,
                         .max_timestamp_ms = state.max_timestamp_ms,
                         .size_bytes = 0,
                         .epochs = partition.epochs};
  for (const DirectoryEntry& entry : directory_.Entries(id)) result.size_bytes += entry.bytes;
  return result;
}

std::vector<StoredPartition> RocksLogStore::Impl::ListPartitions() const {
  std::vector<StoredPartition> list;
  {
    MutexLock lock(&mu_);
    list.reserve(partitions_.size());
    for (const auto& [id, partition] : partitions_) list.push_back(Describe(id, *partition));
  }
  std::sort(list.begin(), list.end(),
            [](const StoredPartition& a, const StoredPartition& b) { return a.id < b.id; });
  return list;
}

absl::StatusOr<StoredPartition> RocksLogStore::Impl::GetPartition(LocalPartitionId id) const {
  MutexLock lock(&mu_);
  FALAJ_ASSIGN_OR_RETURN(const Partition* partition, Find(id));
  return Describe(id, *partition);
}

PartitionRow RocksLogStore::Impl::RowOf(const Partition& partition, const State& state) const {
  return {.key = partition.key,
          .retention = partition.retention,
          .log_start = state.log_start,
          .high_watermark = state.high_watermark,
          .end_seen = state.log_end,
          .max_timestamp_ms = state.max_timestamp_ms,
          .running_bytes = state.running_bytes};
}

absl::Status RocksLogStore::Impl::Write(rocksdb::WriteBatch* batch, bool sync,
                                        absl::string_view what) {
  if (health_->failed()) return health_->Get();
  KeepMemtableOccupied();
  rocksdb::WriteOptions write;
  write.sync = sync;
  if (!sync) return health_->NoteWrite(db_->Write(write, batch), what);
  FALAJ_RETURN_IF_ERROR(health_->NoteWrite(file_system_->SyncPutOff(), what));
  {
    const WalSyncFileSystem::SyncScope scope;
    FALAJ_RETURN_IF_ERROR(health_->NoteWrite(db_->Write(write, batch), what));
  }
  return health_->NoteWrite(file_system_->SyncPutOff(), what);  // As in SyncLog().
}

// All that was written is on disk when this returns. While what was put off is synced, which may
// take long, a flush may finish another log file and have its sync put off; RocksDB then syncs the
// one after it alone. So what was put off is looked at again.
absl::Status RocksLogStore::Impl::SyncLog(absl::string_view what) {
  FALAJ_RETURN_IF_ERROR(health_->NoteWrite(file_system_->SyncPutOff(), what));
  {
    const WalSyncFileSystem::SyncScope scope;
    FALAJ_RETURN_IF_ERROR(health_->NoteWrite(db_->SyncWAL(), what));
  }
  return health_->NoteWrite(file_system_->SyncPutOff(), what);
}

// When a write fails for want of space it may leave half a record at the end of the write-ahead
// log. RocksDB recovers by flushing its memtables, which begins a new log file, but not if all of
// them are empty: then the next write would go behind the torn record (RocksDB 7.8 aborts the
// process instead). So one memtable always holds a row, put there without the log.
void RocksLogStore::Impl::KeepMemtableOccupied() {
  uint64_t entries = 0;
  if (db_->GetIntProperty(default_, rocksdb::DB::Properties::kNumEntriesActiveMemTable, &entries) &&
      entries > 0) {
    return;
  }
  rocksdb::WriteOptions write;
  write.disableWAL = true;
  const rocksdb::Status put = db_->Put(write, default_, "occupied", "");
  if (!put.ok()) return;  // The store takes no writes now; the one to come will say so.
}

absl::StatusOr<StoredPartition> RocksLogStore::Impl::OpenPartition(
    const PartitionKey& key, const RetentionPolicy& retention) {
  MutexLock write_lock(&write_mu_);
  {
    MutexLock lock(&mu_);
    const auto known = ids_.find(key);
    if (known != ids_.end()) return Describe(known->second, *partitions_.at(known->second));
  }
  FALAJ_RETURN_IF_ERROR(EnsureOpenSlab(RetentionClassOf(retention)));
  auto partition = std::make_unique<Partition>();
  partition->key = key;
  partition->retention = retention;
  const LocalPartitionId id = counters_.next_partition;
  CountersRow counters = counters_;
  counters.next_partition = id + 1;
  rocksdb::WriteBatch batch;
  batch.Put(meta_, CountersRowKey(), EncodeCountersRow(counters));
  batch.Put(meta_, PartitionRowKey(id), EncodePartitionRow(RowOf(*partition, partition->state)));
  // Not synced: ten thousand partitions would take as many syncs. See LogStore::OpenPartition.
  FALAJ_RETURN_IF_ERROR(Write(&batch, /*sync=*/false, "make a partition"));
  counters_ = counters;
  MutexLock lock(&mu_);
  ids_[key] = id;
  const StoredPartition result = Describe(id, *partition);
  partitions_[id] = std::move(partition);
  return result;
}

absl::Status RocksLogStore::Impl::SetRetention(LocalPartitionId id,
                                               const RetentionPolicy& retention) {
  MutexLock write_lock(&write_mu_);
  FALAJ_RETURN_IF_ERROR(EnsureOpenSlab(RetentionClassOf(retention)));
  rocksdb::WriteBatch batch;
  {
    MutexLock lock(&mu_);
    FALAJ_ASSIGN_OR_RETURN(const Partition* partition, Find(id));
    PartitionRow row = RowOf(*partition, partition->state);
    row.retention = retention;
    batch.Put(meta_, PartitionRowKey(id), EncodePartitionRow(row));
  }
  FALAJ_RETURN_IF_ERROR(Write(&batch, /*sync=*/false, "set a retention"));
  MutexLock lock(&mu_);
  partitions_.at(id)->retention = retention;
  return absl::OkStatus();
}

absl::Status RocksLogStore::Impl::DropPartition(LocalPartitionId id) {
  MutexLock write_lock(&write_mu_);
  std::vector<std::string> rows;
  FALAJ_ASSIGN_OR_RETURN(const std::vector<record::ProducerRow> producers, ReadProducers(id));
  rows.reserve(producers.size());
  for (const record::ProducerRow& row : producers) {
    rows.push_back(ProducerRowKey(id, row.producer));
  }
  {
    // Hidden first: whatever becomes of the write, nobody reads it again in this life.
    MutexLock lock(&mu_);
    const auto found = partitions_.find(id);
    if (found == partitions_.end()) return absl::OkStatus();
    rows.push_back(PartitionRowKey(id));
    for (const EpochStart& epoch : found->second->epochs) {
      rows.push_back(EpochRowKey(id, epoch.epoch));
    }
    for (const DirectoryEntry& entry : directory_.Entries(id)) {
      rows.push_back(DirectoryRowKey(id, entry.first, entry.slab));
    }
    ids_.erase(found->second->key);
    partitions_.erase(found);
    directory_.RemovePartition(id);
  }
  rocksdb::WriteBatch batch;
  for (const std::string& row : rows) batch.Delete(meta_, row);
  const absl::Status written = Write(&batch, /*sync=*/false, "drop a partition");
  if (!written.ok()) rows_left_.insert(rows_left_.end(), rows.begin(), rows.end());
  return written;
}

absl::StatusOr<RocksLogStore::Impl::PartitionPlan*> RocksLogStore::Impl::PlanFor(
    LocalPartitionId id, RoundPlan* plan) {
  const auto [it, added] = plan->partitions.try_emplace(id);
  if (added) {
    FALAJ_ASSIGN_OR_RETURN(it->second.partition, Find(id));
    it->second.next = it->second.partition->state;
  }
  return &it->second;
}

void RocksLogStore::Impl::PlanLogStart(LocalPartitionId id, Offset start, PartitionPlan* plan) {
  State& next = plan->next;
  if (start <= next.log_start) return;
  next.log_start = start;
  next.log_end = std::max(next.log_end, start);
  next.high_watermark = std::max(next.high_watermark, start);
  plan->partition_row = true;
  plan->entries_gone = directory_.CountBelow(id, start);
}

void RocksLogStore::Impl::PlanTail(LocalPartitionId id, SlabId slab, Offset first,
                                   PartitionPlan* plan) {
  const std::vector<DirectoryEntry>& entries = directory_.Entries(id);
  if (entries.size() > plan->entries_gone && entries.back().slab == slab) {
    plan->tail = entries.back();
    return;
  }
  plan->tail_is_new = true;
  plan->tail_row = true;
  plan->tail = DirectoryEntry{.first = first,
                              .end = plan->next.log_end,
                              .slab = slab,
                              .start_bytes = plan->next.running_bytes};
}

absl::Status RocksLogStore::Impl::PlanBatch(const BatchWrite& write, RoundPlan* plan) {
  FALAJ_ASSIGN_OR_RETURN(PartitionPlan * part, PlanFor(write.partition, plan));
  FALAJ_ASSIGN_OR_RETURN(const record::BatchHeader header, record::ParseBatchHeader(write.batch));
  // An empty log may begin within its first batch: a follower begins where its leader does.
  const Offset end = part->next.log_end;
  const bool begins_within =
      part->next.log_start == end && write.base_offset < end && write.last_offset >= end;
  if ((write.base_offset != end && !begins_within) || header.base_offset != write.base_offset ||
      header.last_offset() != write.last_offset || header.size_bytes() != write.batch.size()) {
    return MakeError(
        Reason::kInternal,
        absl::StrCat("batch at ", write.base_offset, " to ", write.last_offset, " (stamped ",
                     header.base_offset, " to ", header.last_offset(),
                     ") does not continue the log, which ends at ", part->next.log_end));
  }
  const RetentionClass cls = RetentionClassOf(part->partition->retention);
  const std::optional<SlabId> slab = directory_.OpenSlab(cls);
  if (!slab.has_value()) return MakeError(Reason::kInternal, "the retention class has no slab");
  if (!part->tail.has_value()) PlanTail(write.partition, *slab, write.base_offset, part);
  const auto size = static_cast<int64_t>(write.batch.size());
  State& next = part->next;
  next.log_end = write.last_offset + 1;
  next.running_bytes += size;
  next.max_timestamp_ms = std::max(next.max_timestamp_ms, write.max_timestamp_ms);
  DirectoryEntry& tail = *part->tail;
  tail.end = next.log_end;
  tail.bytes += size;
  tail.running_max_ts = next.max_timestamp_ms;
  tail.max_ts = std::max(tail.max_ts, write.max_timestamp_ms);
  if (const int64_t span = next.log_end - write.base_offset; span > tail.span_max) {
    tail.span_max = span;
    part->tail_row = true;
  }
  plan->headers.push_back({.base = write.base_offset,
                           .epoch = header.leader_epoch,
                           .running_max_ts = next.max_timestamp_ms,
                           .running_bytes = next.running_bytes,
                           .length = static_cast<uint32_t>(write.batch.size())});
  plan->families.push_back(families_.at(*slab));
  plan->payload_bytes += size;
  return absl::OkStatus();
}

void RocksLogStore::Impl::PlanEpochs(const Round& round, RoundPlan* plan) {
  const auto of = [](PartitionPlan* part) -> std::vector<EpochStart>& {
    if (!part->epochs.has_value()) part->epochs = part->partition->epochs;
    return *part->epochs;
  };
  for (const auto& [id, epoch] : round.epochs) {
    std::vector<EpochStart>& epochs = of(&plan->partitions.at(id));
    if (epochs.empty() || epochs.back().epoch < epoch.epoch) epochs.push_back(epoch);
  }
  for (auto& [id, part] : plan->partitions) {
    if (part.next.log_start == part.partition->state.log_start) continue;
    for (const EpochStart& gone : record::TrimEpochs(part.next.log_start, &of(&part))) {
      plan->epochs_gone.emplace_back(id, gone.epoch);
    }
  }
}

absl::Status RocksLogStore::Impl::PlanRound(const Round& round, RoundPlan* plan) {
  for (const auto& [id, start] : round.log_starts) {
    FALAJ_ASSIGN_OR_RETURN(PartitionPlan * part, PlanFor(id, plan));
    PlanLogStart(id, start, part);
  }
  plan->headers.reserve(round.batches.size());
  plan->families.reserve(round.batches.size());
  for (const BatchWrite& write : round.batches) FALAJ_RETURN_IF_ERROR(PlanBatch(write, plan));
  return PlanRows(round, plan);
}

absl::Status RocksLogStore::Impl::PlanRows(const Round& round, RoundPlan* plan) {
  for (const auto& [id, mark] : round.high_watermarks) {
    FALAJ_ASSIGN_OR_RETURN(PartitionPlan * part, PlanFor(id, plan));
    State& next = part->next;
    next.high_watermark = std::clamp(mark, next.log_start, next.log_end);
    part->partition_row = true;
  }
  for (const auto& [id, epoch] : round.epochs) {
    FALAJ_RETURN_IF_ERROR(PlanFor(id, plan).status());
  }
  for (const auto& [id, row] : round.producers) {
    FALAJ_RETURN_IF_ERROR(PlanFor(id, plan).status());
  }
  PlanEpochs(round, plan);
  return absl::OkStatus();
}

void RocksLogStore::Impl::FillRows(LocalPartitionId id, const PartitionPlan& plan) {
  if (plan.epochs.has_value()) {
    for (const EpochStart& epoch : *plan.epochs) {
      batch_.Put(meta_, EpochRowKey(id, epoch.epoch), EncodeEpochRow(epoch.start));
    }
  }
  if (plan.tail_row) {
    batch_.Put(meta_, DirectoryRowKey(id, plan.tail->first, plan.tail->slab),
               EncodeDirectoryRow(*plan.tail));
  }
  if (plan.partition_row) {
    batch_.Put(meta_, PartitionRowKey(id), EncodePartitionRow(RowOf(*plan.partition, plan.next)));
  }
}

absl::Status RocksLogStore::Impl::FillBatch(const Round& round, const RoundPlan& plan) {
  for (const auto& [id, epoch] : plan.epochs_gone) batch_.Delete(meta_, EpochRowKey(id, epoch));
  for (const auto& [id, part] : plan.partitions) FillRows(id, part);
  for (const auto& [id, row] : round.producers) {
    const std::string key = ProducerRowKey(id, row.producer);
    if (row.history.window().empty()) {
      batch_.Delete(meta_, key);
    } else {
      batch_.Put(meta_, key, EncodeProducerRow(row.history));
    }
  }
  std::vector<rocksdb::Slice> pieces;
  for (size_t i = 0; i < round.batches.size(); ++i) {
    const BatchWrite& write = round.batches[i];
    const auto header = EncodeStoredHeader(plan.headers[i]);
    const std::string key = DataKey(write.partition, write.base_offset);
    const rocksdb::Slice key_slice(key);
    pieces.clear();
    pieces.emplace_back(header.data(), header.size());
    for (const absl::string_view piece : write.batch.pieces()) {
      pieces.emplace_back(piece.data(), piece.size());
    }
    // The one copy of the payload: from where it was received into the write batch.
    const rocksdb::Status status =
        batch_.Put(plan.families[i]->handle, rocksdb::SliceParts(&key_slice, 1),
                   rocksdb::SliceParts(pieces.data(), static_cast<int>(pieces.size())));
    if (!status.ok()) return FromRocks(status, options_.directory, "fill a write");
  }
  return absl::OkStatus();
}

void RocksLogStore::Impl::ApplyRound(const RoundPlan& plan) {
  for (const auto& [id, part] : plan.partitions) {
    const bool starts_later = part.next.log_start > part.partition->state.log_start;
    part.partition->state = part.next;
    if (part.epochs.has_value()) part.partition->epochs = *part.epochs;
    directory_.RemoveFirst(id, part.entries_gone);
    if (part.tail.has_value()) ApplyTail(id, part);
    if (starts_later) directory_.NoteLogStart(id, part.next.log_start);
  }
}

void RocksLogStore::Impl::ApplyTail(LocalPartitionId id, const PartitionPlan& plan) {
  const int64_t before = plan.tail_is_new ? 0 : directory_.Entries(id).back().bytes;
  directory_.CountAppended(plan.tail->slab, plan.tail->bytes - before);
  if (plan.tail_is_new) {
    directory_.Append(id, *plan.tail);
  } else {
    directory_.ReplaceLast(id, *plan.tail);
  }
}

absl::Status RocksLogStore::Impl::Commit(const Round& round, bool sync) {
  if (round.empty()) return absl::OkStatus();
  MutexLock write_lock(&write_mu_);
  FALAJ_ASSIGN_OR_RETURN(const int64_t payload_bytes, WriteRound(round, sync));
  CountCommit(payload_bytes, sync);
  return absl::OkStatus();
}

absl::Status RocksLogStore::Impl::CommitInSteps(const Round& round,
                                                absl::FunctionRef<void()> written) {
  if (round.empty()) return absl::OkStatus();
  MutexLock write_lock(&write_mu_);
  FALAJ_ASSIGN_OR_RETURN(const int64_t payload_bytes, WriteRound(round, /*sync=*/false));
  written();
  FALAJ_RETURN_IF_ERROR(SyncLog("append"));
  CountCommit(payload_bytes, /*sync=*/true);
  return absl::OkStatus();
}

void RocksLogStore::Impl::CountCommit(int64_t payload_bytes, bool sync) {
  commits_.fetch_add(1, std::memory_order_relaxed);
  if (sync) commits_synced_.fetch_add(1, std::memory_order_relaxed);
  (sync ? payload_synced_ : payload_unsynced_).fetch_add(payload_bytes, std::memory_order_relaxed);
}

absl::StatusOr<int64_t> RocksLogStore::Impl::WriteRound(const Round& round, bool sync) {
  RoundPlan plan;
  batch_.Clear();
  {
    MutexLock lock(&mu_);
    FALAJ_RETURN_IF_ERROR(PlanRound(round, &plan));
    for (const auto& [id, part] : plan.partitions) {
      const std::vector<DirectoryEntry>& entries = directory_.Entries(id);
      for (size_t i = 0; i < part.entries_gone; ++i) {
        batch_.Delete(meta_, DirectoryRowKey(id, entries[i].first, entries[i].slab));
      }
    }
  }
  for (const std::string& row : rows_left_) batch_.Delete(meta_, row);
  for (const auto& [id, part] : plan.partitions) {
    // A log that begins within its first batch: what it held there before lies in the way.
    if (!part.tail_is_new || part.tail->first >= part.next.log_start) continue;
    FALAJ_RETURN_IF_ERROR(DeleteOpen(id, part.tail->first, part.next.log_start, &batch_));
  }
  FALAJ_RETURN_IF_ERROR(FillBatch(round, plan));
  const absl::Status written = Write(&batch_, sync, "append");
  if (written.ok()) rows_left_.clear();
  if (batch_.GetDataSize() > kKeptBufferMax) batch_ = rocksdb::WriteBatch();
  FALAJ_RETURN_IF_ERROR(written);
  {
    MutexLock lock(&mu_);
    ApplyRound(plan);
  }
  return plan.payload_bytes;
}

RocksLogStore::RocksLogStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RocksLogStore::~RocksLogStore() = default;

absl::StatusOr<std::unique_ptr<RocksLogStore>> RocksLogStore::Open(const Options& options) {
  auto impl = std::make_unique<Impl>(options);
  FALAJ_RETURN_IF_ERROR(impl->Open());
  return std::unique_ptr<RocksLogStore>(new RocksLogStore(std::move(impl)));
}

std::vector<StoredPartition> RocksLogStore::ListPartitions() const {
  return impl_->ListPartitions();
}
absl::StatusOr<StoredPartition> RocksLogStore::GetPartition(LocalPartitionId id) const {
  return impl_->GetPartition(id);
}
absl::StatusOr<StoredPartition> RocksLogStore::OpenPartition(const PartitionKey& key,
                                                             const RetentionPolicy& retention) {
  return impl_->OpenPartition(key, retention);
}
absl::Status RocksLogStore::SetRetention(LocalPartitionId id, const RetentionPolicy& retention) {
  return impl_->SetRetention(id, retention);
}
absl::Status RocksLogStore::DropPartition(LocalPartitionId id) { return impl_->DropPartition(id); }
absl::StatusOr<std::vector<record::ProducerRow>> RocksLogStore::LoadProducers(
    LocalPartitionId id) const {
  return impl_->LoadProducers(id);
}
absl::Status RocksLogStore::Commit(const Round& round, bool sync) {
  return impl_->Commit(round, sync);
}
absl::Status RocksLogStore::CommitInSteps(const Round& round, absl::FunctionRef<void()> written) {
  return impl_->CommitInSteps(round, written);
}
absl::Status RocksLogStore::TruncateSuffix(LocalPartitionId id, Offset end) {
  return impl_->TruncateSuffix(id, end);
}
absl::StatusOr<ReadResult> RocksLogStore::Read(LocalPartitionId id, Offset from, Offset limit,
                                               size_t bytes_max) const {
  return impl_->Read(id, from, limit, bytes_max);
}
absl::StatusOr<std::optional<TimeResult>> RocksLogStore::FindTime(LocalPartitionId id,
                                                                  int64_t timestamp_ms,
                                                                  Offset limit) const {
  return impl_->FindTime(id, timestamp_ms, limit);
}
absl::StatusOr<std::optional<Offset>> RocksLogStore::PlanRetention(LocalPartitionId id,
                                                                   absl::Time now,
                                                                   Offset limit) const {
  return impl_->PlanRetention(id, now, limit);
}
absl::Status RocksLogStore::Maintain(absl::Time now) { return impl_->Maintain(now); }
std::vector<LocalPartitionId> RocksLogStore::TakeDamaged() { return impl_->TakeDamaged(); }
absl::Status RocksLogStore::Health() const { return impl_->Health(); }
void RocksLogStore::Fail(absl::string_view why) { impl_->Fail(why); }
StoreStats RocksLogStore::Stats() const { return impl_->Stats(); }

}  // namespace falaj::log
