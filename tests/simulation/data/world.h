#ifndef TESTS_SIMULATION_DATA_WORLD_H_
#define TESTS_SIMULATION_DATA_WORLD_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/ids.h"
#include "libs/replica/planted_bug.h"
#include "tests/simulation/data/batch.h"
#include "tests/simulation/data/findings.h"
#include "tests/simulation/event_queue.h"
#include "tests/simulation/network.h"
#include "tests/simulation/trace.h"

namespace falaj::simulation::data {

class History;
class Invariants;
class Metadata;
class StorageNode;

// Storage nodes are at their ids, metadata nodes at theirs, which are from here on, clients behind
// them. A single metadata service, or the operator of a quorum, is before them all.
constexpr int kFirstMetadataNode = 11;

// What a partition is called in the cluster's commands.
struct PartitionName {
  std::string topic;
  TopicId topic_id;
  PartitionIndex index;
};

// The world's laws, drawn from the seed.
struct Laws {
  bool fsync = true;  // Of all topics.
  SimTime session_timeout = 400 * kMillisecond;
  SimTime replica_lag_max = 300 * kMillisecond;
  SimTime watch_patience = 300 * kMillisecond;  // With a silent watch.
  int credit = 4;        // Batches a leader may have under way to a follower node.
  int push_batches = 2;  // Of one partition, in one frame.
  bool unclean = false;  // Some topics let somebody lead who lacks committed records.
  bool moving = false;   // Replicas are moved, and settings change.
  bool absent = false;   // In the end one node comes back later than the others.
  bool quorum = false;   // The metadata service is the shipped one.
  replica::PlantedBug bug = replica::PlantedBug::kNone;
};

// Everything that the parts of a simulated cluster share. Nothing is owned but the nodes.
struct World {
  EventQueue* queue = nullptr;
  SimNetwork* network = nullptr;
  Trace* trace = nullptr;
  Findings* findings = nullptr;
  Metadata* metadata = nullptr;
  Invariants* invariants = nullptr;
  History* history = nullptr;
  Laws laws;
  std::vector<PartitionName> partitions;
  std::map<NodeId, std::unique_ptr<StorageNode>> nodes;
  uint64_t last_id = 0;  // Streams, requests, values.

  SimTime now() const { return queue->now(); }
  uint64_t NextId() { return ++last_id; }
  bool has_bug(replica::PlantedBug bug) const { return laws.bug == bug; }
  // -1 if there is no such partition.
  PartitionNumber Number(const TopicId& topic, PartitionIndex index) const {
    const auto it = std::find_if(partitions.begin(), partitions.end(), [&](const auto& one) {
      return one.topic_id == topic && one.index == index;
    });
    return it == partitions.end() ? -1 : static_cast<PartitionNumber>(it - partitions.begin());
  }
};

inline Endpoint At(NodeId node) { return node.value(); }

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_WORLD_H_
