#include "libs/log/raft_log.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/log/raft_log_database.h"

namespace falaj::log {
namespace {

namespace pb = ::falaj::internal::v1;

}  // namespace

// A failed write may or may not be on disk, so nothing may be written behind it.
absl::Status RaftLog::Database::Failed(absl::string_view what, const rocksdb::Status& status) {
  failed_ = true;
  return MakeError(Reason::kStorageFailed,
                   absl::StrCat("cannot ", what, " in ", directory_, ": ", status.ToString()),
                   {{"directory", directory_}});
}

absl::Status RaftLog::Database::CheckWritable() {
  if (!failed_) return absl::OkStatus();
  return Failed("write the Raft log", rocksdb::Status::IOError("an earlier write failed"));
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
      batch->Delete(generation.log, EncodeNumber(i));
    }
  }
  for (const pb::RaftEntry& entry : entries) {
    batch->Put(generations_.rbegin()->second.log, EncodeNumber(entry.index()),
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
                                        const std::vector<pb::RaftEntry>& entries, bool sync,
                                        const std::optional<raft::Membership>& initial) {
  FALAJ_RETURN_IF_ERROR(CheckWritable());
  if (!entries.empty() && entries.front().index() > last_index() + 1) {
    return MakeError(Reason::kInternal, "entries would leave a gap in the Raft log");
  }
  rocksdb::WriteBatch batch;
  if (hard_state) batch.Put(default_, kHardStateKey, hard_state->SerializeAsString());
  if (initial) {
    pb::RaftSnapshot none;
    *none.mutable_membership() = initial->ToProto();
    batch.Put(default_, kSnapshotKey, none.SerializeAsString());
  }
  PutEntries(entries, &batch);
  if (batch.Count() == 0) return absl::OkStatus();
  FALAJ_RETURN_IF_ERROR(Write(&batch, sync));
  RememberEntries(entries);
  return absl::OkStatus();
}

RaftLog::RaftLog(std::unique_ptr<Database> database) : database_(std::move(database)) {}

RaftLog::~RaftLog() = default;

absl::StatusOr<std::unique_ptr<RaftLog>> RaftLog::Open(const Options& options) {
  if (options.node_id < NodeId(1)) {
    return MakeError(Reason::kInvalidConfig, "a metadata node id must be at least 1");
  }
  auto database = std::make_unique<Database>(options.directory, options.env);
  FALAJ_RETURN_IF_ERROR(database->Open(/*may_create=*/true));
  FALAJ_RETURN_IF_ERROR(database->CheckIdentity(options));
  FALAJ_RETURN_IF_ERROR(database->Restore());
  return std::unique_ptr<RaftLog>(new RaftLog(std::move(database)));
}

absl::StatusOr<RaftLog::Recovery> RaftLog::RecoverQuorum(const Options& options,
                                                         const std::string& address) {
  Database database(options.directory, options.env);
  FALAJ_RETURN_IF_ERROR(database.Open(/*may_create=*/false));
  FALAJ_RETURN_IF_ERROR(database.CheckIdentity(options));
  FALAJ_RETURN_IF_ERROR(database.Restore());
  return database.RecoverQuorum(options.node_id, address);
}

raft::Restored RaftLog::TakeRestored() { return std::exchange(database_->restored, {}); }

Uuid RaftLog::cluster_id() const { return database_->cluster_id; }

Uuid RaftLog::directory_id() const { return database_->directory_id; }

uint64_t RaftLog::incarnation() const { return database_->incarnation; }

absl::Status RaftLog::Persist(const std::optional<pb::RaftHardState>& hard_state,
                              const std::vector<pb::RaftEntry>& entries, bool sync) {
  return database_->Persist(hard_state, entries, sync);
}

absl::Status RaftLog::Persist(const raft::Ready& ready) {
  if (ready.snapshot) return database_->InstallSnapshot(ready);
  return database_->Persist(ready.hard_state, ready.entries, ready.must_sync,
                            ready.initial_membership);
}

absl::Status RaftLog::WriteSnapshot(const raft::Snapshot& snapshot) {
  return database_->WriteSnapshot(snapshot);
}

absl::Status RaftLog::CommitSnapshot(const raft::Snapshot& snapshot, LogIndex first_kept) {
  return database_->CommitSnapshot(snapshot, first_kept);
}

void RaftLog::DropObsolete() { database_->DropObsolete(); }

}  // namespace falaj::log
