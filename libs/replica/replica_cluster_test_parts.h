// What three replicas of a partition consist of in replica_cluster_test.
#ifndef LIBS_REPLICA_REPLICA_CLUSTER_TEST_PARTS_H_
#define LIBS_REPLICA_REPLICA_CLUSTER_TEST_PARTS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "libs/base/ids.h"
#include "libs/replica/replica.h"

namespace falaj::replica {

// A batch is known by its epoch and token: two batches are the same if these are.
struct Batch {
  LeaderEpoch epoch;
  Offset base;
  Offset last;
  uint64_t token = 0;
  friend bool operator==(const Batch&, const Batch&) = default;
};

// What the metadata service has of the partition. Elections after KIP-966, min ISR 2.
struct Record {
  int32_t leader = 1;
  LeaderEpoch epoch{1};
  PartitionEpoch partition_epoch{1};
  std::vector<NodeId> isr = {NodeId{1}, NodeId{2}, NodeId{3}};
  std::vector<NodeId> elr;
};

inline bool Has(const std::vector<NodeId>& nodes, NodeId node) {
  return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
}

struct Disk {
  std::vector<Batch> log;
  std::vector<EpochEntry> epochs;
  size_t synced_batches = 0;
  size_t synced_epochs = 0;
  Offset high_watermark{0};

  Offset end() const { return log.empty() ? Offset{0} : log.back().last + 1; }
};

struct Node {
  NodeId id;
  NodeEpoch node_epoch{0};
  bool up = false;
  bool alive = false;  // Has a session.
  Disk disk;
  std::unique_ptr<Replica> replica;
  Effects effects;
  PartitionEpoch seen{0};  // How far its watch has come.
  std::optional<IsrProposal> proposing;
};

// One follower's stream to one leader: messages in order, until it breaks.
struct Stream {
  bool open = false;
  std::deque<Input> to_leader;
  std::deque<std::pair<Input, std::vector<Batch>>> to_follower;
  uint64_t id = 0;
  uint64_t attach_id = 0;
  bool pushing = false;
  Offset cursor{0};
};

}  // namespace falaj::replica

#endif  // LIBS_REPLICA_REPLICA_CLUSTER_TEST_PARTS_H_
