#include "libs/base/turn.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>

namespace falaj {
namespace {

class TurnTest : public testing::Test {
 protected:
  void Leave(char subject) {
    Turn::AtEnd(&subjects_[static_cast<unsigned char>(subject)],
                [this, subject] { ran_ += subject; });
  }

  char subjects_[256] = {};
  std::string ran_;
};

TEST_F(TurnTest, WorkRunsAtTheEndInOrderOnceForEachSubject) {
  {
    const Turn turn;
    EXPECT_TRUE(turn.empty());
    Leave('a');
    Leave('b');
    Leave('a');
    EXPECT_FALSE(turn.empty());
    EXPECT_TRUE(Turn::IsDue(&subjects_['a']));
    EXPECT_FALSE(Turn::IsDue(&subjects_['c']));
    EXPECT_EQ(ran_, "");
  }
  EXPECT_EQ(ran_, "ab");
  {
    const Turn next;
    Leave('a');
  }
  EXPECT_EQ(ran_, "aba");
}

TEST_F(TurnTest, OutsideOfATurnWorkRunsAtOnce) {
  EXPECT_FALSE(Turn::IsOpen());
  Leave('a');
  EXPECT_FALSE(Turn::IsDue(&subjects_['a']));
  Leave('a');
  EXPECT_EQ(ran_, "aa");
}

TEST_F(TurnTest, AnInnerTurnEndsItsOwnWorkOnly) {
  {
    const Turn outer;
    Leave('o');
    {
      const Turn inner;
      Leave('i');
    }
    EXPECT_EQ(ran_, "i");
    Leave('p');
    EXPECT_EQ(ran_, "i");
  }
  EXPECT_EQ(ran_, "iop");
}

TEST_F(TurnTest, WhatTheEndLeavesForLaterRunsAtOnceOrAtTheEndOfTheOuterTurn) {
  const auto leave = [this] {
    Turn::AtEnd(this, [this] {
      Leave('l');
      ran_ += 'w';
    });
  };
  {
    const Turn turn;
    leave();
  }
  EXPECT_EQ(ran_, "lw");
  ran_.clear();
  {
    const Turn outer;
    {
      const Turn inner;
      leave();
    }
    EXPECT_EQ(ran_, "w");
  }
  EXPECT_EQ(ran_, "wl");
}

TEST_F(TurnTest, ATurnIsItsThreadsOwn) {
  const Turn turn;
  std::thread([this] { Leave('t'); }).join();
  EXPECT_EQ(ran_, "t");
}

TEST_F(TurnTest, WhatWorkKeepsAliveIsLetGoOfWithIt) {
  auto kept = std::make_shared<int>();
  const std::weak_ptr<int> watched = kept;
  bool was_alive = false;
  {
    const Turn turn;
    const void* const subject = kept.get();
    Turn::AtEnd(subject, [kept = std::move(kept)] {});
    Turn::AtEnd(this, [&] { was_alive = !watched.expired(); });
    EXPECT_FALSE(watched.expired());
  }
  EXPECT_FALSE(was_alive) << "until the end of the turn's other work";
}

}  // namespace
}  // namespace falaj
