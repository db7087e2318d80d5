#ifndef LIBS_LOG_RAFT_LOG_DATABASE_H_
#define LIBS_LOG_RAFT_LOG_DATABASE_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "rocksdb/db.h"
#include "rocksdb/write_batch.h"

#include "falaj/internal/v1/raft.pb.h"

#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/log/raft_log.h"
#include "libs/raft/ready.h"

namespace falaj::log {

// Database is everything RaftLog keeps in RocksDB, and what it must remember about it. RaftLog owns
// it; its methods are RaftLog's, and so are the threads that may call them.
//
// Files: raft_log_open.cc opening and what is checked then, raft_log.cc writing,
// raft_log_snapshot.cc generations and snapshots, raft_log_recover.cc the lost majority.
class RaftLog::Database {
 public:
  // `env` is not owned; nullptr: the operating system's.
  Database(std::string directory, rocksdb::Env* env)
      : directory_(std::move(directory)), env_(env) {}
  ~Database();

  // In this order. A database is only made if `may_create`; else CORRUPT_RECORD.
  absl::Status Open(bool may_create);
  absl::Status CheckIdentity(const Options& options);
  absl::Status Restore();

  absl::Status Persist(const std::optional<internal::v1::RaftHardState>& hard_state,
                       const std::vector<internal::v1::RaftEntry>& entries, bool sync,
                       const std::optional<raft::Membership>& initial = std::nullopt);
  absl::Status WriteSnapshot(const raft::Snapshot& snapshot);
  absl::Status CommitSnapshot(const raft::Snapshot& snapshot, LogIndex first_kept);
  absl::Status InstallSnapshot(const raft::Ready& ready);
  void DropObsolete();

  absl::StatusOr<Recovery> RecoverQuorum(NodeId node, const std::string& address);

  raft::Restored restored;
  Uuid cluster_id;
  Uuid directory_id;
  uint64_t incarnation = 0;

 private:
  using Family = rocksdb::ColumnFamilyHandle*;

  // A span of the log in a column family of its own. Empty if last < first.
  struct Generation {
    Family log = nullptr;
    uint64_t first = 1;
    uint64_t last = 0;

    bool empty() const { return last < first; }
  };
  // A generation whose snapshot is on disk, and which nothing refers to yet.
  struct Written {
    uint64_t number = 0;
    uint64_t snapshot_index = 0;
    Family log = nullptr;
    Family snapshot = nullptr;
  };

  absl::Status Corrupt(absl::string_view why) const;
  absl::Status Failed(absl::string_view what, const rocksdb::Status& status);
  absl::Status CheckWritable();

  // Opening.
  absl::StatusOr<bool> FindExisting() const;
  void RemoveIncoming() const;
  absl::Status SortFamilies(const std::vector<std::string>& names,
                            const std::vector<Family>& families);
  absl::Status StampNew(const Options& options);
  absl::Status RestoreDirectoryId();
  absl::StatusOr<std::optional<std::string>> Get(const char* key) const;
  absl::Status GetProto(const char* key, google::protobuf::MessageLite* message) const;
  absl::StatusOr<uint64_t> GetNumber(const char* key) const;
  absl::Status RestoreSnapshot(uint64_t number);
  absl::Status RestoreEntries(Generation* generation);

  // Writing.
  uint64_t last_index() const;
  absl::Status Write(rocksdb::WriteBatch* batch, bool sync);
  void PutEntries(const std::vector<internal::v1::RaftEntry>& entries,
                  rocksdb::WriteBatch* batch) const;
  void RememberEntries(const std::vector<internal::v1::RaftEntry>& entries);

  // Snapshots.
  absl::StatusOr<Written> WriteGeneration(const raft::Snapshot& snapshot);
  absl::Status CreateFamilies(Written* written);
  absl::Status FillSnapshot(const raft::Snapshot& snapshot, Family family);
  std::optional<Written> TakeWritten();
  void GiveUp(const Written& written);
  void PutSnapshot(const raft::Snapshot& snapshot, uint64_t number, uint64_t oldest,
                   rocksdb::WriteBatch* batch) const;
  void MakeCurrent(const Written& written, uint64_t oldest);
  void FindObsolete(uint64_t snapshot_number, uint64_t oldest);

  const std::string directory_;
  rocksdb::Env* const env_;
  std::unique_ptr<rocksdb::DB> db_;
  std::atomic<bool> failed_ = false;

  // Of the node's thread.
  Family default_ = nullptr;
  std::map<uint64_t, Generation> generations_;  // Never empty; the last takes new entries.
  std::map<uint64_t, Family> snapshots_;        // At most the current one, once restored.
  uint64_t snapshot_index_ = 0;

  // Shared with the thread that writes snapshots.
  Mutex mu_;
  uint64_t last_number_ ABSL_GUARDED_BY(mu_) = 0;  // Of a generation, the newest ever begun.
  std::optional<Written> written_ ABSL_GUARDED_BY(mu_);
  std::vector<Family> obsolete_ ABSL_GUARDED_BY(mu_);  // To be dropped.
};

// Names and keys.
inline constexpr absl::string_view kLogPrefix = "log-";
inline constexpr absl::string_view kSnapshotPrefix = "snapshot-";
// Of files that are being written, before the database takes them in.
inline constexpr absl::string_view kIncomingPrefix = "incoming-";
// Of the default column family.
inline constexpr char kIdentityKey[] = "identity";
inline constexpr char kDirectoryIdKey[] = "directory_id";
inline constexpr char kIncarnationKey[] = "incarnation";  // Missing: 0.
inline constexpr char kHardStateKey[] = "hard_state";
inline constexpr char kSnapshotKey[] = "snapshot";
inline constexpr char kSnapshotGenerationKey[] = "snapshot_generation";
inline constexpr char kOldestGenerationKey[] = "oldest_generation";

std::string EncodeNumber(uint64_t value);  // Eight bytes, big-endian.
rocksdb::ColumnFamilyOptions RaftFamilyOptions(const std::string& name);

}  // namespace falaj::log

#endif  // LIBS_LOG_RAFT_LOG_DATABASE_H_
