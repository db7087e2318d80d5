// Slabs that stragglers hold: what is dead in them goes, what is not stays readable.
#include <algorithm>
#include <atomic>
#include <fstream>
#include <set>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "libs/log/store_fixture.h"

namespace falaj::log {
namespace {

constexpr size_t kValueBytes = 60'000;

class StoreRewriteTest : public StoreTest {
 protected:
  StoreRewriteTest() { options_.slab_bytes_max = 8 << 20; }

  std::set<std::string> Tables() const {
    std::set<std::string> tables;
    for (const auto& [name, size] : Listing()) {
      if (name.ends_with(".sst")) tables.insert(name);
    }
    return tables;
  }
  // `large` is nearly all of a slab in which the other one has two batches.
  void FillSlab(LocalPartitionId large, LocalPartitionId straggler) {
    ASSERT_TRUE(Append(straggler, {1, 2}).ok());
    for (int i = 0; i < 40; ++i) {
      ASSERT_TRUE(Append(large, {3 * i, 3 * i + 1, 3 * i + 2}, kValueBytes / 3).ok());
    }
    ASSERT_TRUE(Append(straggler, {3}).ok());
  }
  // A store whose one slab is so: what large_ gives up then has it sealed and rewritten by
  // Shrinks().
  void OpenFilled() {
    Open();
    large_ = Partition(1);
    straggler_ = Partition(2);
    FillSlab(large_, straggler_);
  }

  LocalPartitionId large_;
  LocalPartitionId straggler_;
};

TEST_F(StoreRewriteTest, WhatADroppedPartitionLeftAmongOthersGoes) {
  for (const bool reopen : {false, true}) {
    SCOPED_TRACE(reopen);
    options_.directory = absl::StrCat(directory_.path(), "/", reopen);
    Open();
    const LocalPartitionId first = Partition(1);
    const LocalPartitionId large = Partition(2);
    const LocalPartitionId last = Partition(3);
    FillSlab(large, last);
    ASSERT_TRUE(Append(first, {7}).ok());
    ASSERT_TRUE(store_->DropPartition(large).ok());
    if (reopen) Open();
    EXPECT_TRUE(Shrinks(100'000));
    EXPECT_EQ(store_->Stats().slabs, 2) << "the slab itself stays";
    EXPECT_EQ(store_->Stats().slabs_held_by_stragglers, 0);
    for (int pass = 0; pass < 2; ++pass) {
      EXPECT_EQ(ReadOffsets(*store_, first, Offset(0), kNoLimit), Range(0, 1));
      EXPECT_EQ(ReadOffsets(*store_, last, Offset(0), kNoLimit), Range(0, 3));
      Open();
    }
    ASSERT_TRUE(Append(last, {9}).ok());
    EXPECT_EQ(ReadOffsets(*store_, last, Offset(0), kNoLimit), Range(0, 4));
    const std::set<std::string> before = Tables();
    ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
    EXPECT_EQ(Tables(), before) << "once is enough";
  }
}

TEST_F(StoreRewriteTest, ABatchThatHoldsTheLogStartStays) {
  OpenFilled();
  ASSERT_TRUE(MoveLogStart(large_, Offset(115)).ok());  // Of 120; within a batch.
  EXPECT_TRUE(Shrinks(400'000));
  for (int pass = 0; pass < 2; ++pass) {
    EXPECT_EQ(ReadOffsets(*store_, large_, Offset(0), kNoLimit, 1 << 20), Range(114, 120));
    EXPECT_EQ(ReadOffsets(*store_, straggler_, Offset(0), kNoLimit), Range(0, 3));
    const auto found = store_->FindTime(large_, 0, kNoLimit);
    ASSERT_TRUE(found.ok() && found->has_value()) << found.status();
    EXPECT_EQ((*found)->offset, Offset(115));
    const std::string killed = Photograph();
    store_.reset();
    options_.directory = killed;
    Open();
  }
  ASSERT_TRUE(store_->TruncateSuffix(large_, Offset(118)).ok());
  EXPECT_EQ(Get(large_).log_end, Offset(117));
  ASSERT_TRUE(Append(large_, {500}).ok());
  EXPECT_EQ(ReadOffsets(*store_, large_, Offset(0), kNoLimit, 1 << 20), Range(114, 118));
}

// The batches before the one that holds the log start may be gone.
TEST_F(StoreRewriteTest, ALogMayBeCutWhereItBeginsAfterwards) {
  for (const int64_t end : {114, 115, 116}) {
    SCOPED_TRACE(end);
    options_.directory = absl::StrCat(directory_.path(), "/", end);
    OpenFilled();
    const int64_t log_start = std::min<int64_t>(end, 115);
    ASSERT_TRUE(MoveLogStart(large_, Offset(log_start)).ok());
    EXPECT_TRUE(Shrinks(400'000));
    const absl::Status cut = store_->TruncateSuffix(large_, Offset(end));
    ASSERT_TRUE(cut.ok()) << cut;
    EXPECT_EQ(Get(large_).log_start, Offset(log_start));
    EXPECT_EQ(Get(large_).log_end, Offset(log_start));
    ASSERT_TRUE(Append(large_, {1, 2}).ok());
    for (int pass = 0; pass < 2; ++pass) {
      EXPECT_EQ(ReadOffsets(*store_, large_, Offset(0), kNoLimit), Range(log_start, log_start + 2));
      EXPECT_EQ(ReadOffsets(*store_, straggler_, Offset(0), kNoLimit), Range(0, 3));
      Open();
    }
  }
}

TEST_F(StoreRewriteTest, ALogMayBeCutBelowItsStartAfterwards) {
  OpenFilled();
  ASSERT_TRUE(MoveLogStart(large_, Offset(115)).ok());
  EXPECT_TRUE(Shrinks(400'000));
  ASSERT_TRUE(store_->TruncateSuffix(large_, Offset(40)).ok());
  ASSERT_TRUE(Append(large_, {1, 2}).ok());
  for (int pass = 0; pass < 2; ++pass) {
    EXPECT_EQ(Get(large_).log_start, Offset(40));
    EXPECT_EQ(ReadOffsets(*store_, large_, Offset(0), kNoLimit), Range(40, 42));
    Open();
  }
}

TEST_F(StoreRewriteTest, ASlabIsNotRewrittenForLittle) {
  OpenFilled();
  ASSERT_TRUE(MoveLogStart(large_, Offset(60)).ok());  // Half of it.
  store_.reset();
  Open();
  const std::set<std::string> before = Tables();
  for (int i = 0; i < 3; ++i) {
    clock_.Advance(absl::Minutes(1));
    ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
  }
  EXPECT_EQ(Tables(), before);
}

TEST_F(StoreRewriteTest, ReadersOfWhatStaysNoticeNothing) {
  options_.slab_bytes_max = 1 << 20;
  Open();
  const LocalPartitionId large = Partition(1);
  const LocalPartitionId straggler = Partition(2);
  std::atomic<bool> done = false;
  const auto read_all = [&] {
    while (!done) {
      for (const LocalPartitionId id : {large, straggler}) {
        const auto read = store_->Read(id, Get(id).log_start, kNoLimit, 1 << 20);
        ASSERT_TRUE(read.ok()) << read.status();
      }
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) threads.emplace_back(read_all);
  threads.emplace_back([&] {
    while (!done) {
      clock_.Advance(absl::Seconds(10));
      ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
    }
  });
  for (int64_t i = 0; i < 300; ++i) {
    if (i % 20 == 0) {
      ASSERT_TRUE(Append(straggler, {i}).ok());
    }
    ASSERT_TRUE(Append(large, {i, i, i}, 3000).ok());
    ASSERT_TRUE(MoveLogStart(large, Offset(std::max<int64_t>(0, 3 * i - 7))).ok());
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ReadOffsets(*store_, straggler, Offset(0), kNoLimit), Range(0, 15));
  EXPECT_EQ(ReadOffsets(*store_, large, Offset(0), kNoLimit, 1 << 20), Range(888, 900));
}

TEST_F(StoreRewriteTest, DamageIsLeftToWhoReadsItAndDoesNotStopTheStore) {
  OpenFilled();
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(Append(straggler_, {1}, kValueBytes).ok());
  Open();  // All of it is in tables; what opening reads is not cached.
  for (const std::string& table : Tables()) {
    // Its last data block, which is the straggler's, if it is a slab's.
    const std::string path = options_.directory + "/" + table;
    const uint64_t size = std::filesystem::file_size(path);
    if (size < 200'000) continue;
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(size - 20'000));
    file << "damage";
  }
  ASSERT_TRUE(store_->DropPartition(large_).ok());
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(store_->Maintain(clock_.Now()).ok());
  }
  EXPECT_TRUE(store_->Health().ok());
  EXPECT_THAT(store_->TakeDamaged(), testing::ElementsAre(straggler_));
  EXPECT_EQ(store_->Stats().slabs_held_by_stragglers, 1);
  absl::Status seen;
  for (int64_t offset = 0; seen.ok() && offset < 7; ++offset) {
    seen = store_->Read(straggler_, Offset(offset), kNoLimit, 1).status();
  }
  EXPECT_EQ(ReasonOf(seen), Reason::kCorruptRecord) << seen;
  EXPECT_TRUE(Append(straggler_, {1}).ok());
}

// RocksDB compacts a slab by going through its tables side by side, and begins each of them.
TEST_F(StoreRewriteTest, DamageInWhatIsDeadOfALaterTableDoesNotStopTheStoreEither) {
  OpenFilled();
  Open();  // All of it is in tables, of which each begins with the large one.
  int damaged = 0;
  for (const std::string& table : Tables()) {
    const std::string path = options_.directory + "/" + table;
    if (std::filesystem::file_size(path) < 200'000) continue;
    if (++damaged > 1) FlipByte(path, 1000);
  }
  ASSERT_GT(damaged, 1);
  ASSERT_TRUE(store_->DropPartition(large_).ok());
  for (int i = 0; i < 3; ++i) {
    const absl::Status maintained = store_->Maintain(clock_.Now());
    EXPECT_TRUE(maintained.ok()) << maintained;
  }
  EXPECT_TRUE(store_->Health().ok()) << store_->Health();
  EXPECT_THAT(store_->TakeDamaged(), testing::IsEmpty()) << "nobody needs it";
  EXPECT_EQ(store_->Stats().slabs_held_by_stragglers, 1);
  EXPECT_EQ(ReadOffsets(*store_, straggler_, Offset(0), kNoLimit), Range(0, 3));
  EXPECT_TRUE(Append(straggler_, {1}).ok());
}

// What hides deleted batches is not dropped unread, and neither is what it hides.
TEST_F(StoreRewriteTest, DamageInWhatWasCutAwayDoesNotStopTheStoreEither) {
  OpenFilled();
  Open();
  ASSERT_TRUE(store_->TruncateSuffix(large_, Offset(1)).ok());
  ASSERT_TRUE(store_->DropPartition(large_).ok());
  Open();  // The deletions are in a table, too.
  for (const std::string& table : Tables()) {
    const std::string path = options_.directory + "/" + table;
    if (std::filesystem::file_size(path) >= 200'000) FlipByte(path, 200'000);
  }
  for (int i = 0; i < 3; ++i) {
    const absl::Status maintained = store_->Maintain(clock_.Now());
    EXPECT_TRUE(maintained.ok()) << maintained;
  }
  EXPECT_TRUE(store_->Health().ok()) << store_->Health();
  EXPECT_EQ(ReadOffsets(*store_, straggler_, Offset(0), kNoLimit), Range(0, 3));
}

}  // namespace
}  // namespace falaj::log
