// The reassignments that are going on, as the public API shows them.
#ifndef SERVICES_GATEWAY_REASSIGNMENTS_H_
#define SERVICES_GATEWAY_REASSIGNMENTS_H_

#include <string>

#include "absl/status/status.h"

#include "falaj/v1/cluster_service.pb.h"

#include "libs/cluster/cluster_view.h"

namespace falaj::gateway {

v1::Reassignment ToReassignment(const std::string& topic, const cluster::PartitionInfo& partition);

// One page, by topic and partition. INVALID_REQUEST for a bad page size or token.
absl::Status ListReassignmentPage(const cluster::ClusterView& view,
                                  const v1::ListReassignmentsRequest& request,
                                  v1::ListReassignmentsResponse* response);

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_REASSIGNMENTS_H_
