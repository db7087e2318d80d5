// Opening a store: RocksDB replays its write-ahead log, then the tables in memory are filled from
// `meta`, and the ends of the logs are read from the slabs that still take batches.
#include <algorithm>
#include <initializer_list>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "rocksdb/env.h"
#include "rocksdb/iterator.h"
#include "rocksdb/rate_limiter.h"
#include "rocksdb/sst_file_reader.h"

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "libs/log/direct_writes.h"
#include "libs/log/flush_pace.h"
#include "libs/log/read_ahead_file_system.h"
#include "libs/log/rocks_config.h"
#include "libs/log/rocks_log_impl.h"
#include "libs/log/rocks_slice.h"
#include "libs/log/timed_file_system.h"
#include "libs/log/wal_check.h"
#include "libs/log/write_behind_file_system.h"

namespace falaj::log {
namespace {

constexpr char kMetaName[] = "meta";
constexpr char kFormatKey[] = "format";
constexpr char kFormat[] = "falaj log 1";

// The name of a file of one of these kinds, the first that stands in `text`; empty if none does.
std::string FileNamedIn(absl::string_view text, std::initializer_list<absl::string_view> kinds) {
  for (const absl::string_view kind : kinds) {
    const size_t at = text.find(kind);
    if (at == absl::string_view::npos) continue;
    const size_t begin = text.find_last_of("/ ", at) + 1;
    return std::string(text.substr(begin, text.find_first_of(" :,'\n", at) - begin));
  }
  return "";
}

// Which table cannot be opened, by name; empty if all can. For messages only: of each it reads the
// footer and what that points at, not the records.
std::string FindDamagedTable(rocksdb::Env* env, const std::string& directory) {
  std::vector<std::string> files;
  if (!env->GetChildren(directory, &files).ok()) return "";
  std::sort(files.begin(), files.end());
  rocksdb::Options options;
  options.env = env;
  for (const std::string& file : files) {
    if (!absl::EndsWith(file, ".sst")) continue;
    if (!rocksdb::SstFileReader(options).Open(absl::StrCat(directory, "/", file)).ok()) return file;
  }
  return "";
}

}  // namespace

struct RocksLogStore::Impl::LoadedRows {
  std::map<LocalPartitionId, PartitionRow> partitions;
  std::map<LocalPartitionId, std::vector<EpochStart>> epochs;       // Ascending, as the keys are.
  std::map<LocalPartitionId, std::vector<DirectoryEntry>> entries;  // Likewise.
  std::map<SlabId, SlabInfo> slabs;
};

RocksLogStore::Impl::Impl(const Options& options)
    : options_(options), health_(std::make_shared<StoreHealth>(options.directory)) {}

RocksLogStore::Impl::~Impl() {
  if (db_ == nullptr) return;
  // Nobody is disturbed any more.
  db_options_.rate_limiter->SetBytesPerSecond(FlushRate::kUnlimited);
  if (health_->Get().ok()) {
    // So that the next start has nothing to replay.
    std::vector<rocksdb::ColumnFamilyHandle*> all = {default_, meta_};
    {
      MutexLock lock(&mu_);
      for (const auto& [id, family] : families_) all.push_back(family->handle);
    }
    const rocksdb::Status flushed = db_->Flush(rocksdb::FlushOptions(), all);
    if (!flushed.ok()) Warning("cannot flush while closing", {{"error", flushed.ToString()}});
  }
  {
    MutexLock lock(&mu_);
    families_.clear();
  }
  rewrite_.reset();
  for (rocksdb::ColumnFamilyHandle* handle : {meta_, default_}) {
    if (handle == nullptr) continue;
    const rocksdb::Status released = db_->DestroyColumnFamilyHandle(handle);
    if (!released.ok()) Warning("cannot release a family", {{"error", released.ToString()}});
  }
  const rocksdb::Status closed = db_->Close();
  if (!closed.ok()) {
    Warning("cannot close the store",
            {{"directory", options_.directory}, {"error", closed.ToString()}});
  }
}

rocksdb::ColumnFamilyOptions RocksLogStore::Impl::SlabOptions() const {
  rocksdb::ColumnFamilyOptions options = MakeSlabOptions(options_, cache_);
  options.compaction_filter_factory = filters_;
  return options;
}

// What RocksDB has met while opening. A file that is missing is damage here, as the store has been
// there; and RocksDB does not always say which file is damaged.
absl::Status RocksLogStore::Impl::ExplainOpen(const rocksdb::Status& status) const {
  if (status.ok()) return absl::OkStatus();
  if (!status.IsCorruption() && !status.IsPathNotFound()) {
    return FromRocks(status, options_.directory, "open the store");
  }
  const std::string text = status.ToString();
  std::string file = FileNamedIn(text, {".sst", ".ldb"});
  // Of a table that is missing RocksDB tells the name it would have had long ago, of one that is
  // cut short the manifest's.
  if (absl::EndsWith(file, ".ldb")) file.replace(file.size() - 3, 3, "sst");
  if (file.empty()) file = FindDamagedTable(db_options_.env, options_.directory);
  if (file.empty()) file = FileNamedIn(text, {"MANIFEST-", "CURRENT", ".log"});
  if (file.empty()) file = FindDamagedWal(db_options_.env, options_.directory);
  if (file.empty() &&
      rocksdb::ReadFileToString(db_options_.env, options_.directory + "/CURRENT", &file).ok()) {
    absl::StripTrailingAsciiWhitespace(&file);  // It names the manifest.
  }
  return MakeError(Reason::kCorruptRecord,
                   absl::StrCat("the store in '", options_.directory, "' is damaged, in the file '",
                                file, "': ", text),
                   {{"directory", options_.directory}, {"file", file}});
}

// Without CURRENT RocksDB would begin an empty store on top of what is left of the old one.
absl::Status RocksLogStore::Impl::ExpectNoStore() const {
  std::vector<std::string> files;
  FALAJ_RETURN_IF_ERROR(FromRocks(db_options_.env->GetChildren(options_.directory, &files),
                                  options_.directory, "open the store"));
  for (const std::string& file : files) {
    // A manifest alone is what is left when a process dies while it makes a store.
    if (!absl::EndsWith(file, ".sst") && !absl::EndsWith(file, ".log")) continue;
    return MakeError(
        Reason::kCorruptRecord,
        absl::StrCat("the store in '", options_.directory,
                     "' is damaged: the file 'CURRENT' is missing, '", file, "' is there"),
        {{"directory", options_.directory}, {"file", "CURRENT"}});
  }
  return absl::OkStatus();
}

absl::Status RocksLogStore::Impl::OpenDb() {
  cache_ = rocksdb::NewLRUCache(static_cast<size_t>(options_.block_cache_bytes),
                                /*num_shard_bits=*/4, /*strict_capacity_limit=*/false,
                                /*high_pri_pool_ratio=*/0.5);
  rocksdb::Env* const base = options_.env != nullptr ? options_.env : rocksdb::Env::Default();
  std::shared_ptr<rocksdb::FileSystem> disk = base->GetFileSystem();
  // Below the one that puts syncs off: those do not wait for anything.
  if (options_.pulse != nullptr) disk = std::make_shared<TimedFileSystem>(disk, options_.pulse);
  deletion_ = std::make_shared<GradualDeletion>(disk);
  file_system_ = std::make_shared<WalSyncFileSystem>(
      std::make_shared<ReadAheadFileSystem>(std::make_shared<WriteBehindFileSystem>(deletion_)));
  env_ = rocksdb::NewCompositeEnv(file_system_);
  // For all stores of the process: one whose flush takes its time holds up no other.
  env_->IncBackgroundThreadsIfNeeded(4, rocksdb::Env::HIGH);
  db_options_ = MakeDbOptions(options_, env_.get(), health_);
  const auto rocks = [this](const rocksdb::Status& status, absl::string_view what) {
    return FromRocks(status, options_.directory, what);
  };
  FALAJ_RETURN_IF_ERROR(
      rocks(db_options_.env->CreateDirIfMissing(options_.directory), "make the directory"));
  deletion_->SetHurry(WantsRoom(ReadDiskSpace(options_.directory)));
  deletion_->Adopt(options_.directory);
  db_options_.use_direct_io_for_flush_and_compaction =
      options_.direct_writes && TakesDirectWrites(options_.directory);
  std::vector<std::string> names = {rocksdb::kDefaultColumnFamilyName, kMetaName};
  if (db_options_.env->FileExists(options_.directory + "/CURRENT").ok()) {
    FALAJ_RETURN_IF_ERROR(CheckWalTails(db_options_.env, options_.directory));
    std::vector<std::string> found;
    FALAJ_RETURN_IF_ERROR(
        ExplainOpen(rocksdb::DB::ListColumnFamilies(db_options_, options_.directory, &found)));
    for (const std::string& name : found) {
      if (name != names[0] && name != names[1]) names.push_back(name);
    }
  } else {
    FALAJ_RETURN_IF_ERROR(ExpectNoStore());
  }
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const std::string& name : names) {
    const bool slab = descriptors.size() >= 2;
    descriptors.emplace_back(name, slab ? SlabOptions() : MakeMetaOptions(cache_));
  }
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  FALAJ_RETURN_IF_ERROR(
      ExplainOpen(rocksdb::DB::Open(db_options_, options_.directory, descriptors, &handles, &db)));
  db_.reset(db);
  default_ = handles[0];
  meta_ = handles[1];
  MutexLock lock(&mu_);
  bool known = true;
  for (size_t i = 2; i < names.size(); ++i) {
    RetentionClass cls = 0;
    SlabId slab;
    auto family = std::make_shared<SlabFamily>(db, handles[i]);
    known = known && ParseSlabName(names[i], &cls, &slab);
    if (known) families_[slab] = std::move(family);
  }
  return known ? absl::OkStatus() : Corrupt("a column family has an unknown name");
}

absl::Status RocksLogStore::Impl::CheckFormat() {
  std::string format;
  const rocksdb::Status read = db_->Get(rocksdb::ReadOptions(), default_, kFormatKey, &format);
  if (read.ok()) {
    if (format == kFormat) return absl::OkStatus();
    return MakeError(Reason::kStorageFailed,
                     absl::StrCat("the store in '", options_.directory, "' has the format '",
                                  format, "', this program knows '", kFormat, "'"),
                     {{"directory", options_.directory}});
  }
  if (!read.IsNotFound()) return FromRocks(read, options_.directory, "open the store");
  const std::unique_ptr<rocksdb::Iterator> any(db_->NewIterator(rocksdb::ReadOptions(), meta_));
  any->SeekToFirst();
  if (any->Valid()) return Corrupt("it has no format");
  rocksdb::WriteBatch batch;
  batch.Put(default_, kFormatKey, kFormat);
  return Write(&batch, /*sync=*/true, "make the store");
}

absl::Status RocksLogStore::Impl::LoadRow(const MetaKey& key, absl::string_view value,
                                          LoadedRows* rows) {
  const LocalPartitionId id = key.partition;
  switch (key.letter) {
    case 'P':
      if (const auto row = ParsePartitionRow(value)) {
        rows->partitions[id] = *row;
        return absl::OkStatus();
      }
      break;
    case 'E':
      if (const auto start = ParseEpochRow(value)) {
        rows->epochs[id].push_back({.epoch = key.epoch, .start = *start});
        return absl::OkStatus();
      }
      break;
    case 'I': {
      DirectoryEntry entry{.first = key.first, .end = key.first, .slab = key.slab};
      if (!ParseDirectoryRow(value, &entry)) break;
      rows->entries[id].push_back(entry);
      return absl::OkStatus();
    }
    case 'L': {
      SlabInfo slab{.id = key.slab, .cls = key.cls};
      if (!ParseSlabRow(value, &slab)) break;
      rows->slabs[key.slab] = slab;
      return absl::OkStatus();
    }
    default:
      break;
  }
  return Corrupt(absl::StrCat("a row '", absl::string_view(&key.letter, 1), "' of local partition ",
                              id, " is malformed or of a newer format"));
}

absl::Status RocksLogStore::Impl::LoadRows(LoadedRows* rows) {
  rocksdb::ReadOptions read;
  read.fill_cache = false;
  const rocksdb::Slice producers(&kProducerLetter, 1);  // RestoreProducers() reads them.
  read.iterate_upper_bound = &producers;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(read, meta_));
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const std::optional<MetaKey> key = ParseMetaKey(View(it->key()));
    if (!key.has_value()) return Corrupt("a key of the directory is unknown");
    if (key->letter == 'N') continue;  // Read by RestoreSlabs.
    FALAJ_RETURN_IF_ERROR(LoadRow(*key, View(it->value()), rows));
  }
  return FromRocks(it->status(), options_.directory, "open the store");
}

absl::Status RocksLogStore::Impl::RestoreSlabs(const LoadedRows& rows,
                                               rocksdb::WriteBatch* cleanup) {
  std::string counters;
  const rocksdb::Status read = db_->Get(rocksdb::ReadOptions(), meta_, CountersRowKey(), &counters);
  if (read.ok()) {
    const std::optional<CountersRow> row = ParseCountersRow(counters);
    if (!row.has_value()) return Corrupt("the row of counters is malformed");
    counters_ = *row;
  } else if (!read.IsNotFound()) {
    return FromRocks(read, options_.directory, "open the store");
  }
  const auto skip_past = [this](SlabId id) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    counters_.next_slab = std::max(counters_.next_slab, id + 1);
  };
  MutexLock lock(&mu_);
  for (const auto& [id, slab] : rows.slabs) {
    skip_past(id);
    if (families_.contains(id)) {
      directory_.AddSlab(slab);
    } else {
      cleanup->Delete(meta_, SlabRowKey(slab.cls, id));  // Dropped just before a crash.
    }
  }
  for (auto it = families_.begin(); it != families_.end();) {
    skip_past(it->first);
    if (directory_.FindSlab(it->first) != nullptr) {
      ++it;
      continue;
    }
    // Made just before a crash; nothing can refer to it.
    FALAJ_RETURN_IF_ERROR(
        FromRocks(db_->DropColumnFamily(it->second->handle), options_.directory, "open the store"));
    it = families_.erase(it);
  }
  return absl::OkStatus();
}

// Fills what the row of an unsealed entry does not say from its last batch.
absl::Status RocksLogStore::Impl::RecoverEntry(LocalPartitionId id, const PartitionRow& row,
                                               std::optional<Offset> next_first,
                                               const SlabFamily& family, DirectoryEntry* entry,
                                               rocksdb::WriteBatch* cleanup) {
  const Offset seen = next_first.value_or(row.end_seen);
  const std::string bound = DataKey(id, next_first.value_or(Offset(INT64_MAX)));
  const rocksdb::Slice bound_slice(bound);
  const auto it = NewIterator(family, /*fill_cache=*/false, &bound_slice);
  // Forward from a little before the end that was last noted: a backward seek would read a block of
  // every table of the slab.
  it->Seek(DataKey(id, std::max(entry->first, seen - std::max<int64_t>(entry->span_max, 1))));
  if (it->status().ok() && !it->Valid()) it->Seek(DataKey(id, entry->first));
  std::optional<StoredBatch> last;
  for (; it->Valid(); it->Next()) {
    FALAJ_ASSIGN_OR_RETURN(const StoredBatch batch, ParseStored(id, *it, /*verify=*/true));
    if (last.has_value() && batch.header.base_offset != last->header.next_offset()) {
      return Corrupt(absl::StrCat("batches from offset ", last->header.next_offset(),
                                  " of local partition ", id, " are missing"));
    }
    NoteLate(id, row.end_seen, batch.header);
    NoteEpoch(id, batch.header, cleanup);
    last = batch;
  }
  FALAJ_RETURN_IF_ERROR(FromRocks(it->status(), options_.directory, "open the store"));
  if (!last.has_value()) {
    // A power failure took them, and left the row in a table: they were not synced.
    if (!next_first.has_value()) return absl::OkStatus();
    return Corrupt(absl::StrCat("slab ", entry->slab, " holds no batch of local partition ", id));
  }
  entry->end = last->header.next_offset();
  entry->bytes = last->stored.running_bytes - entry->start_bytes;
  entry->running_max_ts = last->stored.running_max_ts;
  entry->max_ts = last->stored.running_max_ts;  // Not known better.
  return absl::OkStatus();
}

// Completes an entry; false if it lies below the log start, or holds nothing.
absl::StatusOr<bool> RocksLogStore::Impl::RestoreEntry(LocalPartitionId id, const PartitionRow& row,
                                                       std::optional<Offset> next_first,
                                                       DirectoryEntry* entry,
                                                       rocksdb::WriteBatch* cleanup) {
  if (next_first.has_value() && *next_first <= row.log_start) return false;
  if (!entry->sealed) {
    const auto family = families_.find(entry->slab);
    if (family == families_.end()) {
      return Corrupt(absl::StrCat("slab ", entry->slab, " of local partition ", id, " is missing"));
    }
    entry->end = entry->first;
    FALAJ_RETURN_IF_ERROR(RecoverEntry(id, row, next_first, *family->second, entry, cleanup));
  }
  if (entry->end <= std::max(row.log_start, entry->first)) return false;
  if (!families_.contains(entry->slab)) {
    return Corrupt(absl::StrCat("slab ", entry->slab, " of local partition ", id, " is missing"));
  }
  if (next_first.has_value() && entry->end != *next_first) {
    return Corrupt(absl::StrCat("batches from offset ", entry->end, " of local partition ", id,
                                " are missing"));
  }
  return true;
}

absl::Status RocksLogStore::Impl::RestorePartition(LocalPartitionId id, const PartitionRow& row,
                                                   std::vector<DirectoryEntry> entries,
                                                   std::vector<EpochStart> epochs,
                                                   rocksdb::WriteBatch* cleanup) {
  MutexLock lock(&mu_);
  std::unique_ptr<Partition>& partition = partitions_[id];
  partition = std::make_unique<Partition>();
  partition->key = row.key;
  partition->retention = row.retention;
  partition->epochs = std::move(epochs);
  State& state = partition->state;
  state = {.log_start = row.log_start,
           .log_end = row.log_start,
           .high_watermark = row.high_watermark,
           .max_timestamp_ms = row.max_timestamp_ms,
           .running_bytes = row.running_bytes};
  ids_[partition->key] = id;
  for (size_t i = 0; i < entries.size(); ++i) {
    std::optional<Offset> next_first;
    if (i + 1 < entries.size()) next_first = entries[i + 1].first;
    FALAJ_ASSIGN_OR_RETURN(const bool live,
                           RestoreEntry(id, row, next_first, &entries[i], cleanup));
    if (!live) {
      cleanup->Delete(meta_, DirectoryRowKey(id, entries[i].first, entries[i].slab));
      continue;
    }
    directory_.Append(id, entries[i]);
    directory_.CountAppended(entries[i].slab, entries[i].sealed ? 0 : entries[i].bytes);
    state.log_end = entries[i].end;
    state.max_timestamp_ms = entries[i].running_max_ts;
    state.running_bytes = entries[i].start_bytes + entries[i].bytes;
  }
  FALAJ_RETURN_IF_ERROR(AdoptOrphans(id, row.end_seen, cleanup));
  // Of a topic with durability=os a power failure may leave the rows, in a table, and take the
  // batches: an epoch that began beyond the end is as if it had never been.
  std::vector<EpochStart>& known = partition->epochs;
  while (!known.empty() && known.back().start > state.log_end) {
    cleanup->Delete(meta_, EpochRowKey(id, known.back().epoch));
    known.pop_back();
  }
  directory_.NoteLogStart(id, state.log_start);
  state.high_watermark = std::clamp(state.high_watermark, state.log_start, state.log_end);
  return absl::OkStatus();
}

// After a power failure a table may hold batches of an epoch whose row was still in the page cache.
// All that is scanned begins below the first such epoch: it began behind the end that was last
// seen.
void RocksLogStore::Impl::NoteEpoch(LocalPartitionId id, const record::BatchHeader& header,
                                    rocksdb::WriteBatch* cleanup) {
  std::vector<EpochStart>& epochs = partitions_.at(id)->epochs;
  if (!epochs.empty() && epochs.back().epoch >= header.leader_epoch) return;
  epochs.push_back({header.leader_epoch, header.base_offset});
  cleanup->Put(meta_, EpochRowKey(id, header.leader_epoch), EncodeEpochRow(header.base_offset));
}

// After a power failure a table may hold batches whose directory row was still in the page cache.
// If they continue the log they belong to it; they must not stay behind its end unseen.
absl::Status RocksLogStore::Impl::AdoptOrphans(LocalPartitionId id, Offset end_seen,
                                               rocksdb::WriteBatch* cleanup) {
  Partition* partition = partitions_.at(id).get();
  State& state = partition->state;
  const std::string bound = DataKey(id, Offset(INT64_MAX));
  const rocksdb::Slice bound_slice(bound);
  for (const auto& [slab, family] : families_) {
    if (directory_.FindSlab(slab)->sealed_ms != 0) continue;
    const auto it = NewIterator(*family, /*fill_cache=*/false, &bound_slice);
    it->Seek(DataKey(id, state.log_end));
    FALAJ_RETURN_IF_ERROR(FromRocks(it->status(), options_.directory, "open the store"));
    if (!it->Valid()) continue;
    DirectoryEntry entry{.first = state.log_end, .end = state.log_end, .slab = slab};
    entry.start_bytes = state.running_bytes;
    for (Offset expected = state.log_end; it->Valid(); it->Next()) {
      FALAJ_ASSIGN_OR_RETURN(const StoredBatch batch, ParseStored(id, *it, /*verify=*/true));
      if (batch.header.base_offset != expected) {
        return Corrupt(absl::StrCat("batches from offset ", expected, " of local partition ", id,
                                    " are missing"));
      }
      NoteLate(id, end_seen, batch.header);
      expected = entry.end = batch.header.next_offset();
      entry.span_max = std::max(entry.span_max, expected - batch.header.base_offset);
      entry.bytes += static_cast<int64_t>(batch.bytes.size());
      entry.running_max_ts = entry.max_ts = batch.stored.running_max_ts;
      NoteEpoch(id, batch.header, cleanup);
    }
    FALAJ_RETURN_IF_ERROR(FromRocks(it->status(), options_.directory, "open the store"));
    Warning("batches without a directory row adopted",
            {{"local_partition", id}, {"from", entry.first}, {"end", entry.end}});
    cleanup->Put(meta_, DirectoryRowKey(id, entry.first, slab), EncodeDirectoryRow(entry));
    directory_.Append(id, entry);
    directory_.CountAppended(slab, entry.bytes);
    state.log_end = entry.end;
    state.max_timestamp_ms = std::max(state.max_timestamp_ms, entry.running_max_ts);
    state.running_bytes += entry.bytes;
  }
  return absl::OkStatus();
}

// What an open slab holds that nobody needs any more is known only by the size of its tables: all
// that was replayed is in them now.
void RocksLogStore::Impl::CountTables() {
  MutexLock lock(&mu_);
  for (const auto& [id, family] : families_) {
    uint64_t bytes = 0;
    if (directory_.FindSlab(id)->sealed_ms == 0 &&
        db_->GetIntProperty(family->handle, rocksdb::DB::Properties::kLiveSstFilesSize, &bytes)) {
      directory_.CountTables(id, static_cast<int64_t>(bytes));
    }
  }
}

// Rows of partitions that were dropped while Maintain wrote theirs.
void RocksLogStore::Impl::ForgetUnowned(const LoadedRows& rows,
                                        rocksdb::WriteBatch* cleanup) const {
  for (const auto& [id, epochs] : rows.epochs) {
    if (rows.partitions.contains(id)) continue;
    for (const EpochStart& epoch : epochs) cleanup->Delete(meta_, EpochRowKey(id, epoch.epoch));
  }
  for (const auto& [id, entries] : rows.entries) {
    if (rows.partitions.contains(id)) continue;
    for (const DirectoryEntry& entry : entries) {
      cleanup->Delete(meta_, DirectoryRowKey(id, entry.first, entry.slab));
    }
  }
}

// A power failure may take the rows of a young partition and the counter its id came from, but
// leave batches of it in a table: that id must not be given to another partition.
absl::Status RocksLogStore::Impl::SkipUsedIds() {
  rocksdb::ReadOptions read;
  read.total_order_seek = true;
  read.fill_cache = false;
  MutexLock lock(&mu_);
  for (const auto& [slab, family] : families_) {
    if (directory_.FindSlab(slab)->sealed_ms != 0) continue;
    const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(read, family->handle));
    it->SeekToLast();
    FALAJ_RETURN_IF_ERROR(FromRocks(it->status(), options_.directory, "open the store"));
    if (!it->Valid()) continue;
    const std::optional<LocalPartitionId> last = PartitionOfDataKey(View(it->key()));
    if (!last.has_value()) return Corrupt("a key of a slab is malformed");
    counters_.next_partition = std::max(counters_.next_partition, *last + 1);
  }
  return absl::OkStatus();
}

absl::Status RocksLogStore::Impl::Restore(const LoadedRows& rows) {
  rocksdb::WriteBatch cleanup;
  FALAJ_RETURN_IF_ERROR(RestoreSlabs(rows, &cleanup));
  FALAJ_RETURN_IF_ERROR(SkipUsedIds());
  ForgetUnowned(rows, &cleanup);
  for (const auto& [id, row] : rows.partitions) {
    const auto entries = rows.entries.find(id);
    const auto epochs = rows.epochs.find(id);
    FALAJ_RETURN_IF_ERROR(RestorePartition(
        id, row, entries == rows.entries.end() ? std::vector<DirectoryEntry>() : entries->second,
        epochs == rows.epochs.end() ? std::vector<EpochStart>() : epochs->second, &cleanup));
    counters_.next_partition = std::max(counters_.next_partition, id + 1);
  }
  CountTables();
  FALAJ_RETURN_IF_ERROR(RestoreProducers(&cleanup));
  if (cleanup.Count() > 0) {
    FALAJ_RETURN_IF_ERROR(Write(&cleanup, /*sync=*/true, "clean up"));
  }
  for (const auto& [id, row] : rows.partitions) {
    FALAJ_RETURN_IF_ERROR(EnsureOpenSlab(RetentionClassOf(row.retention)));
  }
  return absl::OkStatus();
}

absl::Status RocksLogStore::Impl::Open() {
  const MonotonicTime start = options_.clock->MonotonicNow();
  FALAJ_RETURN_IF_ERROR(OpenDb());
  MutexLock write_lock(&write_mu_);
  FALAJ_RETURN_IF_ERROR(CheckFormat());
  LoadedRows rows;
  FALAJ_RETURN_IF_ERROR(LoadRows(&rows));
  FALAJ_RETURN_IF_ERROR(Restore(rows));
  Info("store opened",
       {{"directory", options_.directory},
        {"partitions", rows.partitions.size()},
        {"slabs", rows.slabs.size()},
        {"direct_writes", db_options_.use_direct_io_for_flush_and_compaction},
        {"seconds", absl::ToDoubleSeconds(options_.clock->MonotonicNow() - start)}});
  return absl::OkStatus();
}

}  // namespace falaj::log
