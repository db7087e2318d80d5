// LogStore is the disk of a storage node: the batches of all partitions of one store shard, and the
// small state that belongs to each partition, behind one atomic write.
//
// The storage service owns one LogStore per shard. Whoever works the shard off is the only caller
// of the mutating methods; the reader pool calls the reading ones at the same time. RocksLogStore
// is the real one; tests that need faults wrap it.
//
// Invariants:
//   a Round is all or nothing, also across a crash (one WriteBatch)
//   batches of a partition are dense: each begins where the one before ended; the first of an empty
//   log may begin before it, as a log start may lie within a batch
//   log_start <= high_watermark <= log_end
//   the rows of producers say what the batches of the log say, whatever was lost in a crash
//   corruption is reported as kDataLoss (CORRUPT_RECORD) and never taken for the end of the log
//
// Not here: who may append, leader epochs' meaning, acks. That is libs/replica.
#ifndef LIBS_LOG_LOG_STORE_H_
#define LIBS_LOG_LOG_STORE_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "libs/base/bytes.h"
#include "libs/base/ids.h"
#include "libs/record/epoch_start.h"
#include "libs/record/producer_window.h"

namespace falaj::log {

// The partition of a topic incarnation: a deleted and recreated topic has another TopicId.
struct PartitionKey {
  TopicId topic;
  PartitionIndex partition;

  friend auto operator<=>(const PartitionKey&, const PartitionKey&) = default;
  template <typename H>
  friend H AbslHashValue(H state, const PartitionKey& key) {
    return H::combine(std::move(state), key.topic, key.partition);
  }
};

using record::EpochStart;

// How long a partition's batches live; decides which slabs they go to.
struct RetentionPolicy {
  absl::Duration age = absl::InfiniteDuration();  // Infinite: for ever.
  int64_t size_bytes = 0;                         // 0: no limit.
};

// What the store holds of one partition.
struct StoredPartition {
  LocalPartitionId id;
  PartitionKey key;
  Offset log_start;
  Offset log_end;                  // One past the last record.
  Offset high_watermark;           // As of the last checkpoint: a lower bound.
  int64_t max_timestamp_ms = -1;   // Of all batches ever appended; -1 if none.
  int64_t size_bytes = 0;          // Approximate, of the batches from log_start on.
  std::vector<EpochStart> epochs;  // Ascending.
};

// One encoded batch at its place: base offset and leader epoch are already stamped into its header.
struct BatchWrite {
  LocalPartitionId partition;
  Offset base_offset;
  Offset last_offset;
  int64_t max_timestamp_ms = -1;
  Bytes batch;
};

// Round is what one turn of the appender writes, across partitions, as one atomic unit.
struct Round {
  std::vector<BatchWrite> batches;  // In offset order within a partition.
  std::vector<std::pair<LocalPartitionId, EpochStart>> epochs;
  // Never moves back. Beyond the log end: all records go and the log continues from there.
  std::vector<std::pair<LocalPartitionId, Offset>> log_starts;
  std::vector<std::pair<LocalPartitionId, Offset>> high_watermarks;  // Checkpoints.
  // The producers the batches of the round are of, as they are after it; an empty window removes
  // the row. If a producer comes twice the later one counts.
  std::vector<std::pair<LocalPartitionId, record::ProducerRow>> producers;

  bool empty() const {
    return batches.empty() && epochs.empty() && log_starts.empty() && high_watermarks.empty() &&
           producers.empty();
  }
};

// A run of whole batches as read.
struct ReadResult {
  Bytes batches;  // Concatenated; empty if there is nothing below the limit.
  Offset
      next_offset;  // One past the last record in batches; the offset asked for if there is none.
  size_t last_batch = 0;  // Where in `batches` the last of them begins.
};

// Where a timestamp was found.
struct TimeResult {
  Offset offset;
  int64_t timestamp_ms = -1;
};

class LogStore {
 public:
  virtual ~LogStore() = default;

  // Every partition the store holds, by id. Filled when the store was opened and kept up by the
  // appender.
  virtual std::vector<StoredPartition> ListPartitions() const = 0;

  // Returns the partition, making it if the store does not hold it. Blocks on disk. A partition
  // that was made is durable with the next synced Commit(), as everything written before it is. A
  // power failure before that takes it, and what was appended to it. Its leader need not take care:
  // the start of its epoch is such a round, if its records are to be synced.
  virtual absl::StatusOr<StoredPartition> OpenPartition(const PartitionKey& key,
                                                        const RetentionPolicy& retention) = 0;
  // New batches go to the slabs of this policy from now on.
  virtual absl::Status SetRetention(LocalPartitionId id, const RetentionPolicy& retention) = 0;
  // Forgets the partition at once; its space comes back with its slabs. Unknown ids are not an
  // error.
  virtual absl::Status DropPartition(LocalPartitionId id) = 0;

  // The producers of the partition, by id; PARTITION_NOT_FOUND if there is none. To be asked when
  // the partition is opened, and again after TruncateSuffix(). Any thread; reads the disk.
  virtual absl::StatusOr<std::vector<record::ProducerRow>> LoadProducers(
      LocalPartitionId id) const = 0;

  // Writes the round. With sync it is on disk when the call returns, else in the page cache. An
  // error leaves nothing of the round visible: kResourceExhausted (DISK_FULL) if space ran out,
  // kInternal (STORAGE_FAILED) otherwise, after which the store refuses writes until it is
  // reopened. Blocks on disk.
  virtual absl::Status Commit(const Round& round, bool sync) = 0;
  // As Commit(round, true), and calls `written` in between: once the round can be read, and before
  // it is on disk. If it has been called, an error no longer means that nothing is left: the round
  // can be read, and may be lost by a crash.
  virtual absl::Status CommitInSteps(const Round& round, absl::FunctionRef<void()> written) = 0;

  // Removes all records from `end` on, and the epochs that began there, atomically. For followers
  // that diverged. A batch that holds `end` goes whole, so the new log end may be below `end`; an
  // `end` below the log start empties the log and moves its start there. The rows of producers
  // become what they were at the new end: see record::HistoryRebuild.
  virtual absl::Status TruncateSuffix(LocalPartitionId id, Offset end) = 0;

  // Reads whole batches from the one that holds `from` while they end at or below `limit` and fit
  // in `bytes_max`; the first comes whole, however large. `from` below the log start reads from the
  // log start. Any thread; blocks on disk.
  virtual absl::StatusOr<ReadResult> Read(LocalPartitionId id, Offset from, Offset limit,
                                          size_t bytes_max) const = 0;

  // The first record at or after log start with a timestamp >= `timestamp_ms` and below `limit`;
  // nullopt if there is none.
  virtual absl::StatusOr<std::optional<TimeResult>> FindTime(LocalPartitionId id,
                                                             int64_t timestamp_ms,
                                                             Offset limit) const = 0;

  // Where the log should start so that retention by age and size is met, given the wall clock;
  // never above `limit` (the high watermark). Only whole slabs are given up, so the answer may lag
  // the policy by one slab. nullopt: no change.
  virtual absl::StatusOr<std::optional<Offset>> PlanRetention(LocalPartitionId id, absl::Time now,
                                                              Offset limit) const = 0;

  // Housekeeping that must not run on the appender: seals and drops slabs. Called every second or
  // so by one thread.
  virtual absl::Status Maintain(absl::Time now) = 0;
};

}  // namespace falaj::log

#endif  // LIBS_LOG_LOG_STORE_H_
