// How the cluster goes on after the quorum was recovered from the loss of its majority.
#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <utility>

#include "libs/cluster/cluster_state.h"
#include "libs/cluster/election.h"

namespace falaj::cluster {
namespace {

namespace pb = ::falaj::internal::v1;

// More producer ids than can have been handed out without the recovered node's hearing of it.
constexpr int64_t kProducerIdsOfHistory = int64_t{1} << 40;

// By topic id and partition.
using StoredReplicas = std::map<std::pair<std::string, int32_t>, const pb::StoredReplica*>;

StoredReplicas IndexReplicas(const pb::RegisterNodeCommand& command) {
  StoredReplicas stored;
  for (const pb::StoredReplica& replica : command.replicas()) {
    stored[{replica.topic_id(), replica.partition()}] = &replica;
  }
  return stored;
}

// What is not listed the node holds nothing of.
pb::ReplicaReport ReportOf(int32_t node_id, const StoredReplicas& stored,
                           const std::string& topic_id, const pb::PartitionState& partition) {
  pb::ReplicaReport report;
  report.set_node_id(node_id);
  const auto found = stored.find({topic_id, partition.partition()});
  if (found == stored.end()) return report;
  report.set_last_epoch(found->second->last_epoch());
  report.set_log_end(found->second->log_end());
  return report;
}

}  // namespace

absl::Status ClusterState::BeginHistory(const pb::BeginHistoryCommand& command,
                                        ClusterDelta* delta) {
  if (command.recoveries() <= recoveries_) return absl::OkStatus();
  recoveries_ = command.recoveries();
  next_producer_id_ =
      std::min(next_producer_id_, std::numeric_limits<int64_t>::max() - kProducerIdsOfHistory) +
      kProducerIdsOfHistory;
  Touched touched;
  for (auto& [name, topic] : topics_) {
    for (pb::PartitionState& partition : *topic.mutable_partitions()) {
      BeginRecovery(&partition);
      touched[name].insert(partition.partition());
    }
  }
  delta->set_recoveries(recoveries_);
  ListChanges(touched, delta);
  return absl::OkStatus();
}

void ClusterState::TakeReports(const pb::RegisterNodeCommand& command, bool kept_data,
                               Touched* touched) {
  const bool says = recoveries_ != 0 && command.recoveries() == recoveries_;
  if (!says && kept_data) return;
  const StoredReplicas stored = IndexReplicas(command);
  for (auto& [name, topic] : topics_) {
    for (pb::PartitionState& partition : *topic.mutable_partitions()) {
      if (!partition.recovering()) continue;
      const bool changed =
          says ? TakeReport(ReportOf(command.node_id(), stored, topic.topic_id(), partition),
                            &partition)
               : ForgetReport(command.node_id(), &partition);
      if (changed) (*touched)[name].insert(partition.partition());
    }
  }
}

bool ClusterState::WantsReportOf(int32_t node_id) const {
  for (const auto& [name, topic] : topics_) {
    for (const pb::PartitionState& partition : topic.partitions()) {
      if (WantsReport(node_id, partition)) return true;
    }
  }
  return false;
}

}  // namespace falaj::cluster
