#include "services/storage/read_deadlines.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"

namespace falaj::storage {
namespace {

constexpr absl::Duration kFar = absl::Hours(1);

// What was told, in order.
class Told {
 public:
  void Add(int number) {
    MutexLock lock(&mu_);
    told_.push_back(number);
    changed_.NotifyAll();
  }
  std::vector<int> WaitFor(size_t count) {
    MutexLock lock(&mu_);
    while (told_.size() < count) changed_.Wait(&mu_);
    return told_;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  std::vector<int> told_ ABSL_GUARDED_BY(mu_);
};

class Read final : public ReadDeadlines::Waiting {
 public:
  Read(Told* told, int number) : told_(told), number_(number) {}
  void OnDeadline() override { told_->Add(number_); }

 private:
  Told* const told_;
  const int number_;
};

// Keeps the thread of the deadlines until it is let go.
class Keeper final : public ReadDeadlines::Waiting {
 public:
  void OnDeadline() override {
    MutexLock lock(&mu_);
    inside_ = true;
    changed_.NotifyAll();
    while (!let_go_) changed_.Wait(&mu_);
  }
  void WaitUntilInside() {
    MutexLock lock(&mu_);
    while (!inside_) changed_.Wait(&mu_);
  }
  void LetGo() {
    MutexLock lock(&mu_);
    let_go_ = true;
    changed_.NotifyAll();
  }

 private:
  Mutex mu_;
  CondVar changed_;
  bool inside_ ABSL_GUARDED_BY(mu_) = false;
  bool let_go_ ABSL_GUARDED_BY(mu_) = false;
};

class ReadDeadlinesTest : public testing::Test {
 protected:
  ReadDeadlinesTest() {
    deadlines_.Add(start_, keeper_);
    keeper_->WaitUntilInside();  // Nobody is told before the test lets it go.
  }

  std::shared_ptr<Read> Add(int number, absl::Duration in) {
    auto read = std::make_shared<Read>(&told_, number);
    deadlines_.Add(start_ + in, read);
    return read;
  }

  const MonotonicTime start_ = Clock::Real()->MonotonicNow();
  const std::shared_ptr<Keeper> keeper_ = std::make_shared<Keeper>();
  Told told_;
  ReadDeadlines deadlines_;
};

TEST_F(ReadDeadlinesTest, EachIsToldInTheOrderOfTheDeadlines) {
  const auto late = Add(3, absl::Milliseconds(40));
  const auto past = Add(1, -absl::Seconds(1));
  const auto soon = Add(2, absl::Milliseconds(20));
  const auto never = Add(4, kFar);
  keeper_->LetGo();
  EXPECT_EQ(told_.WaitFor(3), (std::vector<int>{1, 2, 3}));
  EXPECT_GE(Clock::Real()->MonotonicNow() - start_, absl::Milliseconds(40)) << "none comes early";
}

// Whoever sleeps for a late one is told of an early one. (Else this does not end.)
TEST_F(ReadDeadlinesTest, AnEarlierDeadlineIsNotSleptThrough) {
  const auto never = Add(1, kFar);
  keeper_->LetGo();
  const auto soon = Add(2, absl::Milliseconds(20));
  EXPECT_EQ(told_.WaitFor(1), std::vector<int>{2});
}

TEST_F(ReadDeadlinesTest, WhoIsRemovedOrGoneIsNotTold) {
  const auto removed = Add(1, absl::Milliseconds(10));
  deadlines_.Remove(start_ + absl::Milliseconds(10), removed.get());
  deadlines_.Remove(start_ + kFar, removed.get());  // Not there: nothing happens.
  Add(2, absl::Milliseconds(10)).reset();
  const auto last = Add(3, absl::Milliseconds(20));
  keeper_->LetGo();
  EXPECT_EQ(told_.WaitFor(1), std::vector<int>{3});
}

TEST_F(ReadDeadlinesTest, ItEndsWhileSomebodyWaits) {
  Add(1, kFar);
  keeper_->LetGo();
}

}  // namespace
}  // namespace falaj::storage
