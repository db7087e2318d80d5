// StorageServer is one storage node: partition replicas on RocksDB behind the internal
// StorageService.
//
// falaj-storage runs one; `falaj dev` and the tests run several in one process, each with its own
// data directory. It registers with the metadata service, follows the cluster's watch, opens the
// partitions it is assigned and leads those it is told to lead. Gateways append to and read from
// them.
//
// The node's identity is its data directory: the first start draws a directory id and records the
// node id; the first registration records the cluster id. Another node id, or a cluster that is
// not the one on record, is refused with kFailedPrecondition (CLUSTER_MISMATCH).
//
// Threads: Start and Stop from any one thread. Inside: one appender per store shard, a pool of
// disk readers, one thread each for the session, the metadata watch, reads whose time is over,
// housekeeping and the scrubber. gRPC's threads move bytes, and append where that is little.
//
// Failures: the metadata service may go away at any time; what the node leads it goes on serving.
// A full disk refuses produce with DISK_FULL until space returns. A failed disk refuses produce
// with STORAGE_FAILED and takes liveness down, so that whoever supervises the process restarts it;
// what others can lead they lead from then on, and the node leaves the cluster until it restarts.
// A disk that hangs, so that an operation does not return, is a failed one after disk_stall_max,
// also if it goes on later.
#ifndef SERVICES_STORAGE_STORAGE_SERVER_H_
#define SERVICES_STORAGE_STORAGE_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/log/disk_watch.h"

namespace rocksdb {
class Env;
}  // namespace rocksdb

namespace falaj::storage {

// Longer than a slow disk takes: what is synced in one go is at most the 512 MiB of a write-ahead
// log, some 17 s at 30 MB/s. Shorter than a kernel takes to give a device up (30 s for NVMe and
// SCSI), and than an event loop may stand before its process is not live.
inline constexpr absl::Duration kDiskStallMax = absl::Seconds(20);

class StorageServer {
 public:
  struct Options {
    int32_t node_id = 0;   // Must be at least 1.
    std::string data_dir;  // Made if it does not exist.

    std::string listen_address = "127.0.0.1:0";
    std::string advertised_address;               // Empty: the address it listens on.
    std::string http_address = "127.0.0.1:0";     // Empty: no HTTP.
    std::vector<std::string> metadata_addresses;  // At least one.
    std::string zone;                             // May be empty.
    absl::Duration session_timeout = absl::Seconds(10);
    // A follower that has not been caught up for so long leaves the in-sync replicas.
    absl::Duration replica_lag_max = absl::Seconds(10);
    // What this node, as a leader, reads and sends for replicas that lag, all followers together,
    // on top of as much as is produced to it meanwhile; 0: as fast as it goes. With several that
    // lag it has to be above what is produced, or they stay behind.
    int64_t catch_up_bytes_per_second = int64_t{20} << 20;

    log::DiskWatch::Options disk_watermarks;
    log::DiskWatch::Probe disk_probe;  // Replaces statvfs in tests.
    absl::Duration disk_check_interval = absl::Seconds(1);
    // A disk that takes longer for one write, sync or read has failed. 0: never.
    absl::Duration disk_stall_max = kDiskStallMax;

    // Everything is read again once in a period, at this pace, to find damage; 0: never.
    int64_t scrub_bytes_per_second = int64_t{8} << 20;
    absl::Duration scrub_period = absl::Hours(24 * 7);

    int64_t tail_cache_bytes = int64_t{64} << 20;
    bool direct_writes = true;                      // As of log::RocksLogStore.
    int64_t append_bytes_max = int64_t{128} << 20;  // Batches received and not yet answered.
    int64_t stream_bytes_max = int64_t{16} << 20;   // The same, of one Append stream.
    int64_t read_bytes_max = int64_t{256} << 20;    // Answers to reads not yet sent.
    int reader_threads = 2;

    absl::Duration maintain_interval = absl::Seconds(1);
    absl::Duration checkpoint_interval = absl::Seconds(5);  // Of high watermarks.
    absl::Duration retention_interval = absl::Seconds(10);
    int64_t slab_bytes_max = 0;  // 0: the store's own default.

    bool metrics_partition_level = true;  // Up to 2,000 partitions.
    Clock* clock = nullptr;               // Not owned. Null: the machine's clock.
    rocksdb::Env* store_env = nullptr;    // Not owned. Null: the operating system's.
    // For tests that must fail: one of libs/replica/planted_bug.h that Replica makes by itself.
    std::string planted_bug = "none";
  };

  // Returns when the node listens; Ready() becomes true once it is registered. Returns
  // kInvalidArgument (INVALID_CONFIG) for options that make no sense, kFailedPrecondition
  // (CLUSTER_MISMATCH) if the data directory belongs to another node, and the store's Status if it
  // cannot be opened. Blocks on disk.
  static absl::StatusOr<std::unique_ptr<StorageServer>> Start(const Options& options);

  virtual ~StorageServer() = default;  // Without Stop() it leaves as a crash would.

  virtual std::string grpc_address() const = 0;
  virtual std::string http_address() const = 0;  // Empty if there is no HTTP.
  // True while the node is registered, its session lives, its partitions are open and its disk
  // takes writes.
  virtual bool Ready() const = 0;
  // True while an operation is under way for so long that the disk counts as failed: Stop() and the
  // destructor wait for it. Also to be asked, by another thread, while Stop() does.
  virtual bool DiskHangs() const = 0;
  // Readiness off, drains, ends the session, closes the store, leaves the clean mark. Idempotent.
  virtual void Stop() = 0;

 protected:
  StorageServer() = default;
  StorageServer(const StorageServer&) = delete;
  StorageServer& operator=(const StorageServer&) = delete;
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_STORAGE_SERVER_H_
