#include "libs/replica/planted_bug.h"

#include <algorithm>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace falaj::replica {
namespace {

TEST(PlantedBugTest, EveryBugHasANameOfItsOwn) {
  std::set<std::string> names = {std::string(PlantedBugName(PlantedBug::kNone))};
  for (const PlantedBug bug : kPlantedBugs) {
    const std::string name(PlantedBugName(bug));
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_EQ(PlantedBugFromName(name), bug) << name;
  }
  EXPECT_FALSE(names.contains("unknown"));
}

TEST(PlantedBugTest, UnknownNamesAreRefused) {
  EXPECT_EQ(PlantedBugFromName("none"), PlantedBug::kNone);
  EXPECT_EQ(PlantedBugFromName(""), std::nullopt);
  EXPECT_EQ(PlantedBugFromName("unknown"), std::nullopt);
  EXPECT_EQ(PlantedBugFromName("Join-Before-Catch-Up"), std::nullopt);
}

// A process that was started with a bug it does not make would pass for one that hides it.
TEST(PlantedBugTest, FourNeedTheHost) {
  EXPECT_TRUE(PlantedBugIsOfReplica(PlantedBug::kNone));
  EXPECT_TRUE(PlantedBugIsOfReplica(PlantedBug::kNoLeaderEpochEntry));
  EXPECT_FALSE(PlantedBugIsOfReplica(PlantedBug::kFollowerAcksBeforeFsync));
  EXPECT_EQ(std::count_if(kPlantedBugs.begin(), kPlantedBugs.end(),
                          [](PlantedBug bug) { return !PlantedBugIsOfReplica(bug); }),
            4);
}

}  // namespace
}  // namespace falaj::replica
