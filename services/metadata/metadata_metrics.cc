#include "services/metadata/metadata_metrics.h"

namespace falaj::metadata {
namespace {

void CollectRaft(const NodeStatus& status, telemetry::Samples* out) {
  const auto gauge = [out](const char* name, const char* help, auto value) {
    out->Gauge(name, help, {{"raft_group", "metadata"}}, static_cast<double>(value));
  };
  const raft::CoreStatus& core = status.core;
  gauge("falaj_raft_is_leader", "1 if this node leads the group.",
        core.soft.role == raft::Role::kLeader);
  gauge("falaj_raft_has_leader", "1 if this node knows a leader.", core.soft.leader.value() != 0);
  gauge("falaj_raft_term", "Current term.", core.soft.term.value());
  gauge("falaj_raft_commit_index", "Highest committed index.", core.committed.value());
  gauge("falaj_raft_applied_index", "Highest applied index.", core.applied.value());
  gauge("falaj_raft_first_index", "First index still in the log.", core.first_index.value());
  gauge("falaj_raft_proposals_pending", "Commands proposed and not yet applied.",
        status.proposals_pending);
  gauge("falaj_raft_reads_pending", "Reads that wait for the quorum or for an index.",
        status.reads_pending);
  gauge("falaj_raft_last_index", "Last index in the log of this node.", core.last_index.value());
  gauge("falaj_raft_snapshot_index", "Index of the newest snapshot; 0: none.",
        core.snapshot_index.value());
}

void CollectCluster(const NodeStatus& status, telemetry::Samples* out) {
  const auto gauge = [out](const char* name, const char* help, int64_t value) {
    out->Gauge(name, help, {}, static_cast<double>(value));
  };
  const ClusterCounts& counts = status.counts;
  const char* const nodes_help = "Storage nodes by state.";
  out->Gauge("falaj_cluster_storage_nodes", nodes_help, {{"state", "online"}},
             static_cast<double>(counts.nodes_online));
  out->Gauge("falaj_cluster_storage_nodes", nodes_help, {{"state", "offline"}},
             static_cast<double>(counts.nodes_offline));
  gauge("falaj_cluster_topics", "Topics, internal ones included.", counts.topics);
  gauge("falaj_cluster_partitions", "Partitions of all topics.", counts.partitions);
  gauge("falaj_cluster_leaderless_partitions", "Partitions nobody leads now.",
        counts.leaderless_partitions);
  gauge("falaj_cluster_under_replicated_partitions",
        "Partitions with fewer in-sync replicas than replicas; those being added do not count.",
        counts.under_replicated_partitions);
  gauge("falaj_cluster_under_min_in_sync_partitions",
        "Partitions with too few in-sync replicas for acks all.",
        counts.under_min_in_sync_partitions);
  gauge("falaj_cluster_reassigning_partitions", "Partitions on their way to other storage nodes.",
        counts.reassigning_partitions);
  gauge("falaj_cluster_draining_storage_nodes", "Storage nodes an operator takes everything off.",
        counts.nodes_draining);
  gauge("falaj_cluster_watchers", "Open watches on the cluster state.", status.watchers);
}

void CollectCoordination(const NodeStatus& status, telemetry::Samples* out) {
  const auto gauge = [out](const char* name, const char* help, int64_t value) {
    out->Gauge(name, help, {}, static_cast<double>(value));
  };
  gauge("falaj_coordination_sessions", "Sessions of clients and storage nodes.", status.sessions);
  gauge("falaj_coordination_znodes", "Znodes in the tree.", status.znodes);
  gauge("falaj_coordination_data_bytes", "Bytes of data in znodes.", status.znode_bytes);
  gauge("falaj_coordination_watchers", "Open watches on znodes at this node.",
        status.znode_watchers);
  gauge("falaj_coordination_candidates_waiting",
        "Candidates whose callers wait at this node to be elected.", status.candidates_waiting);
}

}  // namespace

void CollectMetrics(const NodeStatus& status, telemetry::Samples* out) {
  CollectRaft(status, out);
  CollectCoordination(status, out);
  if (status.core.soft.role == raft::Role::kLeader) CollectCluster(status, out);
}

}  // namespace falaj::metadata
