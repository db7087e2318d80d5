// Housekeeping is what a storage node does without being asked: it drops slabs, moves log starts by
// retention, checkpoints high watermarks, forgets silent producers, watches the disk, and tries
// again what failed for want of it.
//
// Two threads: one that may wait for the disk (slabs, retention), and a pulse that may not, so that
// a slow disk never hides a full one. Log starts move in the shard; here they are only
// planned.
#ifndef SERVICES_STORAGE_HOUSEKEEPING_H_
#define SERVICES_STORAGE_HOUSEKEEPING_H_

#include <functional>
#include <map>
#include <set>

#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/log/disk_watch.h"
#include "libs/log/rocks_log_store.h"
#include "services/storage/periodic.h"
#include "services/storage/store_shard.h"

namespace falaj::storage {

class Housekeeping {
 public:
  struct Options {
    absl::Duration maintain_interval = absl::Seconds(1);
    absl::Duration retention_interval = absl::Seconds(10);
    absl::Duration checkpoint_interval = absl::Seconds(5);
    absl::Duration producer_interval = absl::Minutes(10);
    absl::Duration disk_interval = absl::Seconds(1);
    std::function<void()> on_pulse;       // Four times a second; must not block.
    std::function<void()> on_maintained;  // After each maintenance; may wait for the disk.
  };

  // Nothing is owned; all of it outlives this.
  Housekeeping(Options options, log::RocksLogStore* store, StoreShard* shard, log::DiskWatch* disk,
               Clock* clock);

 private:
  // True once every `interval`; `last` remembers.
  static bool Due(MonotonicTime now, absl::Duration interval, MonotonicTime* last);
  void Maintain();
  void TellOfDamage();
  void Retain();
  void Pulse();

  const Options options_;
  log::RocksLogStore* const store_;
  StoreShard* const shard_;
  log::DiskWatch* const disk_;
  Clock* const clock_;

  // Each of one thread.
  MonotonicTime retained_;
  MonotonicTime checkpointed_;
  MonotonicTime producers_expired_;
  MonotonicTime polled_;
  bool maintain_failed_ = false;
  std::set<LocalPartitionId> damaged_;  // Not told to the shard yet.
  // Log starts that the last round of retention asked for: what a shard has not got to yet, or a
  // full disk has refused, is asked for again, but counted as deleted once.
  std::map<LocalPartitionId, Offset> planned_starts_;

  Periodic maintenance_;  // Last: their threads use the rest.
  Periodic pulse_;
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_HOUSEKEEPING_H_
