// NodeIdentity is who a storage node is: the facts on record in its data directory.
//
//   identity   directory id, node id, cluster id (once known); replaced atomically, checksummed
//   clean      the node epoch under which the node last stopped cleanly; taken away when it starts
//   log/       the store
//   scrub      where the scrubber stands (scrubber.h)
//
// The directory id is drawn when the directory is made, so an emptied disk is another incarnation
// and the metadata service does not count on what it used to hold. The clean mark is removed before
// the store is opened and written only after it was closed in order: whatever happens in between,
// the next start is an unclean one (KAFKA-15375 got this wrong).
//
// Threads: one at a time. Blocks on disk.
#ifndef SERVICES_STORAGE_NODE_IDENTITY_H_
#define SERVICES_STORAGE_NODE_IDENTITY_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "libs/base/ids.h"
#include "libs/base/random.h"

namespace falaj::storage {

class NodeIdentity {
 public:
  // Reads the identity of `data_dir`, or makes the directory and draws one. Removes the clean mark.
  // Returns kFailedPrecondition (CLUSTER_MISMATCH) if the directory is another node's, kDataLoss
  // (CORRUPT_RECORD) if the record is damaged or missing beside a store, kInternal (STORAGE_FAILED)
  // if the directory cannot be written.
  static absl::StatusOr<NodeIdentity> Open(const std::string& data_dir, NodeId node,
                                           Random* random);

  NodeId node() const { return node_; }
  const Uuid& directory_id() const { return directory_id_; }
  const Uuid& cluster_id() const { return cluster_id_; }  // Nil: never been in a cluster.
  // Of the last clean stop; 0 if the last stop was not clean, or there was none.
  NodeEpoch clean_epoch() const { return clean_epoch_; }
  std::string store_directory() const { return data_dir_ + "/log"; }

  // Records the cluster. Returns kFailedPrecondition (CLUSTER_MISMATCH) if another is on record.
  absl::Status JoinCluster(const Uuid& cluster);
  // Call when the store is closed.
  absl::Status MarkClean(NodeEpoch epoch);

 private:
  NodeIdentity(std::string data_dir, NodeId node) : data_dir_(std::move(data_dir)), node_(node) {}

  absl::Status Load(const std::string& text);
  absl::Status Save() const;

  std::string data_dir_;
  NodeId node_;
  Uuid directory_id_;
  Uuid cluster_id_;
  NodeEpoch clean_epoch_{0};
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_NODE_IDENTITY_H_
