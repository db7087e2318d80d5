// KnownHistory is what a data directory knows of the history that its records are of: how often the
// metadata quorum had been recovered from the loss of its majority (falaj debug recover-quorum)
// when the node last followed it, and which partitions were set aside after that.
//
// A recovered quorum may not know of topics, and of moves, that the lost majority knew of. That it
// does not name a partition is therefore no reason to delete it: with the first view of a later
// history all partitions that the node does not hold by it are *quarantined*. They stay on disk and
// nothing is done with them, also if a partition of the same name comes back, until an operator
// releases them (falaj debug release-quarantine); the node then drops them as any that is not its
// own.
//
// StorageServer owns one; the store shard adopts and asks. One small file, `history`, replaced
// whole: a history is adopted together with what it sets aside, or not at all, and then again. A
// directory without the file knows of no recovery, so if there was one the node sets aside once
// more.
//
// Threads: any. Failures: CORRUPT_RECORD if the file is damaged, STORAGE_FAILED.
#ifndef SERVICES_STORAGE_KNOWN_HISTORY_H_
#define SERVICES_STORAGE_KNOWN_HISTORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "libs/base/mutex.h"
#include "libs/log/log_store.h"

namespace falaj::storage {

class KnownHistory {
 public:
  // Without a file: no recovery, and nothing in quarantine.
  static absl::StatusOr<std::unique_ptr<KnownHistory>> Open(const std::string& data_dir);

  uint64_t recoveries() const;
  bool IsQuarantined(const log::PartitionKey& key) const;
  std::vector<log::PartitionKey> Quarantined() const;
  size_t quarantined_count() const;

  // The node follows the history after so many recoveries from now on, which does not give it these
  // partitions. Blocks on disk.
  absl::Status Adopt(uint64_t recoveries, const std::vector<log::PartitionKey>& unknown);
  // Nothing is in quarantine any more.
  absl::Status Release();

 private:
  explicit KnownHistory(std::string data_dir) : data_dir_(std::move(data_dir)) {}

  absl::Status Load(const std::string& text) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Save(uint64_t recoveries, std::set<log::PartitionKey> quarantined)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string data_dir_;
  mutable Mutex mu_;
  uint64_t recoveries_ ABSL_GUARDED_BY(mu_) = 0;
  std::set<log::PartitionKey> quarantined_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_KNOWN_HISTORY_H_
