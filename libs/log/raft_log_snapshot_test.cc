// Snapshots stored while the log goes on: two threads, crashes between the two steps, and a
// leader's snapshot that overtakes.
#include <atomic>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "libs/log/raft_log_fixture.h"

namespace falaj::log {
namespace {

class RaftLogSnapshotTest : public RaftLogTest {
 protected:
  // What the leader sends to a node that is far behind.
  void Install(uint64_t index, uint64_t term, std::string data) {
    raft::Ready ready;
    ready.snapshot = MakeSnapshot(index, term, std::move(data));
    ready.hard_state = HardState(term, 0, index);
    ASSERT_TRUE(log_->Persist(ready).ok());
  }
  std::string RestoredState() const { return restored_.snapshot.data.ToString(); }
};

TEST_F(RaftLogSnapshotTest, TheLogGoesOnWhileASnapshotIsWritten) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 5, 1, 5);
  const raft::Snapshot snapshot = MakeSnapshot(5, 1, std::string(20'000'000, 's'));
  std::atomic<bool> done = false;
  absl::Status written;
  std::thread writer([&] {
    written = log_->WriteSnapshot(snapshot);
    done = true;
  });
  uint64_t last = 5;
  do {
    ++last;
    Write(last, last, 1, last);
  } while (!done);
  writer.join();
  ASSERT_TRUE(written.ok()) << written;
  ASSERT_TRUE(log_->CommitSnapshot(snapshot, LogIndex(6)).ok());
  Write(last + 1, last + 1, 1, last);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(restored_.snapshot.meta.index(), 5u);
  EXPECT_TRUE(RestoredState() == snapshot.data.ToString());
  EXPECT_EQ(restored_.entries.back().index(), last + 1);
  EXPECT_EQ(restored_.entries.size(), last + 1) << "the first generation is still needed";
}

TEST_F(RaftLogSnapshotTest, ManyRoundsOnTwoThreads) {
  ASSERT_TRUE(Reopen().ok());
  uint64_t last = 0;
  for (int round = 0; round < 10; ++round) {
    ++last;
    Write(last, last, 1, last);
    const raft::Snapshot snapshot = MakeSnapshot(last, 1, absl::StrCat("state ", last));
    std::atomic<bool> done = false;
    std::thread writer([&] {
      EXPECT_TRUE(log_->WriteSnapshot(snapshot).ok());
      done = true;
    });
    do {
      ++last;
      Write(last, last, 1, last);
    } while (!done);
    writer.join();
    ASSERT_TRUE(log_->CommitSnapshot(snapshot, LogIndex(snapshot.meta.index() + 1)).ok());
    std::thread dropper([&] { log_->DropObsolete(); });
    ++last;
    Write(last, last, 1, last);
    dropper.join();
  }
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(RestoredState(), absl::StrCat("state ", restored_.snapshot.meta.index()));
  EXPECT_EQ(restored_.entries.back().index(), last);
  EXPECT_LE(restored_.entries.front().index(), restored_.snapshot.meta.index() + 1);
  EXPECT_GT(restored_.entries.front().index(), 1u) << "old generations are dropped";
}

TEST_F(RaftLogSnapshotTest, ACrashBeforeTheCommitLeavesTheOldSnapshotAndTheWholeLog) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 5, 1, 5);
  ASSERT_TRUE(Save(MakeSnapshot(5, 1, "old"), 6).ok());
  Write(6, 8, 1, 8);
  ASSERT_TRUE(log_->WriteSnapshot(MakeSnapshot(8, 1, "new")).ok());
  Write(9, 9, 1, 8);
  CrashAndKeepFiles();
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(RestoredState(), "old");
  EXPECT_EQ(RestoredLog(), "6/1 7/1 8/1 9/1");
  // And it goes on, with the next snapshot too.
  Write(10, 10, 1, 10);
  ASSERT_TRUE(Save(MakeSnapshot(10, 1, "newer"), 11).ok());
  Write(11, 11, 1, 10);
  CrashAndKeepFiles();
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(RestoredState(), "newer");
  EXPECT_EQ(RestoredLog(), "11/1");
}

TEST_F(RaftLogSnapshotTest, ACrashAfterTheCommitLeavesTheNewSnapshot) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 5, 1, 5);
  ASSERT_TRUE(log_->WriteSnapshot(MakeSnapshot(5, 1, "new")).ok());
  Write(6, 7, 1, 7);
  ASSERT_TRUE(log_->CommitSnapshot(MakeSnapshot(5, 1, "new"), LogIndex(6)).ok());
  CrashAndKeepFiles();
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(RestoredState(), "new");
  EXPECT_EQ(RestoredLog(), "1/1 2/1 3/1 4/1 5/1 6/1 7/1");
}

TEST_F(RaftLogSnapshotTest, ASnapshotFromTheLeaderOvertakesTheOneBeingWritten) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 5, 1, 5);
  const raft::Snapshot own = MakeSnapshot(5, 1, "own");
  ASSERT_TRUE(log_->WriteSnapshot(own).ok());
  Install(10, 2, "the leader's");
  Write(11, 12, 2, 11);
  ASSERT_TRUE(log_->CommitSnapshot(own, LogIndex(6)).ok());
  Write(13, 13, 2, 11);
  CrashAndKeepFiles();
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(RestoredState(), "the leader's");
  EXPECT_EQ(RestoredLog(), "11/2 12/2 13/2");
  ASSERT_TRUE(Save(MakeSnapshot(12, 2, "own again"), 13).ok());
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(RestoredState(), "own again");
}

TEST_F(RaftLogSnapshotTest, ASnapshotFromTheLeaderArrivesWhileOneIsBeingWritten) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 5, 1, 5);
  const raft::Snapshot own = MakeSnapshot(5, 1, std::string(10'000'000, 'o'));
  std::thread writer([&] { EXPECT_TRUE(log_->WriteSnapshot(own).ok()); });
  Install(10, 2, std::string(5'000'000, 'l'));
  writer.join();
  ASSERT_TRUE(log_->CommitSnapshot(own, LogIndex(6)).ok());
  Write(11, 11, 2, 10);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_TRUE(RestoredState() == std::string(5'000'000, 'l'));
  EXPECT_EQ(RestoredLog(), "11/2");
}

TEST_F(RaftLogSnapshotTest, AnAbandonedSnapshotIsThrownAway) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 5, 1, 5);
  ASSERT_TRUE(log_->WriteSnapshot(MakeSnapshot(4, 1, "abandoned")).ok());
  ASSERT_TRUE(log_->WriteSnapshot(MakeSnapshot(5, 1, "stored")).ok());
  ASSERT_TRUE(log_->CommitSnapshot(MakeSnapshot(5, 1, "stored"), LogIndex(6)).ok());
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(RestoredState(), "stored");
}

TEST_F(RaftLogSnapshotTest, WhatACrashLeftOfASnapshotIsRemoved) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 3, 1, 3);
  const std::string left = absl::StrCat(options_.directory, "/incoming-snapshot-7");
  std::ofstream(left) << "half a table";
  ASSERT_TRUE(Reopen().ok());
  EXPECT_FALSE(fs::exists(left));
  EXPECT_EQ(RestoredLog(), "1/1 2/1 3/1");
}

TEST_F(RaftLogSnapshotTest, OnlyWhatWasWrittenBecomesCurrent) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 5, 1, 5);
  EXPECT_EQ(ReasonOf(log_->CommitSnapshot(MakeSnapshot(5, 1, "a"), LogIndex(6))),
            Reason::kInternal);
  ASSERT_TRUE(log_->WriteSnapshot(MakeSnapshot(4, 1, "b")).ok());
  EXPECT_EQ(ReasonOf(log_->CommitSnapshot(MakeSnapshot(5, 1, "a"), LogIndex(6))),
            Reason::kInternal);
  ASSERT_TRUE(Reopen().ok());
  EXPECT_EQ(restored_.snapshot.meta.index(), 0u);
  EXPECT_EQ(restored_.entries.size(), 5u);
}

TEST_F(RaftLogSnapshotTest, MembershipAndAddressesComeBack) {
  ASSERT_TRUE(Reopen().ok());
  Write(1, 5, 1, 5);
  raft::Snapshot snapshot = MakeSnapshot(5, 1, "state");
  raft::Membership members;
  members.voters = {NodeId(1), NodeId(2)};
  members.learners = {NodeId(3)};
  members.addresses = {{NodeId(1), "one:1"}, {NodeId(3), "three:3"}};
  *snapshot.meta.mutable_membership() = members.ToProto();
  ASSERT_TRUE(Save(snapshot, 6).ok());
  ASSERT_TRUE(Reopen().ok());
  const auto restored = raft::Membership::FromProto(restored_.snapshot.meta.membership());
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(*restored, members);
}

}  // namespace
}  // namespace falaj::log
