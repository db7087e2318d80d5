// The inside of RocksLogStore; see rocks_log_store.h for what it does. Locks, in the order they are
// taken:
//   write_mu_  one writer at a time, held across its write to RocksDB: the appender's methods, and
//              Maintain when it switches a slab. Readers never take it.
//   cf_mu_     creating and dropping column families, one at a time.
//   mu_        the tables in memory; never held across disk access.
// A writer plans its change from the tables, writes it as one batch, and only then changes the
// tables, so a write that fails has changed nothing.
#ifndef LIBS_LOG_ROCKS_LOG_IMPL_H_
#define LIBS_LOG_ROCKS_LOG_IMPL_H_

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "rocksdb/db.h"
#include "rocksdb/write_batch.h"

#include "libs/base/mutex.h"
#include "libs/log/gradual_deletion.h"
#include "libs/log/key_format.h"
#include "libs/log/rocks_log_store.h"
#include "libs/log/slab_directory.h"
#include "libs/log/slab_family.h"
#include "libs/log/slab_filter.h"
#include "libs/log/store_health.h"
#include "libs/log/wal_sync_file_system.h"
#include "libs/record/batch_header.h"
#include "libs/record/producer_window.h"

namespace falaj::log {

class RocksLogStore::Impl {
 public:
  explicit Impl(const Options& options);
  ~Impl();

  absl::Status Open();

  std::vector<StoredPartition> ListPartitions() const;
  absl::StatusOr<StoredPartition> GetPartition(LocalPartitionId id) const;
  absl::StatusOr<StoredPartition> OpenPartition(const PartitionKey& key,
                                                const RetentionPolicy& retention);
  absl::Status SetRetention(LocalPartitionId id, const RetentionPolicy& retention);
  absl::Status DropPartition(LocalPartitionId id);
  absl::StatusOr<std::vector<record::ProducerRow>> LoadProducers(LocalPartitionId id) const;
  absl::Status Commit(const Round& round, bool sync);
  absl::Status CommitInSteps(const Round& round, absl::FunctionRef<void()> written);
  absl::Status TruncateSuffix(LocalPartitionId id, Offset end);
  absl::StatusOr<ReadResult> Read(LocalPartitionId id, Offset from, Offset limit,
                                  size_t bytes_max) const;
  absl::StatusOr<std::optional<TimeResult>> FindTime(LocalPartitionId id, int64_t timestamp_ms,
                                                     Offset limit) const;
  absl::StatusOr<std::optional<Offset>> PlanRetention(LocalPartitionId id, absl::Time now,
                                                      Offset limit) const;
  absl::Status Maintain(absl::Time now);
  std::vector<LocalPartitionId> TakeDamaged() { return std::exchange(damaged_, {}); }
  absl::Status Health() const { return health_->Get(); }
  void Fail(absl::string_view why) { health_->NoteFailed(why); }
  StoreStats Stats() const;

 private:
  // What changes with every append.
  struct State {
    Offset log_start;
    Offset log_end;
    Offset high_watermark;
    int64_t max_timestamp_ms = -1;
    int64_t running_bytes = 0;
  };
  struct Partition {
    PartitionKey key;
    RetentionPolicy retention;
    State state;
    std::vector<EpochStart> epochs;
    uint64_t truncations = 0;  // Tells a reader that its offsets may have changed meaning.
  };
  // One partition's part of a round.
  struct PartitionPlan {
    Partition* partition = nullptr;
    State next;
    size_t entries_gone = 0;             // Directory entries that fall below the log start.
    std::optional<DirectoryEntry> tail;  // The last entry as it will be; set if there are batches.
    bool tail_is_new = false;
    bool tail_row = false;       // The entry's row changes.
    bool partition_row = false;  // The partition's row changes.
    std::optional<std::vector<EpochStart>> epochs;
  };
  struct RoundPlan {
    absl::flat_hash_map<LocalPartitionId, PartitionPlan> partitions;
    std::vector<StoredHeader> headers;                  // Of round.batches, in order.
    std::vector<std::shared_ptr<SlabFamily>> families;  // Likewise.
    std::vector<std::pair<LocalPartitionId, LeaderEpoch>> epochs_gone;
    int64_t payload_bytes = 0;
  };
  // Where a reader looks, taken in one go.
  struct ReadPiece {
    std::shared_ptr<SlabFamily> family;
    DirectoryEntry entry;
    SlabInfo slab;
  };
  struct ReadPlan {
    State state;
    uint64_t truncations = 0;
    std::vector<ReadPiece> pieces;  // In offset order.
  };
  struct StoredBatch {
    StoredHeader stored;
    record::BatchHeader header;
    absl::string_view bytes;
  };
  struct LoadedRows;

  // rocks_log_open.cc
  rocksdb::ColumnFamilyOptions SlabOptions() const;
  absl::Status OpenDb();
  absl::Status ExplainOpen(const rocksdb::Status& status) const;
  absl::Status ExpectNoStore() const;
  absl::Status CheckFormat() ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_);
  absl::Status LoadRows(LoadedRows* rows);
  absl::Status LoadRow(const MetaKey& key, absl::string_view value, LoadedRows* rows);
  absl::Status Restore(const LoadedRows& rows) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_);
  absl::Status RestoreSlabs(const LoadedRows& rows, rocksdb::WriteBatch* cleanup)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_);
  absl::Status RestorePartition(LocalPartitionId id, const PartitionRow& row,
                                std::vector<DirectoryEntry> entries, std::vector<EpochStart> epochs,
                                rocksdb::WriteBatch* cleanup);
  absl::Status SkipUsedIds() ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_);
  absl::Status AdoptOrphans(LocalPartitionId id, Offset end_seen, rocksdb::WriteBatch* cleanup)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<bool> RestoreEntry(LocalPartitionId id, const PartitionRow& row,
                                    std::optional<Offset> next_first, DirectoryEntry* entry,
                                    rocksdb::WriteBatch* cleanup)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void NoteEpoch(LocalPartitionId id, const record::BatchHeader& header,
                 rocksdb::WriteBatch* cleanup) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CountTables();
  void ForgetUnowned(const LoadedRows& rows, rocksdb::WriteBatch* cleanup) const;
  absl::Status RecoverEntry(LocalPartitionId id, const PartitionRow& row,
                            std::optional<Offset> next_first, const SlabFamily& family,
                            DirectoryEntry* entry, rocksdb::WriteBatch* cleanup)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Corrupt(absl::string_view what) const;

  // rocks_log_store.cc
  absl::Status PlanRound(const Round& round, RoundPlan* plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status PlanRows(const Round& round, RoundPlan* plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<PartitionPlan*> PlanFor(LocalPartitionId id, RoundPlan* plan)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void PlanLogStart(LocalPartitionId id, Offset start, PartitionPlan* plan)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status PlanBatch(const BatchWrite& write, RoundPlan* plan)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void PlanTail(LocalPartitionId id, SlabId slab, Offset first, PartitionPlan* plan)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void PlanEpochs(const Round& round, RoundPlan* plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status FillBatch(const Round& round, const RoundPlan& plan)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_);
  void FillRows(LocalPartitionId id, const PartitionPlan& plan)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_);
  void ApplyRound(const RoundPlan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ApplyTail(LocalPartitionId id, const PartitionPlan& plan) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  PartitionRow RowOf(const Partition& partition, const State& state) const;
  StoredPartition Describe(LocalPartitionId id, const Partition& partition) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Makes the round visible; returns its payload in bytes.
  absl::StatusOr<int64_t> WriteRound(const Round& round, bool sync)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_);
  void CountCommit(int64_t payload_bytes, bool sync);
  absl::Status SyncLog(absl::string_view what) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_);
  absl::Status Write(rocksdb::WriteBatch* batch, bool sync, absl::string_view what)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_);
  void KeepMemtableOccupied() ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_);
  absl::StatusOr<Partition*> Find(LocalPartitionId id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // rocks_log_truncate.cc
  struct Truncation;
  static State CutState(const State& state, Offset end, const Truncation& truncation);
  absl::Status PlanTruncation(LocalPartitionId id, const ReadPlan& plan, Offset end,
                              Truncation* truncation) const;
  absl::Status DeleteFrom(LocalPartitionId id, const ReadPiece& piece, Offset end, Offset log_start,
                          Truncation* truncation) const;
  absl::Status DeleteOpen(LocalPartitionId id, Offset from, Offset to,
                          rocksdb::WriteBatch* batch) const;

  // rocks_log_producers.cc
  using Rebuilds = std::map<ProducerId, record::HistoryRebuild>;
  using Histories = std::map<ProducerId, record::ProducerHistory>;
  absl::StatusOr<std::vector<record::ProducerRow>> ReadProducers(LocalPartitionId id) const;
  int64_t AppendTimeOf(const record::BatchHeader& header) const;
  absl::Status CutProducers(LocalPartitionId id, Offset end, Offset log_start,
                            rocksdb::WriteBatch* batch) const;
  absl::Status Replay(LocalPartitionId id, Offset from, Offset to, Rebuilds* rebuilds) const;
  void NoteLate(LocalPartitionId id, Offset end_seen, const record::BatchHeader& header)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status RestoreProducers(rocksdb::WriteBatch* cleanup);
  absl::StatusOr<bool> RestoreProducer(const MetaKey& key, absl::string_view value,
                                       rocksdb::WriteBatch* cleanup)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // rocks_log_slabs.cc
  absl::Status EnsureOpenSlab(RetentionClass cls) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_);
  absl::StatusOr<SlabInfo> AllocateSlab(RetentionClass cls, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_);
  absl::StatusOr<std::shared_ptr<SlabFamily>> CreateFamily(const SlabInfo& slab);
  absl::Status PublishSlab(const SlabInfo& slab, std::shared_ptr<SlabFamily> family,
                           std::optional<SlabId> predecessor, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_);
  bool IsFull(const SlabInfo& slab, absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool IsDueEarly(const SlabInfo& slab) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::vector<SlabInfo> DueSlabs(absl::Time now);
  absl::Status RotateSlabs(absl::Time now);
  absl::Status RotateSlab(const SlabInfo& old, absl::Time now);
  std::vector<SlabInfo> DeadSlabs() const;
  absl::Status DeleteRowsLeft(absl::string_view what) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_);
  absl::Status FlushRows(absl::string_view what, const std::vector<SlabInfo>& dead);
  absl::Status DropDeadSlabs();
  absl::Status DropDeadSlabsOfFullDisk();
  absl::Status DropFamily(const SlabInfo& slab);
  absl::Status PurgeTables();
  absl::StatusOr<bool> BeginFlush(rocksdb::ColumnFamilyHandle* family, bool sealed);
  absl::Status FlushOldMemtables();
  absl::Status MergeSmallFiles();
  absl::Status TryRecover();
  int64_t WalWrittenBytes() const;
  bool ShouldFlush(const std::string& name, rocksdb::ColumnFamilyHandle* family);
  std::vector<std::pair<std::string, std::shared_ptr<SlabFamily>>> Families() const;

  // rocks_log_rewrite.cc
  absl::Status RewriteSlab();
  std::optional<SlabInfo> PickStraggler() const;
  absl::Status BeginRewrite(const SlabInfo& slab);
  bool IsReadable(const SlabInfo& slab, const SlabFamily& family, const Survivors* keep);
  rocksdb::Status ReadSlab(const SlabFamily& family, const Survivors* keep) const;
  absl::Status ReadEntry(LocalPartitionId id, const DirectoryEntry& entry) const;
  absl::Status CompactSlab(const SlabRewrite& rewrite, SlabInfo slab);

  // rocks_log_read.cc
  absl::Status ReadError(const rocksdb::Status& status) const;
  absl::StatusOr<ReadPlan> PlanRead(LocalPartitionId id, Offset from, Offset limit) const;
  absl::StatusOr<ReadResult> ReadPlanned(LocalPartitionId id, const ReadPlan& plan, Offset from,
                                         Offset limit, size_t bytes_max) const;
  std::unique_ptr<rocksdb::Iterator> NewIterator(const SlabFamily& family, bool fill_cache,
                                                 const rocksdb::Slice* end, size_t ahead = 0) const;
  absl::StatusOr<StoredBatch> ParseStored(LocalPartitionId id, const rocksdb::Iterator& it,
                                          bool verify) const;
  absl::Status SeekTo(LocalPartitionId id, Offset from, const DirectoryEntry& entry,
                      rocksdb::Iterator* it) const;
  bool TruncatedSince(LocalPartitionId id, const ReadPlan& plan) const;
  absl::StatusOr<std::optional<TimeResult>> FindTimeIn(LocalPartitionId id, const ReadPiece& piece,
                                                       int64_t timestamp_ms, Offset from) const;

  const Options options_;
  const std::shared_ptr<StoreHealth> health_;
  const std::shared_ptr<SlabFilterFactory> filters_ = std::make_shared<SlabFilterFactory>();
  std::shared_ptr<rocksdb::Cache> cache_;
  std::shared_ptr<GradualDeletion> deletion_;  // Below file_system_.
  std::shared_ptr<WalSyncFileSystem> file_system_;
  std::unique_ptr<rocksdb::Env> env_;  // Uses file_system_; outlives db_.
  rocksdb::DBOptions db_options_;
  std::unique_ptr<rocksdb::DB> db_;
  rocksdb::ColumnFamilyHandle* default_ = nullptr;  // Released with db_.
  rocksdb::ColumnFamilyHandle* meta_ = nullptr;
  mutable Mutex write_mu_;
  rocksdb::WriteBatch batch_ ABSL_GUARDED_BY(write_mu_);  // Keeps its memory between rounds.
  CountersRow counters_ ABSL_GUARDED_BY(write_mu_);
  std::vector<std::string> rows_left_ ABSL_GUARDED_BY(write_mu_);  // By failed drops, on disk.
  Mutex cf_mu_;
  mutable Mutex mu_ ABSL_ACQUIRED_AFTER(write_mu_);
  absl::flat_hash_map<LocalPartitionId, std::unique_ptr<Partition>> partitions_
      ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<PartitionKey, LocalPartitionId> ids_ ABSL_GUARDED_BY(mu_);
  SlabDirectory directory_ ABSL_GUARDED_BY(mu_);
  std::map<SlabId, std::shared_ptr<SlabFamily>> families_ ABSL_GUARDED_BY(mu_);
  mutable std::set<SlabId> awaited_ ABSL_GUARDED_BY(mu_);  // Open, and retention waits for them.
  // While opening: what was appended after the rows of the partitions were last written.
  std::map<LocalPartitionId, Histories> late_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, MemtableAge> memtable_ages_;  // Of Maintain, as what follows.
  std::optional<MonotonicTime> sealed_early_;
  std::optional<SlabRewrite> rewrite_;
  std::set<SlabId> damaged_slabs_;  // Not to be rewritten, nor merged.
  std::vector<LocalPartitionId> damaged_;
  int purges_left_ = 0;
  std::atomic<int64_t> commits_ = 0;
  std::atomic<int64_t> commits_synced_ = 0;
  std::atomic<int64_t> payload_synced_ = 0;
  std::atomic<int64_t> payload_unsynced_ = 0;
  mutable std::atomic<int64_t> read_bytes_ = 0;
};

}  // namespace falaj::log

#endif  // LIBS_LOG_ROCKS_LOG_IMPL_H_
