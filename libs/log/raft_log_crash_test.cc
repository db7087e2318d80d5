// kill -9 while entries and snapshots are written, full disks, and suffixes cut off: whatever
// happens, the log opens again with everything that was acknowledged.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/log/raft_log_fixture.h"

namespace falaj::log {
namespace {

// LimitedFileSize makes writes fail that would make a file longer than `bytes`, as on a full disk.
class LimitedFileSize {
 public:
  explicit LimitedFileSize(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);  // Then the write fails with EFBIG.
    EXPECT_EQ(getrlimit(RLIMIT_FSIZE, &before_), 0);
    const rlimit limited = {bytes, before_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limited), 0);
  }
  ~LimitedFileSize() { EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &before_), 0); }

 private:
  rlimit before_ = {};
};

constexpr char kChildDirectory[] = "FALAJ_CRASH_TEST_DIRECTORY";
constexpr int kChildPipe = 100;

class RaftLogCrashTest : public RaftLogTest {
 protected:
  // Appends entries, makes a snapshot every 20, and tells the pipe the index of each entry once it
  // is stored. Never returns.
  [[noreturn]] static void WriteUntilKilled(const RaftLog::Options& options, int pipe) {
    auto log = RaftLog::Open(options);
    if (!log.ok()) _exit(1);
    const raft::Restored restored = (*log)->TakeRestored();
    uint64_t last =
        restored.entries.empty() ? restored.snapshot.meta.index() : restored.entries.back().index();
    uint64_t snapshot_index = restored.snapshot.meta.index();
    std::thread writer;
    for (uint64_t i = last + 1;; ++i) {
      const bool stored = (*log)->Persist(HardState(1, 1, i), Entries(i, i, 1), true).ok();
      if (!stored || write(pipe, &i, sizeof(i)) != sizeof(i)) _exit(1);
      if (i % 20 == 0) {
        if (writer.joinable()) {
          writer.join();
          const raft::Snapshot made = StateAt(snapshot_index);
          if (!(*log)->CommitSnapshot(made, LogIndex(snapshot_index - 5)).ok()) _exit(1);
        }
        snapshot_index = i;
        writer = std::thread([&log, i] {
          if (!(*log)->WriteSnapshot(StateAt(i)).ok()) _exit(1);
        });
      }
    }
  }

  static raft::Snapshot StateAt(uint64_t index) {
    return MakeSnapshot(index, 1, std::string(100'000 + 1000 * index, 's') + std::to_string(index));
  }

  // Kills a writing child after `writes` entries. Returns the last index it acknowledged.
  uint64_t WriteAndKill(uint64_t writes) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
      // A program of its own: RocksDB's threads do not survive a fork.
      dup2(ends[1], kChildPipe);
      close(ends[0]);
      close(ends[1]);
      setenv(kChildDirectory, options_.directory.c_str(), 1);
      execl("/proc/self/exe", "raft_log_test", "--gtest_also_run_disabled_tests",
            "--gtest_filter=RaftLogCrashTest.DISABLED_Child", nullptr);
      _exit(1);
    }
    close(ends[1]);
    uint64_t acknowledged = 0, index = 0;
    for (uint64_t i = 0; i < writes && read(ends[0], &index, sizeof(index)) == sizeof(index); ++i) {
      acknowledged = index;
    }
    EXPECT_EQ(kill(child, SIGKILL), 0);
    while (read(ends[0], &index, sizeof(index)) == sizeof(index)) acknowledged = index;
    close(ends[0]);
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status)) << "the child ended by itself: " << status;
    return acknowledged;
  }
};

// Only runs as the child of the next test.
TEST_F(RaftLogCrashTest, DISABLED_Child) {
  const char* directory = std::getenv(kChildDirectory);
  if (directory == nullptr) GTEST_SKIP();
  options_.directory = directory;
  WriteUntilKilled(options_, kChildPipe);
}

TEST_F(RaftLogCrashTest, KilledAnywhereItOpensWithEverythingAcknowledged) {
  fs::create_directories(directory_);
  Random random(7);
  bool had_snapshot = false;
  for (int life = 0; life < 8; ++life) {
    const uint64_t acknowledged = WriteAndKill(1 + random.Below(120));
    ASSERT_GT(acknowledged, 0u);
    ASSERT_TRUE(Reopen().ok());  // Verifies the snapshot's checksum and that nothing is missing.
    const uint64_t snapshot = restored_.snapshot.meta.index();
    const uint64_t last = restored_.entries.empty() ? snapshot : restored_.entries.back().index();
    EXPECT_GE(last, acknowledged);
    if (snapshot > 0) {
      had_snapshot = true;
      EXPECT_TRUE(restored_.snapshot.data.ToString() == StateAt(snapshot).data.ToString());
    }
    log_.reset();  // Before the next fork.
  }
  EXPECT_TRUE(had_snapshot);
}

// Bugs of libuv's backend: a full disk left segments that could not be read again.
TEST_F(RaftLogCrashTest, AFullDiskLeavesALogThatOpens) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 20, 1, 20);
  const uint64_t full = fs::file_size(LargestWal()) + 300;
  uint64_t acknowledged = 20;
  {
    LimitedFileSize limit(full);
    absl::Status status;
    for (uint64_t i = 21; status.ok() && i < 1000; ++i) {
      status = log_->Persist(HardState(2, 1, 20), Entries(i, i, 2), true);
      if (status.ok()) acknowledged = i;
    }
    EXPECT_EQ(ReasonOf(status), Reason::kStorageFailed) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), options_.directory)) << status;
    // What was written is unknown, so nothing may follow it.
    EXPECT_EQ(ReasonOf(log_->Persist(HardState(3, 1, 20), {}, true)), Reason::kStorageFailed);
    EXPECT_EQ(ReasonOf(log_->WriteSnapshot(MakeSnapshot(20, 1, "s"))), Reason::kStorageFailed);
  }
  CrashAndKeepFiles();
  const absl::Status opened = Reopen();
  ASSERT_TRUE(opened.ok()) << opened;
  EXPECT_GE(restored_.entries.back().index(), acknowledged);
  EXPECT_EQ(restored_.entries.size(), restored_.entries.back().index());
  const uint64_t next = restored_.entries.back().index() + 1;
  Write(next, next, 3, 20);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(restored_.entries.back().index(), next);
}

TEST_F(RaftLogCrashTest, AFullDiskUnderASnapshotLeavesTheOldOne) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 5, 1, 5);
  ASSERT_TRUE(Save(MakeSnapshot(5, 1, "old"), 6).ok());
  Write(6, 9, 1, 9);
  {
    LimitedFileSize limit(1 << 20);
    const absl::Status status = log_->WriteSnapshot(MakeSnapshot(9, 1, std::string(8 << 20, 's')));
    EXPECT_EQ(ReasonOf(status), Reason::kStorageFailed) << status;
  }
  CrashAndKeepFiles();
  const absl::Status opened = Reopen();
  ASSERT_TRUE(opened.ok()) << opened;
  EXPECT_EQ(restored_.snapshot.data.ToString(), "old");
  EXPECT_EQ(RestoredLog(), "6/1 7/1 8/1 9/1");
  ASSERT_TRUE(Save(MakeSnapshot(9, 1, "new"), 10).ok());
}

// Bugs of libuv's backend: cutting off a suffix met assertions and lost entries. Here against a
// model, over snapshots, restarts and crashes.
TEST_F(RaftLogCrashTest, SuffixesCutOffStayAway) {
  Random random(11);
  ASSERT_TRUE(Reopen().ok());
  std::map<uint64_t, uint64_t> terms;  // Of what the log must hold, by index.
  uint64_t term = 1, committed = 0;
  for (int step = 0; step < 400; ++step) {
    const uint64_t last = terms.empty() ? committed : terms.rbegin()->first;
    const uint64_t dice = random.Below(100);
    if (dice < 80) {
      const bool cut = random.Below(4) == 0 && last > committed;
      if (cut) ++term;
      const uint64_t first = cut ? last - random.Below(last - committed) : last + 1;
      const uint64_t end = first + random.Below(5);
      committed += random.Below(first - committed);
      Write(first, end, term, committed);
      terms.erase(terms.lower_bound(first), terms.end());
      for (uint64_t i = first; i <= end; ++i) terms[i] = term;
    } else if (dice < 90 && committed > 0 && terms.contains(committed)) {
      ASSERT_TRUE(Save(MakeSnapshot(committed, terms[committed], "s"), committed).ok());
    } else {
      if (random.Below(2) == 0) CrashAndKeepFiles();
      const absl::Status opened = Reopen();
      ASSERT_TRUE(opened.ok()) << opened << " at step " << step;
      ASSERT_FALSE(terms.empty() && !restored_.entries.empty());
      for (const pb::RaftEntry& entry : restored_.entries) {
        ASSERT_EQ(entry.term(), terms[entry.index()]) << "entry " << entry.index();
      }
      if (!terms.empty()) {
        ASSERT_EQ(restored_.entries.back().index(), terms.rbegin()->first) << "at step " << step;
      }
    }
  }
}

}  // namespace
}  // namespace falaj::log
