#include "tests/simulation/linearizability.h"

#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "libs/base/random.h"

namespace falaj::simulation {
namespace {

using Outcome = Operation::Outcome;
constexpr int64_t kNever = Operation::kNever;

Operation Make(int64_t invoked, int64_t returned, std::vector<Step> steps,
               Outcome outcome = Outcome::kOk) {
  if (returned == kNever) outcome = Outcome::kUnknown;
  return {invoked, returned, outcome, 0, std::move(steps)};
}
Step CreateStep(uint64_t value, int znode = 0) {
  return {Step::Kind::kCreate, znode, value, std::nullopt, {0, 0}};
}
Step SetStep(uint64_t value, int64_t version, int znode = 0) {
  return {Step::Kind::kSet, znode, value, std::nullopt, {version, 0}};
}
Step GetStep(uint64_t value, int64_t version, int znode = 0) {
  return {Step::Kind::kGet, znode, 0, std::nullopt, {version, value}};
}

Operation Create(int64_t invoked, int64_t returned, uint64_t value, int znode = 0) {
  return Make(invoked, returned, {CreateStep(value, znode)});
}
Operation Set(int64_t invoked, int64_t returned, uint64_t value, int64_t version, int znode = 0) {
  return Make(invoked, returned, {SetStep(value, version, znode)});
}
Operation Get(int64_t invoked, int64_t returned, uint64_t value, int64_t version, int znode = 0) {
  return Make(invoked, returned, {GetStep(value, version, znode)});
}
Operation GetNothing(int64_t invoked, int64_t returned) {
  return Get(invoked, returned, 0, ZnodeView::kMissing);
}
// Compare and set.
Operation Cas(int64_t invoked, int64_t returned, int64_t expected, uint64_t value,
              Outcome outcome) {
  return Make(invoked, returned, {{Step::Kind::kSet, 0, value, expected, {expected + 1, 0}}},
              outcome);
}
Operation Delete(int64_t invoked, int64_t returned) {
  return Make(invoked, returned, {{Step::Kind::kDelete, 0, 0, std::nullopt, {}}});
}

bool IsLinearizable(std::vector<Operation> history) {
  return JudgeLinearizability(std::move(history)).verdict == Verdict::kLinearizable;
}

TEST(LinearizabilityTest, AcceptsWhatOneOrderExplains) {
  EXPECT_TRUE(IsLinearizable({}));
  EXPECT_TRUE(IsLinearizable({GetNothing(0, 1), Create(2, 3, 7), Get(4, 5, 7, 0)}));
  EXPECT_TRUE(IsLinearizable({Create(0, 9, 7), GetNothing(1, 2), Get(3, 4, 7, 0)}));
  // Two writes at once: reads decide which came last.
  EXPECT_TRUE(
      IsLinearizable({Create(0, 1, 9), Set(2, 9, 1, 2), Set(2, 9, 2, 1), Get(10, 11, 1, 2)}));
  EXPECT_TRUE(IsLinearizable({Create(0, 1, 9), Cas(2, 5, 0, 1, Outcome::kOk),
                              Cas(2, 5, 0, 2, Outcome::kVersionMismatch), Get(6, 7, 1, 1)}));
  EXPECT_TRUE(IsLinearizable({Create(0, 1, 5), Delete(2, 3), GetNothing(4, 5), Create(6, 7, 6)}));
}

TEST(LinearizabilityTest, RefusesStaleReads) {
  EXPECT_FALSE(IsLinearizable({Create(0, 1, 7), GetNothing(2, 3)}));
  EXPECT_FALSE(IsLinearizable({Create(0, 1, 7), Set(2, 3, 8, 1), Get(4, 5, 7, 0)}));
  // Once seen, a write stays seen, though it has not returned yet.
  EXPECT_FALSE(IsLinearizable({Create(0, 9, 7), Get(1, 2, 7, 0), GetNothing(3, 4)}));
}

TEST(LinearizabilityTest, RefusesLostAndDoubledWrites) {
  EXPECT_FALSE(IsLinearizable({Create(0, 1, 1), Set(2, 3, 2, 1), Set(4, 5, 3, 1)}));
  EXPECT_FALSE(IsLinearizable({Create(0, 1, 1), Set(2, 3, 2, 2)}));
  EXPECT_FALSE(IsLinearizable({Create(0, 1, 1), Create(2, 3, 2)}));
  EXPECT_FALSE(IsLinearizable(
      {Create(0, 1, 9), Cas(2, 5, 0, 1, Outcome::kOk), Cas(2, 5, 0, 2, Outcome::kOk)}));
  EXPECT_FALSE(IsLinearizable({Create(0, 1, 9), Cas(2, 5, 0, 1, Outcome::kVersionMismatch)}));
}

TEST(LinearizabilityTest, LetsUnknownOutcomesHappenLateOrNever) {
  EXPECT_TRUE(IsLinearizable({Create(0, kNever, 7), GetNothing(1, 2), GetNothing(3, 4)}));
  EXPECT_TRUE(IsLinearizable({Create(0, kNever, 7), GetNothing(1, 2), Get(3, 4, 7, 0)}));
  // But not come and go, and not before they were asked for.
  EXPECT_FALSE(IsLinearizable({Create(0, kNever, 7), Get(1, 2, 7, 0), GetNothing(3, 4)}));
  EXPECT_FALSE(IsLinearizable({Create(5, kNever, 7), Get(1, 2, 7, 0)}));
}

TEST(LinearizabilityTest, TakesAMultiAsOne) {
  const Operation both = Make(0, 9, {CreateStep(1, 0), CreateStep(2, 1)});
  EXPECT_TRUE(IsLinearizable({both, Get(1, 2, 1, 0, 0), Get(3, 4, 2, 0, 1)}));
  EXPECT_FALSE(IsLinearizable({both, Get(1, 2, 1, 0, 0), Get(3, 4, 0, ZnodeView::kMissing, 1)}));
  // All or nothing: the second step was refused, so the first has not happened either.
  Operation refused = Make(2, 3, {CreateStep(1, 0), CreateStep(2, 1)}, Outcome::kAlreadyExists);
  refused.failed_step = 1;
  EXPECT_TRUE(IsLinearizable({Create(0, 1, 5, 1), refused, GetNothing(4, 5)}));
  EXPECT_FALSE(IsLinearizable({Create(0, 1, 5, 1), refused, Get(4, 5, 1, 0, 0)}));
}

TEST(LinearizabilityTest, NamesTheOperationNoOrderReaches) {
  const Judgement judgement =
      JudgeLinearizability({Create(0, 1, 7), Set(2, 3, 8, 1), Get(4, 5, 7, 0)});
  EXPECT_EQ(judgement.verdict, Verdict::kNotLinearizable);
  EXPECT_NE(judgement.explanation.find("get znode 0"), std::string::npos) << judgement.explanation;
}

// A history of many clients on a few znodes, of a store that executes each operation at one instant
// between its invocation and return.
std::vector<Operation> HonestHistory(uint64_t seed, int operations) {
  Random random(seed);
  std::vector<Operation> history;
  std::vector<ZnodeView> znodes(3);
  for (int i = 0; i < operations; ++i) {
    const auto z = static_cast<int>(random.Below(3));
    ZnodeView& znode = znodes[static_cast<size_t>(z)];
    const int64_t at = i * 10;
    Operation operation;
    operation.invoked = at - static_cast<int64_t>(random.Below(40));
    operation.returned = at + static_cast<int64_t>(random.Below(40));
    Step step{Step::Kind::kGet, z, static_cast<uint64_t>(i) + 1, std::nullopt, {}};
    operation.outcome = Outcome::kOk;
    if (random.Below(2) == 0) {
      step.seen = znode;
    } else if (!znode.exists()) {
      step.kind = Step::Kind::kCreate;
      step.seen = znode = {0, step.value};
    } else if (random.Below(8) == 0) {
      step.kind = Step::Kind::kDelete;
      znode = {};
    } else {
      step.kind = Step::Kind::kSet;
      step.seen = znode = {znode.version + 1, step.value};
    }
    operation.steps = {step};
    if (random.Below(20) == 0) {
      operation.outcome = Outcome::kUnknown;
      operation.returned = kNever;
    }
    history.push_back(std::move(operation));
  }
  return history;
}

// Without a single answer, hundreds of writes leave more orders than can be tried one by one.
TEST(LinearizabilityTest, ManyUnknownOutcomesLeaveTheVerdictDecided) {
  constexpr int64_t kWrites = 300;
  std::vector<Operation> history = {Create(0, 1, 1)};
  for (int64_t i = 0; i < kWrites; ++i) {
    history.push_back(Set(10 + i, kNever, 1'000 + static_cast<uint64_t>(i), 0));
  }
  // A known write tells that 150 of them have taken effect, one of which is seen...
  history.push_back(Get(1'000, 1'001, 1'007, 100));
  history.push_back(Set(1'002, 1'003, 2, 151));
  EXPECT_TRUE(IsLinearizable(history));
  // ...and that one cannot come again.
  history.push_back(Get(1'004, 1'005, 1'007, 200));
  const Judgement judgement = JudgeLinearizability(history);
  EXPECT_EQ(Verdict::kNotLinearizable, judgement.verdict);
}

TEST(LinearizabilityTest, JudgesLongHistoriesQuickly) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    std::vector<Operation> history = HonestHistory(seed, 1000);
    EXPECT_TRUE(IsLinearizable(history)) << "seed " << seed;
    // One read, late in the history, of what was never written.
    history.push_back(Get(9'000, 9'001, 999'999, 0));
    EXPECT_EQ(JudgeLinearizability(history).verdict, Verdict::kNotLinearizable) << "seed " << seed;
  }
}

}  // namespace
}  // namespace falaj::simulation
