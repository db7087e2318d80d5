#ifndef SERVICES_METADATA_METADATA_STATE_H_
#define SERVICES_METADATA_METADATA_STATE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "falaj/internal/v1/cluster.pb.h"
#include "falaj/internal/v1/metadata_service.pb.h"

#include "libs/base/ids.h"
#include "libs/cluster/cluster_state.h"
#include "libs/coordination/coordination_state.h"
#include "libs/raft/planted_bug.h"

namespace falaj::metadata {

// MetadataState is all that the metadata log says: the cluster and the coordination tree, as one
// replicated state machine.
//
// MetadataNode owns one and applies committed entries to it. Its own rules are those that join the
// two halves: a storage node's registration opens a session in the tree, with an ephemeral znode
// /falaj/nodes/<id>, and the end of a session, whoever's it is, ends it in both.
//
// Invariant: the sessions of storage nodes that are online are sessions of the tree.
//
// Threads: none; one thread at a time, but a copy may be read on another one. Copying shares the
// tree and copies the cluster.
class MetadataState {
 public:
  struct Applied {
    absl::StatusOr<internal::v1::ExecuteResponse> response;
    internal::v1::ClusterDelta cluster;             // Empty but for its index if nothing changed.
    std::vector<coordination::ZnodeChange> znodes;  // In order.
    std::optional<SessionId> opened;                // At most one per entry.
    std::optional<SessionId> ended;                 //
  };

  MetadataState() = default;
  // Returns CORRUPT_RECORD if the snapshot breaks an invariant.
  static absl::StatusOr<MetadataState> FromSnapshot(const internal::v1::MetadataSnapshot& snapshot);

  // Makes one of the mistakes of a state machine from now on; others are ignored. For tests.
  void PlantBug(raft::PlantedBug bug) {
    if (bug == raft::PlantedBug::kEphemeralSurvivesItsSession)
      coordination_.PlantEphemeralSurvives();
  }

  // Applies the entry at `index`. Requires: index > this->index().
  Applied Apply(LogIndex index, const internal::v1::ClusterCommand& command);
  // Entries that change nothing (no-ops, membership) only move the index.
  void Skip(LogIndex index) { cluster_.Skip(index); }

  // An internal.v1.MetadataSnapshot.
  std::string SerializeSnapshot() const;

  LogIndex index() const { return cluster_.index(); }
  const cluster::ClusterState& cluster() const { return cluster_; }
  const coordination::CoordinationState& coordination() const { return coordination_; }
  // Equal states have equal digests. Costs as much as a snapshot of the cluster after a change of
  // it: for tests.
  uint64_t Digest() const;

 private:
  Applied ApplyToCluster(LogIndex index, const internal::v1::ClusterCommand& command);
  Applied ApplyRegistration(LogIndex index, const internal::v1::ClusterCommand& command);
  Applied ApplyEndSession(LogIndex index, const internal::v1::ClusterCommand& command);
  Applied ApplyCoordination(LogIndex index, const internal::v1::ClusterCommand& command);

  cluster::ClusterState cluster_;
  coordination::CoordinationState coordination_;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_METADATA_STATE_H_
