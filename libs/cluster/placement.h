// Where the replicas of partitions go: of new ones, and of those that must move.
#ifndef LIBS_CLUSTER_PLACEMENT_H_
#define LIBS_CLUSTER_PLACEMENT_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
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

// ReplicaMover finds new places for the replicas of partitions, one partition after the other, and
// keeps count of what each node has got by then. It moves nothing that need not move. New replicas
// go to the zone the partition uses least, then to the node that holds the least, then leads the
// least, then has the lowest id. A pure function of what it was asked so far.
class ReplicaMover {
 public:
  struct Node {
    NodeLoad load;
    bool receives = false;  // It may get new replicas.
  };
  using Replicas = std::vector<int32_t>;

  // All nodes that hold replicas or may get some.
  explicit ReplicaMover(const std::vector<Node>& nodes);

  // Another node takes the place of `leaving`. If that is the preferred leader's, the one of the
  // replicas that is the preferred leader of the fewest becomes it. nullopt: no node is left that
  // could take it. Requires: `leaving` is there.
  std::optional<Replicas> Replace(const Replicas& replicas, int32_t leaving);
  // Adds replicas up to `count`. nullopt: not enough nodes are left.
  std::optional<Replicas> Grow(const Replicas& replicas, int32_t count);
  // Takes replicas away down to `count`, at least 1: first those on nodes that receive nothing,
  // then those that are not in sync, then where a zone has the most of them, then any but the
  // leader, from the node that holds the most.
  Replicas Shrink(const Replicas& replicas, const Replicas& in_sync, int32_t leader, int32_t count);

 private:
  // Who takes a replica of a partition that `neighbours` hold too; null: nobody but those excluded
  // could.
  const Node* BestFor(const Replicas& excluded, const Replicas& neighbours) const;
  // The least goes first when replicas are taken away.
  std::tuple<bool, bool, int64_t, bool, int64_t> Worth(int32_t id, const Replicas& replicas,
                                                       const Replicas& in_sync, int32_t leader);
  int64_t ZoneUse(const Replicas& replicas, const std::string& zone) const;
  void Count(const Replicas& replicas, int64_t sign);

  std::map<int32_t, Node> nodes_;
};

}  // namespace falaj::cluster

#endif  // LIBS_CLUSTER_PLACEMENT_H_
