// Join(): what is on disk and said afterwards is what two Readies, one after the other, would
// leave.
#include "libs/raft/ready.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace falaj::raft {
namespace {

using ::testing::ElementsAre;

pb::RaftEntry Entry(uint64_t index, uint64_t term) {
  pb::RaftEntry entry;
  entry.set_index(index);
  entry.set_term(term);
  return entry;
}

pb::RaftHardState HardState(uint64_t term) {
  pb::RaftHardState hard;
  hard.set_term(term);
  return hard;
}

pb::RaftMessage Ack(uint64_t index) {
  pb::RaftMessage message;
  message.set_log_index(index);
  return message;
}

Ready Writing(uint64_t number, std::vector<pb::RaftEntry> entries) {
  Ready ready;
  ready.number = number;
  ready.must_sync = !entries.empty();
  if (!entries.empty()) ready.messages_after_persist = {Ack(entries.back().index())};
  ready.entries = std::move(entries);
  return ready;
}

std::vector<std::pair<uint64_t, uint64_t>> IdsOf(const std::vector<pb::RaftEntry>& entries) {
  std::vector<std::pair<uint64_t, uint64_t>> ids;
  for (const pb::RaftEntry& entry : entries) ids.emplace_back(entry.index(), entry.term());
  return ids;
}

std::vector<uint64_t> AcksOf(const Ready& ready) {
  std::vector<uint64_t> acks;
  for (const pb::RaftMessage& message : ready.messages_after_persist) {
    acks.push_back(message.log_index());
  }
  return acks;
}

TEST(ReadyTest, JoinedReadiesKeepTheOrderOfWhatTheyWriteAndPromise) {
  Ready ready = Writing(7, {Entry(4, 1), Entry(5, 1)});
  ready.hard_state = HardState(1);
  Join(&ready, Writing(8, {}));
  EXPECT_TRUE(ready.must_sync) << "the first one must, whatever the second says";
  Join(&ready, Writing(9, {Entry(6, 1)}));
  EXPECT_EQ(9u, ready.number);
  EXPECT_THAT(IdsOf(ready.entries), ElementsAre(std::pair(4, 1), std::pair(5, 1), std::pair(6, 1)));
  EXPECT_THAT(AcksOf(ready), ElementsAre(5, 6));
  ASSERT_TRUE(ready.hard_state.has_value());
  EXPECT_EQ(1u, ready.hard_state->term());
}

TEST(ReadyTest, TheLaterHardStateAndTheLaterEntriesStand) {
  Ready ready = Writing(7, {Entry(4, 1), Entry(5, 1), Entry(6, 1)});
  ready.hard_state = HardState(1);
  Ready next = Writing(8, {Entry(5, 2)});
  next.hard_state = HardState(2);
  Join(&ready, std::move(next));
  EXPECT_THAT(IdsOf(ready.entries), ElementsAre(std::pair(4, 1), std::pair(5, 2)))
      << "an entry removes all behind it";
  EXPECT_EQ(2u, ready.hard_state->term());
}

TEST(ReadyTest, ASnapshotReplacesTheLogButNoPromise) {
  Ready ready = Writing(7, {Entry(4, 1), Entry(5, 1)});
  ready.initial_membership.emplace().voters = {NodeId(1)};
  ready.hard_state = HardState(3);
  Ready next = Writing(8, {Entry(21, 3)});
  next.snapshot.emplace().meta.set_index(20);
  next.committed_entries = {Entry(21, 3)};
  Join(&ready, std::move(next));
  ASSERT_TRUE(ready.snapshot.has_value());
  EXPECT_EQ(20u, ready.snapshot->meta.index());
  EXPECT_THAT(IdsOf(ready.entries), ElementsAre(std::pair(21, 3)));
  EXPECT_FALSE(ready.initial_membership.has_value());
  EXPECT_EQ(3u, ready.hard_state->term());
  EXPECT_THAT(AcksOf(ready), ElementsAre(5, 21));
  EXPECT_THAT(IdsOf(ready.committed_entries), ElementsAre(std::pair(21, 3)))
      << "applied once it is stored";
}

TEST(ReadyTest, ASnapshotThatWaitsIsNotForgotten) {
  Ready ready = Writing(7, {});
  ready.snapshot.emplace().meta.set_index(20);
  Join(&ready, Writing(8, {Entry(21, 3)}));
  ASSERT_TRUE(ready.snapshot.has_value());
  EXPECT_EQ(20u, ready.snapshot->meta.index());
  EXPECT_THAT(IdsOf(ready.entries), ElementsAre(std::pair(21, 3)));
}

TEST(ReadyTest, TheFirstMembersAreNotForgotten) {
  Ready ready = Writing(1, {});
  ready.initial_membership.emplace().voters = {NodeId(1), NodeId(2)};
  Join(&ready, Writing(2, {Entry(1, 1)}));
  ASSERT_TRUE(ready.initial_membership.has_value());
  EXPECT_THAT(ready.initial_membership->voters, ElementsAre(NodeId(1), NodeId(2)));
}

}  // namespace
}  // namespace falaj::raft
