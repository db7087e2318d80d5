// Rewriting the slabs that stragglers hold: a sealed slab of which little is needed any more, but
// that little by a partition that keeps it for long. RocksDB compacts the slab, and a filter drops
// what is dead; it costs the bytes that survive, read twice and written once.
//
// Why it takes nothing from anybody:
//   a sealed slab takes no batches, and what is dead in it stays dead: a log start moves back only
//   when its partition loses all its entries there, and what no entry speaks of is never read
//   what made it dead is on disk before the compaction begins
//   a reader whose plan is older than that may still want it, so those are waited for: from the
//   moment the survivors are settled readers are given a new reference to the slab, and the
//   compaction begins when nobody but us has the old one
//   an iterator under way reads the old tables to its end
//   RocksDB switches from the old tables to the new one at once, or not at all if it dies before
// A damaged block would stop the whole store if a compaction met it, so all that one is going to
// read is read before. A slab with damage is not compacted; whose batches are damaged is found out,
// and told to who asks with TakeDamaged().
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rocksdb/iterator.h"
#include "rocksdb/sst_file_reader.h"

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "libs/log/rocks_log_impl.h"

namespace falaj::log {
namespace {

// Dead bytes that are worth it, as a part of the largest slab: 16 MiB.
constexpr int64_t kWorthDivisor = 128;
constexpr size_t kReadAtATime = 1 << 20;

// Reads a table: all of it, or what survives. A block in which something dead stands first is read,
// too, as a compaction does, that looks for the smallest key of all tables.
rocksdb::Status ReadTable(rocksdb::SstFileReader* table, const Survivors* keep) {
  rocksdb::ReadOptions read;
  read.total_order_seek = true;
  read.fill_cache = false;
  read.verify_checksums = true;
  const std::unique_ptr<rocksdb::Iterator> it(table->NewIterator(read));
  it->SeekToFirst();
  while (it->Valid()) {
    std::optional<std::string> next;
    if (keep != nullptr) next = SkipDead(*keep, {it->key().data(), it->key().size()});
    if (next.has_value()) {
      it->Seek(*next);
    } else {
      it->Next();
    }
  }
  return it->status();
}

}  // namespace

std::optional<SlabInfo> RocksLogStore::Impl::PickStraggler() const {
  std::optional<SlabInfo> worst;
  int64_t most = options_.slab_bytes_max / kWorthDivisor;
  {
    MutexLock lock(&mu_);
    for (const auto& [id, slab] : directory_.slabs()) {
      const int64_t dead = slab.bytes - slab.live_bytes;
      if (!HeldByStragglers(slab) || dead <= most || damaged_slabs_.contains(id)) continue;
      most = dead;
      worst = slab;
    }
  }
  if (!worst.has_value()) return std::nullopt;
  // Until it is done the survivors are there twice.
  uint64_t free = 0;
  const rocksdb::Status asked = db_options_.env->GetFreeSpace(options_.directory, &free);
  if (asked.ok() && free < 2 * static_cast<uint64_t>(worst->live_bytes)) return std::nullopt;
  return worst;
}

// Settles what a slab has to keep.
absl::Status RocksLogStore::Impl::BeginRewrite(const SlabInfo& slab) {
  auto keep = std::make_shared<Survivors>();
  {
    MutexLock write_lock(&write_mu_);  // No log start moves meanwhile.
    FALAJ_RETURN_IF_ERROR(DeleteRowsLeft("rewrite a slab"));
    MutexLock lock(&mu_);
    for (const auto& [id, entry] : directory_.EntriesOf(slab.id)) {
      // A batch that holds the log start begins at most so much before it; see SeekTo().
      const Offset start = partitions_.at(id)->state.log_start;
      const Offset from = std::max(entry.first, start - (std::max<int64_t>(entry.span_max, 1) - 1));
      const auto [known, added] = keep->emplace(id, from);
      if (!added) known->second = std::min(known->second, from);
    }
  }
  FALAJ_RETURN_IF_ERROR(FlushRows("rewrite a slab", {}));
  MutexLock lock(&mu_);
  std::shared_ptr<SlabFamily>& family = families_.at(slab.id);
  rewrite_ = SlabRewrite{.slab = slab.id, .before = family, .keep = std::move(keep)};
  family = std::shared_ptr<SlabFamily>(family.get(), [old = family](SlabFamily*) {});
  return absl::OkStatus();
}

// Reads at least what a compaction reads: each table by itself, as an iterator over the slab leaves
// blocks unread that no visible key is in.
rocksdb::Status RocksLogStore::Impl::ReadSlab(const SlabFamily& family,
                                              const Survivors* keep) const {
  const rocksdb::Options options(db_options_, SlabOptions());
  rocksdb::ColumnFamilyMetaData slab;
  db_->GetColumnFamilyMetaData(family.handle, &slab);
  std::vector<std::unique_ptr<rocksdb::SstFileReader>> tables;
  uint64_t deletions = 0;
  for (const rocksdb::LevelMetaData& level : slab.levels) {
    for (const rocksdb::SstFileMetaData& file : level.files) {
      auto table = std::make_unique<rocksdb::SstFileReader>(options);
      const rocksdb::Status opened =
          table->Open(absl::StrCat(file.directory, "/", file.relative_filename));
      if (!opened.ok()) return opened;
      deletions += table->GetTableProperties()->num_deletions;
      tables.push_back(std::move(table));
    }
  }
  for (const std::string& property : {rocksdb::DB::Properties::kNumDeletesActiveMemTable,
                                      rocksdb::DB::Properties::kNumDeletesImmMemTables}) {
    uint64_t in_memory = 0;
    db_->GetIntProperty(family.handle, property, &in_memory);
    deletions += in_memory;
  }
  // The filter is not asked about deletions, nor about what they hide: that is read key by key.
  if (deletions > 0) keep = nullptr;
  for (const auto& table : tables) {
    const rocksdb::Status read = ReadTable(table.get(), keep);
    if (!read.ok()) return read;
  }
  return rocksdb::Status::OK();
}

// Reads what a partition has in a slab.
absl::Status RocksLogStore::Impl::ReadEntry(LocalPartitionId id,
                                            const DirectoryEntry& entry) const {
  Offset from = entry.first;
  while (from < entry.end) {
    FALAJ_ASSIGN_OR_RETURN(const ReadResult read, Read(id, from, entry.end, kReadAtATime));
    if (read.next_offset <= from) break;  // The rest has been deleted.
    from = read.next_offset;
  }
  return absl::OkStatus();
}

// Whether a slab can be compacted. If not, whose batches are damaged is remembered; it may be
// nobody's, as nobody needs what is dead.
bool RocksLogStore::Impl::IsReadable(const SlabInfo& slab, const SlabFamily& family,
                                     const Survivors* keep) {
  if (damaged_slabs_.contains(slab.id)) return false;
  const rocksdb::Status whole = ReadSlab(family, keep);
  if (whole.ok()) return true;
  damaged_slabs_.insert(slab.id);
  Warning("a slab cannot be read and is not compacted",
          {{"slab", SlabName(slab.cls, slab.id)}, {"error", whole.ToString()}});
  std::vector<std::pair<LocalPartitionId, DirectoryEntry>> entries;
  {
    MutexLock lock(&mu_);
    entries = directory_.EntriesOf(slab.id);
  }
  for (const auto& [id, entry] : entries) {
    if (ReasonOf(ReadEntry(id, entry)) == Reason::kCorruptRecord) damaged_.push_back(id);
  }
  return false;
}

absl::Status RocksLogStore::Impl::CompactSlab(const SlabRewrite& rewrite, SlabInfo slab) {
  if (!IsReadable(slab, *rewrite.before, rewrite.keep.get())) return absl::OkStatus();
  rocksdb::CompactRangeOptions compact;
  compact.exclusive_manual_compaction = false;
  compact.allow_write_stall = true;  // Nothing is written to it any more.
  compact.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
  {
    const SlabFilterFactory::Scope scope(filters_.get(), rewrite.before->handle->GetID(),
                                         rewrite.keep);
    FALAJ_RETURN_IF_ERROR(health_->NoteWrite(
        db_->CompactRange(compact, rewrite.before->handle, nullptr, nullptr), "rewrite a slab"));
  }
  Info("slab rewritten", {{"slab", SlabName(slab.cls, slab.id)},
                          {"bytes_before", slab.bytes},
                          {"bytes", slab.live_bytes}});
  // If this row is lost the slab is rewritten once more, which costs what survives.
  slab.bytes = slab.live_bytes;
  {
    MutexLock lock(&mu_);
    directory_.SetBytes(slab.id, slab.bytes);
  }
  rocksdb::WriteBatch batch;
  batch.Put(meta_, SlabRowKey(slab.cls, slab.id), EncodeSlabRow(slab));
  MutexLock write_lock(&write_mu_);
  return Write(&batch, /*sync=*/false, "rewrite a slab");
}

absl::Status RocksLogStore::Impl::RewriteSlab() {
  if (!rewrite_.has_value()) {
    const std::optional<SlabInfo> slab = PickStraggler();
    if (!slab.has_value()) return absl::OkStatus();
    FALAJ_RETURN_IF_ERROR(BeginRewrite(*slab));
  }
  std::optional<SlabInfo> slab;
  {
    MutexLock lock(&mu_);
    const SlabInfo* const found = directory_.FindSlab(rewrite_->slab);
    if (found != nullptr) slab = *found;
  }
  // Ours, and the one inside the new reference.
  if (slab.has_value() && rewrite_->before.use_count() > 2) return absl::OkStatus();
  const SlabRewrite rewrite = *std::exchange(rewrite_, std::nullopt);
  return slab.has_value() ? CompactSlab(rewrite, *slab) : absl::OkStatus();
}

}  // namespace falaj::log
