// Scrubber reads again what lies on the disk and nobody reads, so that damage is found while other
// replicas are whole.
//
// The storage server owns one, with a thread of its own in the background. Once in a period it goes
// through all partitions (scrub_plan.h) at a bounded pace; the store checks blocks and batches as
// for any reader. What is damaged goes the way of every damaged record: the shard is told, and the
// copy fetched anew from who has it whole (shard_core_damage.cc). Of a partition that the node
// does not host, not yet or as it is in quarantine, the shard is told once it does.
//
// What it does not read: what lies below the log starts, the tables' indexes, which stay in memory,
// and the small state beside the records. Those are read when the store is opened, and by
// compactions.
//
// Failures: while the disk has failed it rests. Where it stands is in a file, so that a restart
// goes on there; without it, or if it cannot be read, the period begins anew. It is not synced: at
// most a minute is read twice.
//
// Threads: the constructor and the destructor by any one thread.
#ifndef SERVICES_STORAGE_SCRUBBER_H_
#define SERVICES_STORAGE_SCRUBBER_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/log/rocks_log_store.h"
#include "services/storage/rate_limit.h"
#include "services/storage/scrub_plan.h"
#include "services/storage/storage_metrics.h"
#include "services/storage/store_shard.h"

namespace falaj::storage {

class Scrubber {
 public:
  struct Options {
    int64_t bytes_per_second = 0;  // Above 0.
    absl::Duration period;
    std::string position_file;
  };
  // Not owned; they outlive it.
  struct Parts {
    const log::RocksLogStore* store = nullptr;
    StoreShard* shard = nullptr;
    StorageMetrics* metrics = nullptr;
    Clock* clock = nullptr;
  };

  Scrubber(Options options, const Parts& parts);
  ~Scrubber();  // Waits for the read under way.
  Scrubber(const Scrubber&) = delete;
  Scrubber& operator=(const Scrubber&) = delete;

 private:
  void Run();
  // Does a little; returns how long to rest.
  absl::Duration Step();
  void Read(const ScrubPlan::Place& place);
  // False if the shard does not host the partition, yet or at all.
  bool NoteDamage(LocalPartitionId id, const absl::Status& error);
  void TellOfDamage();
  ScrubPosition Load() const;
  void Save();

  const Options options_;
  const Parts parts_;
  RateLimit pace_;

  // Of the thread.
  ScrubPlan plan_;
  std::set<LocalPartitionId> damaged_;               // The shard was told.
  std::map<LocalPartitionId, absl::Status> untold_;  // Damage that the shard could not be told of.
  MonotonicTime told_at_;                            // Then it was tried last.
  ScrubPosition saved_;
  MonotonicTime saved_at_;

  Mutex mu_;
  CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // Last.
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_SCRUBBER_H_
