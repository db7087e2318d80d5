#include "libs/log/disk_pulse.h"

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/log/direct_writes.h"
#include "libs/log/faulty_file_system.h"
#include "libs/log/store_fixture.h"
#include "libs/log/timed_file_system.h"

namespace falaj::log {
namespace {

TEST(DiskPulseTest, TheOldestOfWhatIsUnderWayIsKnown) {
  ManualClock clock;
  DiskPulse pulse(&clock);
  EXPECT_FALSE(pulse.Oldest().has_value());
  const std::string wal = "/data/1.log";
  const std::string table = "/data/2.sst";
  std::optional<DiskPulse::Beat> first(std::in_place, &pulse, "sync", wal);
  const MonotonicTime begun = clock.MonotonicNow();
  clock.Advance(absl::Seconds(3));
  const DiskPulse::Beat second(&pulse, "write", table);
  EXPECT_EQ(pulse.Oldest()->what, "sync");
  EXPECT_EQ(pulse.Oldest()->path, wal);
  EXPECT_EQ(pulse.Oldest()->begun, begun);
  first.reset();
  EXPECT_EQ(pulse.Oldest()->path, table);
  EXPECT_EQ(pulse.Oldest()->begun, clock.MonotonicNow());
}

// Polls four times a second, as a storage node does.
class StallWatchTest : public testing::Test {
 protected:
  // True if it stalls within `time`.
  bool Watch(absl::Duration time) {
    bool stalled = false;
    for (; time > absl::ZeroDuration(); time -= kPause) stalled = PollAfter(kPause) || stalled;
    return stalled;
  }
  bool PollAfter(absl::Duration pause) {
    clock_.Advance(pause);
    return watch_.Poll(clock_.MonotonicNow(), pulse_.Oldest());
  }

  static constexpr absl::Duration kPause = absl::Milliseconds(250);
  ManualClock clock_;
  DiskPulse pulse_{&clock_};
  StallWatch watch_{absl::Seconds(20)};
  const std::string path_ = "/data/1.log";
};

TEST_F(StallWatchTest, AnOperationThatDoesNotReturnIsSeenOnceAndForGood) {
  EXPECT_FALSE(Watch(absl::Seconds(60))) << "nothing is under way";
  {
    const DiskPulse::Beat hangs(&pulse_, "sync", path_);
    EXPECT_FALSE(Watch(absl::Seconds(20)));
    EXPECT_TRUE(Watch(absl::Seconds(1)));
    EXPECT_FALSE(Watch(absl::Seconds(60))) << "it was said";
  }
  EXPECT_FALSE(Watch(absl::Seconds(1)));
  EXPECT_TRUE(watch_.stalled()) << "also when it has returned";
}

TEST_F(StallWatchTest, ADiskThatIsSlowDoesNotHang) {
  for (int i = 0; i < 20; ++i) {
    const DiskPulse::Beat slow(&pulse_, "sync", path_);
    EXPECT_FALSE(Watch(absl::Seconds(19)));
  }
  EXPECT_FALSE(watch_.stalled());
}

TEST_F(StallWatchTest, WhatReturnsMeanwhileDoesNotHideWhatHangs) {
  const DiskPulse::Beat hangs(&pulse_, "read", path_);
  bool stalled = false;
  for (int i = 0; i < 21; ++i) {
    const DiskPulse::Beat quick(&pulse_, "write", path_);
    stalled = Watch(absl::Seconds(1)) || stalled;
  }
  EXPECT_TRUE(stalled);
}

TEST_F(StallWatchTest, AProcessThatStoodStillIsNotTakenForADiskThatHangs) {
  const DiskPulse::Beat old(&pulse_, "sync", path_);
  EXPECT_FALSE(PollAfter(kPause));
  EXPECT_FALSE(PollAfter(absl::Hours(1))) << "stopped, or on a machine that slept";
  EXPECT_FALSE(Watch(absl::Seconds(18)));
  EXPECT_TRUE(Watch(absl::Seconds(2))) << "but it may hang as well";
}

TEST_F(StallWatchTest, WithoutLimitNothingStalls) {
  StallWatch never(absl::ZeroDuration());
  const DiskPulse::Beat hangs(&pulse_, "sync", path_);
  for (int i = 0; i < 1000; ++i) {
    clock_.Advance(absl::Seconds(1));
    EXPECT_FALSE(never.Poll(clock_.MonotonicNow(), pulse_.Oldest()));
  }
}

class HangingDiskTest : public StoreTest {
 protected:
  HangingDiskTest() : disk_(std::make_shared<FaultyFileSystem>()), env_(MakeEnv(disk_)) {
    options_.env = env_.get();
    options_.pulse = &pulse_;
    Open();
    id_ = Partition(0);
  }
  ~HangingDiskTest() override { store_.reset(); }  // Before its environment.

  // A `what` that is under way, on a path with `where` in it, once `work` on another thread has run
  // into the fault; the disk goes on after `meanwhile`.
  DiskPulse::Operation OldestDuring(
      FaultyFileSystem::Fault fault, const std::string& what, const std::function<void()>& work,
      const std::function<void()>& meanwhile = [] {}, const std::string& where = "") {
    disk_->Set(fault);
    std::thread thread(work);
    EXPECT_TRUE(Soon([this] { return disk_->hanging() > 0; }));
    std::optional<DiskPulse::Operation> oldest;
    EXPECT_TRUE(Soon([&] {  // Others may be older for a moment.
      oldest = pulse_.Oldest();
      return oldest.has_value() && oldest->what == what && absl::StrContains(oldest->path, where);
    }));
    meanwhile();
    disk_->Set(FaultyFileSystem::Fault::kNone);
    thread.join();
    EXPECT_TRUE(Soon([this] { return !pulse_.Oldest().has_value(); })) << "a flush";
    return oldest.value_or(DiskPulse::Operation());
  }
  // Whether `condition` holds within 20 seconds.
  static bool Soon(const std::function<bool()>& condition) {
    return SoonWithin(absl::Seconds(20), condition);
  }
  static bool SoonWithin(absl::Duration patience, const std::function<bool()>& condition) {
    const absl::Time deadline = absl::Now() + patience;
    while (!condition()) {
      if (absl::Now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }

  const std::shared_ptr<FaultyFileSystem> disk_;
  const std::unique_ptr<rocksdb::Env> env_;
  DiskPulse pulse_{&clock_};
  LocalPartitionId id_;
};

TEST_F(HangingDiskTest, AnAppendThatHangsIsTold) {
  using Fault = FaultyFileSystem::Fault;
  const DiskPulse::Operation sync = OldestDuring(Fault::kHangingSync, "sync", [this] {
    EXPECT_TRUE(Append(id_, {1}, 20, /*sync=*/true).ok());
  });
  EXPECT_THAT(sync.path, testing::HasSubstr(".log"));
  const DiskPulse::Operation write = OldestDuring(Fault::kHangingWrite, "write", [this] {
    EXPECT_TRUE(Append(id_, {1}, 20, /*sync=*/false).ok());
  });
  EXPECT_GT(write.number, sync.number);
  const DiskPulse::Operation allocation =
      OldestDuring(Fault::kHangingAllocate, "allocation",
                   [this] { EXPECT_TRUE(Append(id_, {1}, 20, /*sync=*/false).ok()); });
  EXPECT_THAT(allocation.path, testing::HasSubstr(".log"));
}

TEST_F(HangingDiskTest, AFlushThatHangsIsToldThoughNobodyWaitsForIt) {
  const DiskPulse::Operation flush =
      OldestDuring(FaultyFileSystem::Fault::kHangingSync, "sync", [this] {
        for (int i = 0; i < 30; ++i) EXPECT_TRUE(Append(id_, {1}, 60'000, /*sync=*/false).ok());
      });
  EXPECT_THAT(flush.path, testing::HasSubstr(options_.directory));
}

TEST_F(HangingDiskTest, ATableThatIsNotWrittenIsTold) {
  for (const bool direct : {true, false}) {
    SCOPED_TRACE(direct);
    options_.direct_writes = direct;
    Open();
    const int before = disk_->direct_writes();
    const DiskPulse::Operation write = OldestDuring(
        FaultyFileSystem::Fault::kHangingTableWrite, "write",
        [this] {
          for (int i = 0; i < 30; ++i) EXPECT_TRUE(Append(id_, {1}, 60'000, /*sync=*/false).ok());
        },
        [] {}, ".sst");
    EXPECT_THAT(write.path, testing::EndsWith(".sst"));
    const bool past_page_cache = direct && TakesDirectWrites(options_.directory);
    EXPECT_EQ(disk_->direct_writes() > before, past_page_cache);
  }
}

TEST_F(HangingDiskTest, ATableThatAThreadOfItsOwnDoesNotWriteIsToldToo) {
  options_.memtable_bytes = 16 << 20;
  Open();
  const DiskPulse::Operation write = OldestDuring(
      FaultyFileSystem::Fault::kHangingTableWrite, "write",
      [this] {
        for (int i = 0; i < 90; ++i) EXPECT_TRUE(Append(id_, {1}, 200'000, /*sync=*/false).ok());
      },
      [] {}, ".sst");
  EXPECT_THAT(write.path, testing::EndsWith(".sst"));
}

TEST_F(HangingDiskTest, WhatReturnsAfterTheStoreWasGivenUpIsNotAcknowledged) {
  using Fault = FaultyFileSystem::Fault;
  for (const bool in_steps : {false, true}) {
    SCOPED_TRACE(in_steps);
    Open();
    const Offset end = Get(id_).log_end;
    Round round;
    round.batches.push_back(MakeWrite(id_, end, {1}));
    absl::Status answer;
    OldestDuring(
        Fault::kHangingSync, "sync",
        [&] {
          answer = in_steps ? store_->CommitInSteps(round, [] {}) : store_->Commit(round, true);
        },
        [this] { store_->Fail("the disk hangs"); });
    EXPECT_EQ(ReasonOf(answer), Reason::kStorageFailed) << answer;
    EXPECT_EQ(ReasonOf(Append(id_, {1})), Reason::kStorageFailed);
  }
}

TEST_F(HangingDiskTest, ATableThatIsNotClosedIsTold) {
  const DiskPulse::Operation close =
      OldestDuring(FaultyFileSystem::Fault::kHangingClose, "close", [this] {
        for (int i = 0; i < 30; ++i) EXPECT_TRUE(Append(id_, {1}, 60'000, /*sync=*/false).ok());
      });
  EXPECT_THAT(close.path, testing::HasSubstr(options_.directory));
}

TEST_F(HangingDiskTest, NobodyWaitsForWhatADroppedSlabNeedsOnDisk) {
  const LocalPartitionId short_lived = Partition(1, {.age = absl::Hours(1), .size_bytes = 0});
  ASSERT_TRUE(Append(short_lived, {1}).ok());
  clock_.Advance(absl::Minutes(5));
  ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());  // Seals the slab.
  // Its flush is no part of what hangs.
  ASSERT_TRUE(Soon([this] { return store_->Stats().table_bytes > 0 && !pulse_.Oldest(); }));
  ASSERT_TRUE(MoveLogStart(short_lived, Offset(1)).ok());
  const int64_t slabs = store_->Stats().slabs;
  std::future<absl::Status> append;
  OldestDuring(
      FaultyFileSystem::Fault::kHangingSync, "sync",
      [this] { EXPECT_TRUE(store_->Maintain(clock_.Now()).ok()); },
      [this, &append] {
        append = std::async(std::launch::async, [this] { return Append(id_, {1}); });
        EXPECT_EQ(append.wait_for(std::chrono::seconds(20)), std::future_status::ready);
      },
      ".sst");
  EXPECT_TRUE(append.get().ok());
  EXPECT_EQ(store_->Stats().slabs, slabs - 1);
}

TEST_F(HangingDiskTest, AStoreWhoseWritesWaitForAFlushIsNotTakenForBroken) {
  ASSERT_TRUE(Append(id_, {1}).ok());
  ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
  disk_->Set(FaultyFileSystem::Fault::kHangingTableWrite);
  std::atomic<int> appended = 0;
  std::thread writer([this, &appended] {
    for (; appended < 200; ++appended) {
      EXPECT_TRUE(Append(id_, {1}, 60'000, /*sync=*/false).ok());
    }
  });
  // Memtables are full, and none is written any more.
  EXPECT_TRUE(Soon([&appended] {
    const int before = appended;
    return before > 60 && !SoonWithin(absl::Milliseconds(300), [&] { return appended > before; });
  }));
  clock_.Advance(absl::Hours(1));  // What is in them is old.
  auto maintained =
      std::async(std::launch::async, [this] { return store_->Maintain(clock_.Now()); });
  // It may wait for the writer, but fails nothing.
  EXPECT_FALSE(SoonWithin(absl::Milliseconds(500), [this] { return !store_->Health().ok(); }));
  disk_->Set(FaultyFileSystem::Fault::kNone);
  EXPECT_TRUE(maintained.get().ok()) << store_->Health();
  writer.join();
  EXPECT_TRUE(store_->Health().ok()) << store_->Health();
  EXPECT_EQ(Get(id_).log_end, Offset(201));
}

TEST_F(HangingDiskTest, AStoreThatWasGivenUpTakesNoWritesAndIsRead) {
  ASSERT_TRUE(Append(id_, {1}).ok());
  store_->Fail("the disk hangs");
  EXPECT_EQ(ReasonOf(Append(id_, {1})), Reason::kStorageFailed);
  EXPECT_THAT(store_->Health().message(), testing::HasSubstr("the disk hangs"));
  EXPECT_FALSE(store_->Maintain(clock_.Now()).ok());
  EXPECT_EQ(ReadOffsets(*store_, id_, Offset(0), Offset(1)), Range(0, 1));
  Open();
  EXPECT_TRUE(Append(id_, {1}).ok());
}

}  // namespace
}  // namespace falaj::log
