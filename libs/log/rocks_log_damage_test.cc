// Damage that RocksDB meets by itself: when it opens a store, and when it compacts.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "libs/log/faulty_file_system.h"
#include "libs/log/key_format.h"
#include "libs/log/store_fixture.h"

namespace falaj::log {
namespace {

namespace fs = std::filesystem;

using testing::ElementsAre;
using testing::HasSubstr;

class StoreDamageTest : public StoreTest {
 protected:
  // A closed store: everything is in tables.
  void MakeClosed() {
    Open();
    for (const int number : {0, 1}) {
      const LocalPartitionId id = Partition(number);
      for (int i = 0; i < 5; ++i) ASSERT_TRUE(Append(id, {1}, 10'000).ok());
    }
    store_.reset();
  }
  // Names of the store's files that begin, or end, like this.
  std::vector<std::string> Files(const std::string& kind) const {
    std::vector<std::string> names;
    for (const auto& [name, size] : Listing()) {
      if (name.starts_with(kind) || name.ends_with(kind)) names.push_back(name);
    }
    EXPECT_FALSE(names.empty()) << kind;
    return names;
  }
  void ExpectRefused(const std::string& directory, const std::string& file) const {
    SCOPED_TRACE(file);
    const auto store = OpenAt(directory);
    ASSERT_FALSE(store.ok());
    EXPECT_EQ(ReasonOf(store.status()), Reason::kCorruptRecord) << store.status();
    EXPECT_THAT(std::string(store.status().message()), HasSubstr(directory));
    EXPECT_THAT(std::string(store.status().message()), HasSubstr(file)) << store.status();
  }
  // Flips a byte so far behind where `text` first stands in each table. Returns in how many.
  int FlipInTables(const std::string& text, size_t behind) const {
    int flipped = 0;
    for (const auto& file : fs::directory_iterator(options_.directory)) {
      if (file.path().extension() != ".sst") continue;
      std::ifstream table(file.path(), std::ios::binary);
      const std::string bytes((std::istreambuf_iterator<char>(table)), {});
      const size_t at = bytes.find(text);
      if (at == std::string::npos || at + behind >= bytes.size()) continue;
      FlipByte(file.path().string(), at + behind);
      ++flipped;
    }
    return flipped;
  }
  // Lets all memtables be flushed, which happens in the background.
  absl::Status MaintainUntilOld() {
    const absl::Status first = store_->Maintain(clock_.Now());
    clock_.Advance(options_.memtable_age_max + absl::Seconds(1));
    return first.ok() ? store_->Maintain(clock_.Now()) : first;
  }
};

TEST_F(StoreDamageTest, AMissingFileIsNamed) {
  MakeClosed();
  std::vector<std::string> all = Files(".sst");
  for (const std::string& name : Files("MANIFEST-")) all.push_back(name);
  all.push_back("CURRENT");
  for (const std::string& name : all) {
    const std::string damaged = Photograph();
    fs::remove(damaged + "/" + name);
    ExpectRefused(damaged, name);
  }
}

TEST_F(StoreDamageTest, AFileThatLacksItsEndIsNamed) {
  MakeClosed();
  for (const std::string& name : Files(".sst")) {
    const std::string damaged = Photograph();
    fs::resize_file(damaged + "/" + name, fs::file_size(damaged + "/" + name) - 1);
    ExpectRefused(damaged, name);
  }
}

TEST_F(StoreDamageTest, ACurrentThatSaysNothingIsNamed) {
  MakeClosed();
  for (const char* const text : {"", "MANIFEST", "something else\n"}) {
    const std::string damaged = Photograph();
    std::ofstream(damaged + "/CURRENT", std::ios::trunc) << text;
    ExpectRefused(damaged, "CURRENT");
  }
  const std::string damaged = Photograph();
  std::ofstream(damaged + "/CURRENT", std::ios::trunc) << "MANIFEST-999999\n";
  ExpectRefused(damaged, "MANIFEST-999999");
}

TEST_F(StoreDamageTest, ALogWithoutCurrentIsNoEmptyStore) {
  Open();
  ASSERT_TRUE(Append(Partition(0), {1}).ok());
  const std::string damaged = Photograph();
  for (const auto& file : fs::directory_iterator(damaged)) {
    ASSERT_NE(file.path().extension(), ".sst") << "all is in the log";
  }
  fs::remove(damaged + "/CURRENT");
  ExpectRefused(damaged, "CURRENT");
}

TEST_F(StoreDamageTest, EveryByteOfTheManifestCounts) {
  MakeClosed();
  const std::string manifest = Files("MANIFEST-").back();
  const uint64_t size = fs::file_size(options_.directory + "/" + manifest);
  for (uint64_t position = 0; position < size; position += 7) {
    SCOPED_TRACE(position);
    const std::string damaged = Photograph();
    FlipByte(damaged + "/" + manifest, position);
    ExpectRefused(damaged, manifest);
    fs::remove_all(damaged);
  }
}

TEST_F(StoreDamageTest, AManifestThatIsLeftOverDoesNotCount) {
  MakeClosed();
  const std::string manifest = options_.directory + "/" + Files("MANIFEST-").back();
  const std::string old = options_.directory + "/MANIFEST-000001";
  ASSERT_NE(manifest, old);
  fs::copy(manifest, old);
  FlipByte(old, 10);
  Open();
  EXPECT_EQ(ReadOffsets(*store_, Partition(0), Offset(0), Offset(5)), Range(0, 5));
}

TEST_F(StoreDamageTest, ADamagedWriteAheadLogIsNamed) {
  Open();
  const LocalPartitionId id = Partition(0);
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(Append(id, {1}, 3000).ok());
  const std::string log = Files(".log").back();
  const std::string damaged = Photograph();
  FlipByte(damaged + "/" + log, 40'000);
  ExpectRefused(damaged, log);
}

TEST_F(StoreDamageTest, WhatTheDiskDoesNotGiveBackIsDamaged) {
  const auto disk = std::make_shared<FaultyFileSystem>();
  const std::unique_ptr<rocksdb::Env> env = MakeEnv(disk);
  options_.env = env.get();
  MakeClosed();
  Open();
  const LocalPartitionId id = Partition(0);
  disk->Set(FaultyFileSystem::Fault::kReadIoError);
  const absl::Status read = store_->Read(id, Offset(0), Offset(5), 1).status();
  EXPECT_EQ(ReasonOf(read), Reason::kCorruptRecord) << read;
  EXPECT_THAT(read.message(), HasSubstr("injected"));
  EXPECT_TRUE(Append(id, {1}).ok()) << "the rest is as it was";
  disk->Set(FaultyFileSystem::Fault::kNone);
  store_.reset();
}

TEST_F(StoreDamageTest, WhatTheDiskDoesNotGiveBackForACutIsDamaged) {
  const auto disk = std::make_shared<FaultyFileSystem>();
  const std::unique_ptr<rocksdb::Env> env = MakeEnv(disk);
  options_.env = env.get();
  Open();
  const LocalPartitionId id = Partition(0);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Append(id, {1}, 40'000).ok());  // A block each.
  Open();
  ASSERT_TRUE(store_->Read(id, Offset(2), Offset(3), 1).ok()) << "this one is cached";
  disk->Set(FaultyFileSystem::Fault::kReadIoError);
  const absl::Status cut = store_->TruncateSuffix(id, Offset(2));
  EXPECT_EQ(ReasonOf(cut), Reason::kCorruptRecord) << cut;
  EXPECT_TRUE(store_->Health().ok()) << store_->Health();
  EXPECT_EQ(Get(id).log_end, Offset(5));
  disk->Set(FaultyFileSystem::Fault::kNone);
  store_.reset();
}

TEST_F(StoreDamageTest, DamageInTheSmallStateThatACompactionMeetsStopsWrites) {
  MakeClosed();
  options_.block_cache_bytes = 1;  // So that the compaction reads what is on disk.
  Open();
  for (const std::string& name : Files(".sst")) FlipByte(options_.directory + "/" + name, 20);
  const LocalPartitionId id = Partition(0);
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while (store_->Health().ok() && absl::Now() < deadline) {
    Round round;
    round.high_watermarks.push_back({id, Offset(1)});
    if (store_->Commit(round, false).ok()) IgnoreError(MaintainUntilOld(), "it fails at the end");
  }
  EXPECT_EQ(ReasonOf(store_->Health()), Reason::kStorageFailed) << store_->Health();
  EXPECT_THAT(store_->Health().message(), HasSubstr(".sst"));
  EXPECT_EQ(ReasonOf(Append(id, {1})), Reason::kStorageFailed);
  store_.reset();
  ExpectRefused(options_.directory, ".sst");
}

TEST_F(StoreDamageTest, DamageInASlabIsFoundBeforeItsTablesAreMerged) {
  Open();
  const LocalPartitionId whole = Partition(0);
  const LocalPartitionId damaged = Partition(1);
  const auto append_both = [&] {  // Each in a block of its own, which begins with the whole key.
    for (const LocalPartitionId id : {whole, damaged}) {
      ASSERT_TRUE(Append(id, {1}, 40'000).ok());
    }
  };
  for (int i = 0; i < 10; ++i) append_both();
  Round round;  // Notes where the logs end, or opening would read all of them.
  for (const LocalPartitionId id : {whole, damaged}) {
    round.high_watermarks.push_back({id, Offset(10)});
  }
  ASSERT_TRUE(store_->Commit(round, false).ok());
  // Closed, as a table of an open store may be merged, or half written, at that moment.
  store_.reset();
  ASSERT_EQ(FlipInTables(DataKey(damaged, Offset(5)), 100), 1);
  Open();
  std::vector<LocalPartitionId> found;
  for (int i = 0; i < 500 && found.empty(); ++i) {
    append_both();
    ASSERT_TRUE(MaintainUntilOld().ok());
    found = store_->TakeDamaged();
  }
  EXPECT_THAT(found, ElementsAre(damaged));
  EXPECT_TRUE(store_->TakeDamaged().empty()) << "it is told once";
  EXPECT_TRUE(store_->Health().ok()) << store_->Health();
  const int64_t end = Get(whole).log_end.value();
  EXPECT_EQ(ReadOffsets(*store_, whole, Offset(0), Offset(end)), Range(0, end));
  EXPECT_EQ(ReasonOf(store_->Read(damaged, Offset(5), Offset(end), 1).status()),
            Reason::kCorruptRecord);
  EXPECT_TRUE(Append(whole, {1}, 20, /*sync=*/true).ok());
  EXPECT_TRUE(MaintainUntilOld().ok()) << "the slab is left alone";
  EXPECT_EQ(store_->Stats().slabs, 2) << "and takes no more batches";
}

}  // namespace
}  // namespace falaj::log
