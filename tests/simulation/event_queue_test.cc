#include "tests/simulation/event_queue.h"

#include <vector>

#include "gtest/gtest.h"

namespace falaj::simulation {
namespace {

TEST(EventQueueTest, HappensInTheOrderOfTime) {
  EventQueue queue(1);
  std::vector<int> happened;
  queue.After(30, EventKind::kTick, [&] { happened.push_back(3); });
  queue.After(10, EventKind::kTick, [&] {
    happened.push_back(1);
    queue.After(5, EventKind::kDisk, [&] { happened.push_back(2); });
  });
  while (queue.RunNext()) {
  }
  EXPECT_EQ(happened, (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(queue.now(), 30);
  EXPECT_EQ(queue.count(), 3u);
  EXPECT_EQ(queue.count(EventKind::kDisk), 1u);
}

std::vector<int> OrderOfOneInstant(uint64_t seed) {
  EventQueue queue(seed);
  std::vector<int> happened;
  for (int i = 0; i < 20; ++i) {
    queue.After(10, EventKind::kTick, [&happened, i] { happened.push_back(i); });
  }
  while (queue.RunNext()) {
  }
  return happened;
}

TEST(EventQueueTest, DrawsTheOrderOfOneInstantFromTheSeed) {
  EXPECT_EQ(OrderOfOneInstant(1), OrderOfOneInstant(1));
  EXPECT_NE(OrderOfOneInstant(1), OrderOfOneInstant(2));
}

}  // namespace
}  // namespace falaj::simulation
