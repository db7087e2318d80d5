#include "tests/simulation/disk.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace falaj::simulation {
namespace {

using View = SimDisk::View;

// Entries of one term, from `first` to `last`.
raft::Ready Entries(uint64_t first, uint64_t last, uint64_t term) {
  raft::Ready ready;
  for (uint64_t i = first; i <= last; ++i) {
    internal::v1::RaftEntry entry;
    entry.set_index(i);
    entry.set_term(term);
    ready.entries.push_back(std::move(entry));
  }
  ready.hard_state.emplace().set_term(term);
  return ready;
}

raft::Snapshot SnapshotAt(uint64_t index, uint64_t term) {
  raft::Snapshot snapshot;
  snapshot.meta.set_index(index);
  snapshot.meta.set_term(term);
  return snapshot;
}

std::vector<uint64_t> TermsOf(const raft::Restored& restored) {
  std::vector<uint64_t> terms;
  for (const auto& entry : restored.entries) terms.push_back(entry.term());
  return terms;
}

void Write(SimDisk* disk, const raft::Ready& ready) { disk->Write(ready); }

TEST(SimDiskTest, ReplacesWhatFollowsAnEntry) {
  SimDisk disk({});
  Write(&disk, Entries(1, 4, 1));
  disk.Sync();
  Write(&disk, Entries(3, 3, 2));
  EXPECT_EQ(disk.TermAt(LogIndex(3), View::kWritten), Term(2));
  EXPECT_EQ(disk.TermAt(LogIndex(3), View::kDurable), Term(1));
  EXPECT_EQ(disk.TermAt(LogIndex(4), View::kWritten), std::nullopt);
  EXPECT_EQ(disk.last_index(View::kWritten), LogIndex(3));
  disk.Sync();
  EXPECT_EQ(TermsOf(disk.Restore()), (std::vector<uint64_t>{1, 1, 2}));
  EXPECT_EQ(disk.Restore().hard_state.term(), 2u);
}

TEST(SimDiskTest, ACrashKeepsTheDurablePrefixAndSomeOfTheRest) {
  std::vector<bool> seen(4);
  bool torn = false;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    Random random(seed);
    SimDisk disk({});
    Write(&disk, Entries(1, 2, 1));
    disk.Sync();
    for (uint64_t i = 3; i <= 5; ++i) Write(&disk, Entries(i, i, 1));
    torn |= disk.Crash(&random);
    const size_t left = disk.Restore().entries.size();
    ASSERT_GE(left, 2u);
    seen[left - 2] = true;
    EXPECT_FALSE(disk.has_volatile());
  }
  EXPECT_EQ(seen, (std::vector<bool>{true, true, true, true}));
  EXPECT_TRUE(torn);
}

TEST(SimDiskTest, ASnapshotFromTheLeaderReplacesTheLog) {
  SimDisk disk({});
  Write(&disk, Entries(1, 3, 1));
  raft::Ready ready = Entries(11, 11, 3);
  ready.snapshot = SnapshotAt(10, 2);
  Write(&disk, ready);
  EXPECT_TRUE(disk.Holds(LogIndex(5), Term(1), View::kWritten));
  EXPECT_EQ(disk.TermAt(LogIndex(10), View::kWritten), Term(2));
  disk.Sync();
  EXPECT_EQ(TermsOf(disk.Restore()), std::vector<uint64_t>{3});
  EXPECT_EQ(disk.Restore().snapshot.meta.index(), 10u);
}

TEST(SimDiskTest, ASnapshotOfItsOwnKeepsALittleOfTheLog) {
  SimDisk disk({});
  Write(&disk, Entries(1, 10, 1));
  disk.WriteOwnSnapshot(SnapshotAt(8, 1), LogIndex(7));
  disk.WriteOwnSnapshot(SnapshotAt(5, 1), LogIndex(1));  // Overtaken.
  disk.Sync();
  EXPECT_EQ(disk.Restore().entries.front().index(), 7u);
  EXPECT_EQ(disk.Restore().snapshot.meta.index(), 8u);
  EXPECT_EQ(disk.last_index(View::kDurable), LogIndex(10));
}

TEST(SimDiskTest, WithThePlantedBugACrashTakesAnInstalledSnapshotBack) {
  Random random(1);
  SimDisk disk({});
  disk.ForgetInstalledSnapshots();
  Write(&disk, Entries(1, 3, 1));
  disk.Sync();
  raft::Ready ready = Entries(11, 11, 3);
  ready.snapshot = SnapshotAt(10, 2);
  Write(&disk, ready);
  disk.Sync();
  disk.Crash(&random);
  EXPECT_EQ(disk.Restore().snapshot.meta.index(), 0u);
  EXPECT_EQ(disk.Restore().entries.size(), 3u);
}

}  // namespace
}  // namespace falaj::simulation
