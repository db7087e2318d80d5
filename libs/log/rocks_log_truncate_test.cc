// Cuts below the log start, and at it: the log is empty then, but its open slabs still hold keys.
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "libs/log/store_fixture.h"

namespace falaj::log {
namespace {

using testing::IsEmpty;

class StoreTruncateTest : public StoreTest {
 protected:
  // A log of batches of one record, of which nothing is left, cut below where it begins now.
  LocalPartitionId CutBelow(int64_t records, int64_t log_start, int64_t end) {
    Open();
    const LocalPartitionId id = Partition(0);
    for (int64_t i = 0; i < records; ++i) EXPECT_TRUE(Append(id, {i}).ok());
    EXPECT_TRUE(MoveLogStart(id, Offset(log_start)).ok());
    EXPECT_TRUE(store_->TruncateSuffix(id, Offset(end)).ok());
    ExpectLog(id, end, end);
    return id;
  }
  void ExpectLog(LocalPartitionId id, int64_t start, int64_t end) {
    EXPECT_EQ(Get(id).log_start, Offset(start));
    EXPECT_EQ(Get(id).log_end, Offset(end));
    EXPECT_EQ(ReadOffsets(*store_, id, Offset(0), kNoLimit), Range(start, end));
  }
  // Also after a restart, and after kill -9.
  void ExpectLogForGood(LocalPartitionId id, int64_t start, int64_t end) {
    ExpectLog(id, start, end);
    Open();
    ASSERT_NE(store_, nullptr);
    ExpectLog(id, start, end);
    const std::string killed = Photograph();
    store_.reset();
    options_.directory = killed;
    Open();
    ASSERT_NE(store_, nullptr);
    ExpectLog(id, start, end);
  }
};

TEST_F(StoreTruncateTest, ABatchOverWhatWasCutBelowTheStartIsReadAlone) {
  for (const int64_t log_start : {100, 1000}) {
    options_.directory = absl::StrCat(directory_.path(), "/", log_start);
    const LocalPartitionId id = CutBelow(100, log_start, 60);
    ASSERT_TRUE(Append(id, std::vector<int64_t>(10, 7)).ok());
    ASSERT_NO_FATAL_FAILURE(ExpectLogForGood(id, 60, 70));
  }
}

TEST_F(StoreTruncateTest, WhatWasCutBelowTheStartDoesNotComeBackBehindNewBatches) {
  const LocalPartitionId id = CutBelow(100, 100, 60);
  for (int64_t i = 0; i < 10; ++i) ASSERT_TRUE(Append(id, {7}).ok());
  ASSERT_NO_FATAL_FAILURE(ExpectLogForGood(id, 60, 70));
}

TEST_F(StoreTruncateTest, WhatWasCutBelowTheStartIsNotAdopted) {
  const LocalPartitionId id = CutBelow(100, 1000, 60);
  ASSERT_NO_FATAL_FAILURE(ExpectLogForGood(id, 60, 60));
}

TEST_F(StoreTruncateTest, WhatLiesInASlabOfAnotherClassGoesToo) {
  Open();
  const RetentionPolicy hour = {.age = absl::Hours(1), .size_bytes = 0};
  const RetentionPolicy day = {.age = absl::Hours(24), .size_bytes = 0};
  const LocalPartitionId id = Partition(0, hour);
  for (int64_t i = 0; i < 100; ++i) {
    if (i == 50) {
      ASSERT_TRUE(store_->SetRetention(id, day).ok());
    }
    ASSERT_TRUE(Append(id, {i}).ok());
  }
  ASSERT_TRUE(MoveLogStart(id, Offset(100)).ok());
  ASSERT_TRUE(store_->TruncateSuffix(id, Offset(20)).ok());
  for (const RetentionPolicy& policy : {hour, day}) {
    ASSERT_TRUE(store_->SetRetention(id, policy).ok());
    ASSERT_TRUE(Append(id, std::vector<int64_t>(40, 7)).ok());
  }
  ASSERT_NO_FATAL_FAILURE(ExpectLogForGood(id, 20, 100));
}

// A follower that begins anew begins where its leader does, which may be within a batch.
TEST_F(StoreTruncateTest, ALogThatBeginsWithinABatchIsWithoutWhatLiesBelow) {
  const LocalPartitionId id = CutBelow(100, 100, 60);
  Round round;
  round.batches.push_back(MakeWrite(id, Offset(55), std::vector<int64_t>(10, 7)));
  ASSERT_TRUE(store_->Commit(round, false).ok());
  for (int pass = 0; pass < 2; ++pass) {
    EXPECT_EQ(Get(id).log_start, Offset(60));
    EXPECT_EQ(Get(id).log_end, Offset(65));
    EXPECT_EQ(ReadOffsets(*store_, id, Offset(0), kNoLimit), Range(55, 65));
    Open();
    ASSERT_NE(store_, nullptr);
  }
}

TEST_F(StoreTruncateTest, ACutWithinTheBatchThatHoldsTheStartLeavesNothing) {
  Open();
  const LocalPartitionId id = Partition(0);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Append(id, std::vector<int64_t>(30, 1)).ok());
  ASSERT_TRUE(MoveLogStart(id, Offset(40)).ok());
  ASSERT_TRUE(store_->TruncateSuffix(id, Offset(45)).ok());
  ASSERT_NO_FATAL_FAILURE(ExpectLogForGood(id, 40, 40));
  EXPECT_THAT(Get(id).epochs, IsEmpty());
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(Append(id, {1}).ok());
  ASSERT_NO_FATAL_FAILURE(ExpectLogForGood(id, 40, 80));
  ASSERT_TRUE(store_->TruncateSuffix(id, Offset(10)).ok());
  ASSERT_TRUE(Append(id, {1, 1}).ok());
  ASSERT_NO_FATAL_FAILURE(ExpectLogForGood(id, 10, 12));
}

}  // namespace
}  // namespace falaj::log
