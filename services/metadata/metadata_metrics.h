#ifndef SERVICES_METADATA_METADATA_METRICS_H_
#define SERVICES_METADATA_METADATA_METRICS_H_

#include "libs/telemetry/registry.h"
#include "services/metadata/node_status.h"

namespace falaj::metadata {

// Reports falaj_raft_*{raft_group="metadata"}, and falaj_cluster_* if this node leads.
void CollectMetrics(const NodeStatus& status, telemetry::Samples* out);

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_METADATA_METRICS_H_
