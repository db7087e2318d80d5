#ifndef SERVICES_METADATA_UNCLEAN_ELECTIONS_H_
#define SERVICES_METADATA_UNCLEAN_ELECTIONS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/time/time.h"

#include "falaj/internal/v1/cluster.pb.h"

#include "libs/base/clock.h"
#include "libs/cluster/cluster_state.h"

namespace falaj::metadata {

// UncleanElections tells the leader which partitions have been without a leader for as long as
// their topics put up with, and must now take one that may lack committed records.
//
// What counts is the time for which such a replica has been alive, as this node has seen it since
// it leads: those that hold everything get the whole of it to come back, also after the loss of all
// machines at once and after a change of the metadata leader. Of a pause of this process only a
// moment counts, as the others may have stood still with it.
//
// Threads: none; one thread at a time. Times are arguments.
class UncleanElections {
 public:
  // Looks at the cluster, once a second. The elections that are due, as many as one command takes;
  // until they have been held they are due again every time.
  std::optional<internal::v1::ElectUncleanlyCommand> TakeDue(const cluster::ClusterState& cluster,
                                                             MonotonicTime now);
  // This node leads no more.
  void Clear() { waited_.clear(); }

 private:
  using PartitionName = std::pair<std::string, int32_t>;  // Topic id and index.

  std::map<PartitionName, absl::Duration> waited_;
  MonotonicTime looked_;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_UNCLEAN_ELECTIONS_H_
