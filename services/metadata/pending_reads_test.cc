#include "services/metadata/pending_reads.h"

#include <gtest/gtest.h>

#include <vector>

#include "libs/base/status.h"

namespace falaj::metadata {
namespace {

MonotonicTime At(int64_t seconds) { return MonotonicTime{} + absl::Seconds(seconds); }

class PendingReadsTest : public ::testing::Test {
 protected:
  PendingReads::Callback Remember() {
    return [this](const absl::Status& status) { answers_.push_back(ReasonOf(status)); };
  }
  static PendingReads::Options Until(int64_t seconds, uint64_t min_index = 0) {
    PendingReads::Options options;
    options.min_index = LogIndex(min_index);
    options.deadline = At(seconds);
    return options;
  }

  PendingReads reads_;
  std::vector<Reason> answers_;
};

TEST_F(PendingReadsTest, ALinearizableReadWaitsForTheQuorumAndThenForItsIndex) {
  const uint64_t id = reads_.AddUnconfirmed(Until(10), Remember());
  reads_.Applied(LogIndex(100));
  EXPECT_TRUE(answers_.empty()) << "nobody has said yet what it must see";
  reads_.Confirm(id, LogIndex(101));
  reads_.Applied(LogIndex(100));
  EXPECT_TRUE(answers_.empty());
  reads_.Applied(LogIndex(101));
  EXPECT_EQ(std::vector<Reason>{Reason::kNone}, answers_);
  EXPECT_EQ(0u, reads_.size());
}

TEST_F(PendingReadsTest, ALinearizableReadNeverGoesBehindWhatItsClientHasSeen) {
  const uint64_t id = reads_.AddUnconfirmed(Until(10, 7), Remember());
  reads_.Confirm(id, LogIndex(5));
  reads_.Applied(LogIndex(6));
  EXPECT_TRUE(answers_.empty());
  reads_.Applied(LogIndex(7));
  EXPECT_EQ(1u, answers_.size());
}

TEST_F(PendingReadsTest, EveryReadIsAnsweredOnceWhateverComesLater) {
  const uint64_t id = reads_.AddUnconfirmed(Until(10), Remember());
  reads_.Drop(id, MakeError(Reason::kMetadataUnavailable, "no leader"));
  reads_.Confirm(id, LogIndex(1));
  reads_.Drop(id, MakeError(Reason::kMetadataUnavailable, "no leader"));
  reads_.Applied(LogIndex(9));
  reads_.Expire(At(100));
  EXPECT_EQ(std::vector<Reason>{Reason::kMetadataUnavailable}, answers_);
}

TEST_F(PendingReadsTest, ADeadlineEndsBothKindsOfWait) {
  reads_.AddUnconfirmed(Until(10), Remember());
  reads_.AddConfirmed(LogIndex(50), At(20), Remember());
  reads_.Expire(At(9));
  EXPECT_TRUE(answers_.empty());
  reads_.Expire(At(10));
  EXPECT_EQ(1u, answers_.size());
  reads_.Expire(At(20));
  EXPECT_EQ((std::vector<Reason>{Reason::kTimedOut, Reason::kTimedOut}), answers_);
}

TEST_F(PendingReadsTest, ReadsAreAnsweredInTheOrderOfTheirIndexes) {
  std::vector<int> order;
  reads_.AddConfirmed(LogIndex(2), At(10), [&](const absl::Status&) { order.push_back(2); });
  reads_.AddConfirmed(LogIndex(1), At(10), [&](const absl::Status&) { order.push_back(1); });
  reads_.Applied(LogIndex(3));
  EXPECT_EQ((std::vector<int>{1, 2}), order);
}

TEST_F(PendingReadsTest, FailAllLeavesNobodyWaiting) {
  reads_.AddUnconfirmed(Until(10), Remember());
  reads_.AddConfirmed(LogIndex(5), At(10), Remember());
  reads_.FailAll(MakeError(Reason::kShuttingDown, "stopping"));
  EXPECT_EQ((std::vector<Reason>{Reason::kShuttingDown, Reason::kShuttingDown}), answers_);
  EXPECT_EQ(0u, reads_.size());
}

}  // namespace
}  // namespace falaj::metadata
