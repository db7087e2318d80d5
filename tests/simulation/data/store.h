#ifndef TESTS_SIMULATION_DATA_STORE_H_
#define TESTS_SIMULATION_DATA_STORE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "libs/base/ids.h"
#include "libs/base/random.h"
#include "libs/record/producer_window.h"
#include "libs/replica/epoch_cache.h"
#include "libs/replica/input.h"
#include "tests/simulation/data/batch.h"

namespace falaj::simulation::data {

// What a store holds of one partition.
struct StoredLog {
  Offset log_start{0};
  Offset log_end{0};
  Offset high_watermark{0};  // As of the last checkpoint.
  std::vector<replica::EpochEntry> epochs;
  std::deque<Batch> batches;  // Dense.
  std::map<ProducerId, record::ProducerHistory> producers;

  // The batch that holds `offset`; null if there is none.
  const Batch* Find(Offset offset) const;
  Batch* Find(Offset offset) {
    return const_cast<Batch*>(static_cast<const StoredLog*>(this)->Find(offset));
  }
  std::vector<record::ProducerRow> Rows() const;
};

// What one turn of a shard writes, as one atomic unit: see log::Round.
struct Round {
  std::vector<std::pair<PartitionNumber, Batch>> batches;
  std::vector<std::pair<PartitionNumber, replica::EpochEntry>> epochs;
  std::vector<std::pair<PartitionNumber, Offset>> log_starts;
  std::vector<std::pair<PartitionNumber, Offset>> high_watermarks;
  std::vector<std::pair<PartitionNumber, record::ProducerRow>> producers;

  bool empty() const {
    return batches.empty() && epochs.empty() && log_starts.empty() && high_watermarks.empty() &&
           producers.empty();
  }
};

// Store is one storage node's disk: what log::RocksLogStore and the node's identity files are to a
// real one. It outlives its process.
//
// Rounds go to a volatile suffix; Sync() moves them to the durable prefix. A power loss keeps the
// durable prefix and some of the suffix, from the front, each round whole or not at all. The death
// of a process alone takes nothing.
//
// It does what it is told and judges nothing; what must not happen to a log the invariants see.
class Store {
 public:
  enum class View { kDurable, kWritten };

  explicit Store(const Uuid& directory) : directory_(directory) {}

  // DISK_FULL while full.
  absl::Status Commit(Round round);
  void Sync();
  // DISK_FULL, also for what is written from here on, if the disk has room for no sync.
  absl::Status TrySync();
  // Synced. As log::LogStore has it: a batch that holds `end` goes whole, an `end` below the log
  // start empties the log, and the rows of producers become what they were at the new end.
  void TruncateSuffix(PartitionNumber partition, Offset end);

  // ---- Bad luck ----

  void LosePower(Random* random);
  void set_full(bool full) {
    full_ = full;
    full_at_sync_ = false;
  }
  // The next sync finds no room.
  void FillAtSync() { full_at_sync_ = true; }
  bool full() const { return full_; }
  // Everything goes; the directory is another one.
  void LoseEverything(const Uuid& directory);
  void Drop(PartitionNumber partition);
  std::vector<PartitionNumber> List() const;
  // The disk as it is now, to go back to later. Requires nothing volatile for TakeBack().
  void TakeImage();
  bool has_image() const { return image_.has_value(); }
  void GoBackToImage();
  void MakeWhole(PartitionNumber partition);
  bool IsDamaged(PartitionNumber partition) const;
  // Null if it is not there.
  Batch* BatchAt(PartitionNumber partition, Offset offset, View view);

  // Null if the store has never heard of it.
  const StoredLog* Find(PartitionNumber partition, View view) const;
  // Of an empty log, if it has never heard of it.
  replica::Stored Open(PartitionNumber partition) const;

  const Uuid& directory() const { return directory_; }
  // The node epoch that stopped cleanly last; none once a process has started.
  NodeEpoch clean_epoch() const { return clean_epoch_; }
  void set_clean_epoch(NodeEpoch epoch) { clean_epoch_ = epoch; }
  // Counts what may have changed or shortened logs behind what was verified of them.
  uint64_t cuts() const { return cuts_; }

 private:
  using Logs = std::map<PartitionNumber, StoredLog>;
  struct Image {
    Logs logs;
    Uuid directory;
    NodeEpoch clean_epoch;
  };

  static void Apply(const Round& round, Logs* logs);

  Uuid directory_;
  NodeEpoch clean_epoch_{0};
  Logs written_;
  Logs durable_;
  std::vector<Round> pending_;  // In written_, not in durable_.
  std::optional<Image> image_;
  bool full_ = false;
  bool full_at_sync_ = false;
  uint64_t cuts_ = 0;
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_STORE_H_
