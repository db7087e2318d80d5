// ServiceParts is what the calls of the StorageService work with: the parts of one storage node.
//
// The storage server fills it in once; nothing here is owned, and all of it outlives every call.
#ifndef SERVICES_STORAGE_SERVICE_PARTS_H_
#define SERVICES_STORAGE_SERVICE_PARTS_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/log/disk_watch.h"
#include "libs/log/log_store.h"
#include "libs/log/tail_cache.h"
#include "services/storage/assignments.h"
#include "services/storage/byte_budget.h"
#include "services/storage/partition.h"
#include "services/storage/rate_limit.h"
#include "services/storage/read_deadlines.h"
#include "services/storage/reader_pool.h"
#include "services/storage/storage_metrics.h"
#include "services/storage/store_shard.h"

namespace falaj::storage {

class ReplicaStreams;

struct ServiceParts {
  NodeId node;
  StoreShard* shard = nullptr;
  Assignments* assignments = nullptr;
  log::LogStore* store = nullptr;
  log::TailCache* tail_cache = nullptr;
  log::DiskWatch* disk = nullptr;
  ReaderPool* disk_readers = nullptr;  // May block on disk.
  ReaderPool* tail_readers = nullptr;  // Never blocks: wakes long polls.
  ReadDeadlines* read_deadlines = nullptr;
  ByteBudget* append_budget = nullptr;
  ByteBudget* read_budget = nullptr;
  int64_t stream_bytes_max = 0;
  ReplicaStreams* replica_streams = nullptr;
  RateLimit* catch_up = nullptr;          // Of what followers that lag read from the disk,
  ReaderPool* catch_up_reader = nullptr;  // by this one, which keeps to it.
  StorageMetrics* metrics = nullptr;
  Clock* clock = nullptr;

  // The partition if this node hosts it. Returns INVALID_REQUEST for a topic id that is none,
  // NOT_LEADER if another node has it, PARTITION_NOT_FOUND if the cluster, as far as this node
  // knows, has no such partition.
  absl::StatusOr<std::shared_ptr<Partition>> Find(absl::string_view topic_id,
                                                  int32_t partition) const;
  // What to tell who has met `error` when reading the partition from disk. If a record is damaged
  // the shard is told, too; and while others are in sync it is NOT_LEADER, as one of them is about
  // to lead.
  absl::Status ExplainRead(const std::shared_ptr<Partition>& partition, LeaderEpoch epoch,
                           const absl::Status& error) const;
};

// LEADER_UNAVAILABLE, to be asked again: a leader learns what is committed above the high watermark
// it began with, if anything is, by committing the start of its epoch.
absl::Status NotKnownYet(const PartitionState& state);
// OFFSET_OUT_OF_RANGE with log_start_offset and high_watermark; NotKnownYet() if the offset may
// well be in range.
absl::Status OffsetOutOfRange(Offset offset, const PartitionState& state);
// INVALID_REQUEST naming the field.
absl::Status BadField(absl::string_view field, absl::string_view why);

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_SERVICE_PARTS_H_
