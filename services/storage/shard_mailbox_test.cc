#include "services/storage/shard_mailbox.h"

#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace falaj::storage {
namespace {

ReplicateTask Lagging(int64_t bytes) {
  ReplicateTask task;
  task.source.lane = Lane::kCatchUp;
  task.bytes = bytes;
  return task;
}

PartitionCommand Numbered(int32_t number) {
  return {{Uuid::FromRandomBits(1, 1), PartitionIndex{number}}, [](ShardCore*) {}};
}

std::vector<int32_t> Numbers(const std::vector<ShardItem>& items) {
  std::vector<int32_t> numbers;
  for (const ShardItem& item : items) {
    const auto* const command = std::get_if<PartitionCommand>(&item);
    numbers.push_back(command == nullptr ? -1 : command->key.partition.value());
  }
  return numbers;
}

TEST(ShardMailboxTest, WhatIsPutBackComesFirst) {
  ShardMailbox mailbox;
  std::vector<ShardItem> items;
  ASSERT_TRUE(mailbox.Put(Numbered(1)));
  ASSERT_TRUE(mailbox.Put(Numbered(2)));
  ASSERT_TRUE(mailbox.TryTakeAll(&items));
  ASSERT_TRUE(mailbox.Put(Numbered(3)));
  mailbox.PutBack(&items);
  EXPECT_TRUE(items.empty());
  mailbox.Pass();
  ASSERT_TRUE(mailbox.TryTakeAll(&items));
  EXPECT_EQ(Numbers(items), (std::vector<int32_t>{1, 2, 3}));
  mailbox.Pass();
}

TEST(ShardMailboxTest, ThereIsOneBaton) {
  ShardMailbox mailbox;
  std::vector<ShardItem> items;
  EXPECT_FALSE(mailbox.TryTakeAll(&items)) << "nothing to do";
  ASSERT_TRUE(mailbox.Put(Numbered(1)));
  ASSERT_TRUE(mailbox.TryTakeAll(&items));
  ASSERT_TRUE(mailbox.Put(Numbered(2)));
  std::vector<ShardItem> others;
  EXPECT_FALSE(mailbox.TryTakeAll(&others)) << "somebody is at work";
  mailbox.Pass();
  ASSERT_TRUE(mailbox.TryTakeAll(&others));
  EXPECT_EQ(Numbers(others), std::vector<int32_t>{2});
  mailbox.Pass();
}

// The shard's thread sleeps while another one is at work, and is woken for what came meanwhile
// although nobody calls Wake() for it.
TEST(ShardMailboxTest, WhoPassesTheBatonOnWakesTheShardsThread) {
  ShardMailbox mailbox;
  std::vector<ShardItem> mine;
  ASSERT_TRUE(mailbox.Put(Numbered(1)));
  ASSERT_TRUE(mailbox.TryTakeAll(&mine));
  std::vector<ShardItem> items;
  std::thread shard([&] {
    EXPECT_TRUE(mailbox.TakeAll(&items));
    mailbox.Pass();
  });
  ASSERT_TRUE(mailbox.Put(Numbered(2)));
  mailbox.Pass();
  shard.join();
  EXPECT_EQ(Numbers(items), std::vector<int32_t>{2});
}

TEST(ShardMailboxTest, OfTheCatchUpLaneALittleAtATime) {
  ShardMailbox mailbox;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(mailbox.PutLagging(Lagging(200 << 10)));
  std::vector<ShardItem> items;
  EXPECT_FALSE(mailbox.TryTakeAll(&items)) << "it is for the shard's own thread";
  ASSERT_TRUE(mailbox.Put(Numbered(1)));
  EXPECT_FALSE(mailbox.TryTakeAll(&items)) << "which must not wait behind what is live for ever";
  ASSERT_TRUE(mailbox.TakeAll(&items));
  EXPECT_EQ(Numbers(items), (std::vector<int32_t>{1, -1, -1})) << "live first";
  mailbox.Pass();
  items.clear();
  ASSERT_TRUE(mailbox.TakeAll(&items));
  EXPECT_EQ(items.size(), 1U);
  mailbox.Pass();
}

TEST(ShardMailboxTest, AStoppedOneGivesOutWhatItHas) {
  ShardMailbox mailbox;
  EXPECT_TRUE(mailbox.Close());
  EXPECT_FALSE(mailbox.Close()) << "was closed";
  EXPECT_FALSE(mailbox.PutAppend(AppendTask()));
  ASSERT_TRUE(mailbox.Put(Numbered(1))) << "only appends are refused";
  mailbox.Stop();
  EXPECT_FALSE(mailbox.Put(Numbered(2)));
  EXPECT_FALSE(mailbox.PutLagging(Lagging(1)));
  EXPECT_FALSE(mailbox.PutAll({}));
  std::vector<ShardItem> items;
  EXPECT_TRUE(mailbox.TakeAll(&items));
  mailbox.Pass();
  EXPECT_FALSE(mailbox.TakeAll(&items));
  mailbox.Pass();
}

TEST(ShardMailboxTest, AnAbandonedOneGivesOutNothing) {
  ShardMailbox mailbox;
  ASSERT_TRUE(mailbox.Put(Numbered(1)));
  mailbox.Abandon();
  std::vector<ShardItem> items;
  EXPECT_FALSE(mailbox.TryTakeAll(&items));
  EXPECT_FALSE(mailbox.TakeAll(&items));
  mailbox.Pass();
}

}  // namespace
}  // namespace falaj::storage
