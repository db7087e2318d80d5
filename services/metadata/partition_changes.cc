#include "services/metadata/partition_changes.h"

namespace falaj::metadata {

void PartitionChanges::Reset(const cluster::ClusterState& state) {
  seen_.clear();
  for (const auto& [name, topic] : state.topics()) {
    std::vector<Seen>& partitions = seen_[topic.topic_id()];
    for (const auto& partition : topic.partitions()) {
      partitions.push_back({partition.leader(), partition.isr_size(), partition.unclean_epoch()});
    }
  }
}

PartitionChanges::Counts PartitionChanges::Take(const internal::v1::ClusterDelta& delta) {
  Counts counts;
  for (const std::string& topic : delta.deleted_topics()) seen_.erase(topic);
  for (const internal::v1::TopicDelta& change : delta.topics()) {
    std::vector<Seen>& partitions = seen_[change.topic().topic_id()];
    for (const internal::v1::PartitionState& partition : change.topic().partitions()) {
      const Seen now{partition.leader(), partition.isr_size(), partition.unclean_epoch()};
      const auto index = static_cast<size_t>(partition.partition());
      if (index >= partitions.size()) {
        partitions.push_back(now);
        continue;
      }
      Seen& before = partitions[index];
      counts.elections += now.leader != 0 && now.leader != before.leader ? 1 : 0;
      counts.unclean_elections += now.unclean_epoch != before.unclean_epoch ? 1 : 0;
      counts.isr_shrinks += now.in_sync < before.in_sync ? 1 : 0;
      counts.isr_expands += now.in_sync > before.in_sync ? 1 : 0;
      before = now;
    }
  }
  return counts;
}

}  // namespace falaj::metadata
