#include "libs/log/raft_log.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "libs/log/raft_log_fixture.h"
#include "libs/raft/raft_core.h"

namespace falaj::log {
namespace {

TEST_F(RaftLogTest, NewDirectoryHoldsTheInitialMembershipAndNothingElse) {
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(restored_.hard_state.term(), 0u);
  EXPECT_EQ(restored_.snapshot.meta.index(), 0u);
  EXPECT_TRUE(restored_.entries.empty());
  ASSERT_EQ(restored_.snapshot.meta.membership().voters_size(), 1);
  EXPECT_EQ(restored_.snapshot.meta.membership().voters(0), 1);
  EXPECT_EQ(log_->cluster_id(), options_.cluster_id_if_new);
}

TEST_F(RaftLogTest, ADirectoryKeepsItsIdAndAnotherOneHasAnotherId) {
  ASSERT_TRUE(Reopen().ok());
  const Uuid id = log_->directory_id();
  EXPECT_FALSE(id.is_nil());
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(log_->directory_id(), id);
  CrashAndKeepFiles();
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(log_->directory_id(), id);
  log_.reset();
  fs::remove_all(options_.directory);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_NE(log_->directory_id(), id);
}

TEST_F(RaftLogTest, ADirectoryOfBeforeThereWereIdsGetsOneAndKeepsIt) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 3, 1);
  const Uuid before = log_->directory_id();
  log_.reset();
  DeleteSmallKey("directory_id");
  ASSERT_TRUE(Reopen().ok());
  const Uuid id = log_->directory_id();
  EXPECT_FALSE(id.is_nil());
  EXPECT_NE(id, before);
  EXPECT_EQ(RestoredLog(), "1/1 2/1 3/1");
  CrashAndKeepFiles();
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(log_->directory_id(), id);
}

TEST_F(RaftLogTest, TheInitialMembershipAFounderLearnsReplacesTheStoredOne) {
  options_.initial_membership.voters = {NodeId(1), NodeId(2)};
  ASSERT_TRUE(Reopen().ok());
  raft::Ready ready;
  ready.initial_membership = options_.initial_membership;
  ready.initial_membership->directories = {{NodeId(1), log_->directory_id()},
                                           {NodeId(2), Uuid::FromRandomBits(1, 1)}};
  ready.must_sync = true;
  ASSERT_TRUE(log_->Persist(ready).ok());
  CrashAndKeepFiles();
  ASSERT_TRUE(Reopen().ok());
  const auto stored = raft::Membership::FromProto(restored_.snapshot.meta.membership());
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(*stored, *ready.initial_membership);
  EXPECT_EQ(restored_.snapshot.meta.index(), 0u);
}

TEST_F(RaftLogTest, ReopenReturnsWhatWasPersisted) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 3, 1);
  Write(4, 4, 2, 3);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(RestoredLog(), "1/1 2/1 3/1 4/2");
  EXPECT_EQ(restored_.entries[3].data(), "e4");
  EXPECT_EQ(restored_.hard_state.term(), 2u);
  EXPECT_EQ(restored_.hard_state.vote(), 1);
  EXPECT_EQ(restored_.hard_state.commit(), 3u);
}

TEST_F(RaftLogTest, SyncedWritesSurviveACrash) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 3, 1);
  CrashAndKeepFiles();
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(RestoredLog(), "1/1 2/1 3/1");
}

TEST_F(RaftLogTest, OverwrittenSuffixIsGone) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 6, 1);
  Write(3, 4, 2);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(RestoredLog(), "1/1 2/1 3/2 4/2");
  Write(5, 5, 3);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(RestoredLog(), "1/1 2/1 3/2 4/2 5/3");
}

TEST_F(RaftLogTest, RefusesAGap) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 2, 1);
  EXPECT_EQ(ReasonOf(log_->Persist(std::nullopt, Entries(4, 4, 1), true)), Reason::kInternal);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(RestoredLog(), "1/1 2/1");
}

TEST_F(RaftLogTest, SnapshotReplacesOldGenerations) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 5, 1, 5);
  const std::string state(3'000'000, 's');  // Three pieces.
  ASSERT_TRUE(Save(MakeSnapshot(5, 1, state), 6).ok());
  Write(6, 8, 1, 8);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(restored_.snapshot.meta.index(), 5u);
  EXPECT_EQ(restored_.snapshot.data.ToString(), state);
  EXPECT_EQ(RestoredLog(), "6/1 7/1 8/1");
}

TEST_F(RaftLogTest, SnapshotKeepsTheEntriesAskedFor) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 5, 1, 5);
  ASSERT_TRUE(Save(MakeSnapshot(5, 1, "a"), 4).ok());
  Write(6, 9, 1, 9);
  ASSERT_TRUE(Reopen().ok());
  // Generations go whole: one that is partly needed stays.
  EXPECT_EQ(RestoredLog(), "1/1 2/1 3/1 4/1 5/1 6/1 7/1 8/1 9/1");
  ASSERT_TRUE(Save(MakeSnapshot(9, 1, "b"), 8).ok());
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(RestoredLog(), "6/1 7/1 8/1 9/1");
  EXPECT_EQ(restored_.snapshot.data.ToString(), "b");
}

TEST_F(RaftLogTest, OverwritesAcrossGenerations) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 6, 1, 3);
  ASSERT_TRUE(Save(MakeSnapshot(3, 1, "a"), 3).ok());
  Write(7, 8, 1, 3);
  Write(5, 5, 2, 3);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(RestoredLog(), "1/1 2/1 3/1 4/1 5/2");
  Write(5, 7, 3, 3);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(RestoredLog(), "1/1 2/1 3/1 4/1 5/3 6/3 7/3");
}

TEST_F(RaftLogTest, InstalledSnapshotReplacesTheWholeLog) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 20, 1);
  raft::Ready ready;
  ready.snapshot = MakeSnapshot(10, 3, "from the leader");
  ready.hard_state = HardState(3, 0, 10);
  ready.entries = Entries(11, 12, 3);
  ASSERT_TRUE(log_->Persist(ready).ok());
  Write(13, 13, 3, 10);
  CrashAndKeepFiles();
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(restored_.snapshot.meta.index(), 10u);
  EXPECT_EQ(restored_.snapshot.data.ToString(), "from the leader");
  EXPECT_EQ(RestoredLog(), "11/3 12/3 13/3");
  EXPECT_EQ(restored_.hard_state.term(), 3u);
}

TEST_F(RaftLogTest, OlderSnapshotIsIgnored) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 5, 1, 5);
  ASSERT_TRUE(Save(MakeSnapshot(5, 1, "new"), 6).ok());
  ASSERT_TRUE(Save(MakeSnapshot(4, 1, "old"), 5).ok());
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(restored_.snapshot.data.ToString(), "new");
}

TEST_F(RaftLogTest, ManySnapshotsLeaveOneBehind) {
  ASSERT_TRUE(Reopen().ok());
  for (uint64_t i = 1; i <= 20; ++i) {
    Write(i, i, 1, i);
    ASSERT_TRUE(Save(MakeSnapshot(i, 1, absl::StrCat("s", i)), i).ok());
  }
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(restored_.snapshot.data.ToString(), "s20");
  EXPECT_EQ(RestoredLog(), "20/1");
}

TEST_F(RaftLogTest, TornTailIsForgivenAndNothingBeforeIt) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 1, 1);
  Write(2, 2, 1);
  CrashAndKeepFiles();
  const fs::path wal = LargestWal();
  fs::resize_file(wal, fs::file_size(wal) - 3);
  const absl::Status status = Reopen();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(RestoredLog(), "1/1");
}

TEST_F(RaftLogTest, DamageInTheMiddleOfTheWriteAheadLogIsNotTheEndOfTheLog) {
  ASSERT_TRUE(Reopen().ok());
  ASSERT_TRUE(log_->Persist(HardState(1, 1, 0), {Entry(1, 1, "first one")}, true).ok());
  ASSERT_TRUE(log_->Persist(std::nullopt, {Entry(2, 1, "second one")}, true).ok());
  ASSERT_TRUE(log_->Persist(std::nullopt, {Entry(3, 1, "third one")}, true).ok());
  CrashAndKeepFiles();
  const fs::path wal = LargestWal();
  const int64_t at = Find(wal, "second one");
  ASSERT_GE(at, 0);
  FlipByte(wal, at);
  ExpectCorrupt(Reopen());
}

// RocksDB alone would stop there without a word and lose what follows.
TEST_F(RaftLogTest, DamagedLengthInTheWriteAheadLogIsNotTheEndOfTheLog) {
  ASSERT_TRUE(Reopen().ok());
  ASSERT_TRUE(log_->Persist(HardState(1, 1, 0), {Entry(1, 1, "first one")}, true).ok());
  ASSERT_TRUE(log_->Persist(std::nullopt, {Entry(2, 1, "second one")}, true).ok());
  CrashAndKeepFiles();
  const fs::path wal = LargestWal();
  std::ifstream stream(wal, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(stream)), {});
  // A record begins with a checksum of four bytes, then two of length and one of type.
  int64_t begin = 0, next = 0;
  while (next < Find(wal, "first one")) {
    begin = next;
    const auto at = static_cast<size_t>(begin);
    next += 7 + static_cast<uint8_t>(bytes[at + 4]) + 256 * static_cast<uint8_t>(bytes[at + 5]);
  }
  FlipByte(wal, begin + 5);
  ExpectCorrupt(Reopen());
}

TEST_F(RaftLogTest, DamagedTableFileIsReported) {
  ASSERT_TRUE(Reopen().ok());
  ASSERT_TRUE(log_->Persist(HardState(1, 1, 0), {Entry(1, 1, "a stored command")}, true).ok());
  ASSERT_TRUE(Reopen().ok());  // A clean close flushes.
  log_.reset();
  bool damaged = false;
  for (const fs::path& file : FilesEndingWith(".sst")) {
    const int64_t at = Find(file, "a stored command");
    if (at < 0) continue;
    FlipByte(file, at);
    damaged = true;
  }
  ASSERT_TRUE(damaged);
  ExpectCorrupt(Reopen());
}

TEST_F(RaftLogTest, DamagedSnapshotIsReported) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 2, 1, 2);
  raft::Snapshot snapshot = MakeSnapshot(2, 1, "right");
  snapshot.data = Bytes::Copy("wrong");
  ASSERT_TRUE(Save(snapshot, 3).ok());
  ExpectCorrupt(Reopen());
}

TEST_F(RaftLogTest, CommitBeyondTheLogIsReported) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 2, 1, 9);
  ExpectCorrupt(Reopen());
}

TEST_F(RaftLogTest, MissingFilesAreNotTakenForANewDirectory) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 2, 1);
  log_.reset();
  fs::remove(options_.directory + "/CURRENT");
  ExpectCorrupt(Reopen());
}

TEST_F(RaftLogTest, MissingTableFileIsReported) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 2, 1);
  ASSERT_TRUE(Reopen().ok());
  log_.reset();
  for (const fs::path& file : FilesEndingWith(".sst")) fs::remove(file);
  ExpectCorrupt(Reopen());
}

TEST_F(RaftLogTest, RefusesTheDirectoryOfAnotherNode) {
  ASSERT_TRUE(Reopen().ok());
  options_.node_id = NodeId(2);
  EXPECT_EQ(ReasonOf(Reopen()), Reason::kClusterMismatch);
}

TEST_F(RaftLogTest, RefusesTheDirectoryOfAnotherCluster) {
  ASSERT_TRUE(Reopen().ok());
  options_.cluster_id = Uuid::FromRandomBits(7, 7);
  EXPECT_EQ(ReasonOf(Reopen()), Reason::kClusterMismatch);
  options_.cluster_id = options_.cluster_id_if_new;
  EXPECT_TRUE(Reopen().ok());
}

TEST_F(RaftLogTest, ANewDirectoryNeedsAClusterAndAVoter) {
  options_.cluster_id_if_new = Uuid();
  EXPECT_EQ(ReasonOf(Reopen()), Reason::kInvalidConfig);
  options_.cluster_id_if_new = Uuid::FromRandomBits(1, 2);
  options_.initial_membership.voters.clear();
  EXPECT_FALSE(Reopen().ok());
  options_.initial_membership.voters = {NodeId(2)};
  EXPECT_EQ(ReasonOf(Reopen()), Reason::kInvalidConfig) << "it founds a cluster it is no voter of";
  options_.initial_membership.voters = {NodeId(1)};
  EXPECT_TRUE(Reopen().ok()) << "a failed start must not stand in the way of the next";
}

TEST_F(RaftLogTest, RefusesASecondOwner) {
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(ReasonOf(RaftLog::Open(options_).status()), Reason::kStorageFailed);
}

TEST_F(RaftLogTest, UnusableDirectoryIsReported) {
  std::error_code none;
  fs::create_directories(directory_, none);
  std::ofstream(options_.directory) << "a file, not a directory";
  EXPECT_EQ(ReasonOf(Reopen()), Reason::kStorageFailed);
}

// A node of one, the core and its log together, over three lives.
TEST_F(RaftLogTest, CarriesASingleVoterThroughRestarts) {
  std::vector<std::string> applied;
  for (int life = 1; life <= 3; ++life) {
    ASSERT_TRUE(Reopen().ok());
    applied.clear();
    raft::Options options;
    options.self = NodeId(1);
    auto core = raft::RaftCore::Create(options, std::move(restored_));
    ASSERT_TRUE(core.ok()) << core.status();
    const auto run = [&] {
      while ((*core)->HasReady()) {
        const raft::Ready ready = (*core)->TakeReady();
        ASSERT_TRUE(log_->Persist(ready).ok());
        (*core)->Persisted(ready.number);
        for (const pb::RaftEntry& entry : ready.committed_entries) {
          if (!entry.data().empty()) applied.push_back(entry.data());
          (*core)->Applied(LogIndex(entry.index()));
        }
      }
    };
    run();
    ASSERT_TRUE((*core)->is_leader());
    ASSERT_TRUE((*core)->Propose(absl::StrCat("life ", life)).ok());
    run();
    EXPECT_EQ(applied.back(), absl::StrCat("life ", life));
    EXPECT_EQ(applied.size(), static_cast<size_t>(life));
  }
}

}  // namespace
}  // namespace falaj::log
