#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rocksdb/env.h"
#include "rocksdb/options.h"
#include "rocksdb/sst_file_writer.h"

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "libs/log/raft_log_database.h"

namespace falaj::log {
namespace {

namespace pb = ::falaj::internal::v1;

constexpr size_t kPieceBytes = 1 << 20;
constexpr uint64_t kSyncBytes = 256 << 10;

}  // namespace

// Makes the column families of the next generation and fills in the snapshot. Nothing refers to
// them yet. On any thread.
absl::StatusOr<RaftLog::Database::Written> RaftLog::Database::WriteGeneration(
    const raft::Snapshot& snapshot) {
  Written written;
  written.snapshot_index = snapshot.meta.index();
  {
    MutexLock lock(&mu_);
    written.number = ++last_number_;
  }
  absl::Status made = CreateFamilies(&written);
  if (made.ok()) made = FillSnapshot(snapshot, written.snapshot);
  if (made.ok()) return written;
  GiveUp(written);
  return made;
}

// In one call: RocksDB stops all writes while it stores its options, once for each call.
absl::Status RaftLog::Database::CreateFamilies(Written* written) {
  const std::vector<std::string> names = {absl::StrCat(kLogPrefix, written->number),
                                          absl::StrCat(kSnapshotPrefix, written->number)};
  std::vector<Family> families;  // Those that were made before one could not be.
  const rocksdb::Status status =
      db_->CreateColumnFamilies(RaftFamilyOptions(names[0]), names, &families);
  if (!families.empty()) written->log = families[0];
  if (families.size() > 1) written->snapshot = families[1];
  return status.ok() ? absl::OkStatus() : Failed("create column families", status);
}

// Into a table of its own beside the database, which then takes it in as a whole: neither the
// write-ahead log nor a memtable, which the log's entries go through, is touched. The table goes to
// the disk bit by bit, so that an entry's fsync never waits for much of it.
absl::Status RaftLog::Database::FillSnapshot(const raft::Snapshot& snapshot, Family family) {
  if (snapshot.data.empty()) return absl::OkStatus();
  const std::string path = absl::StrCat(directory_, "/", kIncomingPrefix, family->GetName());
  rocksdb::EnvOptions env_options(db_->GetDBOptions());
  env_options.bytes_per_sync = kSyncBytes;
  env_options.strict_bytes_per_sync = true;
  rocksdb::SstFileWriter writer(env_options, db_->GetOptions(family), family);
  rocksdb::Status status = writer.Open(path);
  uint64_t number = 0;
  const Bytes data = snapshot.data.Flatten();
  for (size_t offset = 0; status.ok() && offset < data.size(); offset += kPieceBytes) {
    const absl::string_view piece = data.view().substr(offset, kPieceBytes);
    status = writer.Put(EncodeNumber(number++), rocksdb::Slice(piece.data(), piece.size()));
  }
  if (status.ok()) status = writer.Finish();
  rocksdb::IngestExternalFileOptions options;
  options.move_files = true;
  if (status.ok()) status = db_->IngestExternalFile(family, {path}, options);
  return status.ok() ? absl::OkStatus() : Failed("write a snapshot", status);
}

std::optional<RaftLog::Database::Written> RaftLog::Database::TakeWritten() {
  MutexLock lock(&mu_);
  return std::exchange(written_, std::nullopt);
}

void RaftLog::Database::GiveUp(const Written& written) {
  MutexLock lock(&mu_);
  for (Family family : {written.log, written.snapshot}) {
    if (family != nullptr) obsolete_.push_back(family);
  }
}

void RaftLog::Database::PutSnapshot(const raft::Snapshot& snapshot, uint64_t number,
                                    uint64_t oldest, rocksdb::WriteBatch* batch) const {
  batch->Put(default_, kSnapshotKey, snapshot.meta.SerializeAsString());
  batch->Put(default_, kSnapshotGenerationKey, EncodeNumber(number));
  batch->Put(default_, kOldestGenerationKey, EncodeNumber(oldest));
}

// The generation takes new entries from now on. What it replaces is dropped by DropObsolete().
void RaftLog::Database::MakeCurrent(const Written& written, uint64_t oldest) {
  generations_[written.number].log = written.log;
  snapshots_[written.number] = written.snapshot;
  snapshot_index_ = written.snapshot_index;
  FindObsolete(written.number, oldest);
}

void RaftLog::Database::FindObsolete(uint64_t snapshot_number, uint64_t oldest) {
  MutexLock lock(&mu_);
  while (generations_.begin()->first < oldest) {
    obsolete_.push_back(generations_.begin()->second.log);
    generations_.erase(generations_.begin());
  }
  for (auto it = snapshots_.begin(); it != snapshots_.end();) {
    if (it->first == snapshot_number) {
      ++it;
    } else {
      obsolete_.push_back(it->second);
      it = snapshots_.erase(it);
    }
  }
}

void RaftLog::Database::DropObsolete() {
  std::vector<Family> obsolete;
  {
    MutexLock lock(&mu_);
    obsolete.swap(obsolete_);
  }
  if (obsolete.empty()) return;
  const rocksdb::Status status = db_->DropColumnFamilies(obsolete);  // In one call, as they came.
  // They are obsolete all the same, and dropped by the next Open().
  if (!status.ok()) Warning("column families not dropped", {{"error", status.ToString()}});
  for (Family family : obsolete) db_->DestroyColumnFamilyHandle(family);
}

absl::Status RaftLog::Database::WriteSnapshot(const raft::Snapshot& snapshot) {
  FALAJ_RETURN_IF_ERROR(CheckWritable());
  if (const std::optional<Written> abandoned = TakeWritten()) GiveUp(*abandoned);
  DropObsolete();
  FALAJ_ASSIGN_OR_RETURN(Written written, WriteGeneration(snapshot));
  MutexLock lock(&mu_);
  written_ = written;
  return absl::OkStatus();
}

absl::Status RaftLog::Database::CommitSnapshot(const raft::Snapshot& snapshot,
                                               LogIndex first_kept) {
  const std::optional<Written> written = TakeWritten();
  if (!written || written->snapshot_index != snapshot.meta.index()) {
    if (written) GiveUp(*written);
    return MakeError(Reason::kInternal, "the snapshot to be made current was not written");
  }
  const absl::Status writable = CheckWritable();
  const bool overtaken = written->snapshot_index <= snapshot_index_;
  if (!writable.ok() || overtaken) {
    GiveUp(*written);
    return writable;
  }
  uint64_t oldest = written->number;
  for (const auto& [number, generation] : generations_) {
    if (generation.empty() || generation.last < first_kept.value()) continue;
    oldest = number;
    break;
  }
  rocksdb::WriteBatch batch;
  PutSnapshot(snapshot, written->number, oldest, &batch);
  const absl::Status stored = Write(&batch, true);
  if (!stored.ok()) {
    GiveUp(*written);
    return stored;
  }
  MakeCurrent(*written, oldest);
  return absl::OkStatus();
}

absl::Status RaftLog::Database::InstallSnapshot(const raft::Ready& ready) {
  FALAJ_RETURN_IF_ERROR(CheckWritable());
  FALAJ_ASSIGN_OR_RETURN(const Written written, WriteGeneration(*ready.snapshot));
  rocksdb::WriteBatch batch;
  PutSnapshot(*ready.snapshot, written.number, written.number, &batch);
  if (ready.hard_state) {
    batch.Put(default_, kHardStateKey, ready.hard_state->SerializeAsString());
  }
  for (const pb::RaftEntry& entry : ready.entries) {
    batch.Put(written.log, EncodeNumber(entry.index()), entry.SerializeAsString());
  }
  const absl::Status stored = Write(&batch, true);
  if (!stored.ok()) {
    GiveUp(written);
    return stored;
  }
  MakeCurrent(written, written.number);
  RememberEntries(ready.entries);
  return absl::OkStatus();
}

}  // namespace falaj::log
