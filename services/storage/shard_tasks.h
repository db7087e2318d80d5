// What a store shard is asked for, and what it answers: assignments by the cluster, batches by
// producers.
#ifndef SERVICES_STORAGE_SHARD_TASKS_H_
#define SERVICES_STORAGE_SHARD_TASKS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "libs/base/bytes.h"
#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/log/log_store.h"
#include "libs/replica/replica.h"
#include "services/storage/partition.h"

namespace falaj::storage {

// What the cluster wants of this node for one partition.
struct Assignment {
  log::PartitionKey key;
  std::string topic;
  log::RetentionPolicy retention;
  replica::Settings settings;
  NodeId leader{0};  // 0: nobody.
  LeaderEpoch epoch;
  PartitionEpoch partition_epoch;
  LeaderEpoch unclean_epoch{0};  // Of the latest unclean election.
  std::vector<NodeId> isr;
  std::vector<NodeId> elr;
  std::vector<NodeId> replicas;
};

// The outcome of one batch.
struct AppendAnswer {
  uint64_t request_id = 0;
  absl::Status status;
  replica::AppendOutcome outcome;
  int64_t append_time_ms = -1;
  int64_t size_bytes = 0;
};

// Where answers go: one Append stream.
class AppendSink {
 public:
  virtual ~AppendSink() = default;
  // Nobody waits any more; what is not appended yet need not be.
  virtual bool Abandoned() const = 0;
  virtual void Answer(AppendAnswer answer) = 0;  // Must not block.
  virtual void Flush() = 0;                      // After a run of answers. Must not block.
};

// A batch that has been validated.
struct AppendTask {
  std::shared_ptr<Partition> partition;
  LeaderEpoch epoch;
  replica::Acks acks = replica::Acks::kAll;
  replica::BatchInfo info;
  Bytes batch;
  MonotonicTime received;
  MonotonicTime deadline;  // 0: none.
  uint64_t request_id = 0;
  std::shared_ptr<AppendSink> sink;
};

// An append whose reply waits for the round, or for other replicas.
struct HeldAppend {
  std::shared_ptr<AppendSink> sink;
  std::shared_ptr<Partition> partition;
  uint64_t request_id = 0;
  int64_t size_bytes = 0;
  int64_t append_time_ms = -1;
  MonotonicTime received;
  MonotonicTime deadline;  // 0: none.
  replica::Acks acks = replica::Acks::kAll;
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_SHARD_TASKS_H_
