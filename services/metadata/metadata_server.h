// MetadataServer is one metadata node: the Raft log, the cluster state it drives, and the gRPC
// MetadataService through which storage nodes and gateways change and follow that state.
//
// falaj-metadata runs one; `falaj dev` and the tests run them in their own process, each with its
// own data directory. <data_dir>/raft holds the Raft log and its snapshots; the first start draws
// the cluster id.
//
// Threads: Start and Stop from any one thread. Inside, the Raft core and the state machine belong
// to whoever runs a round (raft_node.h), the disk to the node's thread; gRPC's threads only pass
// messages to and from them.
//
// Failures: a disk that refuses a write ends this node's part for good: readiness and liveness go
// down and every call is refused, so that whoever supervises the process restarts it. kill -9 loses
// nothing that was answered.
#ifndef SERVICES_METADATA_METADATA_SERVER_H_
#define SERVICES_METADATA_METADATA_SERVER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"

namespace falaj::metadata {

class MetadataServer {
 public:
  struct Peer {
    int32_t node_id = 0;
    std::string address;  // host:port; may be empty until ConnectPeers().
  };

  struct Options {
    int32_t node_id = 1;   // At least 1.
    std::string data_dir;  // Made if it does not exist.

    std::string listen_address = "127.0.0.1:0";
    std::string http_address = "127.0.0.1:0";  // Empty: no HTTP.
    // The first members of the cluster, this node included, the same on every node; empty: this
    // node alone. An existing directory keeps the members it has, and learns only addresses.
    std::vector<Peer> peers;
    std::string cluster_name;  // For people; nodes of one cluster must agree.
    // A node with an empty directory joins the cluster that `peers` are of, which it asks for the
    // cluster's identity: it listens until it is added (ChangeMembership) and has caught up.
    // Ignored if the directory belongs to a node already; one in which the first start was
    // interrupted before that counts as empty.
    bool join = false;
    // A UUID all nodes agree on. Empty: drawn by chance by a node alone, else derived from the
    // cluster's name and peers, so that nodes that were told of different peers refuse each other.
    std::string cluster_id;

    absl::Duration tick = absl::Milliseconds(30);  // Raft's unit of time, 1 ms to 10 s.
    // Two heartbeats in the least patience, and one may come 240 ms late: streams lose nothing, and
    // each wakes every node.
    int heartbeat_ticks = 7;
    int election_ticks_min =
        15;  // Who hears no leader for so long, at least, stands for election...
    int election_ticks_max = 30;            // ...and at most, drawn each time.
    int64_t snapshot_entries = 100'000;     // A snapshot is due every so many, by turns...
    int64_t snapshot_log_bytes = 64 << 20;  // ...or after so many bytes.
    int64_t entries_kept = 10'000;          // Behind a snapshot.

    size_t delta_history_entries = 10'000;  // Kept in memory to resume watches from.
    size_t delta_history_bytes = 32 << 20;  //
    size_t watcher_queue_bytes = 64 << 20;  // A watcher further behind is cancelled.
    size_t znode_history_entries = 10'000;  // As above, for watches on znodes.
    size_t znode_history_bytes = 32 << 20;  //
    size_t watchers_max = 10'000;           // Further ones are refused.
    size_t proposals_queued_max = 10'000;   // Further ones are refused.
    absl::Duration watch_keepalive = absl::Seconds(1);
    // Leads go back to preferred leaders of which others have more than so many percent, when the
    // leader looks, once a period; 0: never.
    absl::Duration leader_rebalance_period = absl::Minutes(5);
    int32_t leader_imbalance_percent = 10;

    std::string planted_bug = "none";  // For tests that must fail: see libs/raft/planted_bug.h.
  };

  // Returns when the node listens; Ready() becomes true once it knows the leader and has caught up.
  // Returns kInvalidArgument (INVALID_CONFIG), kFailedPrecondition (CLUSTER_MISMATCH) if the
  // directory belongs to another node, kDataLoss (CORRUPT_RECORD) if it is damaged. Blocks on disk.
  static absl::StatusOr<std::unique_ptr<MetadataServer>> Start(const Options& options);

  virtual ~MetadataServer() = default;  // Without Stop() it leaves as a crash would.

  virtual std::string grpc_address() const = 0;
  virtual std::string http_address() const = 0;  // Empty if there is no HTTP.
  virtual Uuid cluster_id() const = 0;
  virtual bool Ready() const = 0;
  // Where the members are, this node included, if Options::peers did not say or it has changed.
  virtual void ConnectPeers(const std::vector<Peer>& peers) = 0;
  // Readiness off, watches end with SHUTTING_DOWN, queued commands are finished or refused, the
  // log is closed. Idempotent.
  virtual void Stop() = 0;

 protected:
  MetadataServer() = default;
  MetadataServer(const MetadataServer&) = delete;
  MetadataServer& operator=(const MetadataServer&) = delete;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_METADATA_SERVER_H_
