// The checker of what clients saw, held to histories made by hand: it finds what is wrong, and
// nothing in what is right. tests/fault/log_checks_test.py has the same cases for its checker.
#include "tests/simulation/data/history.h"

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

#include "tests/simulation/findings.h"

namespace falaj::simulation::data {
namespace {

constexpr PartitionNumber kPartition = 0;
constexpr int kWriter = 1;
constexpr History::Reader kReader = 7;
constexpr History::Reader kFinal = -1;
constexpr int64_t kUnanswered = 40;

Batch At(int64_t offset, int64_t value) {
  return {.base = Offset{offset}, .last = Offset{offset}, .value = value};
}
Batch LeaderChange(int64_t offset) {
  return {.base = Offset{offset}, .last = Offset{offset}, .leader_change = true};
}

class HistoryTest : public testing::Test {
 protected:
  // A history that is right: 10, 20 and 30 are acknowledged at 0, 1 and 3; 40 was never answered,
  // 50 was refused. Offset 2 is a leader change.
  void SetUp() override {
    Send(10, Outcome::kAcknowledged, 0);
    Send(20, Outcome::kAcknowledged, 1);
    Send(30, Outcome::kAcknowledged, 3);
    Send(kUnanswered, Outcome::kUnknown);
    Send(50, Outcome::kFailed);
  }

  void Send(int64_t value, Outcome outcome, int64_t offset = -1, int writer = kWriter) {
    history_.OnSend(kPartition, writer, value);
    history_.OnSent(kPartition, value, outcome, Offset{offset});
  }
  void Poll(const std::vector<Batch>& batches, History::Reader reader = kReader) {
    history_.OnPoll(kPartition, reader, batches);
  }
  void FinalRead(const std::vector<Batch>& batches, int64_t log_start = 0,
                 History::Reader reader = kFinal) {
    history_.OnFinalRead(kPartition, reader, Offset{log_start}, batches);
  }
  std::vector<Batch> Log() const { return {At(0, 10), At(1, 20), LeaderChange(2), At(3, 30)}; }

  // Empty if the history is right.
  std::string Verdict() const {
    const std::optional<Finding> finding = history_.Judge();
    if (!finding.has_value()) return "";
    EXPECT_NE(finding->what, "");
    constexpr absl::string_view kPrefix = "history: ";
    EXPECT_EQ(finding->invariant.substr(0, kPrefix.size()), kPrefix);
    return finding->invariant.substr(kPrefix.size());
  }

  History history_;
};

TEST_F(HistoryTest, ARightOnePasses) {
  Poll({At(0, 10)});
  Poll({At(1, 20), LeaderChange(2)});
  Poll({});
  Poll({At(3, 30)});
  Poll({At(3, 30)}, kReader + 1);  // Who comes later.
  FinalRead(Log());
  FinalRead(Log(), 0, kFinal - 1);
  EXPECT_EQ(Verdict(), "");
  EXPECT_EQ(history_.sends(), 5u);
  EXPECT_EQ(history_.reads(), 10u) << "leader changes are nobody's values";
}

TEST_F(HistoryTest, NothingAtAllPasses) { EXPECT_FALSE(History().Judge().has_value()); }

TEST_F(HistoryTest, WhatHasNoAnswerMayBeThereOrNot) {
  FinalRead(Log());
  EXPECT_EQ(Verdict(), "");
  history_ = History();
  SetUp();
  std::vector<Batch> log = Log();
  log.push_back(At(4, kUnanswered));
  Poll({At(3, 30), At(4, kUnanswered)});
  FinalRead(log);
  EXPECT_EQ(Verdict(), "");
}

TEST_F(HistoryTest, WhatIsStillUnderWayHasNoAnswer) {
  history_.OnSend(kPartition, kWriter, 60);
  FinalRead(Log());
  EXPECT_EQ(Verdict(), "");
}

TEST_F(HistoryTest, AnAcknowledgedValueThatIsGoneIsFound) {
  FinalRead({At(0, 10), At(3, 30)});
  EXPECT_EQ(Verdict(), "lost");
}

TEST_F(HistoryTest, AnAcknowledgedValueThatIsGoneFromOneOfTheCopiesIsFound) {
  FinalRead(Log());
  FinalRead({At(0, 10), At(1, 20)}, 0, kFinal - 1);
  EXPECT_EQ(Verdict(), "lost");
}

TEST_F(HistoryTest, AnAcknowledgedValueAtAnotherOffsetIsFound) {
  FinalRead({At(0, 10), At(1, 20), At(4, 30)});
  EXPECT_EQ(Verdict(), "duplicate");
}

TEST_F(HistoryTest, AnUnacknowledgedValueThatWasReadAndIsGoneIsFound) {
  Poll({At(3, 30), At(4, kUnanswered)});
  FinalRead(Log());
  EXPECT_EQ(Verdict(), "lost");
}

TEST_F(HistoryTest, AnUnacknowledgedValueThatWasReadAndReplacedIsFound) {
  Send(60, Outcome::kUnknown);
  Poll({At(3, 30), At(4, kUnanswered)});
  std::vector<Batch> log = Log();
  log.push_back(At(4, 60));
  FinalRead(log);
  EXPECT_EQ(Verdict(), "inconsistent offsets");
}

TEST_F(HistoryTest, AnEmptyLogIsFound) {
  FinalRead({});
  EXPECT_EQ(Verdict(), "lost");
}

TEST_F(HistoryTest, WhatLiesBelowTheLogStartIsNotLost) {
  Poll({At(0, 10), At(1, 20), At(3, 30)});
  FinalRead({At(3, 30)}, 2);
  EXPECT_EQ(Verdict(), "");
}

TEST_F(HistoryTest, WhatLiesAtTheLogStartIsLost) {
  FinalRead({At(3, 30)}, 1);
  EXPECT_EQ(Verdict(), "lost");
}

TEST_F(HistoryTest, AValueThatIsThereTwiceIsFound) {
  std::vector<Batch> log = Log();
  log.push_back(At(4, 30));
  FinalRead(log);
  EXPECT_EQ(Verdict(), "duplicate");
}

TEST_F(HistoryTest, AnUnacknowledgedValueThatIsThereTwiceIsFound) {
  std::vector<Batch> log = Log();
  log.push_back(At(4, kUnanswered));
  log.push_back(At(5, kUnanswered));
  FinalRead(log);
  EXPECT_EQ(Verdict(), "duplicate");
}

TEST_F(HistoryTest, AValueThatMayBeThereTwiceMayNotBeLost) {
  history_.Forgive(30);
  std::vector<Batch> log = Log();
  log.push_back(At(4, 30));
  FinalRead(log);
  EXPECT_EQ(Verdict(), "");
  FinalRead({At(0, 10), At(1, 20), At(4, 30)}, 0, kFinal - 1);
  EXPECT_EQ(Verdict(), "lost") << "it was acknowledged at 3";
}

TEST_F(HistoryTest, AnOffsetWithTwoValuesIsFound) {
  Poll({At(3, kUnanswered)});
  FinalRead(Log());
  EXPECT_EQ(Verdict(), "inconsistent offsets");
}

TEST_F(HistoryTest, TwoValuesAcknowledgedAtOneOffsetAreFound) {
  Send(60, Outcome::kAcknowledged, 3, kWriter + 1);
  EXPECT_EQ(Verdict(), "inconsistent offsets");
}

TEST_F(HistoryTest, TwoFinalReadsThatDifferAreFound) {
  Send(60, Outcome::kUnknown);
  std::vector<Batch> log = Log();
  log.push_back(At(4, kUnanswered));
  FinalRead(log);
  log.back() = At(4, 60);
  FinalRead(log, 0, kFinal - 1);
  EXPECT_EQ(Verdict(), "inconsistent offsets");
}

TEST_F(HistoryTest, ARefusedValueThatIsThereIsFound) {
  std::vector<Batch> log = Log();
  log.push_back(At(4, 50));
  FinalRead(log);
  EXPECT_EQ(Verdict(), "aborted read");
}

TEST_F(HistoryTest, AValueThatNobodySentIsFound) {
  std::vector<Batch> log = Log();
  log.push_back(At(4, 99));
  FinalRead(log);
  EXPECT_EQ(Verdict(), "unknown value");
}

TEST_F(HistoryTest, AValueInAnotherPartitionIsFound) {
  history_.OnPoll(kPartition + 1, kReader, {At(0, kUnanswered)});
  FinalRead(Log());
  EXPECT_EQ(Verdict(), "unknown value");
}

TEST_F(HistoryTest, AReadThatGoesBackIsFound) {
  Poll({At(0, 10), At(1, 20)});
  Poll({At(0, 10)});
  EXPECT_EQ(Verdict(), "nonmonotonic poll");
}

TEST_F(HistoryTest, AReadThatRepeatsItsLastValueIsFound) {
  Poll({At(1, 20)});
  Poll({At(1, 20)});
  EXPECT_EQ(Verdict(), "nonmonotonic poll");
}

TEST_F(HistoryTest, AReadThatSkipsIsFound) {
  Poll({At(0, 10)});
  Poll({At(3, 30)});
  EXPECT_EQ(Verdict(), "skipped poll") << "20 is acknowledged at 1";
}

TEST_F(HistoryTest, AReadThatSkipsWhatOthersReadIsFound) {
  Send(60, Outcome::kAcknowledged, 5);
  Poll({At(3, 30), At(4, kUnanswered), At(5, 60)});
  Poll({At(3, 30), At(5, 60)}, kReader + 1);
  EXPECT_EQ(Verdict(), "skipped poll");
}

TEST_F(HistoryTest, WhoGoesElsewhereMaySkipAndGoBackOnce) {
  Poll({At(0, 10)});
  history_.OnSeek(kPartition, kReader);
  Poll({At(3, 30)});
  history_.OnSeek(kPartition, kReader);
  Poll({At(0, 10), At(1, 20)});
  EXPECT_EQ(Verdict(), "");
  Poll({At(0, 10)});
  EXPECT_EQ(Verdict(), "nonmonotonic poll");
}

TEST_F(HistoryTest, WhoGoesElsewhereBeforeReadingAnythingSkipsNothingAfterwards) {
  history_.OnSeek(kPartition, kReader);
  Poll({At(0, 10), At(3, 30)});
  EXPECT_EQ(Verdict(), "skipped poll");
}

TEST_F(HistoryTest, ALaterWriteOfTheSameWriterAtALowerOffsetIsFound) {
  Send(60, Outcome::kAcknowledged, 2);
  EXPECT_EQ(Verdict(), "nonmonotonic send");
}

TEST_F(HistoryTest, WritersMayOvertakeEachOther) {
  Send(60, Outcome::kAcknowledged, 2, kWriter + 1);
  EXPECT_EQ(Verdict(), "");
}

TEST_F(HistoryTest, WhereRecordsMayBeLostNothingIsJudged) {
  FinalRead({});
  history_.Exempt(kPartition);
  EXPECT_EQ(Verdict(), "");
  history_.OnSend(kPartition + 1, kWriter, 5);
  history_.OnSent(kPartition + 1, 5, Outcome::kAcknowledged, Offset{0});
  history_.OnFinalRead(kPartition + 1, kFinal, Offset{0}, {});
  EXPECT_EQ(Verdict(), "lost") << "the other partitions still are";
}

}  // namespace
}  // namespace falaj::simulation::data
