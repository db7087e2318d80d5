#include "services/metadata/preferred_leaders.h"

#include <map>
#include <set>
#include <utility>

#include "libs/cluster/election.h"

namespace falaj::metadata {
namespace {

constexpr absl::Duration kNextPortion = absl::Seconds(1);

// Whether the first replica could have the lead that another one has.
bool MayGiveBack(const cluster::ClusterState& cluster,
                 const internal::v1::PartitionState& partition) {
  const int32_t preferred = partition.replicas(0);
  return partition.leader() != 0 && partition.leader() != preferred &&
         cluster::IsStaying(cluster.nodes(), preferred) &&
         !cluster.nodes().at(preferred).draining() && cluster::Contains(partition.isr(), preferred);
}

// The nodes to which others owe more leads than they may.
std::set<int32_t> Creditors(const cluster::ClusterState& cluster, int32_t percent) {
  struct Leads {
    int64_t preferred = 0;
    int64_t owed = 0;
  };
  std::map<int32_t, Leads> leads;
  for (const auto& [name, topic] : cluster.topics()) {
    for (const internal::v1::PartitionState& partition : topic.partitions()) {
      Leads& one = leads[partition.replicas(0)];
      ++one.preferred;
      if (MayGiveBack(cluster, partition)) ++one.owed;
    }
  }
  std::set<int32_t> creditors;
  for (const auto& [node, one] : leads) {
    if (100 * one.owed > percent * one.preferred) creditors.insert(node);
  }
  return creditors;
}

}  // namespace

std::vector<internal::v1::ElectLeadersCommand> PreferredLeaders::TakeDue(
    const cluster::ClusterState& cluster, MonotonicTime now) {
  std::vector<internal::v1::ElectLeadersCommand> due;
  if (options_.period <= absl::ZeroDuration()) return due;
  if (!next_look_.has_value()) next_look_ = now + options_.period;
  if (now < *next_look_) return due;
  next_look_ = now + options_.period;
  const std::set<int32_t> creditors = Creditors(cluster, options_.imbalance_percent);
  if (creditors.empty()) return due;
  int elections = 0;
  for (const auto& [name, topic] : cluster.topics()) {
    internal::v1::ElectLeadersCommand command;
    command.set_topic(name);
    for (const internal::v1::PartitionState& partition : topic.partitions()) {
      if (!creditors.contains(partition.replicas(0)) || !MayGiveBack(cluster, partition)) continue;
      if (elections == kElectionsMax) {
        next_look_ = now + kNextPortion;
        break;
      }
      ++elections;
      command.add_partitions(partition.partition());
    }
    if (!command.partitions().empty()) due.push_back(std::move(command));
  }
  return due;
}

}  // namespace falaj::metadata
