#ifndef SERVICES_METADATA_METADATA_OPTIONS_H_
#define SERVICES_METADATA_METADATA_OPTIONS_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "libs/base/ids.h"
#include "libs/log/raft_log.h"
#include "services/metadata/metadata_server.h"
#include "services/metadata/raft_node.h"

namespace falaj::metadata {

// What MetadataServer makes of its options: checked, and brought into the shape of its parts.

// Returns INVALID_CONFIG naming the option that breaks a rule.
absl::Status ValidateOptions(const MetadataServer::Options& options);
// By id; also brings the peers into one order.
std::map<NodeId, std::string> AddressesOf(const std::vector<MetadataServer::Peer>& peers);
// Opens the Raft log of options.data_dir, or makes it. Blocks on disk and, if the directory is new,
// on the network. CLUSTER_MISMATCH if a peer knows that a new directory stands for a lost one.
absl::StatusOr<std::unique_ptr<falaj::log::RaftLog>> OpenRaftLog(
    const MetadataServer::Options& options);
// Without the callbacks.
RaftNode::Options NodeOptions(const MetadataServer::Options& options, const Uuid& cluster_id);

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_METADATA_OPTIONS_H_
