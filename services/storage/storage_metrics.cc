#include "services/storage/storage_metrics.h"

#include "absl/strings/str_cat.h"

#include "services/storage/partition.h"

namespace falaj::storage {
namespace {

using telemetry::Labels;
using telemetry::Samples;

telemetry::Histogram* Latency(telemetry::Registry* registry, const char* name, const char* help,
                              const Labels& labels = {}) {
  return registry->AddHistogram(name, help, labels);
}

telemetry::Counter* Sent(telemetry::Registry* registry, const char* lane) {
  return registry->AddCounter(
      "falaj_replica_sent_bytes_total",
      "Bytes of batches sent to followers: live, or to replicas that lag and catch up.",
      {{"lane", lane}});
}

telemetry::Counter* Messages(telemetry::Registry* registry, const char* direction) {
  return registry->AddCounter(
      "falaj_replica_messages_total",
      "Messages on replica streams, counted by the leader: sent to followers, or received.",
      {{"direction", direction}});
}

}  // namespace

StorageMetrics::StorageMetrics(telemetry::Registry* registry)
    : errors_(registry),
      write_seconds_(Latency(registry, "falaj_storage_write_seconds",
                             "Time to write one round of batches, synced or not.")),
      sync_seconds_(Latency(registry, "falaj_storage_sync_seconds",
                            "Time to write one round of batches that ends with a sync.")),
      read_seconds_(Latency(registry, "falaj_storage_read_seconds",
                            "Time of one read of batches that went to the disk.")),
      delivery_seconds_(
          Latency(registry, "falaj_delivery_seconds",
                  "Time from the append of a batch, its write included, to its hand-over to a "
                  "gateway that reads for a consumer. Each batch of each read counts, but only if "
                  "it comes from the tail in memory.")),
      sent_live_(Sent(registry, "live")),
      sent_catch_up_(Sent(registry, "catch_up")),
      replica_looks_(registry->AddCounter(
          "falaj_replica_looks_total",
          "Times that a partition was looked at for something to send to a follower.")),
      replica_messages_sent_(Messages(registry, "sent")),
      replica_messages_received_(Messages(registry, "received")),
      replica_unread_answers_(
          registry->AddGauge("falaj_replica_unread_answers",
                             "Answers to followers' attaches that wait until they are read.")),
      replica_streams_paused_(registry->AddGauge(
          "falaj_replica_streams_paused",
          "Replica streams that are not read from, as the follower reads no answers.")),
      scrubbed_bytes_(registry->AddCounter("falaj_scrub_bytes_total",
                                           "Bytes of batches read again to find damage.")),
      scrub_damaged_partitions_(
          registry->AddCounter("falaj_scrub_damaged_partitions_total",
                               "Partitions in which damage was found that nobody had read.")),
      scrub_completed_(
          registry->AddGauge("falaj_scrub_completed_timestamp_seconds",
                             "When everything on the disk had last been read again; 0: not yet.")) {
  for (const char* acks : {"none", "leader", "all"}) {
    produce_seconds_.push_back(Latency(registry, "falaj_produce_seconds",
                                       "Time from receiving a batch to answering it.",
                                       {{"acks", acks}}));
  }
}

std::shared_ptr<TopicCounters> StorageMetrics::Topic(const std::string& name) {
  MutexLock lock(&mu_);
  std::weak_ptr<TopicCounters>& slot = topics_[name];
  std::shared_ptr<TopicCounters> counters = slot.lock();
  if (counters == nullptr) slot = counters = std::make_shared<TopicCounters>();
  return counters;
}

void StorageMetrics::CollectTopics(Samples* out) {
  MutexLock lock(&mu_);
  for (auto it = topics_.begin(); it != topics_.end();) {
    const std::shared_ptr<TopicCounters> counters = it->second.lock();
    if (counters == nullptr) {
      it = topics_.erase(it);
      continue;
    }
    const auto add = [&](const char* name, const char* help, const telemetry::Counter& counter) {
      out->Counter(name, help, {{"topic", it->first}}, static_cast<double>(counter.value()));
    };
    add("falaj_produced_records_total", "Records appended.", counters->produced_records);
    add("falaj_produced_bytes_total", "Bytes of batches appended.", counters->produced_bytes);
    add("falaj_produce_duplicates_total", "Batches that had been appended before.",
        counters->produce_duplicates);
    add("falaj_fetched_records_total", "Records read.", counters->fetched_records);
    add("falaj_fetched_bytes_total", "Bytes of batches read.", counters->fetched_bytes);
    add("falaj_storage_retention_deleted_bytes_total", "Bytes deleted by retention.",
        counters->retention_deleted_bytes);
    ++it;
  }
}

void StorageMetrics::CollectPartitions(const std::vector<std::shared_ptr<Partition>>& partitions,
                                       const absl::flat_hash_map<LocalPartitionId, int64_t>& sizes,
                                       Samples* out) {
  for (const std::shared_ptr<Partition>& partition : partitions) {
    const PartitionState state = partition->state();
    if (!state.readable) continue;  // The leader reports a partition.
    const Labels labels = {{"topic", partition->topic()},
                           {"partition", absl::StrCat(partition->key().partition.value())}};
    const auto add = [&](const char* name, const char* help, int64_t value) {
      out->Gauge(name, help, labels, static_cast<double>(value));
    };
    add("falaj_partition_log_start_offset", "First offset kept.", state.log_start.value());
    add("falaj_partition_log_end_offset", "Offset after the last record.", state.log_end.value());
    add("falaj_partition_high_watermark", "Records below it are committed.",
        state.high_watermark.value());
    add("falaj_partition_leader_epoch", "Epoch of the leader.", state.epoch.value());
    add("falaj_partition_in_sync_replicas", "Replicas in sync.", state.in_sync_replicas);
    const auto size = sizes.find(partition->id());
    if (size != sizes.end()) {
      add("falaj_partition_size_bytes", "Bytes of the batches kept, about.", size->second);
    }
    add("falaj_partition_replicas", "Replicas assigned.", state.replicas);
    for (const replica::FollowerLag& lag : state.replica_lags) {
      Labels of_node = labels;
      of_node["node"] = absl::StrCat(lag.node.value());
      out->Gauge("falaj_replica_lag_records", "Records missing at a follower, as its leader knows.",
                 of_node, static_cast<double>(lag.records));
    }
  }
}

void StorageMetrics::CollectStore(const log::StoreStats& stats, Samples* out) {
  const auto gauge = [out](const char* name, const char* help, int64_t value) {
    out->Gauge(name, help, {}, static_cast<double>(value));
  };
  const auto counter = [out](const char* name, const char* help, double value) {
    out->Counter(name, help, {}, value);
  };
  gauge("falaj_rocksdb_memtable_bytes", "Memory of memtables.", stats.memtable_bytes);
  gauge("falaj_rocksdb_pending_compaction_bytes", "Bytes that wait for compaction.",
        stats.pending_compaction_bytes);
  gauge("falaj_rocksdb_block_cache_bytes", "Memory of the block cache.", stats.block_cache_bytes);
  gauge("falaj_storage_slabs", "Slabs on disk.", stats.slabs);
  gauge("falaj_storage_straggler_slabs", "Sealed slabs mostly dead but still needed.",
        stats.slabs_held_by_stragglers);
  gauge("falaj_storage_table_bytes", "Bytes of table files on disk.", stats.table_bytes);
  gauge("falaj_storage_wal_bytes", "Bytes of write-ahead log files on disk.", stats.wal_bytes);
  counter("falaj_rocksdb_block_cache_hits_total", "Blocks found in the cache.",
          static_cast<double>(stats.block_cache_hits));
  counter("falaj_rocksdb_block_cache_misses_total", "Blocks read from disk.",
          static_cast<double>(stats.block_cache_misses));
  counter("falaj_rocksdb_write_stall_seconds_total", "Time writes were held back by RocksDB.",
          static_cast<double>(stats.stall_micros) / 1e6);
  counter("falaj_storage_payload_bytes_total", "Bytes of batches committed.",
          static_cast<double>(stats.payload_bytes));
  counter("falaj_storage_wal_written_bytes_total", "Bytes written to the write-ahead log.",
          static_cast<double>(stats.wal_written_bytes));
  counter("falaj_storage_flushed_bytes_total", "Bytes flushed to tables.",
          static_cast<double>(stats.flushed_bytes));
}

void StorageMetrics::CollectDisk(const DiskState& disk, Samples* out) {
  const auto gauge = [out](const char* name, const char* help, double value) {
    out->Gauge(name, help, {}, value);
  };
  gauge("falaj_storage_disk_free_bytes", "Free space under the data directory.",
        static_cast<double>(disk.space.free_bytes));
  gauge("falaj_storage_disk_total_bytes", "Size of the disk under the data directory.",
        static_cast<double>(disk.space.total_bytes));
  gauge("falaj_storage_disk_level",
        "How full the disk is: 0 ok, 1 warn, 2 soft (produce is refused), 3 hard (leads are given "
        "away).",
        static_cast<double>(disk.level));
  gauge("falaj_storage_disk_failed",
        "1 if the disk has failed or hangs: the node takes no writes until it is restarted.",
        disk.failed ? 1.0 : 0.0);
  gauge("falaj_storage_disk_operation_seconds",
        "How long the oldest operation on the disk has been under way.",
        absl::ToDoubleSeconds(disk.stands));
  const bool read_only = disk.failed || disk.level >= log::DiskLevel::kSoft;
  gauge("falaj_storage_read_only_partitions",
        "Partitions that refuse produce because the disk is full or has failed.",
        read_only ? static_cast<double>(disk.partitions) : 0.0);
}

}  // namespace falaj::storage
