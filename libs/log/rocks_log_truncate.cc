// Truncation of a diverged suffix. The batches are deleted one by one in a single write: it is rare
// and short, and range deletions cost every later reader of the slab.
//
// A log start that moves up takes directory entries and leaves the keys: nobody looks there. But
// the next batches go into the same slab if it is still open, and whoever reads or opens them goes
// from key to key. So
//   in open slabs a partition has no key from where its log begins on (the base of its first batch,
//   the log end if it is empty) but those of its log
// which is in danger only where a log begins further down than it did: cut below its start, and
// begun within a batch. There the keys in between are deleted. Sealed slabs take no batches, and
// what no entry of theirs speaks of is never read.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rocksdb/iterator.h"

#include "libs/base/status.h"
#include "libs/log/rocks_log_impl.h"

namespace falaj::log {

// What a truncation does, gathered before it is written.
struct RocksLogStore::Impl::Truncation {
  rocksdb::WriteBatch batch;
  size_t entries_gone = 0;             // From the back.
  std::optional<DirectoryEntry> tail;  // The entry that was cut, as it is now.
  Offset end;                          // The new log end.
  int64_t running_bytes = 0;
  int64_t max_timestamp_ms = -1;
};

// Has `batch` delete what open slabs hold of the partition in [from, to).
absl::Status RocksLogStore::Impl::DeleteOpen(LocalPartitionId id, Offset from, Offset to,
                                             rocksdb::WriteBatch* batch) const {
  std::vector<std::shared_ptr<SlabFamily>> open;
  {
    // Of any class: the partition may have moved from one to another.
    MutexLock lock(&mu_);
    for (const auto& [slab, info] : directory_.slabs()) {
      if (info.sealed_ms == 0) open.push_back(families_.at(slab));
    }
  }
  const std::string bound = DataKey(id, to);
  const rocksdb::Slice bound_slice(bound);
  for (const std::shared_ptr<SlabFamily>& family : open) {
    const auto it = NewIterator(*family, /*fill_cache=*/false, &bound_slice);
    for (it->Seek(DataKey(id, from)); it->Valid(); it->Next()) {
      batch->Delete(family->handle, it->key());
    }
    FALAJ_RETURN_IF_ERROR(ReadError(it->status()));
  }
  return absl::OkStatus();
}

// Deletes the batches of a piece from the one that holds `end` on, and works out what is left.
absl::Status RocksLogStore::Impl::DeleteFrom(LocalPartitionId id, const ReadPiece& piece,
                                             Offset end, Offset log_start,
                                             Truncation* truncation) const {
  const std::string bound = DataKey(id, piece.entry.end);
  const rocksdb::Slice bound_slice(bound);
  const auto it = NewIterator(*piece.family, /*fill_cache=*/false, &bound_slice);
  FALAJ_RETURN_IF_ERROR(SeekTo(id, std::max(end, piece.entry.first), piece.entry, it.get()));
  const std::optional<Offset> cut =
      ParseDataKey(absl::string_view(it->key().data(), it->key().size()), id);
  if (!cut.has_value()) return Corrupt("a key is malformed");
  for (; it->Valid(); it->Next()) truncation->batch.Delete(piece.family->handle, it->key());
  FALAJ_RETURN_IF_ERROR(ReadError(it->status()));
  truncation->end = *cut;
  // Below the log start nothing is left to read, and after a rewrite nothing at all.
  if (*cut <= std::max(log_start, piece.entry.first)) {
    ++truncation->entries_gone;
    truncation->running_bytes = piece.entry.start_bytes;
    truncation->max_timestamp_ms = -1;
    truncation->batch.Delete(meta_, DirectoryRowKey(id, piece.entry.first, piece.entry.slab));
    return absl::OkStatus();
  }
  FALAJ_RETURN_IF_ERROR(SeekTo(id, *cut - 1, piece.entry, it.get()));
  FALAJ_ASSIGN_OR_RETURN(const StoredBatch last, ParseStored(id, *it, /*verify=*/false));
  DirectoryEntry tail = piece.entry;
  tail.end = *cut;
  tail.bytes = last.stored.running_bytes - tail.start_bytes;
  tail.running_max_ts = last.stored.running_max_ts;
  truncation->running_bytes = last.stored.running_bytes;
  truncation->max_timestamp_ms = last.stored.running_max_ts;
  truncation->batch.Put(meta_, DirectoryRowKey(id, tail.first, tail.slab),
                        EncodeDirectoryRow(tail));
  truncation->tail = tail;
  return absl::OkStatus();
}

absl::Status RocksLogStore::Impl::PlanTruncation(LocalPartitionId id, const ReadPlan& plan,
                                                 Offset end, Truncation* truncation) const {
  if (end < plan.state.log_start) {
    // All of it goes, whatever is left of it: a rewrite may have taken some.
    for (const ReadPiece& piece : plan.pieces) {
      truncation->batch.Delete(meta_, DirectoryRowKey(id, piece.entry.first, piece.entry.slab));
    }
    truncation->entries_gone = plan.pieces.size();
    if (!plan.pieces.empty()) {
      truncation->running_bytes = plan.pieces.front().entry.start_bytes;
      truncation->max_timestamp_ms = -1;
    }
    return DeleteOpen(id, end, Offset(INT64_MAX), &truncation->batch);
  }
  // From the back, so that what is noted last describes the new end.
  for (auto piece = plan.pieces.rbegin(); piece != plan.pieces.rend(); ++piece) {
    FALAJ_RETURN_IF_ERROR(DeleteFrom(id, *piece, end, plan.state.log_start, truncation));
  }
  return absl::OkStatus();
}

RocksLogStore::Impl::State RocksLogStore::Impl::CutState(const State& state, Offset end,
                                                         const Truncation& truncation) {
  State next = state;
  // Below the log start everything goes, also the part of a batch the start had cut off.
  next.log_end = end < next.log_start ? end : std::max(truncation.end, next.log_start);
  next.log_start = std::min(next.log_start, next.log_end);
  next.high_watermark = std::min(next.high_watermark, next.log_end);
  next.running_bytes = truncation.running_bytes;
  next.max_timestamp_ms = truncation.max_timestamp_ms;
  return next;
}

absl::Status RocksLogStore::Impl::TruncateSuffix(LocalPartitionId id, Offset end) {
  MutexLock write_lock(&write_mu_);
  FALAJ_ASSIGN_OR_RETURN(const ReadPlan plan, PlanRead(id, end, Offset(INT64_MAX)));
  if (end >= plan.state.log_end) return absl::OkStatus();
  Truncation truncation;
  truncation.end = end;
  truncation.running_bytes = plan.state.running_bytes;
  truncation.max_timestamp_ms = plan.state.max_timestamp_ms;
  FALAJ_RETURN_IF_ERROR(PlanTruncation(id, plan, end, &truncation));
  State next = CutState(plan.state, end, truncation);
  FALAJ_RETURN_IF_ERROR(CutProducers(id, next.log_end, next.log_start, &truncation.batch));
  std::vector<EpochStart> epochs;
  {
    MutexLock lock(&mu_);
    FALAJ_ASSIGN_OR_RETURN(const Partition* partition, Find(id));
    const std::vector<DirectoryEntry>& entries = directory_.Entries(id);
    if (!truncation.tail.has_value() && entries.size() > truncation.entries_gone) {
      next.max_timestamp_ms = entries[entries.size() - truncation.entries_gone - 1].running_max_ts;
    }
    for (const EpochStart& epoch : partition->epochs) {
      if (epoch.start < next.log_end) {
        epochs.push_back(epoch);
      } else {
        truncation.batch.Delete(meta_, EpochRowKey(id, epoch.epoch));
      }
    }
    truncation.batch.Put(meta_, PartitionRowKey(id), EncodePartitionRow(RowOf(*partition, next)));
  }
  FALAJ_RETURN_IF_ERROR(Write(&truncation.batch, /*sync=*/true, "truncate"));
  MutexLock lock(&mu_);
  Partition* partition = partitions_.at(id).get();
  partition->state = next;
  partition->epochs = std::move(epochs);
  ++partition->truncations;
  directory_.RemoveLast(id, truncation.entries_gone);
  if (truncation.tail.has_value()) directory_.ReplaceLast(id, *truncation.tail);
  directory_.NoteLogStart(id, next.log_start);
  return absl::OkStatus();
}

}  // namespace falaj::log
