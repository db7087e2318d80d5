// falaj-storage: one storage node as a process.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"

#include "libs/base/log.h"
#include "libs/rpc/process.h"
#include "services/storage/periodic.h"
#include "services/storage/storage_server.h"

ABSL_FLAG(int32_t, node_id, 0, "Id of this node in the cluster, at least 1.");
ABSL_FLAG(std::string, data_dir, "", "Directory of the node's data; made if it does not exist.");
ABSL_FLAG(std::string, listen, "127.0.0.1:7400", "Address of the gRPC port.");
ABSL_FLAG(std::string, advertise, "",
          "host:port under which gateways reach this node; the gRPC address if empty.");
ABSL_FLAG(std::string, http_listen, "127.0.0.1:7401",
          "Address of /metrics and /healthz; empty for none.");
ABSL_FLAG(std::vector<std::string>, metadata, {}, "Addresses of the metadata nodes.");
ABSL_FLAG(std::string, zone, "", "Failure zone of this node.");
ABSL_FLAG(absl::Duration, session_timeout, absl::Seconds(10),
          "The node counts as gone after so long without a heartbeat.");
ABSL_FLAG(absl::Duration, replica_lag_max, absl::Seconds(10),
          "A follower that has not been caught up for so long leaves the in-sync replicas.");
ABSL_FLAG(
    int64_t, catch_up_bytes_per_second, int64_t{20} << 20,
    "What this node, as a leader, reads and sends in a second for replicas that lag, all followers "
    "together; a node that lags behind two leaders gets twice as much. What is produced to this "
    "node meanwhile comes on top, so that one who lags gains so much. 0: no limit.");
ABSL_FLAG(int64_t, disk_soft_free_bytes, int64_t{5} << 30,
          "Produce is refused below so much free space (at most a tenth of the disk counts).");
ABSL_FLAG(absl::Duration, disk_stall_max, falaj::storage::kDiskStallMax,
          "A disk that takes longer for one write, sync or read counts as failed: others lead, and "
          "this node is out until it is restarted. 0: never.");
ABSL_FLAG(int64_t, scrub_bytes_per_second, int64_t{8} << 20,
          "Pace at which everything on the disk is read again, to find damage while other replicas "
          "are whole. 0: never.");
ABSL_FLAG(absl::Duration, scrub_period, absl::Hours(24 * 7),
          "Time from the end of one such pass to the beginning of the next.");
ABSL_FLAG(int64_t, tail_cache_bytes, int64_t{64} << 20, "Memory for the newest batches.");
ABSL_FLAG(bool, direct_writes, true,
          "Write tables past the page cache, where the file system can: produce is steadier. "
          "Without, consumers that lag far find in spare memory what they read.");
ABSL_FLAG(int64_t, append_bytes_max, int64_t{128} << 20, "Memory for batches in flight.");
ABSL_FLAG(int32_t, reader_threads, 2, "Threads that read the disk.");
ABSL_FLAG(bool, metrics_partition_level, true, "Export series per partition (up to 2,000).");
ABSL_FLAG(std::string, log_format, "json", "json or text.");
ABSL_FLAG(std::string, planted_bug, "none",
          "For tests that must fail: makes one of the mistakes of libs/replica/planted_bug.h, such "
          "as no-leader-epoch-entry. Breaks what is promised.");

namespace {

constexpr absl::Duration kGuardPause = absl::Milliseconds(100);

falaj::storage::StorageServer::Options OptionsFromFlags() {
  falaj::storage::StorageServer::Options options;
  options.node_id = absl::GetFlag(FLAGS_node_id);
  options.data_dir = absl::GetFlag(FLAGS_data_dir);
  options.listen_address = absl::GetFlag(FLAGS_listen);
  options.advertised_address = absl::GetFlag(FLAGS_advertise);
  options.http_address = absl::GetFlag(FLAGS_http_listen);
  options.metadata_addresses = absl::GetFlag(FLAGS_metadata);
  options.zone = absl::GetFlag(FLAGS_zone);
  options.session_timeout = absl::GetFlag(FLAGS_session_timeout);
  options.replica_lag_max = absl::GetFlag(FLAGS_replica_lag_max);
  options.catch_up_bytes_per_second = absl::GetFlag(FLAGS_catch_up_bytes_per_second);
  options.disk_watermarks.soft.free_bytes = absl::GetFlag(FLAGS_disk_soft_free_bytes);
  options.disk_stall_max = absl::GetFlag(FLAGS_disk_stall_max);
  options.scrub_bytes_per_second = absl::GetFlag(FLAGS_scrub_bytes_per_second);
  options.scrub_period = absl::GetFlag(FLAGS_scrub_period);
  options.tail_cache_bytes = absl::GetFlag(FLAGS_tail_cache_bytes);
  options.direct_writes = absl::GetFlag(FLAGS_direct_writes);
  options.append_bytes_max = absl::GetFlag(FLAGS_append_bytes_max);
  options.reader_threads = absl::GetFlag(FLAGS_reader_threads);
  options.metrics_partition_level = absl::GetFlag(FLAGS_metrics_partition_level);
  options.planted_bug = absl::GetFlag(FLAGS_planted_bug);
  return options;
}

// There is no proper stop with a thread that does not return.
void EndIfDiskHangs(const falaj::storage::StorageServer& server) {
  if (!server.DiskHangs()) return;
  falaj::log::Error("ending while the disk hangs");
  std::_Exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  falaj::rpc::ParseFlags("A storage node of a Falaj cluster.", argc, argv);
  const bool text = absl::GetFlag(FLAGS_log_format) == "text";
  falaj::log::Configure({.format = text ? falaj::log::Format::kText : falaj::log::Format::kJson,
                         .component = "storage"});
  falaj::rpc::TuneProcess();
  falaj::rpc::RaiseFileDescriptorLimit();
  const falaj::storage::StorageServer::Options options = OptionsFromFlags();
  auto server = falaj::storage::StorageServer::Start(options);
  if (!server.ok()) {
    falaj::log::Error("cannot start", {{"error", server.status()}});
    return 1;
  }
  falaj::log::Info("listening", {{"address", (*server)->grpc_address()},
                                 {"http_address", (*server)->http_address()}});
  if (options.planted_bug != "none") {
    falaj::log::Warning("this node makes mistakes on purpose", {{"bug", options.planted_bug}});
  }
  falaj::rpc::WaitForTermination();
  EndIfDiskHangs(**server);
  // Also if that is found out while it stops.
  const falaj::storage::Periodic guard(kGuardPause, [&] { EndIfDiskHangs(**server); });
  (*server)->Stop();
  return 0;
}
