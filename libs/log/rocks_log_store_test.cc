#include "libs/log/rocks_log_store.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"

#include "libs/base/status.h"
#include "libs/log/store_fixture.h"

namespace falaj::log {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

TEST_F(StoreTest, ReadsBackWhatWasCommittedAlsoAfterReopening) {
  Open();
  const LocalPartitionId a = Partition(0);
  const LocalPartitionId b = Partition(1);
  Round round;
  round.batches.push_back(MakeWrite(a, Offset(0), {10, 11, 12}));
  round.batches.push_back(MakeWrite(b, Offset(0), {20}));
  round.batches.push_back(MakeWrite(a, Offset(3), {5, 6}));
  round.epochs.push_back({a, {.epoch = LeaderEpoch(0), .start = Offset(0)}});
  round.high_watermarks.push_back({a, Offset(3)});
  ASSERT_TRUE(store_->Commit(round, /*sync=*/true).ok());
  for (int pass = 0; pass < 2; ++pass) {
    const StoredPartition stored = Get(a);
    EXPECT_EQ(stored.key, MakeKey(0));
    EXPECT_EQ(stored.log_start, Offset(0));
    EXPECT_EQ(stored.log_end, Offset(5));
    EXPECT_EQ(stored.high_watermark, Offset(3));
    EXPECT_EQ(stored.max_timestamp_ms, 12);
    EXPECT_EQ(stored.size_bytes,
              static_cast<int64_t>(round.batches[0].batch.size() + round.batches[2].batch.size()));
    EXPECT_THAT(stored.epochs,
                ElementsAre(EpochStart{.epoch = LeaderEpoch(0), .start = Offset(0)}));
    EXPECT_EQ(ReadOffsets(*store_, a, Offset(0), kNoLimit), Range(0, 5));
    EXPECT_EQ(ReadOffsets(*store_, b, Offset(0), kNoLimit), Range(0, 1));
    EXPECT_THAT(store_->ListPartitions(), SizeIs(2));
    Open();
  }
}

TEST_F(StoreTest, ReturnsTheStoredBytesUnchanged) {
  Open();
  const LocalPartitionId id = Partition(0);
  Round round;
  round.batches.push_back(MakeWrite(id, Offset(0), {1, 2}, 100, LeaderEpoch(4)));
  // In two pieces, as a batch arrives from the network.
  const Bytes whole = round.batches[0].batch;
  round.batches[0].batch =
      Bytes::Concat(whole.Subrange(0, 16).Compact(), whole.Subrange(16, whole.size() - 16));
  ASSERT_TRUE(store_->Commit(round, false).ok());
  const auto read = store_->Read(id, Offset(1), kNoLimit, 1);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->batches.ToString(), whole.ToString());
  EXPECT_EQ(read->next_offset, Offset(2));
}

TEST_F(StoreTest, ReadRespectsLimitAndBytesAndStartsAtTheLogStart) {
  Open();
  const LocalPartitionId id = Partition(0);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(Append(id, {1, 2, 3}).ok());
  const size_t batch_bytes = store_->Read(id, Offset(0), Offset(3), 1)->batches.size();
  EXPECT_EQ(store_->Read(id, Offset(0), kNoLimit, 3 * batch_bytes)->next_offset, Offset(9));
  EXPECT_EQ(store_->Read(id, Offset(0), kNoLimit, 3 * batch_bytes)->last_batch, 2 * batch_bytes);
  EXPECT_EQ(store_->Read(id, Offset(0), Offset(8), 1 << 20)->next_offset, Offset(6));
  EXPECT_TRUE(store_->Read(id, Offset(0), Offset(2), 1 << 20)->batches.empty());
  EXPECT_EQ(store_->Read(id, Offset(30), kNoLimit, 1 << 20)->next_offset, Offset(30));
  ASSERT_TRUE(MoveLogStart(id, Offset(13)).ok());
  EXPECT_EQ(ReadOffsets(*store_, id, Offset(0), kNoLimit), Range(12, 30));
  EXPECT_EQ(ReasonOf(store_->Read(LocalPartitionId(99), Offset(0), kNoLimit, 1).status()),
            Reason::kPartitionNotFound);
}

TEST_F(StoreTest, FindsOffsetsInsideBatchesOfVeryDifferentLength) {
  Open();
  const LocalPartitionId id = Partition(0);
  ASSERT_TRUE(Append(id, std::vector<int64_t>(500, 1)).ok());
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(Append(id, {1}).ok());
  ASSERT_TRUE(Append(id, std::vector<int64_t>(200, 1)).ok());
  for (const int64_t from : {0, 1, 499, 500, 501, 799, 800, 801, 999}) {
    const std::vector<int64_t> offsets = ReadOffsets(*store_, id, Offset(from), kNoLimit, 1);
    const int64_t base = from < 500 ? 0 : from < 800 ? from : 800;
    ASSERT_THAT(offsets, SizeIs(static_cast<size_t>(1000 - base))) << from;
    EXPECT_EQ(offsets[0], base);
  }
}

TEST_F(StoreTest, SpansSlabsAndSealsThemByAgeAndSize) {
  options_.slab_bytes_max = 100'000;
  Open();
  const LocalPartitionId id = Partition(0, {.age = absl::Hours(2), .size_bytes = 0});
  ASSERT_TRUE(Append(id, {1, 2}).ok());
  clock_.Advance(absl::Minutes(10));  // More than 2 h / 32.
  ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
  EXPECT_EQ(store_->Stats().slabs, 2);
  ASSERT_TRUE(Append(id, {3, 4}, 80'000).ok());
  ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
  EXPECT_EQ(store_->Stats().slabs, 3);
  ASSERT_TRUE(Append(id, {5}).ok());
  ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
  EXPECT_EQ(store_->Stats().slabs, 3) << "neither old nor large";
  for (int pass = 0; pass < 2; ++pass) {
    EXPECT_EQ(ReadOffsets(*store_, id, Offset(0), kNoLimit, 1 << 20), Range(0, 5));
    EXPECT_EQ(store_->Read(id, Offset(0), kNoLimit, 1 << 20)->next_offset, Offset(5));
    Open();
  }
}

TEST_F(StoreTest, AgedSlabsGoOnceEveryPartitionHasMovedOn) {
  Open();
  const RetentionPolicy hour = {.age = absl::Hours(1), .size_bytes = 0};
  const LocalPartitionId a = Partition(0, hour);
  const LocalPartitionId b = Partition(1, hour);
  const int64_t now = absl::ToUnixMillis(clock_.Now());
  ASSERT_TRUE(Append(a, {now, now}).ok());
  ASSERT_TRUE(Append(b, {now}).ok());
  clock_.Advance(absl::Minutes(5));
  ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
  ASSERT_TRUE(Append(a, {now + 300'000}).ok());
  EXPECT_EQ(*store_->PlanRetention(a, clock_.Now(), kNoLimit), std::nullopt);
  clock_.Advance(absl::Minutes(58));
  const auto start = store_->PlanRetention(a, clock_.Now(), kNoLimit);
  ASSERT_TRUE(start.ok() && start->has_value());
  EXPECT_EQ(**start, Offset(2));
  EXPECT_EQ(*store_->PlanRetention(a, clock_.Now(), Offset(1)), std::nullopt)
      << "not beyond the high watermark";
  Round round;
  round.log_starts.push_back({a, **start});
  ASSERT_TRUE(store_->Commit(round, true).ok());
  ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
  EXPECT_EQ(store_->Stats().slabs, 3) << "b still needs the first slab";
  round.log_starts = {{b, Offset(1)}};
  ASSERT_TRUE(store_->Commit(round, true).ok());
  ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
  EXPECT_EQ(store_->Stats().slabs, 2);
  Open();
  EXPECT_EQ(Get(a).log_start, Offset(2));
  EXPECT_EQ(ReadOffsets(*store_, a, Offset(0), kNoLimit), Range(2, 3));
  EXPECT_EQ(Get(b).log_start, Offset(1));
  EXPECT_EQ(Get(b).log_end, Offset(1)) << "an emptied log goes on where it was";
}

TEST_F(StoreTest, WhatWasDeletedOfTheOnlyTopicComesBackAtOnce) {
  const RetentionPolicy week = {.age = absl::Hours(24 * 7), .size_bytes = 0};
  for (const bool drop : {true, false}) {
    for (const bool reopen : {true, false}) {
      SCOPED_TRACE(absl::StrCat(drop ? "dropped" : "truncated", reopen ? ", reopened" : ""));
      options_.directory = absl::StrCat(directory_.path(), "/", drop, reopen);
      Open();
      const LocalPartitionId id = Partition(0, week);
      for (int i = 0; i < 80; ++i) ASSERT_TRUE(Append(id, {1}, 60'000).ok());
      if (drop) {
        ASSERT_TRUE(store_->DropPartition(id).ok());
      } else {
        ASSERT_TRUE(MoveLogStart(id, Offset(80)).ok());
      }
      if (reopen) Open();
      EXPECT_TRUE(Shrinks(100'000));
      EXPECT_EQ(store_->Stats().slabs, 1);
      const LocalPartitionId next = drop ? Partition(0, week) : id;
      ASSERT_TRUE(Append(next, {1}).ok());
      Open();
      const int64_t first = drop ? 0 : 80;
      EXPECT_EQ(ReadOffsets(*store_, next, Offset(0), kNoLimit), Range(first, first + 1));
    }
  }
}

TEST_F(StoreTest, DeletingAgainAndAgainMakesASlabOnlyNowAndThen) {
  Open();
  const LocalPartitionId id = Partition(0);
  for (int64_t second = 0; second < 30; ++second) {
    ASSERT_TRUE(Append(id, {1}).ok());
    ASSERT_TRUE(MoveLogStart(id, Offset(second + 1)).ok());
    ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
    clock_.Advance(absl::Seconds(1));
    EXPECT_EQ(store_->Stats().slabs, 1);
  }
  store_.reset();
  std::vector<std::string> names;
  ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, options_.directory, &names).ok());
  EXPECT_THAT(names, Contains("slab/5/4")) << "three were dropped";
}

TEST_F(StoreTest, RetentionThatWasShortenedReachesWhatWasAppendedBefore) {
  Open();
  const LocalPartitionId id = Partition(0);  // For ever.
  ASSERT_TRUE(Append(id, {1, 1}).ok());
  ASSERT_TRUE(store_->SetRetention(id, {.age = absl::Hours(1), .size_bytes = 0}).ok());
  ASSERT_TRUE(Append(id, {1}).ok());
  clock_.Advance(absl::Minutes(61));
  const auto plan = [&] { return *store_->PlanRetention(id, clock_.Now(), kNoLimit); };
  EXPECT_EQ(plan(), std::nullopt) << "the slab takes batches yet";
  ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
  EXPECT_EQ(plan(), Offset(3)) << "the timestamps are old";
}

TEST_F(StoreTest, FutureTimestampsDoNotDelayRetention) {
  Open();
  const LocalPartitionId id = Partition(0, {.age = absl::Hours(1), .size_bytes = 0});
  ASSERT_TRUE(Append(id, {absl::ToUnixMillis(clock_.Now() + absl::Hours(24 * 365))}).ok());
  clock_.Advance(absl::Minutes(5));
  ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
  clock_.Advance(absl::Minutes(61));
  EXPECT_EQ(*store_->PlanRetention(id, clock_.Now(), kNoLimit), std::optional<Offset>(Offset(1)));
}

TEST_F(StoreTest, RetentionBySizeKeepsTheNewestSlabs) {
  options_.slab_bytes_max = 80'000;  // 10,000 for partitions limited by size.
  Open();
  const LocalPartitionId id = Partition(0, {.age = absl::InfiniteDuration(), .size_bytes = 25'000});
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(Append(id, {1}, 10'000).ok());
    ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
  }
  EXPECT_GT(Get(id).size_bytes, 50'000);
  EXPECT_EQ(*store_->PlanRetention(id, clock_.Now(), kNoLimit), std::optional<Offset>(Offset(2)))
      << "three batches are the least that is not below the limit";
}

TEST_F(StoreTest, ALimitBySizeIsMetCloselyAlsoWithAnAge) {
  options_.slab_bytes_max = 8 << 20;
  Open();
  constexpr int64_t kLimit = 400'000;
  const LocalPartitionId id = Partition(0, {.age = absl::Hours(24 * 7), .size_bytes = kLimit});
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(Append(id, {absl::ToUnixMillis(clock_.Now())}, 10'000).ok());
    ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
    const auto start = store_->PlanRetention(id, clock_.Now(), kNoLimit);
    ASSERT_TRUE(start.ok()) << start.status();
    if (!start->has_value()) continue;
    ASSERT_TRUE(MoveLogStart(id, **start).ok());
  }
  EXPECT_GE(Get(id).size_bytes, kLimit);
  EXPECT_LT(Get(id).size_bytes, kLimit + 80'000) << "a slab of 64 KiB and a batch";
}

TEST_F(StoreTest, ALogStartBeyondTheEndEmptiesTheLog) {
  Open();
  const LocalPartitionId id = Partition(0);
  ASSERT_TRUE(Append(id, {1, 2, 3}).ok());
  Round round;
  round.log_starts.push_back({id, Offset(100)});
  round.batches.push_back(MakeWrite(id, Offset(100), {7}));
  ASSERT_TRUE(store_->Commit(round, false).ok());
  for (int pass = 0; pass < 2; ++pass) {
    EXPECT_EQ(Get(id).log_start, Offset(100));
    EXPECT_EQ(ReadOffsets(*store_, id, Offset(0), kNoLimit), Range(100, 101));
    Open();
  }
}

TEST_F(StoreTest, TheEpochThatHoldsTheLogStartBeginsThere) {
  Open();
  const LocalPartitionId id = Partition(0);
  Round round;
  round.epochs.push_back({id, {.epoch = LeaderEpoch(4), .start = Offset(0)}});
  round.batches.push_back(MakeWrite(id, Offset(0), {1, 1}, 20, LeaderEpoch(4)));
  ASSERT_TRUE(store_->Commit(round, false).ok());
  round = Round();
  round.epochs.push_back({id, {.epoch = LeaderEpoch(7), .start = Offset(2)}});
  round.batches.push_back(MakeWrite(id, Offset(2), {1, 1, 1}, 20, LeaderEpoch(7)));
  ASSERT_TRUE(store_->Commit(round, false).ok());
  const std::vector<std::pair<int64_t, std::vector<EpochStart>>> expected = {
      {1, {{LeaderEpoch(4), Offset(1)}, {LeaderEpoch(7), Offset(2)}}},
      {2, {{LeaderEpoch(7), Offset(2)}}},
      {20, {{LeaderEpoch(7), Offset(20)}}}};
  for (const auto& [log_start, epochs] : expected) {
    round = Round();
    round.log_starts.push_back({id, Offset(log_start)});
    ASSERT_TRUE(store_->Commit(round, false).ok());
    EXPECT_EQ(Get(id).epochs, epochs);
    Open();
    EXPECT_EQ(Get(id).epochs, epochs) << "also on disk";
  }
}

TEST_F(StoreTest, AnEmptyLogMayBeginWithinItsFirstBatch) {
  Open();
  const LocalPartitionId id = Partition(0);
  ASSERT_TRUE(Append(id, {1, 2, 3}).ok());
  Round start;
  start.log_starts.push_back({id, Offset(100)});
  ASSERT_TRUE(store_->Commit(start, false).ok());
  Round batch;
  batch.batches.push_back(MakeWrite(id, Offset(98), {7, 8, 9, 10}));
  ASSERT_TRUE(store_->Commit(batch, false).ok());
  for (int pass = 0; pass < 2; ++pass) {
    EXPECT_EQ(Get(id).log_start, Offset(100));
    EXPECT_EQ(Get(id).log_end, Offset(102));
    EXPECT_EQ(ReadOffsets(*store_, id, Offset(100), kNoLimit), Range(98, 102));
    Open();
  }
  Round again;
  again.batches.push_back(MakeWrite(id, Offset(101), {1, 2}));
  EXPECT_EQ(ReasonOf(store_->Commit(again, false)), Reason::kInternal) << "only the first";
  ASSERT_TRUE(Append(id, {11}).ok());
  EXPECT_EQ(Get(id).log_end, Offset(103));
}

TEST_F(StoreTest, RefusesABatchThatDoesNotContinueTheLogAndChangesNothing) {
  Open();
  const LocalPartitionId id = Partition(0);
  ASSERT_TRUE(Append(id, {1}).ok());
  Round round;
  round.batches.push_back(MakeWrite(id, Offset(1), {1}));
  round.batches.push_back(MakeWrite(id, Offset(5), {1}));
  round.high_watermarks.push_back({id, Offset(1)});
  EXPECT_EQ(ReasonOf(store_->Commit(round, false)), Reason::kInternal);
  EXPECT_EQ(Get(id).log_end, Offset(1));
  EXPECT_EQ(Get(id).high_watermark, Offset(0));
  EXPECT_TRUE(Append(id, {1}).ok());
  round.batches = {MakeWrite(LocalPartitionId(77), Offset(0), {1})};
  EXPECT_EQ(ReasonOf(store_->Commit(round, false)), Reason::kPartitionNotFound);
}

TEST_F(StoreTest, TruncatesASuffixWithItsEpochs) {
  options_.slab_bytes_max = 1000;
  Open();
  const LocalPartitionId id = Partition(0);
  for (int i = 0; i < 6; ++i) {
    Round round;
    round.batches.push_back(MakeWrite(id, Offset(i * 2), {i, i}, 300));
    round.epochs.push_back({id, {.epoch = LeaderEpoch(i), .start = Offset(i * 2)}});
    round.high_watermarks.push_back({id, Offset(i * 2 + 2)});
    ASSERT_TRUE(store_->Commit(round, false).ok());
    ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
  }
  ASSERT_TRUE(store_->TruncateSuffix(id, Offset(4)).ok());
  for (int pass = 0; pass < 2; ++pass) {
    const StoredPartition stored = Get(id);
    EXPECT_EQ(stored.log_end, Offset(4));
    EXPECT_EQ(stored.high_watermark, Offset(4));
    EXPECT_EQ(stored.max_timestamp_ms, 1);
    EXPECT_THAT(stored.epochs, SizeIs(2));
    EXPECT_EQ(ReadOffsets(*store_, id, Offset(0), kNoLimit), Range(0, 4));
    Open();
  }
  ASSERT_TRUE(Append(id, {9, 9, 9}).ok());
  EXPECT_EQ(ReadOffsets(*store_, id, Offset(0), kNoLimit), Range(0, 7));
  ASSERT_TRUE(store_->TruncateSuffix(id, Offset(5)).ok());
  EXPECT_EQ(Get(id).log_end, Offset(4)) << "a batch goes whole";
  ASSERT_TRUE(store_->TruncateSuffix(id, Offset(0)).ok());
  EXPECT_EQ(Get(id).log_end, Offset(0));
  EXPECT_EQ(Get(id).max_timestamp_ms, -1);
  EXPECT_THAT(Get(id).epochs, IsEmpty());
}

TEST_F(StoreTest, ARecreatedPartitionSharesNothingWithTheDroppedOne) {
  Open();
  const LocalPartitionId old_id = Partition(0);
  ASSERT_TRUE(Append(old_id, {1, 2, 3}).ok());
  ASSERT_TRUE(store_->DropPartition(old_id).ok());
  ASSERT_TRUE(store_->DropPartition(old_id).ok()) << "unknown ids are not an error";
  EXPECT_EQ(ReasonOf(store_->Read(old_id, Offset(0), kNoLimit, 1).status()),
            Reason::kPartitionNotFound);
  const LocalPartitionId new_id = Partition(0);
  EXPECT_NE(new_id, old_id);
  EXPECT_EQ(Get(new_id).log_end, Offset(0));
  EXPECT_THAT(ReadOffsets(*store_, new_id, Offset(0), kNoLimit), IsEmpty());
  ASSERT_TRUE(store_->DropPartition(new_id).ok());
  Open();
  EXPECT_THAT(store_->ListPartitions(), IsEmpty());
  EXPECT_GT(Partition(0), new_id) << "ids are never used again, also after a restart";
}

TEST_F(StoreTest, ChangedRetentionMovesNewBatchesToAnotherSlab) {
  Open();
  const LocalPartitionId id = Partition(0, {.age = absl::Hours(1), .size_bytes = 0});
  ASSERT_TRUE(Append(id, {1, 1}).ok());
  ASSERT_TRUE(store_->SetRetention(id, {.age = absl::Hours(24), .size_bytes = 0}).ok());
  ASSERT_TRUE(Append(id, {1, 1}).ok());
  ASSERT_TRUE(store_->SetRetention(id, {.age = absl::Hours(1), .size_bytes = 0}).ok());
  ASSERT_TRUE(Append(id, {1, 1}).ok());
  EXPECT_EQ(store_->Stats().slabs, 2);
  for (int pass = 0; pass < 2; ++pass) {
    EXPECT_EQ(ReadOffsets(*store_, id, Offset(0), kNoLimit, 1 << 20), Range(0, 6));
    Open();
  }
}

TEST_F(StoreTest, FindTimeAgreesWithAScan) {
  options_.slab_bytes_max = 3000;
  Open();
  const LocalPartitionId id = Partition(0);
  Random random(5);
  std::vector<int64_t> timestamps;
  for (int i = 0; i < 60; ++i) {
    std::vector<int64_t> batch;
    for (uint64_t n = 1 + random.Below(6); n > 0; --n) {
      batch.push_back(i * 10 + random.Between(-40, 40));  // Not in order.
    }
    timestamps.insert(timestamps.end(), batch.begin(), batch.end());
    ASSERT_TRUE(Append(id, batch).ok());
    if (i % 7 == 0) {
      ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
    }
  }
  const auto end = static_cast<int64_t>(timestamps.size());
  for (const int64_t start : {int64_t{0}, end / 2 + 1}) {
    ASSERT_TRUE(MoveLogStart(id, Offset(start)).ok());
    Open();
    for (int64_t when = -50; when < 700; when += 7) {
      const int64_t limit = when % 2 == 0 ? end : end - 20;
      int64_t expected = start;
      while (expected < end && timestamps[static_cast<size_t>(expected)] < when) ++expected;
      const auto found = store_->FindTime(id, when, Offset(limit));
      ASSERT_TRUE(found.ok()) << found.status();
      if (expected >= limit) {
        EXPECT_FALSE(found->has_value()) << when;
      } else {
        ASSERT_TRUE(found->has_value()) << when;
        EXPECT_EQ((*found)->offset, Offset(expected)) << when;
        EXPECT_EQ((*found)->timestamp_ms, timestamps[static_cast<size_t>(expected)]);
      }
    }
  }
}

TEST_F(StoreTest, AMemtableIsFlushedForTheLogWrittenSinceItsFirstRow) {
  options_.wal_bytes_max = 2 << 20;
  Open();
  const LocalPartitionId id = Partition(0);
  const auto tables = [this] {
    return std::ranges::count_if(Listing(),
                                 [](const auto& file) { return file.first.ends_with(".sst"); });
  };
  ASSERT_TRUE(Append(id, {1}).ok());
  ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
  while (store_->Stats().wal_written_bytes < options_.wal_bytes_max) {
    ASSERT_TRUE(Append(id, {1}, 60'000).ok());
  }
  // Of `meta`, and of the slab, which RocksDB flushes meanwhile, too.
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (tables() < 3 && absl::Now() < deadline) {
    ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
  }
  const auto before = tables();
  ASSERT_GE(before, 3);
  // From here on little is written: nothing is to be flushed for it.
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(Append(id, {1}).ok());
    ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_LE(tables(), before + 3) << "what was under way";
}

TEST_F(StoreTest, OldMemtablesAreFlushedSoThatTheyPinNoWriteAheadLog) {
  Open();
  const LocalPartitionId id = Partition(0);
  ASSERT_TRUE(Append(id, {1}).ok());
  ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
  clock_.Advance(options_.memtable_age_max);
  EXPECT_EQ(store_->Stats().flushed_bytes, 0);
  ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (store_->Stats().flushed_bytes == 0 && absl::Now() < deadline) {
    ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
  }
  EXPECT_GT(store_->Stats().flushed_bytes, 0);
  EXPECT_EQ(ReadOffsets(*store_, id, Offset(0), kNoLimit), Range(0, 1));
}

TEST_F(StoreTest, ReadersSeeADenseLogWhileAppenderAndMaintenanceWork) {
  options_.slab_bytes_max = 40'000;
  options_.memtable_bytes = 64 << 10;
  Open();
  const LocalPartitionId id = Partition(0);
  std::atomic<bool> done = false;
  std::atomic<int64_t> committed = 0;
  const auto read_all = [&] {
    int64_t reads = 0;
    while (!done || reads == 0) {
      const Offset limit(committed.load());
      const StoredPartition stored = Get(id);
      Offset from = stored.log_start;
      const auto read = store_->Read(id, from, limit, 1 << 20);
      ASSERT_TRUE(read.ok()) << read.status();
      Offset expected{};
      record::BatchIterator batches(read->batches);
      for (int i = 0;; ++i) {
        const auto batch = batches.Next();
        ASSERT_TRUE(batch.ok()) << batch.status();
        if (!batch->has_value()) break;
        if (i > 0) {
          ASSERT_EQ(batches.header().base_offset, expected);
        }
        expected = batches.header().next_offset();
        ASSERT_LE(expected, limit);
      }
      ++reads;
    }
  };
  std::thread maintainer([&] {
    while (!done) ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
  });
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) readers.emplace_back(read_all);
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(Append(id, {i, i, i}, 1000).ok());
    committed = Get(id).log_end.value();
    if (i % 20 == 19) {
      ASSERT_TRUE(MoveLogStart(id, Offset(committed - 40)).ok());
    }
    if (i % 50 == 49) {
      // Above what readers may see: a follower's diverged suffix.
      ASSERT_TRUE(Append(id, {0}, 1000).ok());
      ASSERT_TRUE(store_->TruncateSuffix(id, Offset(committed.load())).ok());
    }
  }
  done = true;
  maintainer.join();
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(Get(id).log_end, Offset(900));
}

// RocksDB 7.8.3 aborts the process at the second line that does not fit on the disk into its own
// log.
TEST_F(StoreTest, RocksDbKeepsNoLogFileThatAFullDiskCouldBreak) {
  Open();
  ASSERT_TRUE(Append(Partition(0), {1}, 1000, /*sync=*/true).ok());
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_.path())) {
    EXPECT_NE(entry.path().filename().string().substr(0, 3), "LOG") << entry.path();
  }
}

TEST_F(StoreTest, ACommitInStepsCanBeReadBeforeItIsSynced) {
  Open();
  const LocalPartitionId id = Partition(0);
  Round round;
  round.batches.push_back(MakeWrite(id, Offset(0), {10}));
  bool read = false;
  ASSERT_TRUE(store_
                  ->CommitInSteps(round,
                                  [&] {
                                    EXPECT_EQ(store_->Stats().commits_synced, 0);
                                    const auto found =
                                        store_->Read(id, Offset(0), kNoLimit, 1 << 20);
                                    ASSERT_TRUE(found.ok()) << found.status();
                                    read = found->next_offset == Offset(1);
                                  })
                  .ok());
  EXPECT_TRUE(read);
  EXPECT_EQ(store_->Stats().commits_synced, 1);
}

TEST_F(StoreTest, StatsCountCommitsAndReads) {
  Open();
  const LocalPartitionId id = Partition(0);
  ASSERT_TRUE(Append(id, {1}, 1000, /*sync=*/true).ok());
  ASSERT_TRUE(Append(id, {1}, 1000, /*sync=*/false).ok());
  ASSERT_TRUE(store_->Read(id, Offset(0), kNoLimit, 1 << 20).ok());
  const StoreStats stats = store_->Stats();
  EXPECT_EQ(stats.partitions, 1);
  EXPECT_EQ(stats.commits, 2);
  EXPECT_EQ(stats.commits_synced, 1);
  EXPECT_GT(stats.payload_bytes, 2000);
  EXPECT_EQ(stats.read_bytes, stats.payload_bytes);
  EXPECT_GT(stats.wal_bytes, stats.payload_bytes);
  EXPECT_GT(stats.memtable_bytes, 0);
}

}  // namespace
}  // namespace falaj::log
