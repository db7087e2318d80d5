#include "services/metadata/unclean_elections.h"

#include <algorithm>

#include "libs/cluster/election.h"
#include "libs/cluster/topic_rules.h"

namespace falaj::metadata {
namespace {

constexpr absl::Duration kLookPeriod = absl::Seconds(1);

}  // namespace

std::optional<internal::v1::ElectUncleanlyCommand> UncleanElections::TakeDue(
    const cluster::ClusterState& cluster, MonotonicTime now) {
  const absl::Duration passed = std::min(now - looked_, 2 * kLookPeriod);
  if (passed < kLookPeriod) return std::nullopt;
  looked_ = now;
  internal::v1::ElectUncleanlyCommand due;
  std::map<PartitionName, absl::Duration> waited;
  for (const auto& [name, topic] : cluster.topics()) {
    const absl::Duration patience =
        absl::Milliseconds(topic.settings().unclean_election_after_ms());
    if (patience == absl::ZeroDuration()) continue;
    for (const internal::v1::PartitionState& partition : topic.partitions()) {
      if (cluster::UncleanCandidate(cluster.nodes(), partition) == 0) continue;
      const PartitionName id(topic.topic_id(), partition.partition());
      const auto known = waited_.find(id);
      const absl::Duration so_far =
          known == waited_.end() ? absl::ZeroDuration() : known->second + passed;
      waited.emplace(id, so_far);
      if (so_far < patience || due.elections_size() == cluster::kUncleanElectionsPerCommandMax) {
        continue;
      }
      internal::v1::UncleanElection* const election = due.add_elections();
      election->set_topic_id(topic.topic_id());
      election->set_partition(partition.partition());
      election->set_partition_epoch(partition.partition_epoch());
    }
  }
  waited_ = std::move(waited);
  if (due.elections().empty()) return std::nullopt;
  return due;
}

}  // namespace falaj::metadata
