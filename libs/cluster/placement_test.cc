#include "libs/cluster/placement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"

#include "libs/base/random.h"

namespace falaj::cluster {
namespace {

struct Spread {
  int64_t min = 0;
  int64_t max = 0;
};

Spread SpreadOf(const std::map<int32_t, int64_t>& counts) {
  Spread spread{counts.begin()->second, counts.begin()->second};
  for (const auto& [node, count] : counts) {
    spread.min = std::min(spread.min, count);
    spread.max = std::max(spread.max, count);
  }
  return spread;
}

TEST(PlacementTest, TheSameArgumentsGiveTheSamePlaces) {
  const std::vector<NodeLoad> nodes = {{3, "b", 4, 1}, {1, "a", 0, 0}, {2, "a", 2, 2}};
  EXPECT_EQ(PlaceReplicas(nodes, 50, 2), PlaceReplicas(nodes, 50, 2));
  std::vector<NodeLoad> shuffled = {nodes[1], nodes[2], nodes[0]};
  EXPECT_EQ(PlaceReplicas(nodes, 50, 2), PlaceReplicas(shuffled, 50, 2));
}

TEST(PlacementTest, NewPartitionsGoWhereTheLeastIs) {
  const auto placed = PlaceReplicas({{1, "", 10, 10}, {2, "", 0, 0}}, 10, 1);
  for (const auto& replicas : placed) EXPECT_EQ(replicas, std::vector<int32_t>{2});
}

TEST(PlacementTest, ReplicasSpreadOverZonesBeforeAnythingElse) {
  // Zone b has one node, which carries far more than its share and is used all the same.
  const auto placed = PlaceReplicas({{1, "a", 0, 0}, {2, "a", 0, 0}, {3, "b", 1'000, 0}}, 20, 2);
  for (const auto& replicas : placed) {
    EXPECT_EQ(1, std::count(replicas.begin(), replicas.end(), 3));
  }
}

TEST(PlacementTest, RandomClustersAreBalancedWithDistinctReplicasInDistinctZones) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Random random(seed);
    const auto zone_count = random.Between(1, 4);
    const auto per_zone = random.Between(1, 4);
    std::vector<NodeLoad> nodes;
    std::map<int32_t, std::string> zone_of;
    for (int32_t id = 1; id <= zone_count * per_zone; ++id) {
      const std::string zone = absl::StrCat("z", id % zone_count);
      nodes.push_back({id, zone, 0, 0});
      zone_of[id] = zone;
    }
    const auto factor =
        static_cast<int32_t>(random.Between(1, std::min<int64_t>(5, std::ssize(nodes))));
    const auto placed = PlaceReplicas(nodes, static_cast<int32_t>(random.Between(1, 300)), factor);

    std::map<int32_t, int64_t> leaders;
    std::map<int32_t, int64_t> all;
    for (const NodeLoad& node : nodes) leaders[node.node_id] = all[node.node_id] = 0;
    for (const auto& replicas : placed) {
      std::set<int32_t> distinct(replicas.begin(), replicas.end());
      EXPECT_EQ(static_cast<size_t>(factor), distinct.size());
      std::set<std::string> zones;
      for (int32_t id : replicas) zones.insert(zone_of[id]);
      EXPECT_EQ(std::min<int64_t>(factor, zone_count), std::ssize(zones));
      ++leaders[replicas.front()];
      for (int32_t id : replicas) ++all[id];
    }
    EXPECT_LE(SpreadOf(leaders).max - SpreadOf(leaders).min, 1);
    EXPECT_LE(SpreadOf(all).max - SpreadOf(all).min, 2);
  }
}

}  // namespace
}  // namespace falaj::cluster
