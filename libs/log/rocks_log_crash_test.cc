// Crashes and damage. A photograph of the directory of an open store is what kill -9
// leaves; what a power failure leaves is a photograph with its newest bytes cut off or damaged.
#include <functional>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"

#include "libs/base/crc32c.h"
#include "libs/base/status.h"
#include "libs/log/key_format.h"
#include "libs/log/producer_fixture.h"
#include "libs/log/rocks_config.h"
#include "libs/log/store_fixture.h"
#include "libs/log/wal_check.h"

namespace falaj::log {
namespace {

using testing::HasSubstr;

std::string NewestFile(const std::string& directory, const std::string& extension) {
  std::set<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(directory)) {
    if (file.path().extension() == extension) names.insert(file.path().string());
  }
  return names.empty() ? "" : *names.rbegin();
}

class StoreCrashTest : public ProducerStoreTest {
 protected:
  using Families = std::vector<rocksdb::ColumnFamilyHandle*>;  // `default`, `meta`, slabs.

  // Opens the database of the closed store behind its back.
  void OpenDb(const std::function<void(rocksdb::DB*, const Families&)>& visit) const {
    std::vector<std::string> names;
    ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, options_.directory, &names).ok());
    std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
    for (const std::string& name : names) {
      descriptors.emplace_back(name, descriptors.size() < 2 ? MakeMetaOptions(nullptr)
                                                            : MakeSlabOptions(options_, nullptr));
    }
    Families families;
    rocksdb::DB* opened = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open({}, options_.directory, descriptors, &families, &opened).ok());
    const std::unique_ptr<rocksdb::DB> db(opened);
    visit(db.get(), families);
    ASSERT_TRUE(db->Flush({}, families).ok());
    for (rocksdb::ColumnFamilyHandle* family : families) {
      ASSERT_TRUE(db->DestroyColumnFamilyHandle(family).ok());
    }
  }
  static std::vector<std::string> FamiliesAt(const std::string& directory) {
    std::vector<std::string> names;
    EXPECT_TRUE(rocksdb::DB::ListColumnFamilies({}, directory, &names).ok());
    std::sort(names.begin(), names.end());
    return names;
  }
  // What a power failure does that finds `meta` in a table and the newest batches only in the
  // write-ahead log.
  void LoseBatches(LocalPartitionId id, Offset from) const {
    OpenDb([&](rocksdb::DB* db, const Families& families) {
      ASSERT_EQ(families.size(), 3u) << "one slab";
      const std::unique_ptr<rocksdb::Iterator> it(db->NewIterator({}, families[2]));
      int64_t lost = 0;
      for (it->Seek(DataKey(id, from)); it->Valid(); it->Next()) {
        ASSERT_TRUE(db->Delete({}, families[2], it->key()).ok());
        ++lost;
      }
      ASSERT_GT(lost, 0);
    });
  }
  // Works until tables hold so many bytes more than now. They are in the manifest then: a table
  // that is only written would not be found after a power failure.
  void WorkUntilTablesGrow(int64_t bytes, const std::function<void()>& work) const {
    const int64_t before = store_->Stats().table_bytes;
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (store_->Stats().table_bytes < before + bytes) {
      ASSERT_LT(absl::Now(), deadline) << store_->Stats().table_bytes - before << " bytes";
      ASSERT_NO_FATAL_FAILURE(work());
    }
  }
  // Opens the photograph and returns the end of the log, having read all of it.
  void ExpectWhole(const std::string& photograph, LocalPartitionId id, int64_t end_min,
                   int64_t end_max) {
    const auto store = OpenAt(photograph);
    ASSERT_TRUE(store.ok()) << store.status();
    const auto partition = (*store)->GetPartition(id);
    ASSERT_TRUE(partition.ok()) << partition.status();
    const int64_t end = partition->log_end.value();
    EXPECT_GE(end, end_min);
    EXPECT_LE(end, end_max);
    EXPECT_EQ(ReadOffsets(**store, id, Offset(0), kNoLimit), Range(0, end));
    EXPECT_EQ(StoredWindows(**store, id), WindowsOfLog(**store, id));
    Round round;
    round.batches.push_back(MakeWrite(id, partition->log_end, {1}));
    EXPECT_TRUE((*store)->Commit(round, true).ok()) << "it goes on where it ended";
    EXPECT_EQ(ReadOffsets(**store, id, Offset(0), kNoLimit), Range(0, end + 1));
  }
};

TEST_F(StoreCrashTest, AKilledProcessLosesNothingEvenUnsynced) {
  Open();
  const LocalPartitionId id = Partition(0);
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(
        AppendProduced(id, ProducerId(i % 3), 2, 60'000).ok());  // Several memtables in all.
    if (i % 10 == 5) ExpectWhole(Photograph(), id, 2 * i + 2, 2 * i + 2);
  }
}

TEST_F(StoreCrashTest, ATornWriteAheadLogTailCostsOnlyTheTornRounds) {
  Open();
  const LocalPartitionId id = Partition(0);
  ASSERT_TRUE(Append(id, {1}).ok());
  const auto log_size = [this] {
    return std::filesystem::file_size(NewestFile(options_.directory, ".log"));
  };
  std::vector<uint64_t> sizes = {log_size()};  // After each round.
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(AppendProduced(id, ProducerId(1), 3, 500).ok());
    sizes.push_back(log_size());
  }
  for (uint64_t size = sizes.front(); size <= sizes.back(); size += 197) {
    SCOPED_TRACE(size);
    const std::string torn = Photograph();
    std::filesystem::resize_file(NewestFile(torn, ".log"), size);
    const auto complete = std::upper_bound(sizes.begin(), sizes.end(), size) - sizes.begin() - 1;
    ExpectWhole(torn, id, 1 + 3 * complete, 1 + 3 * complete);
  }
}

TEST_F(StoreCrashTest, AFlippedByteInTheWriteAheadLogIsNeverTakenForItsEnd) {
  Open();
  const LocalPartitionId id = Partition(0);
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(Append(id, {1, 2, 3}, 500).ok());
  const std::string whole = Photograph();
  const std::string log = NewestFile(whole, ".log");
  const uint64_t size = std::filesystem::file_size(log);
  ASSERT_GT(size, 32'768u) << "more than a block";
  for (uint64_t position = 3; position < size; position += size / 40) {
    const std::string damaged = Photograph();
    FlipByte(NewestFile(damaged, ".log"), position);
    const auto store = OpenAt(damaged);
    ASSERT_FALSE(store.ok()) << "byte " << position;
    EXPECT_EQ(ReasonOf(store.status()), Reason::kCorruptRecord) << store.status();
    EXPECT_THAT(store.status().message(), HasSubstr(damaged));
  }
}

TEST_F(StoreCrashTest, EveryByteOfTheLastRecordIsCovered) {
  // Its length field is the hard part: RocksDB takes a record that is too long for a torn one.
  Open();
  const LocalPartitionId id = Partition(0);
  ASSERT_TRUE(Append(id, {1}).ok());
  const uint64_t start = std::filesystem::file_size(NewestFile(Photograph(), ".log"));
  ASSERT_TRUE(Append(id, {1}).ok());
  const uint64_t end = std::filesystem::file_size(NewestFile(Photograph(), ".log"));
  for (uint64_t position = start; position < std::min(end, start + 12); ++position) {
    const std::string damaged = Photograph();
    FlipByte(NewestFile(damaged, ".log"), position);
    EXPECT_EQ(ReasonOf(OpenAt(damaged).status()), Reason::kCorruptRecord)
        << "byte " << position - start << " of the record";
  }
}

TEST_F(StoreCrashTest, AFlippedByteInATableIsCorruption) {
  Open();
  const LocalPartitionId id = Partition(0);
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(Append(id, {1}, 30'000).ok());
  store_.reset();  // Flushes.
  uint64_t largest = 0;
  std::string table;
  for (const auto& file : std::filesystem::directory_iterator(options_.directory)) {
    if (file.path().extension() != ".sst" || file.file_size() < largest) continue;
    largest = file.file_size();
    table = file.path().filename().string();
  }
  for (uint64_t position = 1000; position < largest; position += largest / 25) {
    const std::string damaged = Photograph();
    FlipByte(damaged + "/" + table, position);
    SCOPED_TRACE(position);
    const auto store = OpenAt(damaged);
    absl::Status seen = store.status();
    for (int64_t offset = 0; seen.ok() && offset < 30; ++offset) {
      seen = (*store)->Read(id, Offset(offset), kNoLimit, 1).status();
    }
    EXPECT_EQ(ReasonOf(seen), Reason::kCorruptRecord) << seen;
    EXPECT_THAT(seen.message(), HasSubstr(damaged));
  }
}

TEST_F(StoreCrashTest, WhatAnEarlierLifeLeftOfDeletedFilesGoes) {
  Open();
  ASSERT_TRUE(Append(Partition(0), {1}).ok());
  store_.reset();
  const std::string left = options_.directory + "/000099.sst.deleted";
  std::ofstream(left).put('x');
  Open();
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (std::filesystem::exists(left)) ASSERT_LT(absl::Now(), deadline);
}

TEST_F(StoreCrashTest, TablesWithoutCurrentAreNotAnEmptyStore) {
  Open();
  ASSERT_TRUE(Append(Partition(0), {1}).ok());
  store_.reset();
  std::filesystem::remove(options_.directory + "/CURRENT");
  EXPECT_EQ(ReasonOf(OpenAt(options_.directory).status()), Reason::kCorruptRecord);
}

TEST_F(StoreCrashTest, APowerFailureLeavesADenseLogOfWhatReachedTheTables) {
  Open();
  const LocalPartitionId id = Partition(0);
  Open();  // Closing flushed the partition's row.
  int appended = 0;
  ASSERT_NO_FATAL_FAILURE(WorkUntilTablesGrow(2 << 20, [&] {
    if (appended == 60) return absl::SleepFor(absl::Milliseconds(1));
    // The last two keep their rows: the others' batches are found in the tables.
    ASSERT_TRUE(AppendProduced(id, ProducerId(appended++ % 4), 2, 60'000).ok());
  }));
  const std::string photograph = Photograph();
  // Nothing of the write-ahead log had reached the disk, not even the directory rows.
  for (const auto& file : std::filesystem::directory_iterator(photograph)) {
    if (file.path().extension() == ".log") std::filesystem::resize_file(file.path(), 0);
  }
  ExpectWhole(photograph, id, 16, 120);
  const auto again = OpenAt(photograph);
  ASSERT_TRUE(again.ok()) << again.status();
}

TEST_F(StoreCrashTest, ASlabThatWentStaysAwayThoughAPowerFailureTakesTheWholeLog) {
  for (const bool drop : {true, false}) {
    SCOPED_TRACE(drop ? "dropped" : "truncated");
    options_.directory = absl::StrCat(directory_.path(), "/", drop);
    Open();
    const LocalPartitionId gone = Partition(0, {.age = absl::Hours(1), .size_bytes = 0});
    const LocalPartitionId kept = Partition(1, {.age = absl::Hours(24), .size_bytes = 0});
    ASSERT_TRUE(Append(gone, {1, 2}).ok());
    ASSERT_TRUE(Append(kept, {1, 2, 3}).ok());
    Open();  // Closing flushed all that.
    const std::vector<std::string> before = FamiliesAt(Photograph());
    ASSERT_TRUE(drop ? store_->DropPartition(gone).ok() : MoveLogStart(gone, Offset(2)).ok());
    ASSERT_TRUE(Append(kept, {4}).ok());
    ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
    const std::string photograph = Photograph();
    EXPECT_FALSE(std::ranges::includes(FamiliesAt(photograph), before)) << "a slab is gone";
    for (const auto& file : std::filesystem::directory_iterator(photograph)) {
      if (file.path().extension() == ".log") std::filesystem::resize_file(file.path(), 0);
    }
    ExpectWhole(photograph, kept, 3, 3);
    const auto store = OpenAt(photograph);
    ASSERT_TRUE(store.ok()) << store.status();
    const absl::StatusOr<StoredPartition> partition = (*store)->GetPartition(gone);
    EXPECT_EQ(partition.ok(), !drop);
    EXPECT_EQ(partition.value_or(StoredPartition()).log_start, Offset(drop ? 0 : 2));
  }
}

TEST_F(StoreCrashTest, OnlyEndsOfLogsAreOnDiskLaterThanTheirRows) {
  Open();
  const LocalPartitionId gone = Partition(0, {.age = absl::Hours(24), .size_bytes = 0});
  const LocalPartitionId sealed = Partition(1, {.age = absl::Hours(1), .size_bytes = 0});
  const LocalPartitionId moved = Partition(2, {.age = absl::Hours(200), .size_bytes = 0});
  Open();  // Closing flushed the rows so far.
  ASSERT_TRUE(Append(gone, {1}).ok());
  ASSERT_TRUE(Append(sealed, {1, 2}).ok());
  ASSERT_TRUE(Append(moved, {1, 2}).ok());
  ASSERT_TRUE(store_->SetRetention(moved, {.age = absl::Hours(10), .size_bytes = 0}).ok());
  ASSERT_TRUE(Append(moved, {3}).ok());
  ASSERT_TRUE(store_->DropPartition(gone).ok());
  clock_.Advance(absl::Minutes(5));
  ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());  // Seals two slabs and drops one.
  const std::string photograph = Photograph();
  for (const auto& file : std::filesystem::directory_iterator(photograph)) {
    if (file.path().extension() == ".log") std::filesystem::resize_file(file.path(), 0);
  }
  ExpectWhole(photograph, sealed, 2, 2);
  ExpectWhole(photograph, moved, 2, 2);
}

TEST_F(StoreCrashTest, RowsOfProducersThatAPowerFailureTookComeBackFromTheBatches) {
  Open();
  const LocalPartitionId id = Partition(0);
  for (int i = 0; i < 9; ++i) ASSERT_TRUE(AppendProduced(id, ProducerId(i % 2), 1, 20).ok());
  Open();  // Closing flushed these rows: those of 0 and 1 will be older than the log.
  int appended = 0;
  ASSERT_NO_FATAL_FAILURE(WorkUntilTablesGrow(2 << 20, [&] {
    ASSERT_TRUE(AppendProduced(id, ProducerId(1 + appended++ % 2), 1, 60'000).ok());
  }));
  const std::string photograph = Photograph();
  for (const auto& file : std::filesystem::directory_iterator(photograph)) {
    if (file.path().extension() == ".log") std::filesystem::resize_file(file.path(), 0);
  }
  const auto store = OpenAt(photograph);
  ASSERT_TRUE(store.ok()) << store.status();
  ASSERT_GT((*store)->GetPartition(id)->log_end, Offset(20));
  EXPECT_THAT(StoredWindows(**store, id), testing::SizeIs(3));
  EXPECT_EQ(StoredWindows(**store, id), WindowsOfLog(**store, id));
}

TEST_F(StoreCrashTest, RowsOfProducersForgetBatchesThatAPowerFailureTook) {
  Open();
  const LocalPartitionId id = Partition(0);
  constexpr int64_t kAll = 100;  // Nothing is committed: there is no shorter way than the log.
  for (int i = 0; i < 9; ++i) ASSERT_TRUE(AppendProduced(id, ProducerId(1), 1, 20, kAll).ok());
  for (int i = 0; i < 9; ++i) {
    ASSERT_TRUE(AppendProduced(id, ProducerId(1 + i % 4), 1, 20, kAll).ok());
  }
  store_.reset();
  ASSERT_NO_FATAL_FAILURE(LoseBatches(id, Offset(11)));
  for (int pass = 0; pass < 2; ++pass) {
    Open();
    EXPECT_EQ(Get(id).log_end, Offset(11));
    EXPECT_EQ(StoredWindows(*store_, id), WindowsOfLog(*store_, id));
    EXPECT_THAT(StoredWindows(*store_, id), testing::SizeIs(2)) << "1 and 2";
  }
}

TEST_F(StoreCrashTest, AnEpochThatBeganInWhatAPowerFailureTookIsForgotten) {
  Open();
  const LocalPartitionId id = Partition(0);
  for (int epoch = 1; epoch <= 2; ++epoch) {
    Round round;
    round.epochs.push_back({id, {LeaderEpoch(epoch), Get(id).log_end}});
    ASSERT_TRUE(store_->Commit(round, false).ok());
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(Append(id, {1}).ok());
  }
  store_.reset();
  ASSERT_NO_FATAL_FAILURE(LoseBatches(id, Offset(4)));
  for (int pass = 0; pass < 2; ++pass) {
    Open();
    EXPECT_EQ(Get(id).log_end, Offset(4));
    EXPECT_THAT(Get(id).epochs, testing::ElementsAre(EpochStart{LeaderEpoch(1), Offset(0)}));
  }
  store_.reset();
  ASSERT_NO_FATAL_FAILURE(LoseBatches(id, Offset(0)));
  for (int pass = 0; pass < 2; ++pass) {
    Open();
    EXPECT_EQ(Get(id).log_end, Offset(0)) << "all of it";
    ASSERT_TRUE(Append(id, {1}).ok());
    ASSERT_TRUE(store_->TruncateSuffix(id, Offset(0)).ok());
  }
}

TEST_F(StoreCrashTest, AnEpochWhoseRowAPowerFailureTookComesBackFromItsBatches) {
  Open();
  const LocalPartitionId id = Partition(0);
  for (int epoch = 1; epoch <= 3; ++epoch) {
    Round round;
    const Offset end = Get(id).log_end;
    round.epochs.push_back({id, {LeaderEpoch(epoch), end}});
    round.batches.push_back(MakeWrite(id, end, {1, 1}, 20, LeaderEpoch(epoch)));
    ASSERT_TRUE(store_->Commit(round, false).ok());
    if (epoch == 1) Open();  // Closing flushed the rows so far.
  }
  const std::vector<EpochStart> epochs = Get(id).epochs;
  ASSERT_THAT(epochs, testing::SizeIs(3));
  store_.reset();
  std::string row;
  OpenDb([&](rocksdb::DB* db, const Families& families) {
    for (const int epoch : {2, 3}) {
      ASSERT_TRUE(db->Delete({}, families[1], EpochRowKey(id, LeaderEpoch(epoch))).ok());
    }
    ASSERT_TRUE(db->Get({}, families[1], PartitionRowKey(id), &row).ok());
    const auto seen = ParsePartitionRow(row);
    ASSERT_TRUE(seen.has_value());
    PartitionRow before = *seen;
    before.end_seen = Offset(2);
    ASSERT_TRUE(db->Put({}, families[1], PartitionRowKey(id), EncodePartitionRow(before)).ok());
  });
  for (int pass = 0; pass < 2; ++pass) {
    Open();
    EXPECT_EQ(Get(id).epochs, epochs);
  }
}

TEST_F(StoreCrashTest, ADamagedRowOfAProducerIsCorruption) {
  Open();
  const LocalPartitionId id = Partition(0);
  ASSERT_TRUE(AppendProduced(id, ProducerId(1), 1).ok());
  store_.reset();
  OpenDb([&](rocksdb::DB* db, const Families& families) {
    ASSERT_TRUE(db->Put({}, families[1], ProducerRowKey(id, ProducerId(1)), "\2...").ok());
  });
  const auto store = OpenAt(options_.directory);
  EXPECT_EQ(ReasonOf(store.status()), Reason::kCorruptRecord) << store.status();
  EXPECT_THAT(store.status().message(), HasSubstr("newer format"));
}

TEST_F(StoreCrashTest, AForgottenProducerDoesNotComeBackWithItsBatches) {
  Open();
  const LocalPartitionId id = Partition(0);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(AppendProduced(id, ProducerId(i), 1).ok());
  Round round;
  round.producers.push_back({id, {ProducerId(1), record::ProducerHistory()}});
  round.high_watermarks.push_back({id, Offset(2)});
  ASSERT_TRUE(store_->Commit(round, false).ok());
  Open();
  EXPECT_THAT(StoredWindows(*store_, id), testing::ElementsAre(testing::Key(0)));
}

TEST_F(StoreCrashTest, ADroppedPartitionTakesTheRowsOfItsProducersAlong) {
  Open();
  const LocalPartitionId dropped = Partition(0);
  const LocalPartitionId kept = Partition(1);
  ASSERT_TRUE(AppendProduced(dropped, ProducerId(1), 1).ok());
  ASSERT_TRUE(AppendProduced(kept, ProducerId(1), 1).ok());
  ASSERT_TRUE(store_->DropPartition(dropped).ok());
  EXPECT_EQ(ReasonOf(store_->LoadProducers(dropped).status()), Reason::kPartitionNotFound);
  EXPECT_THAT(StoredWindows(*store_, kept), testing::SizeIs(1));
  store_.reset();
  OpenDb([&](rocksdb::DB* db, const Families& families) {
    std::string row;
    EXPECT_TRUE(
        db->Get({}, families[1], ProducerRowKey(dropped, ProducerId(1)), &row).IsNotFound());
    EXPECT_TRUE(db->Get({}, families[1], ProducerRowKey(kept, ProducerId(1)), &row).ok());
  });
}

TEST_F(StoreCrashTest, RowsOfProducersWithoutTheirPartitionGo) {
  Open();
  const LocalPartitionId id = Partition(0);
  ASSERT_TRUE(AppendProduced(id, ProducerId(1), 1).ok());
  const LocalPartitionId gone(77);
  store_.reset();
  OpenDb([&](rocksdb::DB* db, const Families& families) {
    std::string row;
    ASSERT_TRUE(db->Get({}, families[1], ProducerRowKey(id, ProducerId(1)), &row).ok());
    ASSERT_TRUE(db->Put({}, families[1], ProducerRowKey(gone, ProducerId(1)), row).ok());
  });
  Open();
  store_.reset();
  OpenDb([&](rocksdb::DB* db, const Families& families) {
    std::string row;
    EXPECT_TRUE(db->Get({}, families[1], ProducerRowKey(gone, ProducerId(1)), &row).IsNotFound());
    EXPECT_TRUE(db->Get({}, families[1], ProducerRowKey(id, ProducerId(1)), &row).ok());
  });
}

TEST_F(StoreCrashTest, AnIdWhoseRowsAPowerFailureTookIsNotUsedAgain) {
  Open();
  const LocalPartitionId kept = Partition(0);
  Open();  // Closing flushed the rows so far.
  const LocalPartitionId lost = Partition(1);
  ASSERT_NO_FATAL_FAILURE(WorkUntilTablesGrow(
      1 << 19, [&] { ASSERT_TRUE(Append(lost, {1}, 60'000, /*sync=*/false).ok()); }));
  const std::string photograph = Photograph();
  for (const auto& file : std::filesystem::directory_iterator(photograph)) {
    if (file.path().extension() == ".log") std::filesystem::resize_file(file.path(), 0);
  }
  const auto store = OpenAt(photograph);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_TRUE((*store)->GetPartition(kept).ok());
  EXPECT_FALSE((*store)->GetPartition(lost).ok());
  const auto made = (*store)->OpenPartition(MakeKey(2), {});
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_GT(made->id, lost);
  EXPECT_TRUE(ReadOffsets(**store, made->id, Offset(0), kNoLimit).empty());
}

// A full record of a write-ahead log.
std::string WalRecord(const std::string& payload) {
  const std::string summed = '\1' + payload;
  const uint32_t crc = crc32c::Of(summed);
  const uint32_t masked = (crc >> 15 | crc << 17) + 0xa282ead8U;
  std::string record;
  for (int shift = 0; shift < 32; shift += 8) record += static_cast<char>(masked >> shift & 0xff);
  record += static_cast<char>(payload.size());
  return record + '\0' + summed;
}

TEST(WalTailTest, TornIsSoundAndDamagedIsNot) {
  EXPECT_TRUE(WalTailIsSound(""));
  EXPECT_TRUE(WalTailIsSound(std::string(100, '\0')));
  EXPECT_TRUE(WalTailIsSound("garbage that was never a record"));
  const std::string record = WalRecord("one") + WalRecord("two");
  EXPECT_TRUE(WalTailIsSound(record));
  EXPECT_TRUE(WalTailIsSound(record.substr(0, record.size() - 1))) << "torn";
  for (size_t i = 0; i < record.size() / 2; ++i) {
    std::string damaged = record;
    damaged[i] ^= 0x10;
    EXPECT_FALSE(WalTailIsSound(damaged)) << "byte " << i << ", an intact record follows";
  }
  std::string length = record;
  length[record.size() / 2 + 4] ^= 0x10;
  EXPECT_FALSE(WalTailIsSound(length)) << "the last record, complete but for its length";
}

}  // namespace
}  // namespace falaj::log
