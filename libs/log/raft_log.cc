#include "libs/log/raft_log.h"

#include <algorithm>
#include <climits>
#include <cstdint>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "rocksdb/options.h"
#include "rocksdb/write_batch.h"

#include "libs/base/crc32c.h"
#include "libs/base/log.h"
#include "libs/base/status.h"
#include "libs/log/rocks_info_log.h"
#include "libs/log/wal_check.h"
#include "libs/raft/validation.h"

namespace falaj::log {
namespace {

namespace pb = ::falaj::internal::v1;
namespace fs = std::filesystem;

constexpr absl::string_view kLogPrefix = "log-";
constexpr absl::string_view kSnapshotPrefix = "snapshot-";
constexpr size_t kSnapshotPieceBytes = 1 << 20;

// Keys of the default column family.
constexpr char kIdentityKey[] = "identity";
constexpr char kHardStateKey[] = "hard_state";
constexpr char kSnapshotKey[] = "snapshot";
constexpr char kSnapshotGenerationKey[] = "snapshot_generation";
constexpr char kOldestGenerationKey[] = "oldest_generation";

constexpr char kFormat[] = "falaj raft log 1\n";

std::string BigEndian(uint64_t value) {
  std::string bytes(8, '\0');
  for (int i = 7; i >= 0; --i, value >>= 8) {
    bytes[static_cast<size_t>(i)] = static_cast<char>(value & 0xff);
  }
  return bytes;
}

// nullopt unless 8 bytes.
std::optional<uint64_t> ParseBigEndian(const rocksdb::Slice& bytes) {
  if (bytes.size() != 8) return std::nullopt;
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

std::string EncodeIdentity(NodeId node, const Uuid& cluster) {
  return absl::StrCat(kFormat, BigEndian(static_cast<uint64_t>(node.value())), cluster.bytes());
}

rocksdb::DBOptions DatabaseOptions(const std::string& directory, bool is_new) {
  rocksdb::DBOptions options;
  options.create_if_missing = is_new;
  // Only an incomplete last record is forgiven: it was never acknowledged. Anything else must not
  // be mistaken for the end of the log.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.paranoid_checks = true;
  options.max_background_jobs = 2;
  options.max_total_wal_size = 64 << 20;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.info_log = std::make_shared<RocksInfoLog>(directory);
  return options;
}

rocksdb::ColumnFamilyOptions FamilyOptions(const std::string& name) {
  rocksdb::ColumnFamilyOptions options;
  options.write_buffer_size = 8 << 20;
  options.compression = rocksdb::kNoCompression;
  if (name == rocksdb::kDefaultColumnFamilyName) return options;
  // Generations are dropped whole.
  options.disable_auto_compactions = true;
  options.level0_file_num_compaction_trigger = INT_MAX;
  options.level0_slowdown_writes_trigger = INT_MAX;
  options.level0_stop_writes_trigger = INT_MAX;
  return options;
}

// The number in "log-7"; nullopt if the name is of another kind.
std::optional<uint64_t> GenerationOf(absl::string_view name, absl::string_view prefix) {
  uint64_t number = 0;
  if (!absl::ConsumePrefix(&name, prefix) || !absl::SimpleAtoi(name, &number)) return std::nullopt;
  return number;
}

}  // namespace

// Database is everything RaftLog keeps in RocksDB, and what it must remember about it.
class RaftLog::Database {
 public:
  explicit Database(std::string directory) : directory_(std::move(directory)) {}
  ~Database();

  absl::Status Open();
  absl::Status CheckIdentity(const Options& options);
  absl::Status Restore();

  absl::Status Persist(const std::optional<pb::RaftHardState>& hard_state,
                       const std::vector<pb::RaftEntry>& entries, bool sync);
  absl::Status SaveSnapshot(const raft::Snapshot& snapshot, LogIndex first_kept);
  absl::Status InstallSnapshot(const raft::Ready& ready);

  raft::Restored restored;
  Uuid cluster_id;

 private:
  using Family = rocksdb::ColumnFamilyHandle*;

  // A span of the log in a column family of its own. Empty if last < first.
  struct Generation {
    Family log = nullptr;
    uint64_t first = 1;
    uint64_t last = 0;

    bool empty() const { return last < first; }
  };

  absl::Status Corrupt(absl::string_view why) const;
  absl::Status Failed(absl::string_view what, const rocksdb::Status& status);
  absl::StatusOr<bool> FindExisting() const;
  absl::Status StampNew(const Options& options);
  absl::StatusOr<std::optional<std::string>> Get(const char* key) const;
  absl::Status GetProto(const char* key, google::protobuf::MessageLite* message) const;
  absl::StatusOr<uint64_t> GetNumber(const char* key) const;
  absl::Status RestoreSnapshot();
  absl::Status RestoreEntries(Generation* generation);

  uint64_t last_index() const;
  absl::StatusOr<Family> CreateFamily(const std::string& name);
  void DropFamily(Family family);
  absl::StatusOr<uint64_t> BeginGeneration(const raft::Snapshot& snapshot);
  void PutSnapshot(const raft::Snapshot& snapshot, uint64_t number, uint64_t oldest,
                   rocksdb::WriteBatch* batch) const;
  void PutEntries(const std::vector<pb::RaftEntry>& entries, rocksdb::WriteBatch* batch) const;
  void RememberEntries(const std::vector<pb::RaftEntry>& entries);
  absl::Status Write(rocksdb::WriteBatch* batch, bool sync);
  void DropObsolete(uint64_t snapshot_number, uint64_t oldest);

  const std::string directory_;
  std::unique_ptr<rocksdb::DB> db_;
  Family default_ = nullptr;
  std::map<uint64_t, Generation>
      generations_;  // Never empty once open; the last takes new entries.
  std::map<uint64_t, Family> snapshots_;
  uint64_t snapshot_index_ = 0;
  bool failed_ = false;
};

RaftLog::Database::~Database() {
  if (db_ == nullptr) return;
  for (auto& [number, generation] : generations_) db_->DestroyColumnFamilyHandle(generation.log);
  for (auto& [number, family] : snapshots_) db_->DestroyColumnFamilyHandle(family);
  db_->DestroyColumnFamilyHandle(default_);
  const rocksdb::Status closed = db_->Close();
  if (!closed.ok()) Warning("raft log not closed cleanly", {{"error", closed.ToString()}});
}

absl::Status RaftLog::Database::Corrupt(absl::string_view why) const {
  return MakeError(Reason::kCorruptRecord,
                   absl::StrCat("the Raft log in ", directory_, " is damaged: ", why),
                   {{"directory", directory_}});
}

// A failed write may or may not be on disk, so nothing may be written behind it.
absl::Status RaftLog::Database::Failed(absl::string_view what, const rocksdb::Status& status) {
  failed_ = true;
  return MakeError(Reason::kStorageFailed,
                   absl::StrCat("cannot ", what, " in ", directory_, ": ", status.ToString()),
                   {{"directory", directory_}});
}

// True if the directory holds a database, false if one may be made in it.
absl::StatusOr<bool> RaftLog::Database::FindExisting() const {
  std::error_code error;
  fs::create_directories(directory_, error);
  fs::directory_iterator files(directory_, error);
  if (error) {
    return MakeError(Reason::kStorageFailed,
                     absl::StrCat("cannot use the directory ", directory_, ": ", error.message()),
                     {{"directory", directory_}});
  }
  bool has_data = false;
  for (const fs::directory_entry& file : files) {
    if (file.path().filename() == "CURRENT") return true;
    has_data |= file.path().extension() == ".sst" || file.path().extension() == ".log";
  }
  // Making a new database here would forget a vote.
  if (has_data) return Corrupt("it holds data, but the file CURRENT is missing");
  return false;
}

absl::Status RaftLog::Database::Open() {
  FALAJ_ASSIGN_OR_RETURN(const bool exists, FindExisting());
  const rocksdb::DBOptions options = DatabaseOptions(directory_, !exists);
  std::vector<std::string> names = {rocksdb::kDefaultColumnFamilyName};
  rocksdb::Status status;
  if (exists) {
    FALAJ_RETURN_IF_ERROR(CheckWalTails(rocksdb::Env::Default(), directory_));
    names.clear();
    status = rocksdb::DB::ListColumnFamilies(options, directory_, &names);
  }
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const std::string& name : names) descriptors.emplace_back(name, FamilyOptions(name));
  std::vector<Family> families;
  rocksdb::DB* db = nullptr;
  if (status.ok()) status = rocksdb::DB::Open(options, directory_, descriptors, &families, &db);
  if (!status.ok()) {
    const bool damaged = status.IsCorruption() || status.IsNotFound() || status.IsPathNotFound();
    return damaged ? Corrupt(status.ToString()) : Failed("open the Raft log", status);
  }
  db_.reset(db);
  std::string unknown;
  for (size_t i = 0; i < names.size(); ++i) {
    if (auto number = GenerationOf(names[i], kLogPrefix)) {
      generations_[*number].log = families[i];
    } else if (auto snapshot = GenerationOf(names[i], kSnapshotPrefix)) {
      snapshots_[*snapshot] = families[i];
    } else if (names[i] == rocksdb::kDefaultColumnFamilyName) {
      default_ = families[i];
    } else {
      unknown = names[i];
      db_->DestroyColumnFamilyHandle(families[i]);
    }
  }
  if (!unknown.empty()) return Corrupt(absl::StrCat("unknown column family ", unknown));
  return absl::OkStatus();
}

absl::StatusOr<std::optional<std::string>> RaftLog::Database::Get(const char* key) const {
  std::string value;
  const rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), default_, key, &value);
  if (status.IsNotFound()) return std::nullopt;
  if (!status.ok()) return Corrupt(status.ToString());
  return value;
}

absl::Status RaftLog::Database::GetProto(const char* key,
                                         google::protobuf::MessageLite* message) const {
  FALAJ_ASSIGN_OR_RETURN(const std::optional<std::string> bytes, Get(key));
  if (!bytes || !message->ParseFromString(*bytes)) {
    return Corrupt(absl::StrCat(key, " is missing or malformed"));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> RaftLog::Database::GetNumber(const char* key) const {
  FALAJ_ASSIGN_OR_RETURN(const std::optional<std::string> bytes, Get(key));
  const std::optional<uint64_t> number = bytes ? ParseBigEndian(*bytes) : std::nullopt;
  if (!number) return Corrupt(absl::StrCat(key, " is missing or malformed"));
  return *number;
}

absl::Status RaftLog::Database::StampNew(const Options& options) {
  cluster_id = options.cluster_id.is_nil() ? options.cluster_id_if_new : options.cluster_id;
  if (cluster_id.is_nil()) {
    return MakeError(Reason::kInvalidConfig, "a new Raft log needs a cluster id");
  }
  pb::RaftSnapshot none;
  *none.mutable_membership() = options.initial_membership.ToProto();
  FALAJ_RETURN_IF_ERROR(raft::Membership::FromProto(none.membership()).status());
  if (generations_.empty()) {
    FALAJ_ASSIGN_OR_RETURN(generations_[1].log, CreateFamily(absl::StrCat(kLogPrefix, 1)));
  }
  rocksdb::WriteBatch batch;
  batch.Put(default_, kIdentityKey, EncodeIdentity(options.node_id, cluster_id));
  batch.Put(default_, kHardStateKey, pb::RaftHardState().SerializeAsString());
  batch.Put(default_, kSnapshotKey, none.SerializeAsString());
  batch.Put(default_, kSnapshotGenerationKey, BigEndian(0));
  batch.Put(default_, kOldestGenerationKey, BigEndian(1));
  FALAJ_RETURN_IF_ERROR(Write(&batch, true));
  // From now on a lost write-ahead log cannot make the directory look new.
  const rocksdb::Status flushed = db_->Flush(rocksdb::FlushOptions(), default_);
  return flushed.ok() ? absl::OkStatus() : Failed("write the identity", flushed);
}

absl::Status RaftLog::Database::CheckIdentity(const Options& options) {
  FALAJ_ASSIGN_OR_RETURN(const std::optional<std::string> stored, Get(kIdentityKey));
  if (!stored) {
    const bool made_by_open = generations_.empty() || generations_.rbegin()->first == 1;
    std::unique_ptr<rocksdb::Iterator> any(db_->NewIterator(rocksdb::ReadOptions(), default_));
    any->SeekToFirst();
    if (any->Valid() || !any->status().ok() || !made_by_open) return Corrupt("no identity");
    return StampNew(options);
  }
  absl::string_view identity = *stored;
  if (!absl::ConsumePrefix(&identity, kFormat) || identity.size() != 8 + Uuid::kSize) {
    return Corrupt("malformed identity");
  }
  const std::optional<uint64_t> node = ParseBigEndian({identity.data(), 8});
  FALAJ_ASSIGN_OR_RETURN(cluster_id, Uuid::FromBytes(identity.substr(8)));
  if (node != static_cast<uint64_t>(options.node_id.value())) {
    return MakeError(Reason::kClusterMismatch,
                     absl::StrCat("the directory ", directory_, " belongs to node ", *node,
                                  ", not to node ", options.node_id),
                     {{"directory", directory_}, {"node_id", absl::StrCat(*node)}});
  }
  if (!options.cluster_id.is_nil() && options.cluster_id != cluster_id) {
    return MakeError(
        Reason::kClusterMismatch,
        absl::StrCat("the directory ", directory_, " belongs to cluster ", cluster_id.ToString(),
                     ", not to ", options.cluster_id.ToString()),
        {{"directory", directory_}, {"cluster_id", cluster_id.ToString()}});
  }
  return absl::OkStatus();
}

absl::Status RaftLog::Database::Restore() {
  FALAJ_RETURN_IF_ERROR(GetProto(kHardStateKey, &restored.hard_state));
  FALAJ_RETURN_IF_ERROR(GetProto(kSnapshotKey, &restored.snapshot.meta));
  FALAJ_ASSIGN_OR_RETURN(const uint64_t snapshot_number, GetNumber(kSnapshotGenerationKey));
  FALAJ_ASSIGN_OR_RETURN(const uint64_t oldest, GetNumber(kOldestGenerationKey));
  if (generations_.empty() || generations_.rbegin()->first < oldest) {
    return Corrupt("no log generation");
  }
  // What a crash left between making a snapshot current and dropping what it replaces.
  DropObsolete(snapshot_number, oldest);
  snapshot_index_ = restored.snapshot.meta.index();
  if (snapshot_index_ > 0) FALAJ_RETURN_IF_ERROR(RestoreSnapshot());
  for (auto& [number, generation] : generations_) {
    FALAJ_RETURN_IF_ERROR(RestoreEntries(&generation));
  }
  const absl::Status fits = raft::CheckRestored(restored);
  return fits.ok() ? fits : Corrupt(fits.message());
}

absl::Status RaftLog::Database::RestoreSnapshot() {
  if (snapshots_.empty()) return Corrupt("the snapshot is missing");
  rocksdb::ReadOptions read;
  read.fill_cache = false;
  std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(read, snapshots_.begin()->second));
  std::string data;
  for (it->SeekToFirst(); it->Valid(); it->Next())
    data.append(it->value().data(), it->value().size());
  if (!it->status().ok()) return Corrupt(it->status().ToString());
  const pb::RaftSnapshot& meta = restored.snapshot.meta;
  if (static_cast<int64_t>(data.size()) != meta.size_bytes() ||
      crc32c::Of(data) != meta.checksum()) {
    return Corrupt("the snapshot fails its checksum");
  }
  restored.snapshot.data = Bytes::Own(std::move(data));
  return absl::OkStatus();
}

absl::Status RaftLog::Database::RestoreEntries(Generation* generation) {
  rocksdb::ReadOptions read;
  read.fill_cache = false;
  std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(read, generation->log));
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    pb::RaftEntry entry;
    const std::optional<uint64_t> index = ParseBigEndian(it->key());
    if (!index || !entry.ParseFromArray(it->value().data(), static_cast<int>(it->value().size())) ||
        entry.index() != *index) {
      return Corrupt("an entry is malformed");
    }
    if (generation->empty()) generation->first = *index;
    generation->last = *index;
    restored.entries.push_back(std::move(entry));
  }
  return it->status().ok() ? absl::OkStatus() : Corrupt(it->status().ToString());
}

uint64_t RaftLog::Database::last_index() const {
  for (auto it = generations_.rbegin(); it != generations_.rend(); ++it) {
    if (!it->second.empty()) return it->second.last;
  }
  return snapshot_index_;
}

absl::Status RaftLog::Database::Write(rocksdb::WriteBatch* batch, bool sync) {
  rocksdb::WriteOptions options;
  options.sync = sync;
  const rocksdb::Status status = db_->Write(options, batch);
  return status.ok() ? absl::OkStatus() : Failed("write the Raft log", status);
}

// The last generation takes the entries; whatever they replace in older ones is deleted one by one,
// which only happens when a new leader overwrites the end of the log.
void RaftLog::Database::PutEntries(const std::vector<pb::RaftEntry>& entries,
                                   rocksdb::WriteBatch* batch) const {
  if (entries.empty()) return;
  const uint64_t first = entries.front().index();
  const uint64_t last = entries.back().index();
  const uint64_t newest = generations_.rbegin()->first;
  for (const auto& [number, generation] : generations_) {
    const uint64_t from = number == newest ? last + 1 : first;
    for (uint64_t i = std::max(from, generation.first); i <= generation.last; ++i) {
      batch->Delete(generation.log, BigEndian(i));
    }
  }
  for (const pb::RaftEntry& entry : entries) {
    batch->Put(generations_.rbegin()->second.log, BigEndian(entry.index()),
               entry.SerializeAsString());
  }
}

void RaftLog::Database::RememberEntries(const std::vector<pb::RaftEntry>& entries) {
  if (entries.empty()) return;
  const uint64_t first = entries.front().index();
  for (auto& [number, generation] : generations_) {
    generation.last = std::min(generation.last, first - 1);
  }
  Generation& newest = generations_.rbegin()->second;
  if (newest.empty()) newest.first = first;
  newest.last = entries.back().index();
}

absl::Status RaftLog::Database::Persist(const std::optional<pb::RaftHardState>& hard_state,
                                        const std::vector<pb::RaftEntry>& entries, bool sync) {
  if (failed_)
    return Failed("write the Raft log", rocksdb::Status::IOError("an earlier write failed"));
  if (!entries.empty() && entries.front().index() > last_index() + 1) {
    return MakeError(Reason::kInternal, "entries would leave a gap in the Raft log");
  }
  rocksdb::WriteBatch batch;
  if (hard_state) batch.Put(default_, kHardStateKey, hard_state->SerializeAsString());
  PutEntries(entries, &batch);
  if (batch.Count() == 0) return absl::OkStatus();
  FALAJ_RETURN_IF_ERROR(Write(&batch, sync));
  RememberEntries(entries);
  return absl::OkStatus();
}

absl::StatusOr<RaftLog::Database::Family> RaftLog::Database::CreateFamily(const std::string& name) {
  Family family = nullptr;
  const rocksdb::Status status = db_->CreateColumnFamily(FamilyOptions(name), name, &family);
  if (!status.ok()) return Failed(absl::StrCat("create the column family ", name), status);
  return family;
}

void RaftLog::Database::DropFamily(Family family) {
  const std::string name = family->GetName();
  const rocksdb::Status status = db_->DropColumnFamily(family);
  // It is obsolete all the same, and dropped by the next Open().
  if (!status.ok()) {
    Warning("column family not dropped", {{"name", name}, {"error", status.ToString()}});
  }
  db_->DestroyColumnFamilyHandle(family);
}

// Makes the column families of the next generation and fills in the snapshot's bytes. Nothing
// refers to them yet.
absl::StatusOr<uint64_t> RaftLog::Database::BeginGeneration(const raft::Snapshot& snapshot) {
  uint64_t number = generations_.rbegin()->first;
  if (!snapshots_.empty()) number = std::max(number, snapshots_.rbegin()->first);
  ++number;
  FALAJ_ASSIGN_OR_RETURN(generations_[number].log, CreateFamily(absl::StrCat(kLogPrefix, number)));
  FALAJ_ASSIGN_OR_RETURN(snapshots_[number], CreateFamily(absl::StrCat(kSnapshotPrefix, number)));
  uint64_t piece = 0;
  for (size_t offset = 0; offset < snapshot.data.size(); offset += kSnapshotPieceBytes) {
    const size_t size = std::min(kSnapshotPieceBytes, snapshot.data.size() - offset);
    rocksdb::WriteBatch batch;
    batch.Put(snapshots_[number], BigEndian(piece++),
              snapshot.data.Subrange(offset, size).ToString());
    FALAJ_RETURN_IF_ERROR(Write(&batch, false));
  }
  return number;
}

void RaftLog::Database::PutSnapshot(const raft::Snapshot& snapshot, uint64_t number,
                                    uint64_t oldest, rocksdb::WriteBatch* batch) const {
  batch->Put(default_, kSnapshotKey, snapshot.meta.SerializeAsString());
  batch->Put(default_, kSnapshotGenerationKey, BigEndian(number));
  batch->Put(default_, kOldestGenerationKey, BigEndian(oldest));
}

void RaftLog::Database::DropObsolete(uint64_t snapshot_number, uint64_t oldest) {
  while (generations_.begin()->first < oldest) {
    DropFamily(generations_.begin()->second.log);
    generations_.erase(generations_.begin());
  }
  for (auto it = snapshots_.begin(); it != snapshots_.end();) {
    if (it->first == snapshot_number) {
      ++it;
    } else {
      DropFamily(it->second);
      it = snapshots_.erase(it);
    }
  }
}

absl::Status RaftLog::Database::SaveSnapshot(const raft::Snapshot& snapshot, LogIndex first_kept) {
  if (failed_)
    return Failed("write a snapshot", rocksdb::Status::IOError("an earlier write failed"));
  if (snapshot.meta.index() <= snapshot_index_) return absl::OkStatus();
  FALAJ_ASSIGN_OR_RETURN(const uint64_t number, BeginGeneration(snapshot));
  uint64_t oldest = number;
  for (const auto& [candidate, generation] : generations_) {
    if (generation.empty() || generation.last < first_kept.value()) continue;
    oldest = candidate;
    break;
  }
  rocksdb::WriteBatch batch;
  PutSnapshot(snapshot, number, oldest, &batch);
  FALAJ_RETURN_IF_ERROR(Write(&batch, true));
  snapshot_index_ = snapshot.meta.index();
  DropObsolete(number, oldest);
  return absl::OkStatus();
}

absl::Status RaftLog::Database::InstallSnapshot(const raft::Ready& ready) {
  if (failed_)
    return Failed("write a snapshot", rocksdb::Status::IOError("an earlier write failed"));
  FALAJ_ASSIGN_OR_RETURN(const uint64_t number, BeginGeneration(*ready.snapshot));
  rocksdb::WriteBatch batch;
  PutSnapshot(*ready.snapshot, number, number, &batch);
  if (ready.hard_state) {
    batch.Put(default_, kHardStateKey, ready.hard_state->SerializeAsString());
  }
  for (const pb::RaftEntry& entry : ready.entries) {
    batch.Put(generations_[number].log, BigEndian(entry.index()), entry.SerializeAsString());
  }
  FALAJ_RETURN_IF_ERROR(Write(&batch, true));
  snapshot_index_ = ready.snapshot->meta.index();
  DropObsolete(number, number);
  RememberEntries(ready.entries);
  return absl::OkStatus();
}

RaftLog::RaftLog(std::unique_ptr<Database> database) : database_(std::move(database)) {}

RaftLog::~RaftLog() = default;

absl::StatusOr<std::unique_ptr<RaftLog>> RaftLog::Open(const Options& options) {
  if (options.node_id < NodeId(1)) {
    return MakeError(Reason::kInvalidConfig, "a metadata node id must be at least 1");
  }
  auto database = std::make_unique<Database>(options.directory);
  FALAJ_RETURN_IF_ERROR(database->Open());
  FALAJ_RETURN_IF_ERROR(database->CheckIdentity(options));
  FALAJ_RETURN_IF_ERROR(database->Restore());
  return std::unique_ptr<RaftLog>(new RaftLog(std::move(database)));
}

raft::Restored RaftLog::TakeRestored() { return std::exchange(database_->restored, {}); }

Uuid RaftLog::cluster_id() const { return database_->cluster_id; }

absl::Status RaftLog::Persist(const std::optional<pb::RaftHardState>& hard_state,
                              const std::vector<pb::RaftEntry>& entries, bool sync) {
  return database_->Persist(hard_state, entries, sync);
}

absl::Status RaftLog::Persist(const raft::Ready& ready) {
  if (ready.snapshot) return database_->InstallSnapshot(ready);
  return database_->Persist(ready.hard_state, ready.entries, ready.must_sync);
}

absl::Status RaftLog::SaveSnapshot(const raft::Snapshot& snapshot, LogIndex first_kept) {
  return database_->SaveSnapshot(snapshot, first_kept);
}

}  // namespace falaj::log
