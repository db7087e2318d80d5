// Full disks and disks that fail, under a store that is open.
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "libs/log/faulty_file_system.h"
#include "libs/log/store_fixture.h"

namespace falaj::log {
namespace {

class StoreFaultTest : public StoreTest {
 protected:
  using Fault = FaultyFileSystem::Fault;
  StoreFaultTest() : system_(std::make_shared<FaultyFileSystem>()), env_(MakeEnv(system_)) {
    options_.env = env_.get();
  }
  ~StoreFaultTest() override { store_.reset(); }

  // Maintains until commits work again.
  absl::Status AppendOnceRecovered(LocalPartitionId id) {
    absl::Status last;
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    do {
      IgnoreError(store_->Maintain(clock_.Now()), "the append tells");
      last = Append(id, {1});
    } while (!last.ok() && absl::Now() < deadline);
    return last;
  }

  const std::shared_ptr<FaultyFileSystem> system_;
  const std::unique_ptr<rocksdb::Env> env_;
};

TEST_F(StoreFaultTest, AFullDiskRefusesWritesServesReadsAndRecoversByItself) {
  for (const Fault fault : {Fault::kNoSpace, Fault::kTornNoSpace}) {
    Open();
    const LocalPartitionId id = Partition(static_cast<int>(fault));
    ASSERT_TRUE(Append(id, {1, 2}).ok());
    system_->Set(fault);
    for (int i = 0; i < 3; ++i) {
      const absl::Status refused = Append(id, {1, 2, 3});
      EXPECT_EQ(ReasonOf(refused), Reason::kDiskFull) << refused;
      EXPECT_EQ(Get(id).log_end, Offset(2));
    }
    EXPECT_EQ(ReasonOf(store_->Health()), Reason::kDiskFull);
    EXPECT_FALSE(store_->Maintain(clock_.Now()).ok());
    EXPECT_EQ(ReadOffsets(*store_, id, Offset(0), kNoLimit), Range(0, 2));
    system_->Set(Fault::kNone);
    ASSERT_TRUE(AppendOnceRecovered(id).ok());
    EXPECT_TRUE(store_->Health().ok());
    EXPECT_EQ(ReadOffsets(*store_, id, Offset(0), kNoLimit), Range(0, 3));
    const std::string killed = Photograph();
    const auto again = OpenAt(killed);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(ReadOffsets(**again, id, Offset(0), kNoLimit), Range(0, 3));
    Open();
    EXPECT_EQ(ReadOffsets(*store_, id, Offset(0), kNoLimit), Range(0, 3));
  }
}

TEST_F(StoreFaultTest, ADiskThatFillsRightAfterEverythingWasFlushedRecoversToo) {
  Open();
  const LocalPartitionId id = Partition(0);
  ASSERT_TRUE(Append(id, {1, 2}).ok());
  Open();  // Flushed by closing: the memtables are empty now.
  system_->Set(Fault::kTornNoSpace);
  EXPECT_EQ(ReasonOf(Append(id, {1})), Reason::kDiskFull);
  system_->Set(Fault::kNone);
  ASSERT_TRUE(AppendOnceRecovered(id).ok()) << store_->Health();
  const auto again = OpenAt(Photograph());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(ReadOffsets(**again, id, Offset(0), kNoLimit), Range(0, 3));
}

// So large that a thread of its own writes it, while the rest is built.
TEST_F(StoreFaultTest, ATableThatFindsNoRoomHalfWayIsMadeAgain) {
  options_.memtable_bytes = 16 << 20;
  Open();
  const LocalPartitionId id = Partition(0);
  system_->Set(Fault::kTableNoSpace);
  absl::Status refused;
  const absl::Time deadline = absl::Now() + absl::Seconds(60);
  while (refused.ok() && absl::Now() < deadline) refused = Append(id, {1}, 200'000);
  ASSERT_EQ(ReasonOf(refused), Reason::kDiskFull) << refused;
  const int64_t end = Get(id).log_end.value();
  system_->Set(Fault::kNone);
  ASSERT_TRUE(AppendOnceRecovered(id).ok());
  Open();
  EXPECT_EQ(ReadOffsets(*store_, id, Offset(0), kNoLimit, int64_t{1} << 30), Range(0, end + 1));
  EXPECT_GT(store_->Stats().table_bytes, int64_t{16} << 20);
}

TEST_F(StoreFaultTest, DeadSlabsAreDroppedWhileTheDiskIsFull) {
  // The fault that fills the store, and the one Maintain meets then.
  const std::pair<Fault, Fault> cases[] = {{Fault::kTableNoSpace, Fault::kTableNoSpace},
                                           {Fault::kTableNoSpace, Fault::kTornNoSpace},
                                           {Fault::kTableNoSpace, Fault::kSyncNoSpace},
                                           {Fault::kNoSpace, Fault::kNoSpace},
                                           {Fault::kTornNoSpace, Fault::kTableNoSpace}};
  int n = 0;
  for (const auto& [fault, later] : cases) {
    options_.direct_writes = ++n % 2 == 0;
    const std::string name = absl::StrCat(static_cast<int>(fault), "-", static_cast<int>(later));
    SCOPED_TRACE(name);
    options_.directory = absl::StrCat(directory_.path(), "/", name);
    Open();
    const LocalPartitionId dead = Partition(0, {.age = absl::Hours(1), .size_bytes = 0});
    const LocalPartitionId kept = Partition(1);
    ASSERT_TRUE(Append(dead, {1, 2}).ok());
    ASSERT_TRUE(Append(kept, {1, 2}).ok());
    clock_.Advance(absl::Minutes(5));
    ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
    ASSERT_EQ(store_->Stats().slabs, 3);
    // The flush of the sealed slab is no part of what fails.
    const absl::Time flushed = absl::Now() + absl::Seconds(20);
    while (store_->Stats().table_bytes == 0) ASSERT_LT(absl::Now(), flushed);
    Round round;
    round.log_starts.push_back({dead, Offset(2)});
    ASSERT_TRUE(store_->Commit(round, false).ok());
    system_->Set(fault);
    absl::Status refused;
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (refused.ok() && absl::Now() < deadline) refused = Append(kept, {1}, 60'000);
    ASSERT_EQ(ReasonOf(refused), Reason::kDiskFull) << refused;
    system_->Set(later);
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(ReasonOf(store_->Maintain(clock_.Now())), Reason::kDiskFull);
    }
    if (fault == later && fault == Fault::kTableNoSpace) {
      EXPECT_EQ(store_->Stats().slabs, 2);
    }
    const int64_t end = Get(kept).log_end.value();
    const std::string photograph = Photograph();
    system_->Set(Fault::kNone);
    const auto killed = OpenAt(photograph);
    ASSERT_TRUE(killed.ok()) << killed.status();
    EXPECT_EQ(ReadOffsets(**killed, kept, Offset(0), kNoLimit, 1 << 20), Range(0, end));
    ASSERT_TRUE(AppendOnceRecovered(kept).ok());
    ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
    EXPECT_EQ(store_->Stats().slabs, 2);
    Open();
    EXPECT_EQ(store_->Stats().slabs, 2);
    EXPECT_EQ(Get(dead).log_start, Offset(2));
    EXPECT_EQ(ReadOffsets(*store_, kept, Offset(0), kNoLimit, 1 << 20), Range(0, end + 1));
  }
}

TEST_F(StoreFaultTest, AnyOtherWriteErrorStopsWritesUntilReopened) {
  Open();
  const LocalPartitionId id = Partition(0);
  ASSERT_TRUE(Append(id, {1, 2}).ok());
  system_->Set(Fault::kIoError);
  EXPECT_EQ(ReasonOf(Append(id, {1})), Reason::kStorageFailed);
  system_->Set(Fault::kNone);
  EXPECT_EQ(ReasonOf(Append(id, {1})), Reason::kStorageFailed);
  EXPECT_EQ(ReasonOf(store_->TruncateSuffix(id, Offset(0))), Reason::kStorageFailed);
  EXPECT_EQ(ReasonOf(store_->OpenPartition(MakeKey(9), {}).status()), Reason::kStorageFailed);
  EXPECT_EQ(ReasonOf(store_->Maintain(clock_.Now())), Reason::kStorageFailed);
  EXPECT_EQ(Get(id).log_end, Offset(2));
  EXPECT_EQ(ReadOffsets(*store_, id, Offset(0), kNoLimit), Range(0, 2));
  Open();
  EXPECT_EQ(Get(id).log_end, Offset(2));
  EXPECT_TRUE(Append(id, {1}).ok());
}

TEST_F(StoreFaultTest, APartitionDroppedOnAFullDiskStaysDropped) {
  Open();
  const LocalPartitionId dropped = Partition(0);
  const LocalPartitionId kept = Partition(1);
  ASSERT_TRUE(Append(dropped, {1}).ok());
  system_->Set(Fault::kNoSpace);
  EXPECT_EQ(ReasonOf(store_->DropPartition(dropped)), Reason::kDiskFull);
  EXPECT_FALSE(store_->Read(dropped, Offset(0), kNoLimit, 1).ok());
  system_->Set(Fault::kNone);
  ASSERT_TRUE(AppendOnceRecovered(kept).ok());
  Open();
  EXPECT_FALSE(store_->GetPartition(dropped).ok());
}

TEST_F(StoreFaultTest, ASlabGoesWithoutASyncOfTheLog) {
  Open();
  const LocalPartitionId gone = Partition(0, {.age = absl::Hours(1), .size_bytes = 0});
  const LocalPartitionId busy = Partition(1);
  ASSERT_TRUE(Append(gone, {1, 2}).ok());
  ASSERT_TRUE(store_->DropPartition(gone).ok());
  system_->Set(Fault::kLogSyncIoError);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Append(busy, {1}).ok());
    ASSERT_TRUE(store_->Maintain(clock_.Now()).ok()) << store_->Health();
  }
  EXPECT_EQ(store_->Stats().slabs, 2) << "the busy one's, and an empty one";
  EXPECT_EQ(ReasonOf(Append(busy, {1}, 20, /*sync=*/true)), Reason::kStorageFailed)
      << "syncs do fail";
}

}  // namespace
}  // namespace falaj::log
