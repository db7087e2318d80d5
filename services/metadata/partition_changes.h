#ifndef SERVICES_METADATA_PARTITION_CHANGES_H_
#define SERVICES_METADATA_PARTITION_CHANGES_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "falaj/internal/v1/cluster.pb.h"

#include "libs/cluster/cluster_state.h"

namespace falaj::metadata {

// PartitionChanges tells what has happened to partitions, for the metrics: it remembers of each
// what it needs to compare the next delta with. MetadataNode owns one and feeds it every delta.
// Threads: none; one thread at a time.
class PartitionChanges {
 public:
  struct Counts {
    int64_t elections = 0;          // Another storage node leads, or one after none did.
    int64_t unclean_elections = 0;  // Of these, who may lack committed records.
    int64_t isr_shrinks = 0;        // Fewer are in sync than before.
    int64_t isr_expands = 0;        // More are.
  };

  // Everything is as in this state: after a snapshot.
  void Reset(const cluster::ClusterState& state);
  // What the delta changes. Partitions that are new count nothing.
  Counts Take(const internal::v1::ClusterDelta& delta);

 private:
  // What is compared.
  struct Seen {
    int32_t leader = 0;
    int32_t in_sync = 0;
    int32_t unclean_epoch = 0;
  };
  std::map<std::string, std::vector<Seen>> seen_;  // By topic id.
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_PARTITION_CHANGES_H_
