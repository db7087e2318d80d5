#include "libs/replica/producer_states.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/replica/replica_test_support.h"

namespace falaj::replica {
namespace {

using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

ProducerStates::Batch Make(int32_t sequence, int32_t records = 1, int16_t epoch = 0,
                           ProducerId producer = kProducer) {
  return {.producer = producer,
          .epoch = ProducerEpoch(epoch),
          .base_sequence = Sequence(sequence),
          .record_count = records};
}

class ProducerStatesTest : public testing::Test {
 protected:
  // Checks a batch that must be new, and places it.
  void Place(const ProducerStates::Batch& batch, int64_t now_ms = kNow) {
    const auto verdict = states_.Check(batch);
    ASSERT_TRUE(verdict.ok()) << verdict.status();
    ASSERT_FALSE(verdict->duplicate);
    Take(batch, now_ms);
  }
  // As a follower does.
  void Take(const ProducerStates::Batch& batch, int64_t now_ms = kNow) {
    states_.Apply(batch, {.base = end_, .append_time_ms = now_ms, .high_watermark = end_});
    end_ = end_ + batch.record_count;
  }
  absl::Status Refusal(const ProducerStates::Batch& batch) const {
    return states_.Check(batch).status();
  }

  ProducerStates states_;
  Offset end_{0};
};

TEST_F(ProducerStatesTest, SequencesContinueOneAfterTheOther) {
  Place(Make(0, 3));
  Place(Make(3));
  Place(Make(4, 10));
  const absl::Status gap = Refusal(Make(15));
  EXPECT_EQ(ReasonOf(gap), Reason::kOutOfOrderSequence);
  EXPECT_EQ(MetadataOf(gap).at("expected_sequence"), "14");
  EXPECT_EQ(MetadataOf(gap).at("got_sequence"), "15");
  EXPECT_FALSE(MetadataOf(gap).contains("unknown_producer"));
}

TEST_F(ProducerStatesTest, TheLastSequenceIsFollowedByZero) {
  constexpr int32_t kMax = INT32_MAX;
  Place(Make(0, kMax));
  Place(Make(kMax));
  EXPECT_EQ(ReasonOf(Refusal(Make(1))), Reason::kOutOfOrderSequence);
  Place(Make(0, 2));
  Place(Make(2));
}

TEST_F(ProducerStatesTest, ABatchMayBeginBeforeTheLastSequenceAndEndAfterZero) {
  constexpr int32_t kMax = INT32_MAX;
  Place(Make(0, kMax));
  const Offset first = end_;
  Place(Make(kMax, 4));
  const auto again = states_.Check(Make(kMax, 4));
  ASSERT_TRUE(again.ok() && again->duplicate) << again.status();
  EXPECT_EQ(again->base, first);
  Place(Make(3));
}

TEST_F(ProducerStatesTest, TheNewestFiveAreRecognisedWithTheirPlace) {
  for (int i = 0; i < 6; ++i) Place(Make(2 * i, 2), kNow + i);
  for (int i = 1; i < 6; ++i) {
    const auto again = states_.Check(Make(2 * i, 2));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(again->duplicate);
    EXPECT_EQ(again->base, Offset(2 * i));
    EXPECT_EQ(again->record_count, 2);
    EXPECT_EQ(again->append_time_ms, kNow + i);
  }
  EXPECT_EQ(ReasonOf(Refusal(Make(0, 2))), Reason::kOutOfOrderSequence) << "too old";
  EXPECT_EQ(ReasonOf(Refusal(Make(2, 1))), Reason::kOutOfOrderSequence) << "a part of one";
  EXPECT_EQ(ReasonOf(Refusal(Make(2, 4))), Reason::kOutOfOrderSequence) << "two in one";
}

TEST_F(ProducerStatesTest, ANewEpochBeginsAtZeroAndFencesTheOld) {
  Place(Make(0));
  Place(Make(1));
  const absl::Status late = Refusal(Make(2, 1, /*epoch=*/1));
  EXPECT_EQ(ReasonOf(late), Reason::kOutOfOrderSequence);
  EXPECT_EQ(MetadataOf(late).at("expected_sequence"), "0");
  EXPECT_FALSE(MetadataOf(late).contains("unknown_producer"));
  Place(Make(0, 1, /*epoch=*/1));
  for (const int sequence : {0, 1, 2}) {
    const absl::Status fenced = Refusal(Make(sequence, 1, /*epoch=*/0));
    EXPECT_EQ(ReasonOf(fenced), Reason::kProducerFenced);
    EXPECT_EQ(MetadataOf(fenced).at("producer_epoch"), "1");
  }
}

TEST_F(ProducerStatesTest, AnUnknownProducerThatDoesNotBeginIsToldSo) {
  const absl::Status unknown = Refusal(Make(5));
  EXPECT_EQ(ReasonOf(unknown), Reason::kOutOfOrderSequence);
  EXPECT_THAT(MetadataOf(unknown), testing::Contains(Pair("unknown_producer", "true")));
  EXPECT_EQ(MetadataOf(unknown).at("expected_sequence"), "0");
  Place(Make(0, 1, /*epoch=*/4));
}

TEST_F(ProducerStatesTest, ProducersDoNotMeetEachOther) {
  Place(Make(0, 1, 0, ProducerId(1)));
  Place(Make(0, 1, 0, ProducerId(2)));
  Place(Make(1, 1, 0, ProducerId(1)));
  EXPECT_EQ(states_.Check(Make(0, 1, 0, ProducerId(2)))->base, Offset(1));
}

TEST_F(ProducerStatesTest, BatchesWithoutAProducerLeaveNothing) {
  const ProducerStates::Batch plain{.record_count = 3};
  for (int i = 0; i < 3; ++i) Place(plain);
  EXPECT_EQ(states_.size(), 0u);
  EXPECT_THAT(states_.TakeRows(), IsEmpty());
  // The marker of a transaction.
  Take({.producer = kProducer, .epoch = ProducerEpoch(0), .record_count = 1});
  EXPECT_EQ(states_.size(), 0u);
}

TEST_F(ProducerStatesTest, MissingNumbersAreInvalid) {
  EXPECT_EQ(ReasonOf(Refusal(Make(-1))), Reason::kInvalidBatch);
  EXPECT_EQ(ReasonOf(Refusal(Make(0, 1, /*epoch=*/-1))), Reason::kInvalidBatch);
  EXPECT_EQ(ReasonOf(Refusal(Make(0, 0))), Reason::kInvalidBatch);
}

TEST_F(ProducerStatesTest, FollowersTakeWhatTheLeaderTook) {
  // The leader had forgotten the producer, this replica had not.
  for (int i = 0; i < 4; ++i) Take(Make(i));
  Take(Make(0));
  EXPECT_EQ(states_.Check(Make(0))->base, Offset(4));
  EXPECT_FALSE(states_.Check(Make(1))->duplicate) << "the 1 of an earlier life is another batch";
  Take(Make(9));
  EXPECT_EQ(states_.Find(kProducer)->next_sequence(), Sequence(10));
}

TEST_F(ProducerStatesTest, SilentProducersAreForgottenAndTheirRowsGo) {
  Place(Make(0, 1, 0, ProducerId(1)), kNow);
  Place(Make(0, 1, 0, ProducerId(2)), kNow + 1);
  states_.Written(end_);
  EXPECT_THAT(states_.TakeRows(), SizeIs(2));
  const int64_t age_ms = absl::ToInt64Milliseconds(kProducerExpiry);
  EXPECT_EQ(states_.Expire(kNow + age_ms), 0u);
  EXPECT_EQ(states_.Expire(kNow + age_ms + 1), 1u);
  EXPECT_EQ(states_.Find(ProducerId(1)), nullptr);
  ASSERT_NE(states_.Find(ProducerId(2)), nullptr);
  const auto rows = states_.TakeRows();
  ASSERT_THAT(rows, SizeIs(1));
  EXPECT_EQ(rows[0].producer, ProducerId(1));
  EXPECT_TRUE(rows[0].history.window().empty());
  EXPECT_EQ(MetadataOf(Refusal(Make(1, 1, 0, ProducerId(1)))).at("unknown_producer"), "true");
}

TEST_F(ProducerStatesTest, TooManyProducersMakeRoomByAgeButNotWhileTheyMayRepeat) {
  int64_t id = 0;
  while (states_.size() < kProducersMax) {
    ++id;
    Place(Make(0, 1, 0, ProducerId(id)), kNow + id);
  }
  const ProducerStates::Batch one_more = Make(0, 1, 0, ProducerId(id + 1));
  EXPECT_EQ(ReasonOf(Refusal(one_more)), Reason::kQuotaExceeded);
  Place(Make(1, 1, 0, ProducerId(1)), kNow + id + 1);  // A known one goes on; it is the youngest.
  EXPECT_EQ(states_.Expire(kNow + id), 0u) << "all may still repeat";
  EXPECT_EQ(ReasonOf(Refusal(one_more)), Reason::kQuotaExceeded);
  const int64_t later_ms = absl::ToInt64Milliseconds(kProducerSilenceMin);
  EXPECT_EQ(states_.Expire(kNow + 2 + later_ms), 0u) << "2 was not silent for longer";
  EXPECT_EQ(states_.Expire(kNow + 3 + later_ms), 1u);
  EXPECT_EQ(states_.Find(ProducerId(2)), nullptr);
  EXPECT_NE(states_.Find(ProducerId(1)), nullptr);
  EXPECT_TRUE(states_.Check(one_more).ok());
  EXPECT_EQ(states_.Expire(kNow + 2 * id + later_ms), kProducersMax / 10 - 1)
      << "no more than that";
  Take(one_more);
  EXPECT_NE(states_.Find(ProducerId(id + 1)), nullptr);
}

TEST_F(ProducerStatesTest, AllAreForgottenAndTheirRowsGo) {
  Place(Make(0, 1, 0, ProducerId(1)));
  Place(Make(0, 1, 0, ProducerId(2)));
  states_.TakeRows();
  states_.Written(end_);
  states_.ForgetAll();
  EXPECT_EQ(states_.size(), 0u);
  const auto rows = states_.TakeRows();
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_TRUE(rows[0].history.window().empty() && rows[1].history.window().empty());
}

TEST_F(ProducerStatesTest, RowsComeOnceAProducerAndAgainAfterAFailedWrite) {
  Place(Make(0));
  Place(Make(1));
  EXPECT_THAT(states_.TakeRows(), SizeIs(1));
  EXPECT_THAT(states_.TakeRows(), IsEmpty());
  states_.Written(end_);
  Place(Make(2));
  const auto rows = states_.TakeRows();
  ASSERT_THAT(rows, SizeIs(1));
  EXPECT_EQ(rows[0].history.window().next_sequence(), Sequence(3));
  states_.TakeBack(end_ - 1);
  const auto again = states_.TakeRows();
  ASSERT_THAT(again, SizeIs(1));
  EXPECT_EQ(again[0].history.window().next_sequence(), Sequence(2));
  states_.Written(end_);
  states_.TakeBack(end_);
  EXPECT_THAT(states_.TakeRows(), IsEmpty());
}

TEST_F(ProducerStatesTest, ARowThatAFailedWriteDidNotRemoveGoesLater) {
  Place(Make(0));
  states_.Written(end_);
  EXPECT_THAT(states_.TakeRows(), SizeIs(1));
  states_.Written(end_);
  EXPECT_EQ(states_.Expire(kNow + 100, absl::Milliseconds(1)), 1u);
  EXPECT_THAT(states_.TakeRows(), SizeIs(1));
  states_.TakeBack(end_);
  const auto again = states_.TakeRows();
  ASSERT_THAT(again, SizeIs(1));
  EXPECT_TRUE(again[0].history.window().empty());
}

// A leader with failing writes, a follower fed with what was written, and restarts of both.
class RandomLife {
 public:
  explicit RandomLife(uint64_t seed) : random_(seed) {}

  void Step() {
    switch (random_.Below(8)) {
      case 0:
        return Fail();
      case 1:
      case 2:
        return Write(placed_.empty() ? end_ : placed_.back().end);
      case 3:
        // Half of a round is written; the rest follows or is taken back.
        if (!placed_.empty()) Write(placed_[random_.Below(placed_.size())].end);
        return;
      case 4:
        if (random_.Below(4) == 0) Restart();
        return;
      case 5:
        hw_ = Offset(random_.Between(hw_.value(), written_.value()));
        return;
      default:
        return Place();
    }
  }

  void Check() const {
    if (placed_.empty()) {
      EXPECT_EQ(Windows(leader_), Windows(follower_));
    }
    for (const auto& [producer, next] : next_) {
      const record::ProducerWindow* const window = leader_.Find(producer);
      ASSERT_NE(window, nullptr);
      EXPECT_EQ(window->next_sequence(), next);
    }
  }

 private:
  struct Placed {
    ProducerStates::Batch batch;
    Offset base;
    Offset end;
    ProducerStates before;  // The leader's table.
    std::map<ProducerId, Sequence> next_before;
  };

  static std::vector<std::pair<ProducerId, record::ProducerWindow>> Windows(
      const ProducerStates& states) {
    std::vector<std::pair<ProducerId, record::ProducerWindow>> windows;
    for (const record::ProducerRow& row : states.Rows()) {
      windows.emplace_back(row.producer, row.history.window());
    }
    return windows;
  }

  void Place() {
    const ProducerId producer(random_.Between(1, 3));
    ProducerStates::Batch batch = Make(0, 1 + static_cast<int>(random_.Below(3)), 0, producer);
    if (const record::ProducerWindow* const window = leader_.Find(producer)) {
      batch.epoch = window->epoch();
      batch.base_sequence = window->next_sequence();
      if (random_.Below(10) == 0) {
        ++batch.epoch;
        batch.base_sequence = Sequence(0);
      }
    }
    const auto verdict = leader_.Check(batch);
    ASSERT_TRUE(verdict.ok() && !verdict->duplicate) << verdict.status();
    placed_.push_back({batch, end_, end_ + batch.record_count, leader_, next_});
    leader_.Apply(batch, {.base = end_, .append_time_ms = kNow, .high_watermark = hw_});
    const auto again = leader_.Check(batch);
    ASSERT_TRUE(again.ok() && again->duplicate) << again.status();
    ASSERT_EQ(again->base, end_);
    next_[producer] = record::SequenceAfter(batch.base_sequence, batch.record_count);
    end_ = placed_.back().end;
  }

  void Write(Offset end) {
    for (const record::ProducerRow& row : leader_.TakeRows()) {
      if (row.history.window().empty()) {
        stored_.erase(row.producer);
      } else {
        stored_[row.producer] = row.history;
      }
    }
    leader_.Written(end);
    written_ = end;
    while (!placed_.empty() && placed_.front().base < end) {
      const Placed& one = placed_.front();
      // The follower's high watermark trails, and it was restarted at other times.
      follower_.Apply(
          one.batch,
          {.base = one.base, .append_time_ms = kNow, .high_watermark = Offset(hw_.value() / 2)});
      placed_.erase(placed_.begin());
    }
    follower_.Written(end);
  }

  void Fail() {
    leader_.TakeBack(written_);
    if (!placed_.empty()) {
      EXPECT_EQ(leader_.Rows(), placed_.front().before.Rows());
      next_ = placed_.front().next_before;
    }
    placed_.clear();
    end_ = written_;
  }

  void Restart() {
    Fail();
    Write(end_);
    std::vector<record::ProducerRow> rows;
    for (const auto& [producer, history] : stored_) {
      rows.push_back({producer, {history.window(), history.settled(), history.settled_end()}});
    }
    EXPECT_EQ(Windows(ProducerStates(rows)), Windows(leader_));
    (random_.Below(2) == 0 ? leader_ : follower_) = ProducerStates(rows);
  }

  Random random_;
  ProducerStates leader_;
  ProducerStates follower_;
  std::map<ProducerId, record::ProducerHistory> stored_;
  std::map<ProducerId, Sequence> next_;
  std::vector<Placed> placed_;  // And not written.
  Offset hw_{0};
  Offset written_{0};
  Offset end_{0};
};

TEST(ProducerStatesRandomTest, TakingBackRestoresAndReplicasAgree) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RandomLife life(seed);
    for (int step = 0; step < 100; ++step) {
      life.Step();
      life.Check();
      if (testing::Test::HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace falaj::replica
