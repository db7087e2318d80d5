// PartitionTable is the partitions that a store shard hosts, for all threads to look them up. The
// shard's core fills it. Threads: any.
#ifndef SERVICES_STORAGE_PARTITION_TABLE_H_
#define SERVICES_STORAGE_PARTITION_TABLE_H_

#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"

#include "libs/base/mutex.h"
#include "libs/log/log_store.h"
#include "services/storage/partition.h"

namespace falaj::storage {

class PartitionTable {
 public:
  // Null if it is not there.
  std::shared_ptr<Partition> Find(const log::PartitionKey& key) const {
    MutexLock lock(&mu_);
    const auto it = partitions_.find(key);
    return it == partitions_.end() ? nullptr : it->second;
  }
  std::vector<std::shared_ptr<Partition>> List() const {
    MutexLock lock(&mu_);
    std::vector<std::shared_ptr<Partition>> all;
    all.reserve(partitions_.size());
    for (const auto& [key, partition] : partitions_) all.push_back(partition);
    return all;
  }
  void Add(std::shared_ptr<Partition> partition) {
    MutexLock lock(&mu_);
    partitions_.emplace(partition->key(), std::move(partition));
  }
  void Remove(const log::PartitionKey& key) {
    MutexLock lock(&mu_);
    partitions_.erase(key);
  }

 private:
  mutable Mutex mu_;
  absl::flat_hash_map<log::PartitionKey, std::shared_ptr<Partition>> partitions_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_PARTITION_TABLE_H_
