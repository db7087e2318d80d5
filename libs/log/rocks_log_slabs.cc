// Slabs and housekeeping: making, sealing and dropping slabs, flushing old memtables, statistics.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rocksdb/rate_limiter.h"
#include "rocksdb/statistics.h"

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "libs/log/disk_watch.h"
#include "libs/log/flush_pace.h"
#include "libs/log/rocks_config.h"
#include "libs/log/rocks_log_impl.h"

namespace falaj::log {
namespace {

// Between slabs that are sealed before they are old or large. Somebody who deletes all there is
// every second must not have a column family made each time.
constexpr absl::Duration kEarlySealPause = absl::Seconds(10);
// How often tables are looked for that nobody needs, after a slab was dropped.
constexpr int kPurges = 3;
// A slab of more tables than this, which are smaller than that on average, is merged into one
// table: an idle class that is flushed often would otherwise collect thousands.
constexpr uint64_t kSmallFiles = 64;
constexpr uint64_t kSmallFileBytes = 4 << 20;
// An open slab that is mostly dead is sealed, to be rewritten, if its dead bytes are as many such
// parts of the largest slab as the class has slabs: 32 MiB, or all 2 GiB with 64 slabs. What lives
// stays in it, and each is a column family.
constexpr int64_t kEarlySealDivisor = 64;

}  // namespace

absl::StatusOr<SlabInfo> RocksLogStore::Impl::AllocateSlab(RetentionClass cls, absl::Time now) {
  CountersRow counters = counters_;
  const SlabInfo slab{.id = counters.next_slab, .cls = cls, .created_ms = absl::ToUnixMillis(now)};
  counters.next_slab = slab.id + 1;
  rocksdb::WriteBatch batch;
  batch.Put(meta_, CountersRowKey(), EncodeCountersRow(counters));
  FALAJ_RETURN_IF_ERROR(Write(&batch, /*sync=*/false, "make a slab"));
  counters_ = counters;
  return slab;
}

absl::StatusOr<std::shared_ptr<SlabFamily>> RocksLogStore::Impl::CreateFamily(
    const SlabInfo& slab) {
  MutexLock lock(&cf_mu_);
  rocksdb::ColumnFamilyHandle* handle = nullptr;
  const rocksdb::Status made =
      db_->CreateColumnFamily(SlabOptions(), SlabName(slab.cls, slab.id), &handle);
  // Also if the store has failed meanwhile: it is released then.
  auto family = made.ok() ? std::make_shared<SlabFamily>(db_.get(), handle) : nullptr;
  FALAJ_RETURN_IF_ERROR(health_->NoteWrite(made, "make a slab"));
  return family;
}

// Lets a slab take batches, and seals the one before it, in one write.
absl::Status RocksLogStore::Impl::PublishSlab(const SlabInfo& slab,
                                              std::shared_ptr<SlabFamily> family,
                                              std::optional<SlabId> predecessor, absl::Time now) {
  rocksdb::WriteBatch batch;
  batch.Put(meta_, SlabRowKey(slab.cls, slab.id), EncodeSlabRow(slab));
  if (predecessor.has_value()) {
    MutexLock lock(&mu_);
    SlabInfo old = *directory_.FindSlab(*predecessor);
    old.sealed_ms = std::max<int64_t>(absl::ToUnixMillis(now), 1);
    batch.Put(meta_, SlabRowKey(old.cls, old.id), EncodeSlabRow(old));
    for (auto [id, entry] : directory_.EntriesOf(*predecessor)) {
      entry.sealed = true;
      batch.Put(meta_, DirectoryRowKey(id, entry.first, entry.slab), EncodeDirectoryRow(entry));
    }
  }
  FALAJ_RETURN_IF_ERROR(Write(&batch, /*sync=*/false, "switch slabs"));
  MutexLock lock(&mu_);
  if (predecessor.has_value()) directory_.SealSlab(*predecessor, absl::ToUnixMillis(now));
  directory_.AddSlab(slab);
  families_[slab.id] = std::move(family);
  return absl::OkStatus();
}

absl::Status RocksLogStore::Impl::EnsureOpenSlab(RetentionClass cls) {
  {
    MutexLock lock(&mu_);
    if (directory_.OpenSlab(cls).has_value()) return absl::OkStatus();
  }
  const absl::Time now = options_.clock->Now();
  FALAJ_ASSIGN_OR_RETURN(const SlabInfo slab, AllocateSlab(cls, now));
  FALAJ_ASSIGN_OR_RETURN(std::shared_ptr<SlabFamily> family, CreateFamily(slab));
  return PublishSlab(slab, std::move(family), std::nullopt, now);
}

bool RocksLogStore::Impl::IsFull(const SlabInfo& slab, absl::Time now) const {
  const int64_t live = IsSizeClass(slab.cls) ? directory_.LiveBytes(slab.cls) : 0;
  const absl::Duration span = RetentionClassAge(slab.cls) / options_.slab_spans_per_retention;
  return slab.bytes >= SlabBytesMax(slab.cls, live, options_.slab_bytes_max) ||
         now - absl::FromUnixMillis(slab.created_ms) >= span;
}

// Whether sealing an open slab that is neither old nor large brings space back: it holds nothing
// that is needed, or so little that it is worth rewriting, or retention waits for it. Or whether it
// should take no more batches, as it is damaged.
bool RocksLogStore::Impl::IsDueEarly(const SlabInfo& slab) const {
  const auto slabs =
      std::count_if(directory_.slabs().begin(), directory_.slabs().end(),
                    [&slab](const auto& other) { return other.second.cls == slab.cls; });
  const bool rewritable =
      MostlyDead(slab) &&
      slab.bytes - slab.live_bytes >= options_.slab_bytes_max / kEarlySealDivisor * slabs;
  // A damaged one is not merged any more: its tables would become ever more.
  return slab.entries == 0 || rewritable || awaited_.contains(slab.id) ||
         damaged_slabs_.contains(slab.id);
}

std::vector<SlabInfo> RocksLogStore::Impl::DueSlabs(absl::Time now) {
  const MonotonicTime pace = options_.clock->MonotonicNow();
  const bool early = !sealed_early_.has_value() || pace - *sealed_early_ >= kEarlySealPause;
  std::vector<SlabInfo> due;
  MutexLock lock(&mu_);
  for (const auto& [id, slab] : directory_.slabs()) {
    if (slab.sealed_ms != 0 || slab.bytes == 0) continue;
    const bool full = IsFull(slab, now);
    if (!full && !(early && IsDueEarly(slab))) continue;
    if (!full) sealed_early_ = pace;
    due.push_back(slab);
  }
  if (early) awaited_.clear();
  return due;
}

absl::Status RocksLogStore::Impl::RotateSlabs(absl::Time now) {
  for (const SlabInfo& old : DueSlabs(now)) FALAJ_RETURN_IF_ERROR(RotateSlab(old, now));
  return absl::OkStatus();
}

absl::Status RocksLogStore::Impl::RotateSlab(const SlabInfo& old, absl::Time now) {
  SlabInfo slab;
  {
    MutexLock write_lock(&write_mu_);
    FALAJ_ASSIGN_OR_RETURN(slab, AllocateSlab(old.cls, now));
  }
  // The slow part, while the appender goes on with the old slab.
  FALAJ_ASSIGN_OR_RETURN(std::shared_ptr<SlabFamily> family, CreateFamily(slab));
  std::shared_ptr<SlabFamily> sealed;
  {
    MutexLock write_lock(&write_mu_);
    FALAJ_RETURN_IF_ERROR(PublishSlab(slab, std::move(family), old.id, now));
    MutexLock lock(&mu_);
    if (directory_.FindSlab(old.id)->entries == 0) return absl::OkStatus();  // To be dropped.
    sealed = families_.at(old.id);
  }
  return BeginFlush(sealed->handle, /*sealed=*/true).status();
}

std::vector<SlabInfo> RocksLogStore::Impl::DeadSlabs() const {
  std::vector<SlabInfo> dead;
  MutexLock lock(&mu_);
  for (const SlabId id : directory_.DeadSlabs()) dead.push_back(*directory_.FindSlab(id));
  return dead;
}

absl::Status RocksLogStore::Impl::DeleteRowsLeft(absl::string_view what) {
  if (rows_left_.empty()) return absl::OkStatus();
  rocksdb::WriteBatch deletions;
  for (const std::string& row : rows_left_) deletions.Delete(meta_, row);
  FALAJ_RETURN_IF_ERROR(Write(&deletions, /*sync=*/false, what));
  rows_left_.clear();
  return absl::OkStatus();
}

// All rows of `meta` that were written before are on disk when this returns. In a table: a sync of
// the log would take along all that topics with durability=os have written since the last one,
// hundreds of megabytes perhaps. What slabs hold that are not in `dead` goes first, unless it is
// the ends of logs: from there a power failure may take batches and leave their rows, but nowhere
// else. Only Maintain seals slabs, so none is sealed meanwhile.
absl::Status RocksLogStore::Impl::FlushRows(absl::string_view what,
                                            const std::vector<SlabInfo>& dead) {
  std::vector<std::shared_ptr<SlabFamily>> families;
  {
    MutexLock lock(&mu_);
    std::set<SlabId> needed = directory_.SlabsBehindEnds();
    for (const SlabInfo& slab : dead) needed.erase(slab.id);
    for (const SlabId id : needed) families.push_back(families_.at(id));
  }
  // Maintain waits, and with it other memtables that should be flushed in time.
  rocksdb::RateLimiter& pace = *db_options_.rate_limiter;
  pace.SetBytesPerSecond(FlushRate::kMinAwaited);
  rocksdb::Status flushed;
  for (const auto& family : families) {
    if (flushed.ok()) flushed = db_->Flush(rocksdb::FlushOptions(), family->handle);
  }
  if (flushed.ok()) flushed = db_->Flush(rocksdb::FlushOptions(), meta_);
  pace.SetBytesPerSecond(FlushRate::kMin);
  return health_->NoteWrite(flushed, what);
}

absl::Status RocksLogStore::Impl::DropDeadSlabs() {
  std::vector<SlabInfo> dead = DeadSlabs();
  if (dead.empty()) return absl::OkStatus();  // Without waiting for the appender.
  {
    MutexLock write_lock(&write_mu_);
    dead = DeadSlabs();
    FALAJ_RETURN_IF_ERROR(DeleteRowsLeft("drop a slab"));
  }
  // What made the slabs dead must be on disk before they go, else a power failure would leave rows
  // that point at nothing.
  FALAJ_RETURN_IF_ERROR(FlushRows("drop a slab", dead));
  for (const SlabInfo& slab : dead) {
    FALAJ_RETURN_IF_ERROR(DropFamily(slab));
    rocksdb::WriteBatch batch;
    batch.Delete(meta_, SlabRowKey(slab.cls, slab.id));
    MutexLock write_lock(&write_mu_);
    FALAJ_RETURN_IF_ERROR(Write(&batch, /*sync=*/false, "drop a slab"));
  }
  return absl::OkStatus();
}

// Dropping slabs is what makes space, so it must not wait for it. RocksDB takes no writes; but if
// no row is left to write, and it was a table that found no room, the log says all there is to say
// and can be synced (RocksDB 7.8 aborts the process if it is asked to after a failed write of its
// log). The rows of the slabs stay until the store is opened again.
absl::Status RocksLogStore::Impl::DropDeadSlabsOfFullDisk() {
  std::vector<SlabInfo> dead;
  {
    MutexLock write_lock(&write_mu_);
    dead = DeadSlabs();
    if (dead.empty() || !rows_left_.empty() || !file_system_->LogsAreWhole())
      return absl::OkStatus();
    FALAJ_RETURN_IF_ERROR(SyncLog("drop a slab"));
  }
  for (const SlabInfo& slab : dead) FALAJ_RETURN_IF_ERROR(DropFamily(slab));
  return absl::OkStatus();
}

absl::Status RocksLogStore::Impl::DropFamily(const SlabInfo& slab) {
  std::shared_ptr<SlabFamily> family;
  {
    MutexLock lock(&mu_);
    family = families_.at(slab.id);
  }
  {
    MutexLock lock(&cf_mu_);
    FALAJ_RETURN_IF_ERROR(health_->NoteWrite(db_->DropColumnFamily(family->handle), "drop a slab"));
  }
  {
    MutexLock lock(&mu_);
    families_.erase(slab.id);
    directory_.RemoveSlab(slab.id);
  }
  damaged_slabs_.erase(slab.id);
  memtable_ages_.erase(SlabName(slab.cls, slab.id));
  purges_left_ = kPurges;
  Info("slab dropped", {{"slab", SlabName(slab.cls, slab.id)}, {"bytes", slab.bytes}});
  return absl::OkStatus();
}

// The tables of a slab that was dropped while one of its memtables was being flushed, or its tables
// merged, would stay until the next flush of another one: nobody looks for them before.
absl::Status RocksLogStore::Impl::PurgeTables() {
  if (purges_left_ == 0) return absl::OkStatus();
  for (const std::string& property : {rocksdb::DB::Properties::kNumRunningFlushes,
                                      rocksdb::DB::Properties::kNumRunningCompactions}) {
    uint64_t running = 0;
    if (!db_->GetIntProperty(property, &running) || running > 0) return absl::OkStatus();
  }
  --purges_left_;
  FALAJ_RETURN_IF_ERROR(health_->NoteWrite(db_->DisableFileDeletions(), "purge tables"));
  // Looks at all files.
  return health_->NoteWrite(db_->EnableFileDeletions(/*force=*/false), "purge tables");
}

std::vector<std::pair<std::string, std::shared_ptr<SlabFamily>>> RocksLogStore::Impl::Families()
    const {
  std::vector<std::pair<std::string, std::shared_ptr<SlabFamily>>> all;
  MutexLock lock(&mu_);
  for (const auto& [id, family] : families_) {
    const SlabInfo* slab = directory_.FindSlab(id);
    if (slab != nullptr) all.emplace_back(SlabName(slab->cls, id), family);
  }
  return all;
}

int64_t RocksLogStore::Impl::WalWrittenBytes() const {
  return static_cast<int64_t>(db_options_.statistics->getTickerCount(rocksdb::WAL_FILE_BYTES));
}

// Has a memtable flushed in the background. False: RocksDB takes no such order while writes wait
// for the flushes that are under way, which is no failure; whoever asks again later is in time.
absl::StatusOr<bool> RocksLogStore::Impl::BeginFlush(rocksdb::ColumnFamilyHandle* family,
                                                     bool sealed) {
  rocksdb::FlushOptions flush;
  flush.wait = false;
  flush.allow_write_stall = sealed;  // Nothing is written to it any more.
  const rocksdb::Status begun = db_->Flush(flush, family);
  if (begun.IsTryAgain()) return false;
  FALAJ_RETURN_IF_ERROR(health_->NoteWrite(begun, "flush"));
  return true;
}

bool RocksLogStore::Impl::ShouldFlush(const std::string& name,
                                      rocksdb::ColumnFamilyHandle* family) {
  uint64_t entries = 0;
  uint64_t bytes = 0;
  if (!db_->GetIntProperty(family, rocksdb::DB::Properties::kNumEntriesActiveMemTable, &entries) ||
      !db_->GetIntProperty(family, rocksdb::DB::Properties::kCurSizeActiveMemTable, &bytes) ||
      entries == 0) {
    memtable_ages_.erase(name);
    return false;
  }
  const MonotonicTime now = options_.clock->MonotonicNow();
  const int64_t unsynced = payload_unsynced_.load(std::memory_order_relaxed);
  const int64_t synced = payload_synced_.load(std::memory_order_relaxed);
  const int64_t wal = WalWrittenBytes();
  const auto [it, first_seen] = memtable_ages_.try_emplace(name);
  MemtableAge& age = it->second;
  if (first_seen || bytes < age.bytes) {  // Smaller than before: RocksDB has flushed meanwhile.
    age = {.bytes = bytes,
           .dirty_since = now,
           .unsynced_before = unsynced,
           .synced_before = synced,
           .wal_before = wal};
    return false;
  }
  age.bytes = bytes;
  const int64_t unsynced_since = unsynced - age.unsynced_before;
  const int64_t synced_since = synced - age.synced_before;
  const bool pins_unsynced =
      unsynced_since >= options_.unsynced_wal_bytes_min && unsynced_since > synced_since;
  if (wal - age.wal_before >= options_.wal_bytes_max) return true;
  const absl::Duration age_max =
      pins_unsynced ? options_.unsynced_wal_age_max : options_.memtable_age_max;
  return now - age.dirty_since >= age_max;
}

absl::Status RocksLogStore::Impl::FlushOldMemtables() {
  const auto families = Families();
  std::vector<std::pair<std::string, rocksdb::ColumnFamilyHandle*>> old;
  if (ShouldFlush("meta", meta_)) old.emplace_back("meta", meta_);
  for (const auto& [name, family] : families) {
    if (ShouldFlush(name, family->handle)) old.emplace_back(name, family->handle);
  }
  for (const auto& [name, handle] : old) {
    FALAJ_ASSIGN_OR_RETURN(const bool begun, BeginFlush(handle, /*sealed=*/false));
    // What is written from now on is in another one, which need not be smaller when it is next
    // looked at.
    if (begun) memtable_ages_.erase(name);
  }
  if (!ShouldFlush("default", default_)) return absl::OkStatus();
  MutexLock write_lock(&write_mu_);
  FALAJ_ASSIGN_OR_RETURN(const bool begun, BeginFlush(default_, /*sealed=*/false));
  if (begun) memtable_ages_.erase("default");
  KeepMemtableOccupied();
  return absl::OkStatus();
}

absl::Status RocksLogStore::Impl::MergeSmallFiles() {
  for (const auto& [name, family] : Families()) {
    std::string files_text;
    uint64_t bytes = 0;
    if (!db_->GetProperty(family->handle, rocksdb::DB::Properties::kNumFilesAtLevelPrefix + "0",
                          &files_text) ||
        !db_->GetIntProperty(family->handle, rocksdb::DB::Properties::kLiveSstFilesSize, &bytes)) {
      continue;
    }
    const uint64_t files = std::stoull(files_text);
    if (files < kSmallFiles || bytes / files >= kSmallFileBytes) continue;
    SlabInfo slab;
    if (!ParseSlabName(name, &slab.cls, &slab.id) || !IsReadable(slab, *family, nullptr)) continue;
    rocksdb::CompactRangeOptions merge;
    merge.exclusive_manual_compaction = false;
    FALAJ_RETURN_IF_ERROR(health_->NoteWrite(
        db_->CompactRange(merge, family->handle, nullptr, nullptr), "merge small tables"));
  }
  return absl::OkStatus();
}

// After the disk was full: asks RocksDB to try again. It does so by itself too, but seldom.
absl::Status RocksLogStore::Impl::TryRecover() {
  const rocksdb::Status resumed = db_->Resume();
  if (!resumed.ok()) {
    return resumed.IsBusy() ? health_->Get() : health_->NoteWrite(resumed, "resume");
  }
  MutexLock write_lock(&write_mu_);
  rocksdb::WriteBatch probe;
  probe.Put(default_, "resumed", "");
  FALAJ_RETURN_IF_ERROR(Write(&probe, /*sync=*/true, "resume"));
  health_->NoteRecovered();
  return absl::OkStatus();
}

absl::Status RocksLogStore::Impl::Maintain(absl::Time now) {
  if (health_->failed()) return health_->Get();
  deletion_->SetHurry(WantsRoom(ReadDiskSpace(options_.directory)));
  if (health_->full()) {
    FALAJ_RETURN_IF_ERROR(DropDeadSlabsOfFullDisk());
    FALAJ_RETURN_IF_ERROR(PurgeTables());
    FALAJ_RETURN_IF_ERROR(TryRecover());
  }
  FALAJ_RETURN_IF_ERROR(RotateSlabs(now));
  FALAJ_RETURN_IF_ERROR(DropDeadSlabs());
  FALAJ_RETURN_IF_ERROR(PurgeTables());
  FALAJ_RETURN_IF_ERROR(FlushOldMemtables());
  FALAJ_RETURN_IF_ERROR(MergeSmallFiles());
  return RewriteSlab();
}

StoreStats RocksLogStore::Impl::Stats() const {
  StoreStats stats;
  {
    MutexLock lock(&mu_);
    stats.partitions = static_cast<int64_t>(partitions_.size());
    stats.slabs = static_cast<int64_t>(directory_.slabs().size());
    for (const auto& [id, slab] : directory_.slabs()) {
      if (HeldByStragglers(slab)) ++stats.slabs_held_by_stragglers;
    }
  }
  using Properties = rocksdb::DB::Properties;
  const auto sum = [this](const std::string& property) {
    uint64_t value = 0;
    db_->GetAggregatedIntProperty(property, &value);
    return static_cast<int64_t>(value);
  };
  stats.memtable_bytes = sum(Properties::kSizeAllMemTables);
  stats.table_bytes = sum(Properties::kLiveSstFilesSize);
  stats.table_reader_bytes = sum(Properties::kEstimateTableReadersMem);
  uint64_t pending = 0;
  db_->GetIntProperty(meta_, Properties::kEstimatePendingCompactionBytes, &pending);
  stats.pending_compaction_bytes = static_cast<int64_t>(pending);
  rocksdb::VectorLogPtr files;
  if (db_->GetSortedWalFiles(files).ok()) {
    for (const auto& file : files) stats.wal_bytes += static_cast<int64_t>(file->SizeFileBytes());
  }
  stats.block_cache_bytes = static_cast<int64_t>(cache_->GetUsage());
  const auto ticker = [this](uint32_t type) {
    return static_cast<int64_t>(db_options_.statistics->getTickerCount(type));
  };
  stats.block_cache_hits = ticker(rocksdb::BLOCK_CACHE_HIT);
  stats.block_cache_misses = ticker(rocksdb::BLOCK_CACHE_MISS);
  stats.data_blocks_read = ticker(rocksdb::BLOCK_CACHE_DATA_MISS);
  stats.stall_micros = ticker(rocksdb::STALL_MICROS);
  stats.wal_written_bytes = WalWrittenBytes();
  stats.flushed_bytes = ticker(rocksdb::FLUSH_WRITE_BYTES);
  stats.commits = commits_.load(std::memory_order_relaxed);
  stats.commits_synced = commits_synced_.load(std::memory_order_relaxed);
  stats.payload_bytes = payload_synced_.load(std::memory_order_relaxed) +
                        payload_unsynced_.load(std::memory_order_relaxed);
  stats.read_bytes = read_bytes_.load(std::memory_order_relaxed);
  return stats;
}

}  // namespace falaj::log
