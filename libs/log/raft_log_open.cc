#include <algorithm>
#include <climits>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "rocksdb/env.h"
#include "rocksdb/options.h"

#include "libs/base/crc32c.h"
#include "libs/base/log.h"
#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/log/background_priority.h"
#include "libs/log/raft_log_database.h"
#include "libs/log/rocks_info_log.h"
#include "libs/log/wal_check.h"
#include "libs/raft/validation.h"

namespace falaj::log {
namespace {

namespace pb = ::falaj::internal::v1;
namespace fs = std::filesystem;

constexpr char kFormat[] = "falaj raft log 1\n";

// nullopt unless 8 bytes.
std::optional<uint64_t> ParseNumber(const rocksdb::Slice& bytes) {
  if (bytes.size() != 8) return std::nullopt;
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

rocksdb::Slice ToSlice(absl::string_view bytes) { return {bytes.data(), bytes.size()}; }

std::string EncodeIdentity(NodeId node, const Uuid& cluster) {
  return absl::StrCat(kFormat, EncodeNumber(static_cast<uint64_t>(node.value())), cluster.bytes());
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
  options.listeners.push_back(std::make_shared<BackgroundPriority>());
  return options;
}

// The number in "log-7"; nullopt if the name is of another kind.
std::optional<uint64_t> GenerationOf(absl::string_view name, absl::string_view prefix) {
  uint64_t number = 0;
  if (!absl::ConsumePrefix(&name, prefix) || !absl::SimpleAtoi(name, &number)) return std::nullopt;
  return number;
}

}  // namespace

std::string EncodeNumber(uint64_t value) {
  std::string bytes(8, '\0');
  for (int i = 7; i >= 0; --i, value >>= 8) {
    bytes[static_cast<size_t>(i)] = static_cast<char>(value & 0xff);
  }
  return bytes;
}

rocksdb::ColumnFamilyOptions RaftFamilyOptions(const std::string& name) {
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

RaftLog::Database::~Database() {
  if (db_ == nullptr) return;
  for (auto& [number, generation] : generations_) db_->DestroyColumnFamilyHandle(generation.log);
  for (auto& [number, family] : snapshots_) db_->DestroyColumnFamilyHandle(family);
  if (const std::optional<Written> written = TakeWritten()) GiveUp(*written);
  {
    MutexLock lock(&mu_);
    for (Family family : obsolete_) db_->DestroyColumnFamilyHandle(family);
  }
  db_->DestroyColumnFamilyHandle(default_);
  const rocksdb::Status closed = db_->Close();
  if (!closed.ok()) Warning("raft log not closed cleanly", {{"error", closed.ToString()}});
}

absl::Status RaftLog::Database::Corrupt(absl::string_view why) const {
  return MakeError(Reason::kCorruptRecord,
                   absl::StrCat("the Raft log in ", directory_, " is damaged: ", why),
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
    if (absl::StartsWith(file.path().filename().string(), kIncomingPrefix)) continue;
    if (file.path().filename() == "CURRENT") return true;
    has_data |= file.path().extension() == ".sst" || file.path().extension() == ".log";
  }
  // Making a new database here would forget a vote.
  if (has_data) return Corrupt("it holds data, but the file CURRENT is missing");
  return false;
}

// What a crash has left of a snapshot.
void RaftLog::Database::RemoveIncoming() const {
  std::error_code error;
  for (const fs::directory_entry& file : fs::directory_iterator(directory_, error)) {
    if (!absl::StartsWith(file.path().filename().string(), kIncomingPrefix)) continue;
    fs::remove(file.path(), error);
    if (error)
      Warning("file not removed", {{"file", file.path().string()}, {"error", error.message()}});
  }
}

absl::Status RaftLog::Database::Open(bool may_create) {
  FALAJ_ASSIGN_OR_RETURN(const bool exists, FindExisting());
  if (!exists && !may_create) return Corrupt("there is no database");
  rocksdb::DBOptions options = DatabaseOptions(directory_, !exists);
  if (env_ != nullptr) options.env = env_;
  std::vector<std::string> names = {rocksdb::kDefaultColumnFamilyName};
  rocksdb::Status status;
  if (exists) {
    FALAJ_RETURN_IF_ERROR(CheckWalTails(rocksdb::Env::Default(), directory_));
    names.clear();
    status = rocksdb::DB::ListColumnFamilies(options, directory_, &names);
  }
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const std::string& name : names) descriptors.emplace_back(name, RaftFamilyOptions(name));
  std::vector<Family> families;
  rocksdb::DB* db = nullptr;
  if (status.ok()) status = rocksdb::DB::Open(options, directory_, descriptors, &families, &db);
  if (!status.ok()) {
    const bool damaged = status.IsCorruption() || status.IsNotFound() || status.IsPathNotFound();
    return damaged ? Corrupt(status.ToString()) : Failed("open the Raft log", status);
  }
  db_.reset(db);
  RemoveIncoming();  // Not before: the database may have been another process's.
  return SortFamilies(names, families);
}

absl::Status RaftLog::Database::SortFamilies(const std::vector<std::string>& names,
                                             const std::vector<Family>& families) {
  std::string unknown;
  uint64_t newest = 0;
  for (size_t i = 0; i < names.size(); ++i) {
    if (auto number = GenerationOf(names[i], kLogPrefix)) {
      generations_[*number].log = families[i];
      newest = std::max(newest, *number);
    } else if (auto snapshot = GenerationOf(names[i], kSnapshotPrefix)) {
      snapshots_[*snapshot] = families[i];
      newest = std::max(newest, *snapshot);
    } else if (names[i] == rocksdb::kDefaultColumnFamilyName) {
      default_ = families[i];
    } else {
      unknown = names[i];
      db_->DestroyColumnFamilyHandle(families[i]);
    }
  }
  MutexLock lock(&mu_);
  last_number_ = newest;
  return unknown.empty() ? absl::OkStatus()
                         : Corrupt(absl::StrCat("unknown column family ", unknown));
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
  const std::optional<uint64_t> number = bytes ? ParseNumber(*bytes) : std::nullopt;
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
  if (options.join && options.initial_membership.Contains(options.node_id)) {
    return MakeError(Reason::kInvalidConfig,
                     absl::StrCat("node ", options.node_id,
                                  " is to join a cluster, but is among the members it shall join"));
  }
  if (!options.join && !options.initial_membership.IsVoter(options.node_id)) {
    return MakeError(Reason::kInvalidConfig,
                     absl::StrCat("node ", options.node_id, " is not among the initial voters"));
  }
  if (generations_.empty()) {
    const std::string name = absl::StrCat(kLogPrefix, 1);
    const rocksdb::Status made =
        db_->CreateColumnFamily(RaftFamilyOptions(name), name, &generations_[1].log);
    if (!made.ok()) return Failed("create a column family", made);
    MutexLock lock(&mu_);
    last_number_ = 1;
  }
  rocksdb::WriteBatch batch;
  batch.Put(default_, kIdentityKey, EncodeIdentity(options.node_id, cluster_id));
  batch.Put(default_, kDirectoryIdKey, ToSlice(Random::FromSystem().NextUuid().bytes()));
  batch.Put(default_, kIncarnationKey, EncodeNumber(options.incarnation_if_new));
  batch.Put(default_, kHardStateKey, pb::RaftHardState().SerializeAsString());
  batch.Put(default_, kSnapshotKey, none.SerializeAsString());
  batch.Put(default_, kSnapshotGenerationKey, EncodeNumber(0));
  batch.Put(default_, kOldestGenerationKey, EncodeNumber(1));
  FALAJ_RETURN_IF_ERROR(Write(&batch, true));
  // From now on a lost write-ahead log cannot make the directory look new.
  const rocksdb::Status flushed = db_->Flush(rocksdb::FlushOptions(), default_);
  return flushed.ok() ? absl::OkStatus() : Failed("write the identity", flushed);
}

// A directory of before there were such ids gets one: all that it holds is still there.
absl::Status RaftLog::Database::RestoreDirectoryId() {
  FALAJ_ASSIGN_OR_RETURN(const std::optional<std::string> stored, Get(kDirectoryIdKey));
  if (stored) {
    const absl::StatusOr<Uuid> id = Uuid::FromBytes(*stored);
    if (!id.ok() || id->is_nil()) return Corrupt("malformed directory id");
    directory_id = *id;
    return absl::OkStatus();
  }
  directory_id = Random::FromSystem().NextUuid();
  rocksdb::WriteBatch batch;
  batch.Put(default_, kDirectoryIdKey, ToSlice(directory_id.bytes()));
  return Write(&batch, true);
}

absl::Status RaftLog::Database::CheckIdentity(const Options& options) {
  FALAJ_ASSIGN_OR_RETURN(const std::optional<std::string> stored, Get(kIdentityKey));
  if (!stored) {
    const bool made_by_open = generations_.empty() || generations_.rbegin()->first == 1;
    std::unique_ptr<rocksdb::Iterator> any(db_->NewIterator(rocksdb::ReadOptions(), default_));
    any->SeekToFirst();
    if (any->Valid() || !any->status().ok() || !made_by_open) return Corrupt("no identity");
    Options complete = options;
    if (options.complete_if_new) FALAJ_RETURN_IF_ERROR(options.complete_if_new(&complete));
    return StampNew(complete);
  }
  absl::string_view identity = *stored;
  if (!absl::ConsumePrefix(&identity, kFormat) || identity.size() != 8 + Uuid::kSize) {
    return Corrupt("malformed identity");
  }
  const std::optional<uint64_t> node = ParseNumber({identity.data(), 8});
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
  FALAJ_RETURN_IF_ERROR(RestoreDirectoryId());
  FALAJ_RETURN_IF_ERROR(GetProto(kHardStateKey, &restored.hard_state));
  FALAJ_RETURN_IF_ERROR(GetProto(kSnapshotKey, &restored.snapshot.meta));
  FALAJ_ASSIGN_OR_RETURN(const uint64_t snapshot_number, GetNumber(kSnapshotGenerationKey));
  FALAJ_ASSIGN_OR_RETURN(const uint64_t oldest, GetNumber(kOldestGenerationKey));
  FALAJ_ASSIGN_OR_RETURN(const std::optional<std::string> stored_incarnation, Get(kIncarnationKey));
  if (stored_incarnation) {
    FALAJ_ASSIGN_OR_RETURN(incarnation, GetNumber(kIncarnationKey));
  }
  if (generations_.empty() || generations_.rbegin()->first < oldest) {
    return Corrupt("no log generation");
  }
  // What a crash left: a snapshot that never became current, or what the current one replaced.
  FindObsolete(snapshot_number, oldest);
  DropObsolete();
  const absl::StatusOr<raft::Membership> base =
      raft::Membership::FromProto(restored.snapshot.meta.membership());
  if (!base.ok()) return Corrupt(base.status().message());
  snapshot_index_ = restored.snapshot.meta.index();
  if (snapshot_index_ > 0) FALAJ_RETURN_IF_ERROR(RestoreSnapshot(snapshot_number));
  for (auto& [number, generation] : generations_) {
    FALAJ_RETURN_IF_ERROR(RestoreEntries(&generation));
  }
  const absl::Status fits = raft::CheckRestored(restored);
  return fits.ok() ? fits : Corrupt(fits.message());
}

absl::Status RaftLog::Database::RestoreSnapshot(uint64_t number) {
  const auto family = snapshots_.find(number);
  if (family == snapshots_.end()) return Corrupt("the snapshot is missing");
  rocksdb::ReadOptions read;
  read.fill_cache = false;
  std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(read, family->second));
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
    const std::optional<uint64_t> index = ParseNumber(it->key());
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

}  // namespace falaj::log
