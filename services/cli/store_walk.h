// Reads what a stopped storage node, or a file of encoded batches, holds: batch by batch, in the
// order of the log.
//
// The commands below `falaj debug` use it. A store is opened as the node would open it, which
// recovers its write-ahead log, so the node must not run. Blocks on disk; keeps one run of batches
// in memory at a time. Threads: one.
#ifndef SERVICES_CLI_STORE_WALK_H_
#define SERVICES_CLI_STORE_WALK_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

#include "libs/base/bytes.h"
#include "libs/log/log_store.h"

namespace falaj::cli {

// Who looks at the batches. Of a file there is one partition, whose topic is nil.
class BatchVisitor {
 public:
  virtual ~BatchVisitor() = default;

  // The batches that follow are of this partition, as it is in a store below `directory`.
  virtual void Begin(const log::StoredPartition& partition, const std::string& directory) = 0;
  // One batch; its header can be parsed, nothing else is certain.
  virtual void Take(const log::PartitionKey& key, const Bytes& batch) = 0;
  // All of the partition was shown, but for what was damaged.
  virtual void End() = 0;
  // The partition cannot be read on.
  virtual void Damage(const absl::Status& status) = 0;
  // True to see no more.
  virtual bool full() const = 0;
};

// Shows everything in a file, or in all stores at or below a directory, except the Raft logs of
// metadata nodes. Returns INVALID_REQUEST if there is nothing of the kind, and the store's Status
// if it cannot be opened. `show_progress`: a bar for each store, if standard error is a terminal.
absl::Status WalkBatches(const std::string& path, BatchVisitor* visitor, bool show_progress);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_STORE_WALK_H_
