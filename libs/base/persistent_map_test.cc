#include "libs/base/persistent_map.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "libs/base/random.h"

namespace falaj {
namespace {

using Map = PersistentMap<int, std::string>;
using Model = std::map<int, std::string>;

Model Contents(const Map& map) {
  Model contents;
  int last = -1;
  for (const auto& [key, value] : map) {
    EXPECT_LT(last, key);
    last = key;
    contents[key] = value;
  }
  EXPECT_EQ(contents.size(), map.size());
  return contents;
}

TEST(PersistentMapTest, BeginsEmpty) {
  const Map map;
  EXPECT_TRUE(map.empty());
  EXPECT_EQ(map.Find(1), nullptr);
  EXPECT_TRUE(map.begin() == map.end());
  EXPECT_TRUE(map.LowerBound(0) == map.end());
}

TEST(PersistentMapTest, AssignInsertsAndReplaces) {
  Map map;
  EXPECT_TRUE(map.Assign(1, "one"));
  EXPECT_TRUE(map.Assign(2, "two"));
  EXPECT_FALSE(map.Assign(1, "uno"));
  EXPECT_EQ(Contents(map), (Model{{1, "uno"}, {2, "two"}}));
  ASSERT_NE(map.Find(1), nullptr);
  EXPECT_EQ(*map.Find(1), "uno");
}

TEST(PersistentMapTest, EraseSaysWhetherItWasThere) {
  Map map;
  map.Assign(1, "one");
  EXPECT_FALSE(map.Erase(2));
  EXPECT_TRUE(map.Erase(1));
  EXPECT_FALSE(map.Erase(1));
  EXPECT_TRUE(map.empty());
}

TEST(PersistentMapTest, LowerBoundGoesOnFromThere) {
  Map map;
  for (int key = 0; key < 100; key += 2) map.Assign(key, std::to_string(key));
  for (int from = -1; from < 100; ++from) {
    int expected = from <= 0 ? 0 : from + from % 2;
    for (auto at = map.LowerBound(from); at != map.end(); ++at, expected += 2) {
      ASSERT_EQ(at.key(), expected);
    }
    ASSERT_EQ(expected, 100);
  }
}

struct ByText {
  auto operator()(std::string_view a, std::string_view b) const { return a <=> b; }
};

TEST(PersistentMapTest, ComparesWithOtherTypes) {
  PersistentMap<std::string, int, ByText> map;
  map.Assign("a", 1);
  EXPECT_NE(map.Find(std::string_view("a")), nullptr);
  EXPECT_TRUE(map.Erase("a"));
}

TEST(PersistentMapTest, ACopyStaysAsItWas) {
  Map map;
  for (int key = 0; key < 1'000; ++key) map.Assign(key, "old");
  const Map then = map;
  for (int key = 0; key < 1'000; key += 3) map.Assign(key, "new");
  for (int key = 1; key < 1'000; key += 3) map.Erase(key);
  EXPECT_EQ(then.size(), 1'000u);
  for (const auto& [key, value] : then) ASSERT_EQ(value, "old") << key;
  EXPECT_EQ(map.size(), 667u);
}

// What is in the map is freed when the last map that has it goes, not before and not later.
TEST(PersistentMapTest, FreesWhatNobodyHolds) {
  const auto value = std::make_shared<int>(7);
  PersistentMap<int, std::shared_ptr<int>> map;
  map.Assign(1, value);
  map.Assign(2, value);
  auto copy = map;
  EXPECT_EQ(value.use_count(), 3);  // Nodes are shared: two of them, and `value`.
  map.Erase(1);
  EXPECT_LE(3, value.use_count());
  copy = {};
  EXPECT_EQ(value.use_count(), 2);
  map = {};
  EXPECT_EQ(value.use_count(), 1);
}

// Counts copies: a change in place makes none.
struct Counted {
  explicit Counted(int* the_copies) : copies(the_copies) {}
  Counted(const Counted& other) : copies(other.copies) { ++*copies; }
  Counted(Counted&&) = default;
  Counted& operator=(Counted&&) = default;
  int* copies;
};

TEST(PersistentMapTest, ChangesInPlaceWhileThereIsNoCopy) {
  int copies = 0;
  PersistentMap<int, Counted> map;
  for (int key = 0; key < 1'000; ++key) map.Assign(key, Counted(&copies));
  for (int key = 0; key < 1'000; key += 2) map.Erase(key);
  EXPECT_EQ(copies, 0);
  {
    const auto then = map;
    map.Assign(1, Counted(&copies));
    EXPECT_LT(0, copies);
    EXPECT_LE(copies, 14);  // The way down, no more: 1.45 log2(500).
  }
  const int before = copies;
  map.Assign(1, Counted(&copies));
  EXPECT_EQ(copies, before);
}

TEST(PersistentMapTest, StaysBalancedWhenFilledInOrder) {
  PersistentMap<int, int> map;
  for (int key = 0; key < 200'000; ++key) map.Assign(key, key);
  int expected = 0;
  for (auto at = map.begin(); at != map.end(); ++at) ASSERT_EQ(at.key(), expected++);
  for (int key = 0; key < 150'000; ++key) ASSERT_TRUE(map.Erase(key));
  EXPECT_EQ(map.size(), 50'000u);
  EXPECT_EQ(map.begin().key(), 150'000);
}

// Random changes of several maps that are copied from each other: each always equals its model.
TEST(PersistentMapTest, EqualsStdMapWithCopiesKept) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    std::vector<std::pair<Map, Model>> maps(6);
    for (int step = 0; step < 3'000; ++step) {
      auto& [map, model] = maps[random.Below(maps.size())];
      const int key = static_cast<int>(random.Below(200));
      switch (random.Below(8)) {
        case 0:
          maps[random.Below(maps.size())] = {map, model};
          break;
        case 1:
        case 2:
        case 3:
          ASSERT_EQ(map.Erase(key), model.erase(key) > 0);
          break;
        default:
          ASSERT_EQ(map.Assign(key, std::to_string(step)), model.count(key) == 0);
          model[key] = std::to_string(step);
      }
      const auto at = map.LowerBound(key);
      const auto expected = model.lower_bound(key);
      ASSERT_EQ(at == map.end(), expected == model.end());
      if (expected != model.end()) {
        ASSERT_EQ(at.value(), expected->second);
      }
    }
    for (const auto& [map, model] : maps) ASSERT_EQ(Contents(map), model) << "seed " << seed;
  }
}

// A copy is read, and dropped, by another thread while this one goes on changing: for the thread
// sanitizer, and for whoever breaks the check of the counters.
TEST(PersistentMapTest, ACopyIsReadWhileTheOriginalChanges) {
  PersistentMap<int, std::shared_ptr<const int>> map;
  for (int key = 0; key < 500; ++key) map.Assign(key, std::make_shared<const int>(0));
  Random random(1);
  for (int round = 1; round <= 30; ++round) {
    int64_t sum = 0;
    for (const auto& [key, value] : map) sum += *value;
    std::thread reader([copy = map, sum]() mutable {
      for (int i = 0; i < 3; ++i) {
        int64_t seen = 0;
        for (const auto& [key, value] : copy) seen += *value;
        EXPECT_EQ(seen, sum);
      }
      copy.Assign(-1, nullptr);  // Its own.
      copy = {};                 // While the other thread may be anywhere.
    });
    for (int step = 0; step < 500; ++step) {
      const int key = static_cast<int>(random.Below(600));
      if (random.Below(3) == 0) {
        map.Erase(key);
      } else {
        map.Assign(key, std::make_shared<const int>(step));
      }
    }
    reader.join();
  }
}

}  // namespace
}  // namespace falaj
