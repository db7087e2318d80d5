// What the tests of the store share: directories and batches.
#ifndef LIBS_LOG_STORE_FIXTURE_H_
#define LIBS_LOG_STORE_FIXTURE_H_

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "rocksdb/env.h"

#include "libs/base/testing/temp_directory.h"
#include "libs/log/rocks_log_store.h"
#include "libs/record/batch_builder.h"
#include "libs/record/batch_header.h"
#include "libs/record/batch_reader.h"

namespace falaj::log {

inline const Offset kNoLimit(INT64_MAX);

inline void FlipByte(const std::string& path, uint64_t position) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(position));
  const int byte = file.get();
  file.seekp(static_cast<std::streamoff>(position));
  file.put(static_cast<char>(byte ^ 0x10));
}

// A batch whose records have the given timestamps, stamped for its place.
inline Bytes MakeBatch(Offset base, LeaderEpoch epoch, const std::vector<int64_t>& timestamps,
                       size_t value_bytes = 20) {
  record::BatchBuilder builder;
  for (size_t i = 0; i < timestamps.size(); ++i) {
    const std::string value = absl::StrCat(base + static_cast<int64_t>(i), "/");
    builder.Add(timestamps[i], "key", value + std::string(value_bytes, 'v'));
  }
  absl::StatusOr<Bytes> batch = builder.Build({.base_offset = base, .leader_epoch = epoch});
  EXPECT_TRUE(batch.ok()) << batch.status();
  return *std::move(batch);
}

inline BatchWrite MakeWrite(LocalPartitionId id, Offset base,
                            const std::vector<int64_t>& timestamps, size_t value_bytes = 20,
                            LeaderEpoch epoch = LeaderEpoch(0)) {
  BatchWrite write;
  write.partition = id;
  write.base_offset = base;
  write.last_offset = base + (static_cast<int64_t>(timestamps.size()) - 1);
  write.max_timestamp_ms = *std::max_element(timestamps.begin(), timestamps.end());
  write.batch = MakeBatch(base, epoch, timestamps, value_bytes);
  return write;
}

inline PartitionKey MakeKey(int number) {
  return {.topic = Uuid::FromRandomBits(7, 7), .partition = PartitionIndex(number)};
}

// A store in a directory, with small memtables, that can be closed, reopened and photographed.
class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    options_.directory = directory_.path() + "/store";
    options_.clock = &clock_;
    options_.memtable_bytes = 1 << 20;
    options_.block_cache_bytes = 4 << 20;
  }

  void Open() {
    store_.reset();
    absl::StatusOr<std::unique_ptr<RocksLogStore>> store = RocksLogStore::Open(options_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  // What kill -9 leaves behind: the files as they are at one moment while the store is open.
  std::string Photograph() {
    const std::string copy = absl::StrCat(directory_.path(), "/copy", ++photographs_);
    while (true) {
      // RocksDB may flush meanwhile: a copy counts if files and manifest are the same afterwards.
      const std::map<std::string, uintmax_t> before = Listing();
      std::error_code error;
      std::filesystem::remove_all(copy);
      std::filesystem::copy(options_.directory, copy, std::filesystem::copy_options::recursive,
                            error);
      if (!error && Listing() == before) return copy;
    }
  }
  absl::StatusOr<std::unique_ptr<RocksLogStore>> OpenAt(const std::string& directory) const {
    RocksLogStore::Options options = options_;
    options.directory = directory;
    return RocksLogStore::Open(options);
  }
  LocalPartitionId Partition(int number, const RetentionPolicy& retention = {}) {
    const absl::StatusOr<StoredPartition> partition =
        store_->OpenPartition(MakeKey(number), retention);
    EXPECT_TRUE(partition.ok()) << partition.status();
    return partition->id;
  }
  StoredPartition Get(LocalPartitionId id) const {
    const absl::StatusOr<StoredPartition> partition = store_->GetPartition(id);
    EXPECT_TRUE(partition.ok()) << partition.status();
    return partition.value_or(StoredPartition());
  }
  // Appends one batch of records with these timestamps.
  absl::Status Append(LocalPartitionId id, const std::vector<int64_t>& timestamps,
                      size_t value_bytes = 20, bool sync = false) {
    Round round;
    round.batches.push_back(MakeWrite(id, Get(id).log_end, timestamps, value_bytes));
    return store_->Commit(round, sync);
  }
  // The offsets of the records read from `from` on, over as many reads as it takes.
  static std::vector<int64_t> ReadOffsets(const RocksLogStore& store, LocalPartitionId id,
                                          Offset from, Offset limit, size_t bytes_max = 4096) {
    std::vector<int64_t> offsets;
    while (true) {
      const absl::StatusOr<ReadResult> read = store.Read(id, from, limit, bytes_max);
      EXPECT_TRUE(read.ok()) << read.status();
      if (!read.ok() || read->batches.empty()) return offsets;
      EXPECT_GT(read->next_offset, from);
      if (read->next_offset <= from) return offsets;  // Or it would never end.
      record::BatchIterator batches(read->batches);
      while (true) {
        const auto batch = batches.Next();
        EXPECT_TRUE(batch.ok()) << batch.status();
        if (!batch.ok() || !batch->has_value()) break;
        EXPECT_TRUE(
            record::ForEachRecord(**batch, record::Limits(), [&](const record::RecordView& record) {
              offsets.push_back(record.offset.value());
            }).ok());
      }
      from = read->next_offset;
    }
  }
  static std::vector<int64_t> Range(int64_t first, int64_t end) {
    std::vector<int64_t> range;
    for (int64_t i = first; i < end; ++i) range.push_back(i);
    return range;
  }

  absl::Status MoveLogStart(LocalPartitionId id, Offset start) {
    Round round;
    round.log_starts.push_back({id, start});
    return store_->Commit(round, false);
  }
  // The bytes of the store's tables.
  uint64_t TableBytes() const {
    uint64_t bytes = 0;
    for (const auto& file : std::filesystem::directory_iterator(options_.directory)) {
      std::error_code gone;
      const uintmax_t size = file.file_size(gone);
      if (file.path().extension() == ".sst" && !gone) bytes += size;
    }
    return bytes;
  }
  // Maintains until the tables take less: RocksDB deletes files in the background.
  testing::AssertionResult Shrinks(uint64_t bytes) {
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (absl::Now() < deadline) {
      const absl::Status maintained = store_->Maintain(clock_.Now());
      if (!maintained.ok()) return testing::AssertionFailure() << maintained;
      if (TableBytes() < bytes) return testing::AssertionSuccess();
    }
    return testing::AssertionFailure() << "the tables take " << TableBytes();
  }

  // The names of the store's files and the sizes of those that say what the others are.
  std::map<std::string, uintmax_t> Listing() const {
    std::map<std::string, uintmax_t> files;
    for (const auto& file : std::filesystem::directory_iterator(options_.directory)) {
      const std::string name = file.path().filename().string();
      std::error_code gone;
      files[name] = name.starts_with("MANIFEST") ? file.file_size(gone) : 0;
    }
    return files;
  }

  TempDirectory directory_;
  ManualClock clock_;
  RocksLogStore::Options options_;
  std::unique_ptr<RocksLogStore> store_;
  int photographs_ = 0;
};

}  // namespace falaj::log

#endif  // LIBS_LOG_STORE_FIXTURE_H_
