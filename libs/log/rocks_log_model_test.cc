// Random operations against a naive model, with the store reopened, or replaced by what kill -9
// would have left, at random points. Seeded: a failure prints its seed and repeats.
#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "libs/log/store_fixture.h"

namespace falaj::log {
namespace {

// What a partition should hold, as whole batches.
struct ModelBatch {
  int64_t base;
  int64_t last;
  std::string bytes;
};
struct ModelPartition {
  int number = 0;
  int64_t log_start = 0;
  int64_t log_end = 0;
  std::vector<ModelBatch> batches;  // May reach below the log start.
};

class StoreModelTest : public StoreTest, public testing::WithParamInterface<uint64_t> {
 protected:
  StoreModelTest() : random_(GetParam()) {
    options_.slab_bytes_max = 30'000;
    options_.memtable_bytes = 64 << 10;
  }

  LocalPartitionId AnyPartition() {
    auto it = model_.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(random_.Below(model_.size())));
    return it->first;
  }

  void AppendRound() {
    Round round;
    for (uint64_t n = 1 + random_.Below(6); n > 0; --n) {
      const LocalPartitionId id = AnyPartition();
      ModelPartition& model = model_[id];
      const std::vector<int64_t> timestamps(1 + random_.Below(5), 1);
      round.batches.push_back(
          MakeWrite(id, Offset(model.log_end), timestamps, random_.Below(2000)));
      const BatchWrite& write = round.batches.back();
      model.batches.push_back(
          {write.base_offset.value(), write.last_offset.value(), write.batch.ToString()});
      model.log_end = write.last_offset.value() + 1;
    }
    ASSERT_TRUE(store_->Commit(round, random_.Below(4) == 0).ok());
  }

  void MoveLogStart() {
    const LocalPartitionId id = AnyPartition();
    ModelPartition& model = model_[id];
    model.log_start = random_.Between(model.log_start, model.log_end);
    std::erase_if(model.batches,
                  [&](const ModelBatch& batch) { return batch.last < model.log_start; });
    Round round;
    round.log_starts.push_back({id, Offset(model.log_start)});
    round.high_watermarks.push_back({id, Offset(model.log_end)});
    ASSERT_TRUE(store_->Commit(round, false).ok());
  }

  void Truncate() {
    const LocalPartitionId id = AnyPartition();
    ModelPartition& model = model_[id];
    const int64_t end = random_.Between(std::max<int64_t>(0, model.log_start - 3), model.log_end);
    ASSERT_TRUE(store_->TruncateSuffix(id, Offset(end)).ok());
    if (end == model.log_end) return;
    int64_t new_end = end;
    while (!model.batches.empty() && model.batches.back().last >= end) {
      new_end = model.batches.back().base;
      model.batches.pop_back();
    }
    model.log_end = end < model.log_start ? end : std::max(new_end, model.log_start);
    model.log_start = std::min(model.log_start, model.log_end);
    std::erase_if(model.batches,
                  [&](const ModelBatch& batch) { return batch.last < model.log_start; });
  }

  void DropAndRecreate() {
    const LocalPartitionId id = AnyPartition();
    const int number = model_[id].number;
    ASSERT_TRUE(store_->DropPartition(id).ok());
    model_.erase(id);
    model_[Partition(number)].number = number;
  }

  void Reopen() {
    if (random_.Below(2) == 0) {
      Open();
      return;
    }
    const std::string killed = Photograph();
    store_.reset();
    options_.directory = killed;
    Open();
  }

  void CheckPartition(LocalPartitionId id, const ModelPartition& model) {
    const StoredPartition stored = Get(id);
    ASSERT_EQ(stored.log_start, Offset(model.log_start));
    ASSERT_EQ(stored.log_end, Offset(model.log_end));
    const int64_t from = random_.Between(0, model.log_end);
    const int64_t limit = random_.Between(from, model.log_end + 2);
    const size_t bytes_max = random_.Below(20'000);
    std::string expected;
    int64_t next = from;
    for (const ModelBatch& batch : model.batches) {
      if (batch.last < from) continue;
      if (batch.last >= limit) break;
      if (!expected.empty() && expected.size() + batch.bytes.size() > bytes_max) break;
      expected += batch.bytes;
      next = batch.last + 1;
    }
    const auto read = store_->Read(id, Offset(from), Offset(limit), bytes_max);
    ASSERT_TRUE(read.ok()) << read.status();
    ASSERT_EQ(read->next_offset, Offset(next));
    ASSERT_TRUE(read->batches.ToString() == expected) << "from " << from << " to " << limit;
  }

  Random random_;
  std::map<LocalPartitionId, ModelPartition> model_;
};

TEST_P(StoreModelTest, HoldsWhatTheModelHolds) {
  Open();
  for (int number = 0; number < 5; ++number) model_[Partition(number)].number = number;
  for (int step = 0; step < 300; ++step) {
    SCOPED_TRACE(absl::StrCat("seed ", GetParam(), " step ", step));
    const uint64_t dice = random_.Below(100);
    if (dice < 60) {
      AppendRound();
    } else if (dice < 75) {
      MoveLogStart();
    } else if (dice < 85) {
      Truncate();
    } else if (dice < 87) {
      DropAndRecreate();
    } else if (dice < 97) {
      ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
    } else {
      Reopen();
    }
    if (HasFatalFailure()) return;
    for (const auto& [id, model] : model_) {
      CheckPartition(id, model);
      if (HasFatalFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, StoreModelTest, testing::Range<uint64_t>(1, 5));

}  // namespace
}  // namespace falaj::log
