// What only a store shard's core knows of a partition: for the core's own files.
#ifndef SERVICES_STORAGE_HOSTED_PARTITION_H_
#define SERVICES_STORAGE_HOSTED_PARTITION_H_

#include <memory>
#include <optional>

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/replica/replica.h"
#include "services/storage/partition.h"
#include "services/storage/shard_core.h"

namespace falaj::storage {

struct ShardCore::Hosted {
  std::shared_ptr<Partition> shared;
  replica::Replica core;
  Assignment wanted;
  replica::Effects effects;
  Offset checkpointed;                    // The high watermark on disk.
  Lane lane = Lane::kLive;                // On which a follower attaches; its leader says so.
  bool touched = false;                   // By the round.
  bool unsynced = false;                  // It has written what found no room when it was synced.
  bool damaged = false;                   // Its log is, on this disk.
  bool watched = false;                   // It is among those that time may change.
  std::optional<MonotonicTime> reported;  // When that was, last.
  std::optional<MonotonicTime> asked;     // When the attach left whose answer has not come.
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_HOSTED_PARTITION_H_
