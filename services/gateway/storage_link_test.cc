// What leaves a gateway for a storage node, and in how many messages.
#include "services/gateway/storage_link.h"

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "libs/base/turn.h"
#include "services/gateway/testing/fake_storage.h"

namespace falaj::gateway {
namespace {

using internal::v1::AppendOutcome;

// Collects outcomes in the order they come.
class Outcomes {
 public:
  AppendCallback Next() {
    return [this](absl::StatusOr<AppendOutcome> outcome) {
      MutexLock lock(&mu_);
      outcomes_.push_back(std::move(outcome));
      changed_.NotifyAll();
    };
  }
  std::vector<absl::StatusOr<AppendOutcome>> Await(size_t count) {
    MutexLock lock(&mu_);
    while (outcomes_.size() < count) changed_.Wait(&mu_);
    return outcomes_;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  std::vector<absl::StatusOr<AppendOutcome>> outcomes_ ABSL_GUARDED_BY(mu_);
};

class StorageLinkTest : public testing::Test {
 protected:
  StorageLinkTest() : link_(std::make_unique<StorageLink>(storage_.address())) {
    storage_.HoldStreams(true);
  }
  ~StorageLinkTest() override { link_->Close(); }

  // Batches of so many bytes, which the fake takes for one record each.
  void Append(const std::vector<size_t>& sizes) {
    const AppendTarget target{TopicId(), PartitionIndex(0), LeaderEpoch(0), v1::ACKS_ALL,
                              absl::InfiniteDuration()};
    for (const size_t size : sizes) {
      link_->Append(target, Bytes::Own(std::string(size, 'b')), outcomes_.Next());
    }
  }
  // Lets the stream open, and returns the offsets of the batches in the order of the answers.
  std::vector<int64_t> Offsets(size_t count) {
    storage_.HoldStreams(false);
    std::vector<int64_t> offsets;
    for (const absl::StatusOr<AppendOutcome>& outcome : outcomes_.Await(count)) {
      offsets.push_back(outcome.ok() ? outcome->base_offset() : -1);
    }
    return offsets;
  }

  FakeStorage storage_;
  Outcomes outcomes_;
  std::unique_ptr<StorageLink> link_;
};

TEST_F(StorageLinkTest, WhatGathersLeavesInOneMessageInOrder) {
  Append({1000, 2000, 100, 3000, 100'000});
  EXPECT_THAT(Offsets(5), testing::ElementsAre(0, 1, 2, 3, 4));
  EXPECT_EQ(storage_.messages(), 1);
  std::vector<size_t> sizes;
  for (const Bytes& batch : storage_.batches(0)) sizes.push_back(batch.size());
  EXPECT_THAT(sizes, testing::ElementsAre(1000, 2000, 100, 3000, 100'000));
}

TEST_F(StorageLinkTest, WhatIsAppendedInOneTurnLeavesInOneMessage) {
  Append({100});
  ASSERT_THAT(Offsets(1), testing::ElementsAre(0));
  {
    const Turn turn;
    Append({100, 100, 100});
    EXPECT_EQ(storage_.messages(), 1);
  }
  EXPECT_THAT(Offsets(4), testing::ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(storage_.messages(), 2);
  {
    const Turn turn;
    Append({200'000, 200'000, 100});
    EXPECT_GE(Offsets(5).size(), 5U) << "what fills a message waits for nothing";
  }
  EXPECT_EQ(Offsets(7).back(), 6);
}

TEST_F(StorageLinkTest, AMessageEndsBeforeItGrowsTooLargeAndALargeBatchGoesAlone) {
  Append({100'000, 100'000, 100'000, 1'000'000, 100, 100});
  EXPECT_THAT(Offsets(6), testing::ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(storage_.messages(), 4) << "two, one, the large one, two";
}

TEST_F(StorageLinkTest, AMessageHasNoMoreBatchesThanANodeTakes) {
  Append(std::vector<size_t>(1500, 100));
  EXPECT_EQ(Offsets(1500).back(), 1499);
  EXPECT_EQ(storage_.messages(), 2) << "1,024 and the rest, though all would fit by size";
}

TEST_F(StorageLinkTest, WhatWasNeverWrittenFailsForCertainAndWhatWasIsUncertain) {
  Append({100, 100});
  link_->Reset();
  for (const absl::StatusOr<AppendOutcome>& outcome : outcomes_.Await(2)) {
    EXPECT_EQ(ReasonOf(outcome.status()), Reason::kLeaderUnavailable) << outcome.status();
  }
  EXPECT_EQ(storage_.messages(), 0);

  storage_.HoldAnswers(true);
  storage_.HoldStreams(false);
  Append({100});
  while (storage_.appends() == 0) std::this_thread::yield();
  storage_.BreakStreams();
  const absl::Status end = outcomes_.Await(3).back().status();
  EXPECT_EQ(ReasonOf(end), Reason::kAppendUncertain) << end;
}

TEST_F(StorageLinkTest, AnAnswerThatMakesNoSenseBreaksTheStream) {
  storage_.SpoilAnswers(true);
  Append({100, 100});
  storage_.HoldStreams(false);
  for (const absl::StatusOr<AppendOutcome>& outcome : outcomes_.Await(2)) {
    EXPECT_EQ(ReasonOf(outcome.status()), Reason::kAppendUncertain) << outcome.status();
  }
  storage_.SpoilAnswers(false);
  Append({100});
  const absl::StatusOr<AppendOutcome> after = outcomes_.Await(3).back();
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(after->base_offset(), 2);
}

}  // namespace
}  // namespace falaj::gateway
