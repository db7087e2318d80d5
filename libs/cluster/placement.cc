#include "libs/cluster/placement.h"

#include <algorithm>
#include <tuple>

namespace falaj::cluster {
namespace {

// Places the partitions one after the other, keeping count of what each node has got.
class Placer {
 public:
  explicit Placer(std::vector<NodeLoad> nodes) : nodes_(std::move(nodes)) {
    std::sort(nodes_.begin(), nodes_.end(),
              [](const NodeLoad& a, const NodeLoad& b) { return a.node_id < b.node_id; });
    for (const NodeLoad& node : nodes_) zones_.push_back(node.zone);
    std::sort(zones_.begin(), zones_.end());
    zones_.erase(std::unique(zones_.begin(), zones_.end()), zones_.end());
    for (const NodeLoad& node : nodes_) {
      const auto zone = std::lower_bound(zones_.begin(), zones_.end(), node.zone);
      zone_of_.push_back(static_cast<size_t>(zone - zones_.begin()));
    }
  }

  std::vector<int32_t> PlaceOne(int32_t replication_factor) {
    std::vector<bool> taken(nodes_.size(), false);
    std::vector<int> zone_use(zones_.size(), 0);
    std::vector<int32_t> chosen;
    for (int32_t i = 0; i < replication_factor; ++i) {
      const size_t best = Best(i == 0, taken, zone_use);
      taken[best] = true;
      ++zone_use[zone_of_[best]];
      ++nodes_[best].replicas;
      if (i == 0) ++nodes_[best].leaders;
      chosen.push_back(nodes_[best].node_id);
      start_ = (best + 1) % nodes_.size();
    }
    return chosen;
  }

 private:
  size_t Best(bool leader, const std::vector<bool>& taken, const std::vector<int>& zone_use) const {
    size_t best = nodes_.size();
    std::tuple<int, int64_t, int64_t> best_cost;
    for (size_t step = 0; step < nodes_.size(); ++step) {
      const size_t i = (start_ + step) % nodes_.size();
      if (taken[i]) continue;
      const NodeLoad& node = nodes_[i];
      const auto cost = leader
                            ? std::make_tuple(0, node.leaders, node.replicas)
                            : std::make_tuple(zone_use[zone_of_[i]], node.replicas, node.leaders);
      if (best == nodes_.size() || cost < best_cost) {
        best = i;
        best_cost = cost;
      }
    }
    return best;
  }

  std::vector<NodeLoad> nodes_;  // By id.
  std::vector<std::string> zones_;
  std::vector<size_t> zone_of_;  // Parallel to nodes_.
  size_t start_ = 0;             // Where the next search begins; decides ties.
};

}  // namespace

std::vector<std::vector<int32_t>> PlaceReplicas(std::vector<NodeLoad> nodes,
                                                int32_t partition_count,
                                                int32_t replication_factor) {
  Placer placer(std::move(nodes));
  std::vector<std::vector<int32_t>> result;
  result.reserve(static_cast<size_t>(partition_count));
  for (int32_t i = 0; i < partition_count; ++i) {
    result.push_back(placer.PlaceOne(replication_factor));
  }
  return result;
}

}  // namespace falaj::cluster
