// Random operations against a naive model, with the store reopened, or replaced by what kill -9
// would have left, at random points. Seeded: a failure prints its seed and repeats.
#include <map>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "libs/log/producer_fixture.h"
#include "libs/log/store_fixture.h"

namespace falaj::log {
namespace {

// What a partition should hold, as whole batches.
struct ModelBatch {
  int64_t base;
  int64_t last;
  std::string bytes;
};
// A batch of an idempotent producer.
struct ModelProduced {
  ProducerId producer;
  ProducerEpoch epoch;
  record::ProducedBatch batch;
};
struct ModelPartition {
  int number = 0;
  int64_t log_start = 0;
  int64_t log_end = 0;
  int64_t high_watermark = 0;
  std::vector<ModelBatch> batches;      // May reach below the log start.
  std::vector<ModelProduced> produced;  // All that were not truncated, also below the log start.
  // What a leader keeps in memory.
  std::map<ProducerId, record::ProducerHistory> producers;
  // Were forgotten, or lost committed batches: the store may know less, or still know them.
  std::set<ProducerId> unsure;
};

class StoreModelTest : public ProducerStoreTest, public testing::WithParamInterface<uint64_t> {
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
      if (random_.Below(3) == 0) {
        const int64_t base = NextBase(model);
        const auto least = static_cast<size_t>(model.log_end - base);
        const std::vector<int64_t> timestamps(least + 1 + random_.Below(5), 1);
        round.batches.push_back(MakeWrite(id, Offset(base), timestamps, random_.Below(2000)));
      } else {
        round.batches.push_back(Produce(id, &model, &round));
      }
      const BatchWrite& write = round.batches.back();
      model.batches.push_back(
          {write.base_offset.value(), write.last_offset.value(), write.batch.ToString()});
      model.log_end = write.last_offset.value() + 1;
    }
    ASSERT_TRUE(store_->Commit(round, random_.Below(4) == 0).ok());
  }

  // An empty log may begin within its first batch.
  int64_t NextBase(const ModelPartition& model) {
    const bool empty = model.log_start == model.log_end;
    return empty ? random_.Between(std::max<int64_t>(0, model.log_end - 4), model.log_end)
                 : model.log_end;
  }

  BatchWrite Produce(LocalPartitionId id, ModelPartition* model, Round* round) {
    const ProducerId producer(random_.Below(6) == 0 ? 4 : random_.Between(1, 3));
    record::ProducerHistory& history = model->producers[producer];
    const record::ProducerWindow& window = history.window();
    ProducerEpoch epoch = window.empty() ? ProducerEpoch(0) : window.epoch();
    const bool begins = window.empty() || random_.Below(20) == 0;
    if (begins) epoch = epoch + 1;
    const record::ProducedBatch batch{
        .base = Offset(model->log_end),
        .append_time_ms = clock_.NowMs() - random_.Between(0, 1000),
        .base_sequence = begins ? Sequence(0) : window.next_sequence(),
        .record_count = static_cast<int32_t>(random_.Between(1, 5))};
    history.Append(epoch, batch, Offset(model->high_watermark));
    model->produced.push_back({producer, epoch, batch});
    round->producers.push_back({id, {producer, history}});
    return MakeProducedWrite(id, producer, epoch, batch, random_.Below(2000));
  }

  void Forget() {
    const LocalPartitionId id = AnyPartition();
    ModelPartition& model = model_[id];
    if (model.producers.empty()) return;
    const ProducerId producer = model.producers.begin()->first;
    model.producers.erase(producer);
    model.unsure.insert(producer);
    Round round;
    round.producers.push_back({id, {producer, record::ProducerHistory()}});
    ASSERT_TRUE(store_->Commit(round, false).ok());
    ASSERT_FALSE(StoredWindows(*store_, id).contains(producer.value()));
  }

  // As a leader does when it opens a partition.
  void LoadProducers(LocalPartitionId id) {
    const auto rows = store_->LoadProducers(id);
    ASSERT_TRUE(rows.ok()) << rows.status();
    model_[id].producers.clear();
    for (const record::ProducerRow& row : *rows) model_[id].producers[row.producer] = row.history;
  }

  void MoveLogStart() {
    const LocalPartitionId id = AnyPartition();
    ModelPartition& model = model_[id];
    model.high_watermark =
        random_.Between(std::max(model.high_watermark, model.log_start), model.log_end);
    if (random_.Below(3) == 0) {
      // All there is goes, or a follower begins anew beyond it.
      model.log_start = model.log_end + (random_.Below(2) == 0 ? random_.Between(0, 20) : 0);
      model.high_watermark = model.log_end = model.log_start;
    } else {
      model.log_start = random_.Between(model.log_start, model.high_watermark);
    }
    std::erase_if(model.batches,
                  [&](const ModelBatch& batch) { return batch.last < model.log_start; });
    Round round;
    round.log_starts.push_back({id, Offset(model.log_start)});
    round.high_watermarks.push_back({id, Offset(model.high_watermark)});
    ASSERT_TRUE(store_->Commit(round, false).ok());
  }

  void Truncate() {
    const LocalPartitionId id = AnyPartition();
    ModelPartition& model = model_[id];
    const uint64_t dice = random_.Below(6);
    const int64_t lowest = dice < 2 ? 0 : dice == 2 ? model.log_start - 3 : model.high_watermark;
    const int64_t highest = dice < 2 ? model.log_start : model.log_end;
    const int64_t end = random_.Between(std::max<int64_t>(0, lowest), highest);
    if (end < model.log_start) ++cuts_below_;
    ASSERT_TRUE(store_->TruncateSuffix(id, Offset(end)).ok());
    if (end == model.log_end) return;
    int64_t new_end = end;
    while (!model.batches.empty() && model.batches.back().last >= end) {
      new_end = model.batches.back().base;
      model.batches.pop_back();
    }
    model.log_end = end < model.log_start ? end : std::max(new_end, model.log_start);
    model.log_start = std::min(model.log_start, model.log_end);
    model.high_watermark = std::min(model.high_watermark, model.log_end);
    for (const auto& [producer, history] : model.producers) {
      const Offset new_log_end(model.log_end);
      if (history.window().end_offset() <= new_log_end) continue;
      if (history.settled().end_offset() > new_log_end ||
          history.settled_end() < Offset(model.log_start)) {
        model.unsure.insert(producer);
      } else {
        ++exact_truncations_;
      }
    }
    std::erase_if(model.produced, [&](const ModelProduced& produced) {
      return produced.batch.end() > Offset(model.log_end);
    });
    LoadProducers(id);
    std::erase_if(model.batches,
                  [&](const ModelBatch& batch) { return batch.last < model.log_start; });
  }

  // To another class of slabs, and back.
  void ChangeRetention() {
    const absl::Duration age = random_.Below(2) == 0 ? absl::Hours(1) : absl::InfiniteDuration();
    ASSERT_TRUE(store_->SetRetention(AnyPartition(), {.age = age, .size_bytes = 0}).ok());
  }

  void DropAndRecreate() {
    const LocalPartitionId id = AnyPartition();
    const int number = model_[id].number;
    ASSERT_TRUE(store_->DropPartition(id).ok());
    model_.erase(id);
    model_[Partition(number)].number = number;
  }

  void Reopen() {
    std::map<LocalPartitionId, std::vector<record::ProducerRow>> before;
    for (const auto& [id, model] : model_) {
      if (model.unsure.empty()) before[id] = *store_->LoadProducers(id);
    }
    if (random_.Below(2) == 0) {
      Open();
    } else {
      const std::string killed = Photograph();
      store_.reset();
      options_.directory = killed;
      Open();
    }
    for (const auto& [id, rows] : before) {
      ASSERT_TRUE(*store_->LoadProducers(id) == rows) << "whole, with their append times";
    }
    for (const auto& [id, model] : model_) LoadProducers(id);
  }

  void CheckProducers(LocalPartitionId id, const ModelPartition& model) {
    std::map<ProducerId, record::ProducerWindow> folded;
    for (const ModelProduced& produced : model.produced) {
      folded[produced.producer].Push(produced.epoch, produced.batch);
    }
    std::map<int64_t, std::string> stored = StoredWindows(*store_, id);
    for (const auto& [producer, window] : folded) {
      const std::string found = stored[producer.value()];
      if (!model.unsure.contains(producer)) {
        ASSERT_EQ(found, WindowText(window)) << "producer " << producer.value();
      } else if (!found.empty()) {
        // A part of the truth, to its end.
        const std::string newest = found.substr(found.find(", "));
        ASSERT_TRUE(WindowText(window).ends_with(newest)) << found << " / " << WindowText(window);
      }
      stored.erase(producer.value());
    }
    ASSERT_TRUE(stored.empty()) << "the row of producer " << stored.begin()->first;
    for (const auto& [producer, history] : model.producers) {
      ASSERT_EQ(StoredWindows(*store_, id)[producer.value()], WindowText(history.window()));
    }
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
  int exact_truncations_ = 0;
  int cuts_below_ = 0;
};

TEST_P(StoreModelTest, HoldsWhatTheModelHolds) {
  Open();
  for (int number = 0; number < 5; ++number) model_[Partition(number)].number = number;
  for (int step = 0; step < 450; ++step) {
    SCOPED_TRACE(absl::StrCat("seed ", GetParam(), " step ", step));
    const uint64_t dice = random_.Below(100);
    if (dice < 60) {
      AppendRound();
    } else if (dice < 75) {
      MoveLogStart();
    } else if (dice < 85) {
      Truncate();
    } else if (dice < 86) {
      DropAndRecreate();
    } else if (dice < 87) {
      Forget();
    } else if (dice < 89) {
      ChangeRetention();
    } else if (dice < 97) {
      clock_.Advance(absl::Seconds(5));  // Now and then slabs may be sealed early.
      ASSERT_TRUE(store_->Maintain(clock_.Now()).ok());
    } else {
      Reopen();
    }
    if (HasFatalFailure()) return;
    for (const auto& [id, model] : model_) {
      CheckPartition(id, model);
      CheckProducers(id, model);
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(exact_truncations_, 5) << "or the model tries too little";
  EXPECT_GT(cuts_below_, 5);
}

INSTANTIATE_TEST_SUITE_P(Seeds, StoreModelTest, testing::Range<uint64_t>(1, 5));

}  // namespace
}  // namespace falaj::log
