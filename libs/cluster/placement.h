// Where the replicas of new partitions go.
#ifndef LIBS_CLUSTER_PLACEMENT_H_
#define LIBS_CLUSTER_PLACEMENT_H_

#include <cstdint>
#include <string>
#include <vector>

namespace falaj::cluster {

// A storage node that may take replicas, and what it carries already.
struct NodeLoad {
  int32_t node_id = 0;
  std::string zone;
  int64_t replicas = 0;
  int64_t leaders = 0;  // Partitions it is the preferred leader of.
};

// Chooses `replication_factor` distinct nodes for each of `partition_count` partitions, preferred
// leader first. A pure function of its arguments: leaders go to the node that leads the least, the
// others to the zones the partition uses least and then to the node that holds the least; ties go
// to the node that comes first after the one chosen before, so that the pairings vary.
// Requires: 1 <= replication_factor <= nodes.size().
std::vector<std::vector<int32_t>> PlaceReplicas(std::vector<NodeLoad> nodes,
                                                int32_t partition_count,
                                                int32_t replication_factor);

}  // namespace falaj::cluster

#endif  // LIBS_CLUSTER_PLACEMENT_H_
