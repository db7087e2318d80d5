#include "tests/simulation/network.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace falaj::simulation {
namespace {

class NetworkTest : public testing::Test {
 protected:
  NetworkTest() {
    network_.set_receiver([this](internal::v1::RaftMessage message) {
      EXPECT_EQ(message.to(), 2);
      arrived_.push_back(message.term());
    });
  }

  void Send(uint64_t number) {
    internal::v1::RaftMessage message;
    message.set_from(1);
    message.set_to(2);
    message.set_term(number);
    network_.Send(std::move(message));
  }
  std::vector<uint64_t> Arrived() {
    while (queue_.RunNext()) {
    }
    return arrived_;
  }

  EventQueue queue_{1};
  SimNetwork network_{&queue_, 1};
  std::vector<uint64_t> arrived_;
};

TEST_F(NetworkTest, KeepsTheOrderOfALinkInFairWeather) {
  std::vector<uint64_t> sent;
  for (uint64_t i = 0; i < 100; ++i) Send(i), sent.push_back(i);
  EXPECT_EQ(Arrived(), sent);
}

TEST_F(NetworkTest, LosesDoublesAndReordersInBadWeather) {
  network_.weather().loss = 300;
  for (uint64_t i = 0; i < 100; ++i) Send(i);
  EXPECT_LT(Arrived().size(), 90u);
  EXPECT_EQ(network_.messages_lost(), 100 - arrived_.size());

  arrived_.clear();
  network_.weather() = {.duplication = 300};
  for (uint64_t i = 0; i < 100; ++i) Send(i);
  EXPECT_GT(Arrived().size(), 110u);

  arrived_.clear();
  network_.weather() = {.reordering = 300};
  for (uint64_t i = 0; i < 100; ++i) Send(i);
  EXPECT_FALSE(std::is_sorted(Arrived().begin(), arrived_.end()));
}

TEST_F(NetworkTest, BlocksOneDirectionOnly) {
  network_.Block(1, 2, true);
  Send(1);
  EXPECT_FALSE(network_.Call(1, 2, [] { FAIL(); }));
  bool called = false;
  EXPECT_TRUE(network_.Call(2, 1, [&] { called = true; }));
  EXPECT_TRUE(Arrived().empty());
  EXPECT_TRUE(called);
  network_.Heal();
  Send(2);
  EXPECT_EQ(Arrived(), std::vector<uint64_t>{2});
}

TEST_F(NetworkTest, HoldsBackWhatACloggedLinkCarries) {
  network_.Clog(1, 2, kSecond);
  Send(1);
  Send(2);
  EXPECT_EQ(Arrived(), (std::vector<uint64_t>{1, 2}));
  EXPECT_GE(queue_.now(), kSecond);
}

}  // namespace
}  // namespace falaj::simulation
