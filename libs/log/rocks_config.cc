#include "libs/log/rocks_config.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "rocksdb/env.h"
#include "rocksdb/filter_policy.h"
#include "rocksdb/flush_block_policy.h"
#include "rocksdb/slice_transform.h"
#include "rocksdb/statistics.h"
#include "rocksdb/table.h"
#include "rocksdb/write_buffer_manager.h"

#include "libs/log/background_priority.h"
#include "libs/log/flush_pace.h"
#include "libs/log/key_format.h"
#include "libs/log/rocks_info_log.h"

namespace falaj::log {
namespace {

constexpr size_t kBlockBytes = 64 << 10;
constexpr size_t kBlockBytesMin = 8 << 10;
constexpr size_t kArenaBlockMax = 512 << 10;
constexpr uint64_t kDelayedBytesPerSecond = 64 << 20;  // A memtable of the usual size.

// Ends a block where another partition begins (once the block is worth it) or where it is full: a
// reader of one partition reads hardly a byte of the others.
class CutAtPartition final : public rocksdb::FlushBlockPolicy {
 public:
  bool Update(const rocksdb::Slice& key, const rocksdb::Slice& value) override {
    const rocksdb::Slice prefix(key.data(), std::min(key.size(), kDataPrefixSize));
    const size_t added = key.size() + value.size();
    const bool other = prefix != rocksdb::Slice(prefix_);
    const bool cut =
        bytes_ > 0 && ((other && bytes_ >= kBlockBytesMin) || bytes_ + added > kBlockBytes);
    if (other) prefix_ = prefix.ToString();
    bytes_ = cut ? added : bytes_ + added;
    return cut;
  }

 private:
  std::string prefix_;
  size_t bytes_ = 0;
};

class CutAtPartitionFactory final : public rocksdb::FlushBlockPolicyFactory {
 public:
  const char* Name() const override { return "falaj.CutAtPartition"; }
  rocksdb::FlushBlockPolicy* NewFlushBlockPolicy(
      const rocksdb::BlockBasedTableOptions& /*options*/,
      const rocksdb::BlockBuilder& /*builder*/) const override {
    return new CutAtPartition();  // RocksDB deletes it.
  }
};

}  // namespace

rocksdb::DBOptions MakeDbOptions(const RocksLogStore::Options& options, rocksdb::Env* env,
                                 std::shared_ptr<rocksdb::EventListener> listener) {
  rocksdb::DBOptions db;
  db.env = env;
  db.create_if_missing = true;
  db.create_missing_column_families = true;
  db.paranoid_checks = true;
  // One flush at a time: with several, a retried flush may reorder updates (fixed in 7.9).
  db.max_background_jobs = 4;
  db.max_background_flushes = 1;
  db.max_open_files = -1;
  // Forgives a record cut off at the end of a log, refuses any other damage.
  db.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  db.recycle_log_file_num = 0;                   // May replay stale records (fixed in 9.2).
  db.track_and_verify_wals_in_manifest = false;  // False alarms after SyncWAL (fixed in 7.10).
  // Only a backstop: Maintain keeps the log below wal_bytes_max, off the appender's path.
  db.max_total_wal_size = 4 * static_cast<uint64_t>(options.wal_bytes_max);
  // Synced rounds sync the log themselves; unsynced ones must not push it to the disk, where most
  // of it need never go.
  db.wal_bytes_per_sync = 0;
  db.bytes_per_sync = 1 << 20;
  db.avoid_unnecessary_blocking_io = true;
  db.allow_concurrent_memtable_write = false;  // There is one appender.
  db.enable_pipelined_write = false;
  db.max_bgerror_resume_count = 0;  // A failed sync is not retryable: dirty pages may be gone.
  db.write_buffer_manager = std::make_shared<rocksdb::WriteBufferManager>(
      static_cast<size_t>(options.memtables_total_bytes));
  db.statistics = rocksdb::CreateDBStatistics();
  db.statistics->set_stats_level(rocksdb::StatsLevel::kExceptHistogramOrTimers);
  db.info_log = std::make_shared<RocksInfoLog>(options.directory);
  db.stats_dump_period_sec = 0;
  db.stats_persist_period_sec = 0;
  db.listeners.push_back(std::move(listener));
  db.listeners.push_back(std::make_shared<BackgroundPriority>());
  auto pace = std::make_shared<FlushPace>(options.clock, db.statistics);
  db.rate_limiter = pace;
  // When all but one memtable wait to be flushed. RocksDB's own 16 MiB/s would bring writes nearly
  // to a halt until the flush under way is done; 0 would be the limiter's rate.
  db.delayed_write_rate = kDelayedBytesPerSecond;
  db.listeners.push_back(std::move(pace));
  return db;
}

rocksdb::ColumnFamilyOptions MakeSlabOptions(const RocksLogStore::Options& options,
                                             std::shared_ptr<rocksdb::Cache> cache) {
  rocksdb::ColumnFamilyOptions slab;
  slab.disable_auto_compactions = true;
  slab.num_levels = 1;
  slab.compaction_style = rocksdb::kCompactionStyleUniversal;
  slab.level0_file_num_compaction_trigger = std::numeric_limits<int>::max();
  slab.level0_slowdown_writes_trigger = std::numeric_limits<int>::max();
  slab.level0_stop_writes_trigger = std::numeric_limits<int>::max();
  slab.soft_pending_compaction_bytes_limit = 0;
  slab.hard_pending_compaction_bytes_limit = 0;
  slab.write_buffer_size = static_cast<size_t>(options.memtable_bytes);
  slab.max_write_buffer_number = 6;  // With two, appends wait seconds for the one flush.
  slab.arena_block_size = std::min(kArenaBlockMax, slab.write_buffer_size / 8);
  slab.compression = rocksdb::kNoCompression;  // Clients compress.
  slab.prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(kDataPrefixSize));
  slab.memtable_insert_with_hint_prefix_extractor = slab.prefix_extractor;

  rocksdb::BlockBasedTableOptions table;
  table.block_size = kBlockBytes;
  table.flush_block_policy_factory = std::make_shared<CutAtPartitionFactory>();
  table.index_type = rocksdb::BlockBasedTableOptions::kBinarySearchWithFirstKey;
  table.index_shortening = rocksdb::BlockBasedTableOptions::IndexShorteningMode::kNoShortening;
  table.format_version = 5;
  table.checksum = rocksdb::kXXH3;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.whole_key_filtering = false;
  table.cache_index_and_filter_blocks = true;
  table.cache_index_and_filter_blocks_with_high_priority = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.block_cache = std::move(cache);
  slab.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return slab;
}

rocksdb::ColumnFamilyOptions MakeMetaOptions(std::shared_ptr<rocksdb::Cache> cache) {
  rocksdb::ColumnFamilyOptions meta;
  meta.write_buffer_size = 16 << 20;
  meta.max_write_buffer_number = 4;  // As above: its flush may wait for that of a slab.
  meta.arena_block_size = 256 << 10;
  meta.compression = rocksdb::kNoCompression;
  rocksdb::BlockBasedTableOptions table;
  table.checksum = rocksdb::kXXH3;
  table.format_version = 5;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.block_cache = std::move(cache);
  meta.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return meta;
}

}  // namespace falaj::log
