#include "libs/record/producer_window.h"

#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "libs/base/random.h"

namespace falaj::record {
namespace {

constexpr ProducerEpoch kEpoch{3};

ProducedBatch At(int64_t base, int32_t sequence, int32_t records = 1) {
  return {.base = Offset(base),
          .append_time_ms = base * 10,
          .base_sequence = Sequence(sequence),
          .record_count = records};
}

std::vector<int64_t> Bases(const ProducerWindow& window) {
  std::vector<int64_t> bases;
  for (const ProducedBatch& batch : window) bases.push_back(batch.base.value());
  return bases;
}

TEST(ProducerWindowTest, SequencesWrapToZero) {
  EXPECT_EQ(SequenceAfter(Sequence(0), 1), Sequence(1));
  EXPECT_EQ(SequenceAfter(Sequence(INT32_MAX), 1), Sequence(0));
  EXPECT_EQ(SequenceAfter(Sequence(INT32_MAX - 1), 5), Sequence(3));
  EXPECT_EQ(At(0, INT32_MAX - 1, 3).last_sequence(), Sequence(0));
  ProducerWindow window;
  window.Push(kEpoch, At(0, INT32_MAX - 1, 2));
  EXPECT_EQ(window.next_sequence(), Sequence(0));
  window.Push(kEpoch, At(2, 0));
  EXPECT_EQ(window.size(), 2u) << "it continues";
}

TEST(ProducerWindowTest, HoldsTheNewestFiveAndFindsExactlyThose) {
  ProducerWindow window;
  EXPECT_TRUE(window.empty());
  EXPECT_EQ(window.end_offset(), Offset(0));
  for (int i = 0; i < 7; ++i) window.Push(kEpoch, At(100 + 4 * i, 2 * i, 2));
  EXPECT_EQ(Bases(window), (std::vector<int64_t>{108, 112, 116, 120, 124}));
  EXPECT_EQ(window.next_sequence(), Sequence(14));
  EXPECT_EQ(window.end_offset(), Offset(126));
  ASSERT_NE(window.Find(kEpoch, Sequence(6), 2), nullptr);
  EXPECT_EQ(window.Find(kEpoch, Sequence(6), 2)->base, Offset(112));
  EXPECT_EQ(window.Find(kEpoch, Sequence(2), 2), nullptr) << "fallen out";
  EXPECT_EQ(window.Find(kEpoch, Sequence(6), 1), nullptr) << "other end";
  EXPECT_EQ(window.Find(kEpoch, Sequence(7), 2), nullptr) << "other beginning";
  EXPECT_EQ(window.Find(ProducerEpoch(4), Sequence(6), 2), nullptr);
}

TEST(ProducerWindowTest, WhatDoesNotContinueBeginsAnew) {
  ProducerWindow window;
  window.Push(kEpoch, At(0, 0));
  window.Push(kEpoch, At(1, 1));
  window.Push(ProducerEpoch(4), At(2, 2));
  EXPECT_EQ(Bases(window), (std::vector<int64_t>{2})) << "another epoch";
  EXPECT_EQ(window.epoch(), ProducerEpoch(4));
  window.Push(ProducerEpoch(4), At(3, 0));
  EXPECT_EQ(Bases(window), (std::vector<int64_t>{3})) << "a gap";
}

TEST(ProducerWindowTest, CountsOnlyNumberedBatchesOfProducers) {
  BatchHeader header{.base_offset = Offset(7),
                     .last_offset_delta = 4,
                     .producer_id = ProducerId(1),
                     .producer_epoch = kEpoch,
                     .base_sequence = Sequence(9),
                     .record_count = 2};
  EXPECT_TRUE(IsSequenced(header));
  EXPECT_EQ(ToProducedBatch(header, 6).record_count, 5) << "three were compacted away";
  header.attributes = kControlBit;
  EXPECT_FALSE(IsSequenced(header));
  header.attributes = 0;
  header.base_sequence = Sequence(-1);
  EXPECT_FALSE(IsSequenced(header));
  header.base_sequence = Sequence(0);
  header.producer_id = ProducerId(-1);
  EXPECT_FALSE(IsSequenced(header));
}

// A log of several producers, the histories kept along it, and the same computed from the log.
class HistoryLife {
 public:
  explicit HistoryLife(uint64_t seed) : random_(seed) {}

  void Step() {
    switch (random_.Below(8)) {
      case 0:
        hw_ = Offset(random_.Between(hw_.value(), end_.value()));
        return;
      case 1:
        return Reload();
      case 2:
        if (random_.Below(4) == 0) log_start_ = AnyEnd(log_start_, hw_);
        return;
      case 3:
        if (random_.Below(3) == 0) Truncate();
        return;
      default:
        for (uint64_t n = random_.Below(12); n > 0; --n) Append();
    }
  }

  void Check() const {
    for (const auto& [producer, sure] : sure_) {
      const auto known = histories_.find(producer);
      const ProducerHistory history = known == histories_.end() ? ProducerHistory() : known->second;
      if (sure) {
        EXPECT_TRUE(history.window() == Fold(producer)) << "producer " << producer.value();
      } else {
        ExpectTail(history.window(), Fold(producer));
      }
      EXPECT_LE(history.settled().end_offset(), hw_);
    }
  }
  int exact_truncations() const { return exact_; }

 private:
  struct Entry {
    ProducerId producer;
    ProducerEpoch epoch;
    ProducedBatch batch;
  };

  void Append() {
    const ProducerId producer(random_.Below(8) == 0 ? 4 : random_.Between(1, 3));
    ProducerHistory& history = histories_[producer];
    sure_.emplace(producer, true);
    const ProducerWindow& window = history.window();
    ProducerEpoch epoch = window.empty() ? ProducerEpoch(0) : window.epoch();
    Sequence sequence = window.empty() ? Sequence(0) : window.next_sequence();
    if (random_.Below(30) == 0) {
      ++epoch;
      sequence = Sequence(0);
    }
    ProducedBatch batch =
        At(end_.value(), sequence.value(), 1 + static_cast<int>(random_.Below(3)));
    history.Append(epoch, batch, hw_);
    log_.push_back({producer, epoch, batch});
    end_ = batch.end();
  }

  // As a restart does.
  void Reload() {
    for (auto& [producer, history] : histories_) {
      history = ProducerHistory(history.window(), history.settled(), history.settled_end());
    }
  }

  Offset AnyEnd(Offset low, Offset high) {
    std::vector<Offset> ends = {low};
    for (const Entry& entry : log_) {
      if (entry.batch.end() > low && entry.batch.end() <= high) ends.push_back(entry.batch.end());
    }
    return ends[random_.Below(ends.size())];
  }

  void Truncate() {
    // To the high watermark, which may lie inside of a batch, at the lowest.
    Offset low = end_;
    for (auto it = log_.rbegin(); it != log_.rend() && it->batch.base >= hw_; ++it) {
      low = it->batch.base;
    }
    const Offset end = AnyEnd(low, end_);
    std::erase_if(log_, [&](const Entry& entry) { return entry.batch.base >= end; });
    end_ = end;
    for (auto& [producer, history] : histories_) {
      if (history.window().end_offset() <= end) continue;
      if (history.settled_end() < log_start_) {
        sure_[producer] = false;
      } else {
        ++exact_;
      }
      HistoryRebuild rebuild(history, end, log_start_);
      for (const Entry& entry : log_) {
        if (entry.producer != producer || entry.batch.base < log_start_) continue;
        if (entry.batch.base < rebuild.from() || entry.batch.base >= rebuild.to()) continue;
        rebuild.Add(entry.epoch, entry.batch);
      }
      history = rebuild.Finish();
    }
    std::erase_if(histories_, [](const auto& entry) { return entry.second.window().empty(); });
  }

  ProducerWindow Fold(ProducerId producer) const {
    ProducerWindow window;
    for (const Entry& entry : log_) {
      if (entry.producer == producer) window.Push(entry.epoch, entry.batch);
    }
    return window;
  }
  static void ExpectTail(const ProducerWindow& window, const ProducerWindow& whole) {
    ASSERT_LE(window.size(), whole.size());
    EXPECT_TRUE(std::equal(window.begin(), window.end(), whole.end() - window.size()));
  }

  Random random_;
  std::vector<Entry> log_;  // All that was not truncated, also below the log start.
  Offset log_start_{0};
  Offset hw_{0};
  Offset end_{0};
  std::map<ProducerId, ProducerHistory> histories_;
  std::map<ProducerId, bool> sure_;  // False once the log start passed what a truncation needed.
  int exact_ = 0;
};

TEST(ProducerHistoryTest, ATruncatedLogHasTheWindowsOfWhatIsLeft) {
  int exact = 0;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    HistoryLife life(seed);
    for (int step = 0; step < 60; ++step) {
      life.Step();
      life.Check();
      if (testing::Test::HasFailure()) return;
    }
    exact += life.exact_truncations();
  }
  EXPECT_GT(exact, 300) << "or the seeds try too little";
}

TEST(ProducerHistoryTest, ABusyProducerIsNotReadFromItsBeginning) {
  ProducerHistory history;
  constexpr int kLag = 20;  // Batches that are not committed yet, always.
  int i = 0;
  for (; i < 1000; ++i) history.Append(kEpoch, At(i, i), Offset(std::max(0, i - kLag)));
  const HistoryRebuild rebuild(history, Offset(i - 10), Offset(0));
  EXPECT_GE(rebuild.from(), Offset(i - 3 * kLag));
  EXPECT_EQ(rebuild.to(), Offset(i - 10));
}

TEST(ProducerHistoryTest, AFewBatchesInFlightAreTakenBackWithoutReading) {
  ProducerHistory history;
  for (int i = 0; i < 8; ++i) history.Append(kEpoch, At(i, i), Offset(i));
  for (int i = 8; i < 12; ++i) history.Append(kEpoch, At(i, i), Offset(8));
  const HistoryRebuild rebuild(history, Offset(9), Offset(0));
  EXPECT_GE(rebuild.from(), rebuild.to());
  EXPECT_EQ(Bases(rebuild.Finish().window()), (std::vector<int64_t>{4, 5, 6, 7, 8}));
}

TEST(ProducerHistoryTest, AnUncleanTruncationLeavesWhatTheLogHolds) {
  ProducerHistory history;
  for (int i = 0; i < 20; ++i) history.Append(kEpoch, At(i, i), Offset(i));
  HistoryRebuild rebuild(history, Offset(7), Offset(4));
  EXPECT_EQ(rebuild.from(), Offset(4));
  EXPECT_EQ(rebuild.to(), Offset(7));
  for (int i = 4; i < 7; ++i) rebuild.Add(kEpoch, At(i, i));
  EXPECT_EQ(Bases(rebuild.Finish().window()), (std::vector<int64_t>{4, 5, 6}));
  EXPECT_TRUE(HistoryRebuild(history, Offset(0), Offset(0)).Finish().window().empty());
}

}  // namespace
}  // namespace falaj::record
