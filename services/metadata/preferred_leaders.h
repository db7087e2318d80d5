#ifndef SERVICES_METADATA_PREFERRED_LEADERS_H_
#define SERVICES_METADATA_PREFERRED_LEADERS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/time/time.h"

#include "falaj/internal/v1/cluster.pb.h"

#include "libs/base/clock.h"
#include "libs/cluster/cluster_state.h"

namespace falaj::metadata {

// PreferredLeaders tells the leader which leads to give back: after a node was away others lead
// what placement has meant for it, and nobody takes that back by himself.
//
// A node is looked after if others lead more than a certain part of the partitions that prefer it
// (their first replica), counting those that it could lead at once: it is alive and to stay, in
// sync with them, and not being drained. Then all of these are due. A node that misses fewer is
// left alone, as every change of leader is a pause for those who write.
//
// A new metadata leader waits a whole period before it looks: who comes back after an outage of
// many nodes is given time to catch up.
//
// MetadataNode owns one. Threads: none; one thread at a time. Times are arguments.
class PreferredLeaders {
 public:
  struct Options {
    absl::Duration period;           // Between two looks; 0: never.
    int32_t imbalance_percent = 10;  // Of a node's preferred leads others may have so many.
  };

  explicit PreferredLeaders(const Options& options) : options_(options) {}

  // Looks at the cluster once a period. One command for each topic with elections that are due,
  // with at most kElectionsMax of them in all; if there are more, they follow a second later.
  std::vector<internal::v1::ElectLeadersCommand> TakeDue(const cluster::ClusterState& cluster,
                                                         MonotonicTime now);
  // This node leads no more.
  void Clear() { next_look_.reset(); }

  static constexpr int kElectionsMax = 1'000;

 private:
  const Options options_;
  std::optional<MonotonicTime> next_look_;  // Unset: it has not begun to wait.
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_PREFERRED_LEADERS_H_
