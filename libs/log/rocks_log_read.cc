// The read path of RocksLogStore: offsets, times, retention plans.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rocksdb/iterator.h"

#include "libs/base/status.h"
#include "libs/log/rocks_log_impl.h"
#include "libs/log/rocks_slice.h"
#include "libs/record/batch_reader.h"

namespace falaj::log {
namespace {

// Reads of sealed slabs up to this size are kept in the block cache; larger ones are consumers
// catching up, who read each block once.
constexpr size_t kCachedReadMax = 256 << 10;
// Memory reserved before anything is read.
constexpr size_t kReserveMax = 1 << 20;
// Batches walked from where the batch that holds an offset may begin, before other ways are tried.
constexpr int kStepsMax = 4;
constexpr int kReadAttempts = 3;
// The largest batch a stored batch may decompress to.
constexpr record::Limits kStoredLimits = {.batch_bytes_max = size_t{256} << 20,
                                          .decompressed_bytes_max = size_t{256} << 20};

// Bytes that own nothing: valid as long as what `view` points into.
Bytes Borrow(absl::string_view view) { return Bytes(nullptr, Bytes::Pieces{view}); }

}  // namespace

absl::Status RocksLogStore::Impl::Corrupt(absl::string_view what) const {
  return MakeError(Reason::kCorruptRecord,
                   absl::StrCat("the log in '", options_.directory, "' is damaged: ", what),
                   {{"directory", options_.directory}});
}

// What the disk does not give back is as good as damaged: a bad sector stays one, and other
// replicas have what was there.
absl::Status RocksLogStore::Impl::ReadError(const rocksdb::Status& status) const {
  if (!status.IsIOError()) return FromRocks(status, options_.directory, "read");
  return Corrupt(absl::StrCat("it cannot be read: ", status.ToString()));
}

absl::StatusOr<RocksLogStore::Impl::ReadPlan> RocksLogStore::Impl::PlanRead(LocalPartitionId id,
                                                                            Offset from,
                                                                            Offset limit) const {
  MutexLock lock(&mu_);
  FALAJ_ASSIGN_OR_RETURN(const Partition* partition, Find(id));
  ReadPlan plan{.state = partition->state, .truncations = partition->truncations, .pieces = {}};
  const Offset start = std::max(from, plan.state.log_start);
  const std::vector<DirectoryEntry>& entries = directory_.Entries(id);
  auto entry = std::upper_bound(entries.begin(), entries.end(), start,
                                [](Offset o, const DirectoryEntry& e) { return o < e.end; });
  for (; entry != entries.end() && entry->first < limit; ++entry) {
    const SlabInfo* slab = directory_.FindSlab(entry->slab);
    plan.pieces.push_back({.family = families_.at(entry->slab),
                           .entry = *entry,
                           .slab = slab != nullptr ? *slab : SlabInfo{.sealed_ms = 1}});
  }
  return plan;
}

bool RocksLogStore::Impl::TruncatedSince(LocalPartitionId id, const ReadPlan& plan) const {
  MutexLock lock(&mu_);
  const absl::StatusOr<Partition*> partition = Find(id);
  return partition.ok() && (*partition)->truncations != plan.truncations;
}

std::unique_ptr<rocksdb::Iterator> RocksLogStore::Impl::NewIterator(const SlabFamily& family,
                                                                    bool fill_cache,
                                                                    const rocksdb::Slice* end,
                                                                    size_t ahead) const {
  rocksdb::ReadOptions read;
  read.prefix_same_as_start = true;
  read.iterate_upper_bound = end;
  read.fill_cache = fill_cache;
  read.readahead_size = ahead;
  read.verify_checksums = true;
  return std::unique_ptr<rocksdb::Iterator>(db_->NewIterator(read, family.handle));
}

absl::StatusOr<RocksLogStore::Impl::StoredBatch> RocksLogStore::Impl::ParseStored(
    LocalPartitionId id, const rocksdb::Iterator& it, bool verify) const {
  const std::optional<Offset> base = ParseDataKey(View(it.key()), id);
  const std::optional<StoredHeader> stored = ParseStoredHeader(View(it.value()));
  if (!base.has_value() || !stored.has_value()) {
    return Corrupt(absl::StrCat("an entry of local partition ", id, " is malformed"));
  }
  StoredBatch batch{.stored = *stored, .header = {}, .bytes = View(it.value())};
  batch.bytes.remove_prefix(kStoredHeaderSize);
  absl::StatusOr<record::BatchHeader> header = verify
                                                   ? record::VerifyStoredBatch(Borrow(batch.bytes))
                                                   : record::ParseBatchHeader(batch.bytes);
  if (!header.ok()) {
    return Corrupt(absl::StrCat("the batch of local partition ", id, " at ", *base, ": ",
                                header.status().message()));
  }
  if (header->base_offset != *base || stored->base != *base ||
      header->leader_epoch != stored->epoch) {
    return Corrupt(absl::StrCat("the batch of local partition ", id, " at ", *base,
                                " is stamped for ", header->base_offset));
  }
  batch.header = *header;
  return batch;
}

// Positions `it` on the batch that holds `from`: it begins at most span_max - 1 offsets before it.
// Forward seeks first: with the first-key index they read one block, a backward seek reads one of
// every table. With batches of equal length the first seek is the last.
absl::Status RocksLogStore::Impl::SeekTo(LocalPartitionId id, Offset from,
                                         const DirectoryEntry& entry, rocksdb::Iterator* it) const {
  const auto failed = [&] { return ReadError(it->status()); };
  it->Seek(DataKey(id, std::max(entry.first, from - (std::max<int64_t>(entry.span_max, 1) - 1))));
  for (int steps = 0; it->Valid() && steps < kStepsMax; ++steps, it->Next()) {
    FALAJ_ASSIGN_OR_RETURN(const StoredBatch batch, ParseStored(id, *it, /*verify=*/false));
    if (batch.header.base_offset > from) break;
    if (batch.header.last_offset() >= from) return absl::OkStatus();
  }
  FALAJ_RETURN_IF_ERROR(failed());
  // Many batches that are much shorter than the longest one.
  it->Seek(DataKey(id, from));
  FALAJ_RETURN_IF_ERROR(failed());
  if (it->Valid() && ParseDataKey(View(it->key()), id) == from) return absl::OkStatus();
  it->SeekForPrev(DataKey(id, from));
  FALAJ_RETURN_IF_ERROR(failed());
  if (it->Valid()) {
    FALAJ_ASSIGN_OR_RETURN(const StoredBatch batch, ParseStored(id, *it, /*verify=*/false));
    if (batch.header.last_offset() >= from && batch.header.base_offset >= entry.first) {
      return absl::OkStatus();
    }
  }
  return Corrupt(absl::StrCat("no batch holds offset ", from, " of local partition ", id));
}

absl::StatusOr<ReadResult> RocksLogStore::Impl::ReadPlanned(LocalPartitionId id,
                                                            const ReadPlan& plan, Offset from,
                                                            Offset limit, size_t bytes_max) const {
  ReadResult result{.batches = Bytes(), .next_offset = from};
  std::string out;
  Offset expected = std::max(from, plan.state.log_start);
  bool full = false;
  const auto lacks = [&] {
    return Corrupt(
        absl::StrCat("batches from offset ", expected, " of local partition ", id, " are missing"));
  };
  for (const ReadPiece& piece : plan.pieces) {
    const std::string bound = DataKey(id, piece.entry.end);
    const rocksdb::Slice bound_slice(bound);
    const bool keep = piece.slab.sealed_ms == 0 || bytes_max <= kCachedReadMax;
    const size_t ahead = TakeAtATime(piece.entry, piece.slab, options_.memtable_bytes, expected,
                                     limit, bytes_max - out.size());
    const auto it = NewIterator(*piece.family, keep, &bound_slice, ahead);
    FALAJ_RETURN_IF_ERROR(SeekTo(id, expected, piece.entry, it.get()));
    for (; it->Valid(); it->Next()) {
      FALAJ_ASSIGN_OR_RETURN(const StoredBatch batch, ParseStored(id, *it, /*verify=*/true));
      // Only the first may begin before what is asked for. Else it is a hole, or two lie on top of
      // each other: damage, or a truncation meanwhile.
      const Offset base = batch.header.base_offset;
      if (out.empty() ? base > expected : base != expected) return lacks();
      const Offset next = batch.header.next_offset();
      full = next > limit || (!out.empty() && out.size() + batch.bytes.size() > bytes_max);
      if (full) break;
      if (out.empty()) out.reserve(std::max(batch.bytes.size(), std::min(bytes_max, kReserveMax)));
      result.last_batch = out.size();
      out.append(batch.bytes.data(), batch.bytes.size());
      expected = result.next_offset = next;
      // Before the next batch is touched, which may lie in another block.
      full = out.size() >= bytes_max || next >= limit;
      if (full) break;
    }
    FALAJ_RETURN_IF_ERROR(ReadError(it->status()));
    if (full) break;
    if (expected != piece.entry.end) return lacks();
  }
  read_bytes_.fetch_add(static_cast<int64_t>(out.size()), std::memory_order_relaxed);
  if (!out.empty()) result.batches = Bytes::Own(std::move(out));
  return result;
}

absl::StatusOr<ReadResult> RocksLogStore::Impl::Read(LocalPartitionId id, Offset from, Offset limit,
                                                     size_t bytes_max) const {
  for (int attempt = 1;; ++attempt) {
    FALAJ_ASSIGN_OR_RETURN(const ReadPlan plan, PlanRead(id, from, limit));
    absl::StatusOr<ReadResult> result = ReadPlanned(id, plan, from, limit, bytes_max);
    // A truncation between plan and read looks like a hole.
    if (result.ok() || attempt == kReadAttempts || !TruncatedSince(id, plan)) return result;
  }
}

absl::StatusOr<std::optional<TimeResult>> RocksLogStore::Impl::FindTimeIn(LocalPartitionId id,
                                                                          const ReadPiece& piece,
                                                                          int64_t timestamp_ms,
                                                                          Offset from) const {
  const std::string bound = DataKey(id, piece.entry.end);
  const rocksdb::Slice bound_slice(bound);
  const auto it = NewIterator(*piece.family, /*fill_cache=*/true, &bound_slice);
  FALAJ_RETURN_IF_ERROR(SeekTo(id, std::max(from, piece.entry.first), piece.entry, it.get()));
  FALAJ_ASSIGN_OR_RETURN(const StoredBatch first, ParseStored(id, *it, /*verify=*/false));
  // The first batch with running maximum >= timestamp_ms begins in [low, high].
  Offset low = first.header.base_offset;
  Offset high = piece.entry.end;
  while (low < high) {
    const Offset middle = low + (high - low) / 2;
    it->Seek(DataKey(id, middle));
    FALAJ_RETURN_IF_ERROR(ReadError(it->status()));
    if (!it->Valid()) {
      high = middle;
      continue;
    }
    FALAJ_ASSIGN_OR_RETURN(const StoredBatch batch, ParseStored(id, *it, /*verify=*/false));
    if (batch.stored.running_max_ts >= timestamp_ms) {
      high = middle;
    } else {
      low = batch.header.next_offset();
    }
  }
  // The running maximum may stem from before `from`, or from records a batch no longer counts.
  for (it->Seek(DataKey(id, low)); it->Valid(); it->Next()) {
    FALAJ_ASSIGN_OR_RETURN(const StoredBatch batch, ParseStored(id, *it, /*verify=*/false));
    if (batch.header.max_timestamp_ms < timestamp_ms || batch.header.control()) continue;
    FALAJ_RETURN_IF_ERROR(ParseStored(id, *it, /*verify=*/true).status());
    std::optional<TimeResult> found;
    const absl::Status read = record::ForEachRecord(
        Borrow(batch.bytes), kStoredLimits, [&](const record::RecordView& record) {
          if (found.has_value() || record.offset < from) return;
          if (record.timestamp_ms < timestamp_ms) return;
          found = TimeResult{.offset = record.offset, .timestamp_ms = record.timestamp_ms};
        });
    if (!read.ok()) return Corrupt(read.message());
    if (found.has_value()) return found;
  }
  FALAJ_RETURN_IF_ERROR(ReadError(it->status()));
  return std::nullopt;
}

absl::StatusOr<std::optional<TimeResult>> RocksLogStore::Impl::FindTime(LocalPartitionId id,
                                                                        int64_t timestamp_ms,
                                                                        Offset limit) const {
  for (int attempt = 1;; ++attempt) {
    FALAJ_ASSIGN_OR_RETURN(const ReadPlan plan, PlanRead(id, Offset(0), limit));
    absl::StatusOr<std::optional<TimeResult>> found = std::optional<TimeResult>();
    for (const ReadPiece& piece : plan.pieces) {
      if (std::min(piece.entry.max_ts, piece.entry.running_max_ts) < timestamp_ms) continue;
      found = FindTimeIn(id, piece, timestamp_ms, plan.state.log_start);
      if (!found.ok() || found->has_value()) break;
    }
    if (!found.ok()) {
      if (attempt < kReadAttempts && TruncatedSince(id, plan)) continue;
      return found.status();
    }
    if (found->has_value() && (*found)->offset >= limit) return std::nullopt;
    return found;
  }
}

absl::StatusOr<std::optional<Offset>> RocksLogStore::Impl::PlanRetention(LocalPartitionId id,
                                                                         absl::Time now,
                                                                         Offset limit) const {
  MutexLock lock(&mu_);
  FALAJ_ASSIGN_OR_RETURN(const Partition* partition, Find(id));
  const RetentionPlan plan =
      directory_.PlanRetention(id, partition->retention, absl::ToUnixMillis(now), limit);
  if (plan.waits_for.has_value()) awaited_.insert(*plan.waits_for);
  return plan.start;
}

}  // namespace falaj::log
