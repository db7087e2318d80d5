#include "services/storage/known_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "libs/base/status.h"

namespace falaj::storage {
namespace {

using ::testing::ElementsAre;

log::PartitionKey Key(uint64_t topic, int32_t partition) {
  return {TopicId(Uuid::FromRandomBits(topic, topic)), PartitionIndex(partition)};
}

class KnownHistoryTest : public ::testing::Test {
 protected:
  KnownHistoryTest()
      : directory_(::testing::TempDir() + "/known-history-" +
                   ::testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  std::unique_ptr<KnownHistory> Open() {
    auto history = KnownHistory::Open(directory_);
    EXPECT_TRUE(history.ok()) << history.status();
    return *std::move(history);
  }

  const std::string directory_;
};

TEST_F(KnownHistoryTest, ADirectoryWithoutTheFileKnowsOfNoRecovery) {
  const auto history = Open();
  EXPECT_EQ(0u, history->recoveries());
  EXPECT_EQ(0u, history->quarantined_count());
}

TEST_F(KnownHistoryTest, AHistoryIsAdoptedWithWhatItSetsAside) {
  ASSERT_TRUE(Open()->Adopt(1, {Key(1, 0)}).ok());
  ASSERT_TRUE(Open()->Adopt(2, {Key(2, 3)}).ok());
  const auto history = Open();
  EXPECT_EQ(2u, history->recoveries());
  EXPECT_TRUE(history->IsQuarantined(Key(1, 0)));
  EXPECT_TRUE(history->IsQuarantined(Key(2, 3)));
  EXPECT_FALSE(history->IsQuarantined(Key(2, 0)));
  EXPECT_EQ(2u, history->quarantined_count());
}

TEST_F(KnownHistoryTest, WhatIsReleasedIsForgottenAndTheHistoryIsNot) {
  ASSERT_TRUE(Open()->Adopt(3, {Key(1, 0)}).ok());
  ASSERT_TRUE(Open()->Release().ok());
  EXPECT_EQ(3u, Open()->recoveries());
  EXPECT_EQ(0u, Open()->quarantined_count());
}

TEST_F(KnownHistoryTest, DamageIsFoundAndNamed) {
  ASSERT_TRUE(Open()->Adopt(1, {Key(1, 0)}).ok());
  std::fstream(directory_ + "/history", std::ios::in | std::ios::out).seekp(20).put('9');
  const auto damaged = KnownHistory::Open(directory_);
  EXPECT_EQ(Reason::kCorruptRecord, ReasonOf(damaged.status()));
  EXPECT_EQ(directory_ + "/history", MetadataOf(damaged.status())["path"]);
}

}  // namespace
}  // namespace falaj::storage
