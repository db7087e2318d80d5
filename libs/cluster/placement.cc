#include "libs/cluster/placement.h"

#include <algorithm>
#include <iterator>
#include <tuple>

namespace falaj::cluster {
namespace {

bool Contains(const std::vector<int32_t>& nodes, int32_t node) {
  return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
}

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

ReplicaMover::ReplicaMover(const std::vector<Node>& nodes) {
  for (const Node& node : nodes) nodes_[node.load.node_id] = node;
}

std::optional<ReplicaMover::Replicas> ReplicaMover::Replace(const Replicas& replicas,
                                                            int32_t leaving) {
  Replicas others = replicas;
  const auto place = others.erase(std::find(others.begin(), others.end(), leaving));
  const Node* const substitute = BestFor(replicas, others);
  if (substitute == nullptr) return std::nullopt;
  Replicas result = others;
  result.insert(result.begin() + (place - others.begin()), substitute->load.node_id);
  Count(replicas, -1);
  if (replicas.front() == leaving) {
    const auto fewest = std::min_element(
        result.begin(), result.end(),
        [this](int32_t a, int32_t b) { return nodes_[a].load.leaders < nodes_[b].load.leaders; });
    std::rotate(result.begin(), fewest, fewest + 1);
  }
  Count(result, 1);
  return result;
}

std::optional<ReplicaMover::Replicas> ReplicaMover::Grow(const Replicas& replicas, int32_t count) {
  Replicas result = replicas;
  while (static_cast<int32_t>(result.size()) < count) {
    const Node* const added = BestFor(result, result);
    if (added == nullptr) return std::nullopt;
    result.push_back(added->load.node_id);
  }
  Count(replicas, -1);
  Count(result, 1);
  return result;
}

ReplicaMover::Replicas ReplicaMover::Shrink(const Replicas& replicas, const Replicas& in_sync,
                                            int32_t leader, int32_t count) {
  Replicas result = replicas;
  const auto worth_less = [&](int32_t a, int32_t b) {
    return Worth(a, result, in_sync, leader) < Worth(b, result, in_sync, leader);
  };
  while (static_cast<int32_t>(result.size()) > count) {
    // Of equals the least preferred goes.
    result.erase(std::next(std::min_element(result.rbegin(), result.rend(), worth_less)).base());
  }
  Count(replicas, -1);
  Count(result, 1);
  return result;
}

const ReplicaMover::Node* ReplicaMover::BestFor(const Replicas& excluded,
                                                const Replicas& neighbours) const {
  const Node* best = nullptr;
  std::tuple<int64_t, int64_t, int64_t> best_cost;
  for (const auto& [id, node] : nodes_) {
    if (!node.receives || Contains(excluded, id)) continue;
    const auto cost =
        std::make_tuple(ZoneUse(neighbours, node.load.zone), node.load.replicas, node.load.leaders);
    if (best != nullptr && cost >= best_cost) continue;
    best = &node;
    best_cost = cost;
  }
  return best;
}

std::tuple<bool, bool, int64_t, bool, int64_t> ReplicaMover::Worth(int32_t id,
                                                                   const Replicas& replicas,
                                                                   const Replicas& in_sync,
                                                                   int32_t leader) {
  const Node& node = nodes_[id];
  return {node.receives, Contains(in_sync, id), -ZoneUse(replicas, node.load.zone), id == leader,
          -node.load.replicas};
}

int64_t ReplicaMover::ZoneUse(const Replicas& replicas, const std::string& zone) const {
  return std::count_if(replicas.begin(), replicas.end(), [&](int32_t id) {
    const auto node = nodes_.find(id);
    return node != nodes_.end() && node->second.load.zone == zone;
  });
}

void ReplicaMover::Count(const Replicas& replicas, int64_t sign) {
  for (int32_t id : replicas) nodes_[id].load.replicas += sign;
  nodes_[replicas.front()].load.leaders += sign;
}

}  // namespace falaj::cluster
