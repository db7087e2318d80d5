#include "libs/raft/planted_bug.h"

#include <set>
#include <string>

#include "gtest/gtest.h"

namespace falaj::raft {
namespace {

TEST(PlantedBugTest, EveryBugHasANameOfItsOwn) {
  std::set<std::string> names = {std::string(PlantedBugName(PlantedBug::kNone))};
  for (PlantedBug bug : kPlantedBugs) {
    const std::string name(PlantedBugName(bug));
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_EQ(PlantedBugFromName(name), bug) << name;
  }
  EXPECT_FALSE(names.contains("unknown"));
  EXPECT_EQ(names.size(), 11u);
}

TEST(PlantedBugTest, UnknownNamesAreRefused) {
  EXPECT_EQ(PlantedBugFromName("none"), PlantedBug::kNone);
  EXPECT_EQ(PlantedBugFromName(""), std::nullopt);
  EXPECT_EQ(PlantedBugFromName("unknown"), std::nullopt);
  EXPECT_EQ(PlantedBugFromName("Vote-Not-Persisted"), std::nullopt);
}

}  // namespace
}  // namespace falaj::raft
