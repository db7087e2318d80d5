#ifndef SERVICES_METADATA_NODE_STATUS_H_
#define SERVICES_METADATA_NODE_STATUS_H_

#include <cstdint>
#include <map>
#include <string>

#include "libs/base/ids.h"
#include "libs/raft/ready.h"

namespace falaj::metadata {

// How many of what the cluster state holds; only known to the leader.
struct ClusterCounts {
  int64_t nodes_online = 0;
  int64_t nodes_offline = 0;
  int64_t nodes_draining = 0;  // Online or offline.
  int64_t topics = 0;
  int64_t partitions = 0;
  int64_t leaderless_partitions = 0;
  int64_t under_replicated_partitions = 0;
  int64_t under_min_in_sync_partitions = 0;
  int64_t reassigning_partitions = 0;
};

// NodeStatus is what the metadata node tells the others of itself: a copy, published when it
// changes.
struct NodeStatus {
  raft::CoreStatus core;
  std::map<NodeId, std::string> addresses;  // Of the members, as far as known.
  std::string leader_address;               // Empty if unknown.
  Uuid cluster_id;                          // Nil until the cluster has been named.
  bool live = true;    // False once the disk has refused a write, or the directory is refused.
  bool ready = false;  // What is committed is applied here, by the leader's word.
  int64_t proposals_pending = 0;
  int64_t reads_pending = 0;
  int64_t candidates_waiting = 0;  // For their election, at this node.
  int64_t watchers = 0;            // Of the cluster.
  int64_t znode_watchers = 0;
  int64_t sessions = 0;
  int64_t znodes = 0;
  int64_t znode_bytes = 0;
  ClusterCounts counts;  // At most a second old.
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_NODE_STATUS_H_
