// RocksLogStore is the LogStore that ships: one RocksDB per store shard, batches in slabs.
//
// A slab is a column family that takes the batches of all partitions of one retention class for a
// while, is sealed when it is old or large enough, and is dropped whole once no partition needs it.
// Slabs are not compacted (but for those that stragglers hold), so a payload byte is written twice
// in its life: once to the write-ahead log and once to a table. The column family `meta` holds
// everything small. Key formats and a picture: libs/log/README.md.
//
// Threads: as LogStore. The mutating methods belong to one thread at a time (the appender),
// Maintain to one other, everything else to anybody. No lock is held across disk access but the one
// that keeps these two apart where both write.
//
// Failures: a corrupt write-ahead log or table is CORRUPT_RECORD naming the directory, when opening
// or when reading; only a torn tail of the write-ahead log is forgiven. What compactions are about
// to read is read before: damage in a slab is told by TakeDamaged(), the slab left alone; damage in
// `meta`, or damage they meet all the same, is STORAGE_FAILED. No space: Commit answers
// DISK_FULL and works again once space has returned (Maintain sees to it). Any other write error:
// STORAGE_FAILED until the store is reopened. Reads go on in both cases.
#ifndef LIBS_LOG_ROCKS_LOG_STORE_H_
#define LIBS_LOG_ROCKS_LOG_STORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/log/disk_pulse.h"
#include "libs/log/log_store.h"

namespace rocksdb {
class Env;
}  // namespace rocksdb

namespace falaj::log {

// What a store would tell a metrics page: counters since it was opened and gauges of now.
struct StoreStats {
  // Gauges.
  int64_t partitions = 0;
  int64_t slabs = 0;
  int64_t memtable_bytes = 0;
  int64_t table_bytes = 0;               // Live SST files.
  int64_t wal_bytes = 0;                 // Live write-ahead log files.
  int64_t pending_compaction_bytes = 0;  // Of `meta` only; slabs have none.
  int64_t block_cache_bytes = 0;
  int64_t table_reader_bytes = 0;  // Index and filter memory outside the block cache.
  int64_t slabs_held_by_stragglers =
      0;  // Sealed slabs that live for less than a fifth of their bytes.
  // Counters.
  int64_t block_cache_hits = 0;
  int64_t block_cache_misses = 0;
  int64_t data_blocks_read = 0;  // From the operating system; cached ones do not count.
  int64_t stall_micros = 0;
  int64_t commits = 0;
  int64_t commits_synced = 0;
  int64_t payload_bytes = 0;  // Batches committed.
  int64_t wal_written_bytes = 0;
  int64_t flushed_bytes = 0;
  int64_t read_bytes = 0;  // Batches read from RocksDB.
};

class RocksLogStore final : public LogStore {
 public:
  struct Options {
    std::string directory;
    const Clock* clock = Clock::Real();
    rocksdb::Env* env = nullptr;  // Not owned. nullptr: the operating system's.
    DiskPulse* pulse = nullptr;   // Not owned. Told of what is under way on the disk; may be null.
    // Tables are written past the page cache, where the file system can: what producers write does
    // not fill the memory with what few will read, nor wait for the kernel to write it back.
    bool direct_writes = true;
    int64_t memtable_bytes = 64 << 20;
    int64_t memtables_total_bytes = 512 << 20;  // Over all slabs; flushing starts earlier above.
    int64_t block_cache_bytes = 32 << 20;
    int64_t slab_bytes_max = int64_t{2} << 30;  // A slab is sealed above this size,
    int slab_spans_per_retention = 32;          // or after this part of its class's retention.
    int64_t wal_bytes_max = 512 << 20;          // Memtables are flushed to keep the WAL below.
    absl::Duration memtable_age_max = absl::Minutes(10);  // Older ones are flushed.
    // Unsynced WAL files are deleted before the kernel's write-back finds them (dirty pages expire
    // after 30 s), if at least so much was written to them.
    absl::Duration unsynced_wal_age_max = absl::Seconds(12);
    int64_t unsynced_wal_bytes_min = 4 << 20;
  };

  // Opens the store, makes it if the directory is empty. CORRUPT_RECORD, DISK_FULL or
  // STORAGE_FAILED naming the directory otherwise.
  static absl::StatusOr<std::unique_ptr<RocksLogStore>> Open(const Options& options);

  // Requires that no other method runs.
  ~RocksLogStore() override;

  std::vector<StoredPartition> ListPartitions() const override;
  absl::StatusOr<StoredPartition> OpenPartition(const PartitionKey& key,
                                                const RetentionPolicy& retention) override;
  absl::Status SetRetention(LocalPartitionId id, const RetentionPolicy& retention) override;
  absl::Status DropPartition(LocalPartitionId id) override;
  absl::StatusOr<std::vector<record::ProducerRow>> LoadProducers(
      LocalPartitionId id) const override;
  absl::Status Commit(const Round& round, bool sync) override;
  absl::Status CommitInSteps(const Round& round, absl::FunctionRef<void()> written) override;
  absl::Status TruncateSuffix(LocalPartitionId id, Offset end) override;
  absl::StatusOr<ReadResult> Read(LocalPartitionId id, Offset from, Offset limit,
                                  size_t bytes_max) const override;
  absl::StatusOr<std::optional<TimeResult>> FindTime(LocalPartitionId id, int64_t timestamp_ms,
                                                     Offset limit) const override;
  absl::StatusOr<std::optional<Offset>> PlanRetention(LocalPartitionId id, absl::Time now,
                                                      Offset limit) const override;
  absl::Status Maintain(absl::Time now) override;

  // One partition as ListPartitions() gives it; PARTITION_NOT_FOUND if there is none.
  absl::StatusOr<StoredPartition> GetPartition(LocalPartitionId id) const;
  // The partitions that have damaged batches, as Maintain() has found since the last time. For its
  // thread.
  std::vector<LocalPartitionId> TakeDamaged();
  // OK, or what Commit would answer: DISK_FULL or STORAGE_FAILED.
  absl::Status Health() const;
  // The store takes no more writes, as after a failed one: somebody knows better. The first reason
  // counts. Any thread; does not wait for the disk.
  void Fail(absl::string_view why);
  // Any thread; a few hundred microseconds.
  StoreStats Stats() const;

 private:
  class Impl;
  explicit RocksLogStore(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace falaj::log

#endif  // LIBS_LOG_ROCKS_LOG_STORE_H_
