// `falaj debug verify` against stores that are right, and stores with a planted difference.
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "libs/base/testing/temp_directory.h"
#include "libs/log/rocks_log_store.h"
#include "libs/log/store_fixture.h"
#include "services/cli/commands.h"
#include "services/cli/replica_comparison.h"
#include "services/storage/known_history.h"

namespace falaj::cli {
namespace {

const LocalPartitionId kUnset;

// Batches of two records with the values "0/", "1/" and so on; the checksum differs with `time`.
log::BatchWrite Batch(int64_t base, int64_t time = 1, int32_t epoch = 0) {
  return log::MakeWrite(kUnset, Offset(base), {time, time}, 0, LeaderEpoch(epoch));
}

class VerifyTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const {
    return absl::StrCat(directory_.path(), "/", name);
  }

  // Makes the data directory of a node with these batches in partition 0.
  void Write(const std::string& node, std::vector<log::BatchWrite> batches, int64_t high_watermark,
             int64_t log_start = 0) {
    log::RocksLogStore::Options options;
    options.directory = Path(node) + "/shard-0";
    std::filesystem::create_directories(Path(node));
    const auto store = log::RocksLogStore::Open(options);
    ASSERT_TRUE(store.ok()) << store.status();
    const auto partition = (*store)->OpenPartition(log::MakeKey(0), {});
    ASSERT_TRUE(partition.ok()) << partition.status();
    log::Round round;
    round.batches = std::move(batches);
    for (log::BatchWrite& batch : round.batches) batch.partition = partition->id;
    round.high_watermarks.push_back({partition->id, Offset(high_watermark)});
    ASSERT_TRUE((*store)->Commit(round, /*sync=*/true).ok());
    if (log_start > 0) {
      log::Round deletion;
      deletion.log_starts.push_back({partition->id, Offset(log_start)});
      ASSERT_TRUE((*store)->Commit(deletion, /*sync=*/true).ok());
    }
    options_.paths.push_back(Path(node));
  }

  // Each line a place in partition 0 and its value.
  void Acknowledge(const std::vector<std::pair<int64_t, std::string>>& records, int partition = 0) {
    options_.acknowledged = Path("acknowledged");
    std::ofstream file(options_.acknowledged, std::ios::app);
    for (const auto& [offset, value] : records) {
      file << log::MakeKey(0).topic.ToString() << '\t' << partition << '\t' << offset << '\t'
           << value << '\n';
    }
  }

  ExitCode Verify() const { return RunVerify(options_); }

  TempDirectory directory_;
  VerifyOptions options_;
};

TEST_F(VerifyTest, ReplicasThatAreAlikePass) {
  for (const char* node : {"a", "b", "c"}) Write(node, {Batch(0), Batch(2), Batch(4)}, 6);
  EXPECT_EQ(ExitCode::kOk, Verify());
  options_.in_sync = true;
  EXPECT_EQ(ExitCode::kOk, Verify());
}

TEST_F(VerifyTest, PartitionsInQuarantineAreNamedUntilTheyAreReleased) {
  Write("a", {Batch(0), Batch(2)}, 4);
  const auto verify = [&] {
    testing::internal::CaptureStderr();
    EXPECT_EQ(ExitCode::kOk, Verify());
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(std::string::npos, verify().find("quarantine"));
  ASSERT_TRUE(storage::KnownHistory::Open(Path("a")).value()->Adopt(1, {log::MakeKey(0)}).ok());
  EXPECT_NE(std::string::npos, verify().find("is in quarantine"));
  ReleaseQuarantineOptions release;
  release.path = Path("a");
  EXPECT_EQ(ExitCode::kUsage, RunReleaseQuarantine(release));
  EXPECT_NE(std::string::npos, verify().find("is in quarantine"));
  release.yes_lose_data = true;
  EXPECT_EQ(ExitCode::kOk, RunReleaseQuarantine(release));
  EXPECT_EQ(std::string::npos, verify().find("quarantine"));
}

TEST_F(VerifyTest, AnotherBatchBelowTheHighWatermarkIsFound) {
  Write("a", {Batch(0), Batch(2), Batch(4)}, 6);
  Write("b", {Batch(0), Batch(2), Batch(4)}, 6);
  Write("c", {Batch(0), Batch(2, 9), Batch(4)}, 4);
  EXPECT_EQ(ExitCode::kFailed, Verify());
}

TEST_F(VerifyTest, AnotherLeaderEpochIsFound) {
  Write("a", {Batch(0), Batch(2)}, 4);
  Write("b", {Batch(0), Batch(2, 1, 5)}, 4);
  EXPECT_EQ(ExitCode::kFailed, Verify());
}

TEST_F(VerifyTest, AboveTheLowestHighWatermarkOnlyReplicasInSyncMustBeAlike) {
  Write("a", {Batch(0), Batch(2), Batch(4)}, 6);
  Write("b", {Batch(0), Batch(2, 9)}, 2);
  EXPECT_EQ(ExitCode::kOk, Verify());
  options_.in_sync = true;
  EXPECT_EQ(ExitCode::kFailed, Verify());
}

TEST_F(VerifyTest, ReplicasMayBeginAndEndAtDifferentPlaces) {
  Write("a", {Batch(0), Batch(2), Batch(4)}, 6, /*log_start=*/3);
  Write("b", {Batch(0), Batch(2)}, 4);
  options_.in_sync = true;
  EXPECT_EQ(ExitCode::kOk, Verify());
}

TEST_F(VerifyTest, ADamagedBatchIsFound) {
  log::BatchWrite damaged = Batch(2);
  std::string bytes(damaged.batch.ToString());
  bytes.back() ^= 1;
  damaged.batch = Bytes::Own(std::move(bytes));
  Write("a", {Batch(0), damaged}, 4);
  EXPECT_EQ(ExitCode::kFailed, Verify());
}

TEST_F(VerifyTest, AcknowledgedRecordsMustBeOnEveryReplica) {
  Write("a", {Batch(0), Batch(2)}, 4);
  Acknowledge({{0, "0/"}, {3, "3/"}});
  EXPECT_EQ(ExitCode::kOk, Verify());
  Write("b", {Batch(0)}, 2);
  EXPECT_EQ(ExitCode::kFailed, Verify());
}

TEST_F(VerifyTest, AnAcknowledgedRecordWithAnotherValueIsFound) {
  Write("a", {Batch(0), Batch(2)}, 4);
  Acknowledge({{1, "1/"}, {2, "another"}});
  EXPECT_EQ(ExitCode::kFailed, Verify());
}

TEST_F(VerifyTest, WhatRetentionDeletedIsNotMissing) {
  Write("a", {Batch(0), Batch(2)}, 4, /*log_start=*/2);
  Acknowledge({{0, "0/"}, {1, "1/"}, {2, "2/"}});
  EXPECT_EQ(ExitCode::kOk, Verify());
}

TEST_F(VerifyTest, WhereNothingIsDeletedALogStartIsALoss) {
  Write("a", {Batch(0), Batch(2)}, 4, /*log_start=*/2);
  Acknowledge({{0, "0/"}, {2, "2/"}});
  options_.nothing_deleted = true;
  EXPECT_EQ(ExitCode::kFailed, Verify());
}

TEST_F(VerifyTest, ANodeWithoutThePartitionIsFound) {
  Write("a", {Batch(0), Batch(2)}, 4);
  Write("b", {Batch(0), Batch(2)}, 4);
  options_.replicas = 2;
  EXPECT_EQ(ExitCode::kOk, Verify());
  options_.replicas = 3;
  EXPECT_EQ(ExitCode::kFailed, Verify());
}

TEST_F(VerifyTest, ReplicasThatWereNotComparedAreNotAlike) {
  Write("a", {Batch(0), Batch(2)}, 4);
  Write("b", {Batch(0), Batch(2)}, /*high_watermark=*/0);
  EXPECT_EQ(ExitCode::kFailed, Verify());
  options_.in_sync = true;
  EXPECT_EQ(ExitCode::kOk, Verify());
}

TEST_F(VerifyTest, APartitionWithoutAnyReplicaIsFound) {
  Write("a", {Batch(0), Batch(2)}, 4);
  Acknowledge({{0, "0/"}}, /*partition=*/1);
  EXPECT_EQ(ExitCode::kFailed, Verify());
}

TEST_F(VerifyTest, BadInputIsRefused) {
  Write("a", {Batch(0)}, 2);
  options_.acknowledged = Path("acknowledged");
  std::ofstream(options_.acknowledged) << "flights\t0\tfirst\tvalue\n";
  EXPECT_EQ(ExitCode::kUsage, Verify());
  options_.acknowledged.clear();
  std::filesystem::create_directories(Path("empty"));
  options_.paths = {Path("empty")};
  EXPECT_EQ(ExitCode::kUsage, Verify());
}

TEST(ReplicaComparisonTest, ABatchThatDoesNotFollowIsFound) {
  ReplicaComparison comparison;
  comparison.Begin(log::StoredPartition(), "a");
  record::BatchHeader header;
  header.last_offset_delta = 1;
  EXPECT_FALSE(comparison.Add(header).has_value());
  header.base_offset = Offset(2);
  EXPECT_FALSE(comparison.Add(header).has_value());
  header.base_offset = Offset(5);
  EXPECT_TRUE(comparison.Add(header).has_value());
}

}  // namespace
}  // namespace falaj::cli
