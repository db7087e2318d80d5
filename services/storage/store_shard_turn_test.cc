// Who works a store shard off: its own thread, or the one that has put something, at the end of its
// turn.
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "libs/base/clock.h"
#include "libs/base/turn.h"
#include "services/storage/store_shard_fixture.h"

namespace falaj::storage {
namespace {

// Remembers which thread has answered.
class AnsweringThread final : public AppendSink {
 public:
  bool Abandoned() const override { return false; }
  void Answer(AppendAnswer answer) override {
    MutexLock lock(&mu_);
    EXPECT_TRUE(answer.status.ok()) << answer.status;
    threads_.push_back(std::this_thread::get_id());
    came_.NotifyAll();
  }
  void Flush() override {}

  // Which has given answer `number`, the first of which is 1.
  std::thread::id WaitFor(size_t number) {
    MutexLock lock(&mu_);
    while (threads_.size() < number) came_.Wait(&mu_);
    return threads_[number - 1];
  }
  size_t answers() {
    MutexLock lock(&mu_);
    return threads_.size();
  }

 private:
  Mutex mu_;
  CondVar came_;
  std::vector<std::thread::id> threads_ ABSL_GUARDED_BY(mu_);
};

class WaiterThatAsks final : public Partition::Waiter {
 public:
  void Wake(GoOn where) override { woken.push_back(where); }
  std::vector<GoOn> woken;  // Of the test's thread, or of one it has waited for.
};

class StoreShardTurnTest : public StoreShardTest {
 protected:
  // Appends one batch within a turn. True if it was answered by the end of it, here.
  bool IsAnsweredInTurn(AppendTask task) {
    task.sink = sink_;
    const size_t before = sink_->answers();
    {
      const Turn turn;
      EXPECT_TRUE(shard_->Append(std::move(task)).ok());
    }
    return sink_->WaitFor(before + 1) == std::this_thread::get_id();
  }

  // Again and again until it comes out so: as long as the shard's own thread is awake it may be
  // first. (If nothing is ever worked off here, this does not end.)
  void UntilAnsweredInTurn(const std::function<AppendTask()>& task) {
    while (!IsAnsweredInTurn(task())) std::this_thread::yield();
  }
  // Leads it, for records that need no sync, and mostly at rest.
  std::shared_ptr<Partition> LeadAtRest(int32_t partition) {
    auto led = Lead(partition, /*fsync=*/false);
    UntilAnsweredInTurn([&] { return Task(led, 0); });
    return led;
  }

  std::shared_ptr<AnsweringThread> sink_ = std::make_shared<AnsweringThread>();
};

TEST_F(StoreShardTurnTest, AFewSmallBatchesAreWrittenByWhoBringsThem) {
  LeadAtRest(0);
  EXPECT_EQ(store_.rounds().back().round.batches.size(), 1U);
}

TEST_F(StoreShardTurnTest, WhatIsToBeSyncedWaitsForTheShardsThread) {
  auto strict = Lead(1, /*fsync=*/true);
  LeadAtRest(0);
  EXPECT_FALSE(IsAnsweredInTurn(Task(strict, 1)));
}

TEST_F(StoreShardTurnTest, WhatIsLargeWaitsForTheShardsThread) {
  auto partition = LeadAtRest(0);
  UntilAnsweredInTurn([&] { return Task(partition, 1, /*records=*/100); });
  EXPECT_FALSE(IsAnsweredInTurn(Task(partition, 2, /*records=*/2000)));
}

TEST_F(StoreShardTurnTest, WhatIsLargeIsWrittenWhileTheTurnGoesOn) {
  auto partition = LeadAtRest(0);
  const size_t before = sink_->answers();
  const Turn turn;
  AppendTask task = Task(partition, 1, /*records=*/2000);
  task.sink = sink_;
  ASSERT_TRUE(shard_->Append(std::move(task)).ok());
  EXPECT_NE(sink_->WaitFor(before + 1), std::this_thread::get_id());
}

TEST_F(StoreShardTurnTest, SmallBatchesThatAreMuchTogetherWaitForTheShardsThread) {
  auto partition = LeadAtRest(0);
  const size_t before = sink_->answers();
  int64_t bytes = 0;
  {
    const Turn turn;
    for (uint64_t id = 1; id <= 20; ++id) {
      AppendTask task = Task(partition, id, /*records=*/100);
      task.sink = sink_;
      ASSERT_LE(static_cast<int64_t>(task.batch.size()), ShardCore::kQuickBytesMax) << "each is";
      bytes += static_cast<int64_t>(task.batch.size());
      ASSERT_TRUE(shard_->Append(std::move(task)).ok());
    }
  }
  ASSERT_GT(bytes, ShardCore::kQuickBytesMax);
  EXPECT_NE(sink_->WaitFor(before + 20), std::this_thread::get_id());
}

TEST_F(StoreShardTurnTest, WhatIsMuchWaitsForTheShardsThread) {
  auto partition = LeadAtRest(0);
  const size_t before = sink_->answers();
  {
    const Turn turn;
    for (uint64_t id = 1; id <= 33; ++id) {
      AppendTask task = Task(partition, id);
      task.sink = sink_;
      ASSERT_TRUE(shard_->Append(std::move(task)).ok());
    }
  }
  EXPECT_NE(sink_->WaitFor(before + 33), std::this_thread::get_id());
}

TEST_F(StoreShardTurnTest, OutsideOfATurnTheCallerIsNotKept) {
  AppendTask task = Task(LeadAtRest(0), 1);
  task.sink = sink_;
  const size_t before = sink_->answers();
  ASSERT_TRUE(shard_->Append(std::move(task)).ok());
  EXPECT_NE(sink_->WaitFor(before + 1), std::this_thread::get_id());
}

TEST_F(StoreShardTurnTest, WhatAFollowerGetsIsWrittenByWhoBringsIt) {
  Assignment relaxed = Two();
  relaxed.settings.fsync = false;
  Follow(0, 3, {NodeId{1}, NodeId{2}}, relaxed);
  const uint64_t attach_id = Attach(0);
  LeadAtRest(1);
  for (int64_t base = 0;; ++base) {
    const size_t acked = outbox_.acks().size();
    {
      const Turn turn;
      shard_->Replicate(FromLeader(0, attach_id, Offset{base}));
    }
    // Acknowledged when the turn has ended, unless the shard's own thread was first.
    if (outbox_.acks().size() == acked + 1) break;
    Drain();
  }
}

TEST_F(StoreShardTurnTest, WhatElseIsAskedWaitsForTheShardsThreadAndKeepsItsPlace) {
  auto partition = LeadAtRest(0);
  const Offset before = partition->state().log_end;
  std::thread::id commanded;
  Offset seen{-1};
  {
    const Turn turn;
    AppendTask task = Task(partition, 1);
    task.sink = sink_;
    ASSERT_TRUE(shard_->Append(std::move(task)).ok());
    shard_->Post([&] {
      commanded = std::this_thread::get_id();
      seen = partition->state().log_end;
    });
  }
  Drain();
  EXPECT_NE(commanded, std::this_thread::get_id());
  EXPECT_EQ(seen, before + 1) << "after the batch that was put before it";
}

// A disk that hangs keeps one thread; others leave what they bring, and it is not forgotten.
TEST_F(StoreShardTurnTest, WhoFindsSomebodyAtWorkLeavesItToThem) {
  auto partition = LeadAtRest(0);
  const size_t before = sink_->answers();
  store_.Hold();
  std::thread first([&] { IsAnsweredInTurn(Task(partition, 1)); });  // Or the shard has it.
  store_.WaitUntilInside();
  {
    const Turn turn;
    AppendTask task = Task(partition, 2);
    task.sink = sink_;
    ASSERT_TRUE(shard_->Append(std::move(task)).ok());
  }
  EXPECT_EQ(sink_->answers(), before) << "and the turn has ended all the same";
  store_.Release();
  EXPECT_NE(sink_->WaitFor(before + 2), std::this_thread::get_id());
  first.join();
}

TEST_F(StoreShardTurnTest, AFewLongPollsGoOnWhereTheyAreWoken) {
  auto partition = LeadAtRest(0);
  std::vector<std::shared_ptr<WaiterThatAsks>> waiters;
  UntilAnsweredInTurn([&] {
    waiters.clear();
    for (int i = 0; i < 5; ++i) {
      waiters.push_back(std::make_shared<WaiterThatAsks>());
      EXPECT_TRUE(partition->Await(LeaderEpoch{3}, partition->state().high_watermark, waiters[i]));
    }
    return Task(partition, 1);
  });
  int here = 0;
  for (const auto& waiter : waiters) {
    ASSERT_EQ(waiter->woken.size(), 1U);
    here += waiter->woken[0] == GoOn::kHere ? 1 : 0;
  }
  EXPECT_EQ(here, 4) << "the fifth would keep the thread too long";
}

TEST_F(StoreShardTurnTest, TheShardsThreadHasLongPollsGoOnElsewhere) {
  auto partition = Lead(0, /*fsync=*/false);
  const auto waiter = std::make_shared<WaiterThatAsks>();
  ASSERT_TRUE(partition->Await(LeaderEpoch{3}, Offset{0}, waiter));
  ASSERT_TRUE(shard_->Append(Task(partition, 2)).ok());
  answers_->Wait(2);
  EXPECT_EQ(waiter->woken, std::vector<GoOn>{GoOn::kElsewhere});
}

// Nobody is to be kept by a slow disk again and again.
TEST_F(StoreShardTurnTest, AfterASlowWriteTheShardsThreadDoesIt) {
  auto partition = LeadAtRest(0);
  store_.Hold();
  bool was_here = false;
  std::thread first([&] { was_here = IsAnsweredInTurn(Task(partition, 1)); });
  store_.WaitUntilInside();
  const MonotonicTime inside = Clock::Real()->MonotonicNow();
  while (Clock::Real()->MonotonicNow() - inside < absl::Milliseconds(20)) std::this_thread::yield();
  store_.Release();
  first.join();
  if (!was_here) GTEST_SKIP() << "the shard's thread was awake, and first";
  const MonotonicTime begin = Clock::Real()->MonotonicNow();
  const bool here = IsAnsweredInTurn(Task(partition, 2));
  if (Clock::Real()->MonotonicNow() - begin > absl::Milliseconds(500)) {
    GTEST_SKIP() << "the machine stood still for as long as the pause";
  }
  EXPECT_FALSE(here);
}

TEST_F(StoreShardTurnTest, AStoppedShardKeepsNoTurn) {
  auto partition = Lead(0, /*fsync=*/false);
  {
    const Turn turn;
    AppendTask task = Task(partition, 1);
    task.sink = sink_;
    ASSERT_TRUE(shard_->Append(std::move(task)).ok());
    shard_->Stop();
    EXPECT_EQ(sink_->answers(), 1U) << "what it had taken in is answered";
    EXPECT_FALSE(shard_->Append(Task(partition, 2)).ok());
  }
  EXPECT_EQ(sink_->answers(), 1U);
}

}  // namespace
}  // namespace falaj::storage
