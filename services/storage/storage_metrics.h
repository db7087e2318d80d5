// StorageMetrics is what a storage node counts, under the names every Falaj dashboard uses.
//
// The storage server owns one over its Registry. The hot path holds pointers; series of topics and
// partitions are made up at each scrape, so that those of a deleted topic are gone at once.
//
// Threads: any.
#ifndef SERVICES_STORAGE_STORAGE_METRICS_H_
#define SERVICES_STORAGE_STORAGE_METRICS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"

#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/log/disk_watch.h"
#include "libs/log/rocks_log_store.h"
#include "libs/replica/replica.h"
#include "libs/telemetry/error_counters.h"
#include "libs/telemetry/registry.h"
#include "services/storage/replication.h"

namespace falaj::storage {

class Partition;

// What is counted per topic; shared by its partitions on this node.
struct TopicCounters {
  telemetry::Counter produced_records;
  telemetry::Counter produced_bytes;
  telemetry::Counter produce_duplicates;
  telemetry::Counter fetched_records;
  telemetry::Counter fetched_bytes;
  telemetry::Counter retention_deleted_bytes;
};

// What there is to say about the disk.
struct DiskState {
  log::DiskSpace space;
  log::DiskLevel level = log::DiskLevel::kOk;
  bool failed = false;
  absl::Duration stands;  // How long the oldest operation has been under way.
  size_t partitions = 0;
};

class StorageMetrics {
 public:
  explicit StorageMetrics(telemetry::Registry* registry);  // Not owned; outlives this.

  // The counters of a topic, for as long as somebody holds them.
  std::shared_ptr<TopicCounters> Topic(const std::string& name);

  telemetry::Histogram* produce_seconds(replica::Acks acks) const {
    return produce_seconds_[static_cast<size_t>(acks)];
  }
  telemetry::Histogram* write_seconds() const { return write_seconds_; }
  telemetry::Histogram* sync_seconds() const { return sync_seconds_; }
  telemetry::Histogram* read_seconds() const { return read_seconds_; }
  telemetry::Histogram* delivery_seconds() const { return delivery_seconds_; }
  telemetry::Counter* replica_sent_bytes(Lane lane) const {
    return lane == Lane::kLive ? sent_live_ : sent_catch_up_;
  }
  telemetry::Counter* replica_looks() const { return replica_looks_; }
  // Of a leader's replica streams. None while nothing changes.
  telemetry::Counter* replica_messages_sent() const { return replica_messages_sent_; }
  telemetry::Counter* replica_messages_received() const { return replica_messages_received_; }
  telemetry::Gauge* replica_unread_answers() const { return replica_unread_answers_; }
  telemetry::Gauge* replica_streams_paused() const { return replica_streams_paused_; }
  telemetry::Counter* scrubbed_bytes() const { return scrubbed_bytes_; }
  telemetry::Counter* scrub_damaged_partitions() const { return scrub_damaged_partitions_; }
  telemetry::Gauge* scrub_completed() const { return scrub_completed_; }
  void CountError(const absl::Status& status) { errors_.Count(status); }

  // For collectors.
  void CollectTopics(telemetry::Samples* out);
  static void CollectPartitions(const std::vector<std::shared_ptr<Partition>>& partitions,
                                const absl::flat_hash_map<LocalPartitionId, int64_t>& sizes,
                                telemetry::Samples* out);
  static void CollectStore(const log::StoreStats& stats, telemetry::Samples* out);
  static void CollectDisk(const DiskState& disk, telemetry::Samples* out);

 private:
  telemetry::ErrorCounters errors_;
  std::vector<telemetry::Histogram*> produce_seconds_;  // By Acks.
  telemetry::Histogram* const write_seconds_;
  telemetry::Histogram* const sync_seconds_;
  telemetry::Histogram* const read_seconds_;
  telemetry::Histogram* const delivery_seconds_;
  telemetry::Counter* const sent_live_;
  telemetry::Counter* const sent_catch_up_;
  telemetry::Counter* const replica_looks_;
  telemetry::Counter* const replica_messages_sent_;
  telemetry::Counter* const replica_messages_received_;
  telemetry::Gauge* const replica_unread_answers_;
  telemetry::Gauge* const replica_streams_paused_;
  telemetry::Counter* const scrubbed_bytes_;
  telemetry::Counter* const scrub_damaged_partitions_;
  telemetry::Gauge* const scrub_completed_;

  Mutex mu_;
  std::map<std::string, std::weak_ptr<TopicCounters>> topics_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_STORAGE_METRICS_H_
