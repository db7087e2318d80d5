// The parts of the benchmark that must not lie: histogram, sequence check, schedule, accounting.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/random.h"
#include "libs/base/testing/temp_directory.h"
#include "libs/record/batch_builder.h"
#include "libs/record/batch_reader.h"
#include "services/cli/bench_disk.h"
#include "services/cli/bench_report.h"
#include "services/cli/bench_stamp.h"
#include "services/cli/histogram.h"
#include "services/cli/pace.h"
#include "services/cli/process_account.h"
#include "services/cli/sequence_check.h"

namespace falaj::cli {
namespace {

using testing::HasSubstr;

TEST(HistogramTest, PercentilesAreWithinOnePercent) {
  Histogram histogram;
  std::vector<int64_t> values;
  Random random(7);
  for (int i = 0; i < 100'000; ++i) {
    values.push_back(static_cast<int64_t>(random.Below(10'000'000'000)));
    histogram.Record(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const double percent : {1.0, 50.0, 90.0, 99.0, 99.9, 99.99}) {
    const auto index = static_cast<size_t>(percent / 100 * 100'000) - 1;
    const auto exact = static_cast<double>(values[index]);
    EXPECT_NEAR(static_cast<double>(histogram.Percentile(percent)), exact, exact * 0.01) << percent;
    EXPECT_GE(static_cast<double>(histogram.Percentile(percent)), exact);
  }
  EXPECT_EQ(histogram.Percentile(100), values.back());
  EXPECT_EQ(histogram.max(), values.back());
  EXPECT_EQ(histogram.min(), values.front());
}

TEST(HistogramTest, SmallValuesAreExactAndNegativeOnesAreZero) {
  Histogram histogram;
  for (int i = -5; i <= 127; ++i) histogram.Record(i);
  EXPECT_EQ(histogram.Percentile(100), 127);
  EXPECT_EQ(histogram.min(), 0);
  EXPECT_EQ(histogram.count(), 133);
}

TEST(HistogramTest, TheLargestValueFits) {
  Histogram histogram;
  histogram.Record(std::numeric_limits<int64_t>::max());
  EXPECT_EQ(histogram.Percentile(50), std::numeric_limits<int64_t>::max());
}

TEST(HistogramTest, MergingEqualsRecordingTogether) {
  Histogram left;
  Histogram right;
  Histogram both;
  for (int i = 0; i < 1000; ++i) {
    (i % 2 == 0 ? left : right).Record(i * 1000);
    both.Record(i * 1000);
  }
  left.Merge(right);
  left.Merge(Histogram());
  EXPECT_EQ(left.ToJson(), both.ToJson());
  EXPECT_THAT(both.ToJson(), HasSubstr("\"p99.9_us\":"));
}

TEST(HistogramTest, AnEmptyOneIsZero) { EXPECT_EQ(Histogram().Percentile(99), 0); }

BenchStamp Stamp(uint32_t producer, int64_t sequence) {
  BenchStamp stamp;
  stamp.producer = producer;
  stamp.sequence = sequence;
  return stamp;
}

TEST(SequenceCheckTest, EverythingOnceIsOk) {
  SequenceCheck check(2);
  for (int64_t i = 0; i < 100; ++i) check.Acknowledge(1, i);
  for (int64_t i = 0; i < 100; ++i) check.Receive(PartitionIndex(0), {Stamp(1, i)});
  EXPECT_TRUE(check.Finish().ok());
  EXPECT_EQ(check.Finish().received, 100);
}

TEST(SequenceCheckTest, ALostADoubleAndALateRecordAreFound) {
  SequenceCheck check(1);
  for (int64_t i = 0; i < 5; ++i) check.Acknowledge(0, i);
  check.Receive(PartitionIndex(0), {Stamp(0, 0), Stamp(0, 2), Stamp(0, 1), Stamp(0, 2)});
  const SequenceCheck::Result result = check.Finish();
  EXPECT_EQ(result.lost, 2);  // 3 and 4.
  EXPECT_EQ(result.duplicates, 1);
  EXPECT_EQ(result.out_of_order, 1);
  EXPECT_FALSE(result.ok());
}

TEST(SequenceCheckTest, OrderCountsWithinAPartitionOnly) {
  SequenceCheck check(1);
  check.Receive(PartitionIndex(0), {Stamp(0, 5)});
  check.Receive(PartitionIndex(1), {Stamp(0, 3)});
  EXPECT_EQ(check.Finish().out_of_order, 0);
}

TEST(SequenceCheckTest, ARecordOfUnknownFateMayComeOrNot) {
  SequenceCheck check(1);
  check.Receive(PartitionIndex(0), {Stamp(0, 1)});  // Never acknowledged, nor was 0.
  EXPECT_TRUE(check.Finish().ok());
}

TEST(BenchStampTest, AStampIsReadFromValueOrHeaderAndOnlyOfItsRun) {
  BenchStamp stamp = Stamp(3, 99);
  stamp.run = 7;
  record::Record in_value;
  in_value.value = std::string(100, 'x');
  stamp.WriteTo(in_value.value->data());
  record::Record in_header;
  in_header.value = "as it was";
  in_header.headers = {{BenchStamp::kHeader, stamp.ToString()}};
  record::BatchBuilder builder;
  builder.Add(in_value);
  builder.Add(in_header);
  auto reader = *record::BatchReader::Open(*builder.Build(record::BatchBuilder::BuildOptions()),
                                           record::Limits());
  record::RecordView record;
  while (reader.Next(&record)) {
    ASSERT_TRUE(ReadStamp(record, 7).has_value());
    EXPECT_EQ(ReadStamp(record, 7)->sequence, 99);
    EXPECT_FALSE(ReadStamp(record, 8).has_value());
  }
}

TEST(PaceTest, RecordsAreDueOnScheduleWhateverHappened) {
  const Pace pace(1000, MonotonicTime{5});
  EXPECT_EQ(pace.Due(0), MonotonicTime{5});
  EXPECT_EQ(pace.Due(2500), MonotonicTime{5 + 2'500'000'000});
  ManualClock clock;
  clock.Advance(absl::Seconds(10));
  Pace late(1000, MonotonicTime{0});
  EXPECT_EQ(late.Wait(1, &clock), MonotonicTime{1'000'000}) << "a missed time stays what it was";
  EXPECT_EQ(Pace(0, MonotonicTime{5}).Due(1'000'000), MonotonicTime{5});
}

// Each look at it takes 50 us.
class SteppingClock final : public Clock {
 public:
  static constexpr absl::Duration kStep = absl::Microseconds(50);
  absl::Time Now() const override { return absl::UnixEpoch(); }
  MonotonicTime MonotonicNow() const override { return now_ = now_ + kStep; }
  MonotonicTime now() const { return now_; }

 private:
  mutable MonotonicTime now_;
};

TEST(PaceTest, AtAHighRateRecordsComeSeveralAtATimeAndNoneBeforeItsTime) {
  const SteppingClock clock;
  Pace pace(10'000, MonotonicTime{0});
  const int64_t first = 1;  // Due at 100 us, when the clock says 50.
  pace.Wait(first, &clock);
  EXPECT_EQ(clock.now(), MonotonicTime{} + (Pace::kNapMin + SteppingClock::kStep));
  for (int64_t n = 2; n <= 5; ++n) {
    const MonotonicTime before = clock.now();
    pace.Wait(n, &clock);
    EXPECT_EQ(clock.now(), before + SteppingClock::kStep) << "it was due: " << n;
  }
  pace.Wait(100, &clock);
  EXPECT_GE(clock.now(), pace.Due(100)) << "a long wait is as long as it must be";
}

TEST(ProcessAccountTest, ThisProcessIsAccountedFor) {
  auto processes = ProcessAccount::ParseProcesses({absl::StrCat("other=", getpid())});
  ASSERT_TRUE(processes.ok());
  const ProcessAccount account(*processes);
  const std::vector<ProcessUse> uses = account.SinceStart();
  ASSERT_EQ(uses.size(), 2u);
  EXPECT_EQ(uses[0].name, "client");
  EXPECT_GT(uses[1].resident_bytes, 0);
  EXPECT_FALSE(ProcessAccount::ParseProcesses({"storage"}).ok());
  EXPECT_FALSE(ProcessAccount::ParseProcesses({"storage=x"}).ok());
}

TEST(BenchReportTest, TheReportTellsRatesAndVerdict) {
  BenchReport report;
  BenchPhase phase;
  phase.name = "peak";
  phase.produce.emplace();
  phase.produce->delivered = 1000;
  phase.produce->bytes = 50'000'000;
  phase.produce->elapsed = absl::Seconds(2);
  phase.processes = {{"gateway", 0.5, 1 << 20, 0}};
  report.phases.push_back(phase);
  report.check.lost = 1;
  EXPECT_DOUBLE_EQ(report.phases[0].produce_mb_per_second(), 25.0);
  const std::string text = RenderReport(report);
  EXPECT_THAT(text, HasSubstr("25.0"));
  EXPECT_THAT(text, HasSubstr("10.00"));  // CPU seconds per GB.
  EXPECT_THAT(text, HasSubstr("FAILED"));
  EXPECT_THAT(ReportJson(report), HasSubstr("\"cpu_seconds_per_gb\":10"));
}

TEST(BenchReportTest, WhatReachedTheDiskCountsRatherThanWhatProcessesWrote) {
  BenchReport report;
  BenchPhase phase;
  phase.name = "peak";
  phase.produce.emplace();
  phase.produce->bytes = 100'000'000;
  phase.produce->elapsed = absl::Seconds(2);
  phase.processes = {{"storage", 0.5, 1 << 20, 200'000'000}};
  EXPECT_DOUBLE_EQ(phase.written_per_byte(), 2.0);
  phase.device_bytes = 110'000'000;
  EXPECT_DOUBLE_EQ(phase.written_per_byte(), 1.1);
  report.phases.push_back(phase);
  EXPECT_THAT(RenderReport(report), testing::ContainsRegex("peak +storage .* 2.00 +100.0"));
  EXPECT_THAT(RenderReport(report), testing::ContainsRegex("peak +disk .* 1.10 +55.0"));
  EXPECT_THAT(ReportJson(report), HasSubstr("\"device_bytes\":110000000"));
}

TEST(BenchDiskTest, ItIsWrittenToAndLeftAsItWas) {
  const TempDirectory directory;
  const BenchDisk disk(directory.path());
  const std::optional<int64_t> before = disk.device_bytes();
  const absl::StatusOr<double> rate = disk.MeasureRate(5'000'000);
  ASSERT_TRUE(rate.ok()) << rate.status();
  EXPECT_GT(*rate, 0);
  EXPECT_TRUE(disk.Settle().ok());
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  if (before.has_value()) {
    EXPECT_GE(*disk.device_bytes() - *before, 5'000'000);
  }
  const auto syncs = disk.MeasureSyncs(
      {.writers = 2, .bytes_per_second = 20e6, .duration = absl::Milliseconds(40)});
  ASSERT_TRUE(syncs.ok()) << syncs.status();
  EXPECT_GE(syncs->count(), 2) << "the first of each";
  EXPECT_LE(syncs->count(), 20) << "every 4 ms";
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  const BenchDisk nowhere(directory.path() + "/nowhere");
  EXPECT_FALSE(nowhere.device_bytes().has_value());
  EXPECT_FALSE(nowhere.Settle().ok());
  EXPECT_FALSE(nowhere.MeasureRate(1).ok());
  EXPECT_FALSE(nowhere.MeasureSyncs({.bytes_per_second = 1e6, .duration = absl::Seconds(1)}).ok());
  EXPECT_EQ(ReasonOf(disk.MeasureSyncs({.duration = absl::Seconds(1)}).status()),
            Reason::kInvalidRequest);
}

TEST(BenchFigureTest, ABoundIsMetAtTheBoundAndMissedBeyondIt) {
  EXPECT_TRUE(AllMet({}));
  EXPECT_TRUE(AllMet({{"speed", 100, 100, true, "MB/s"}, {"p99", 4, 4, false, "ms"}}));
  EXPECT_FALSE(AllMet({{"speed", 99.9, 100, true, "MB/s"}, {"p99", 4, 4, false, "ms"}}));
  EXPECT_FALSE(AllMet({{"speed", 100, 100, true, "MB/s"}, {"p99", 4.1, 4, false, "ms"}}));
}

TEST(BenchFigureTest, TheTableHasAVerdictForEachFigure) {
  const std::string text =
      RenderFigures({{"speed", 99.9, 100, true, "MB/s", 0.125}, {"p99", 3, 4, false, "ms"}});
  EXPECT_THAT(text, testing::ContainsRegex("speed +99.90 +>= 100.00 +MB/s +MISSED +12.5 %"));
  EXPECT_THAT(text, testing::ContainsRegex("p99 +3.00 +<= 4.00 +ms +met +0.0 %"));
}

}  // namespace
}  // namespace falaj::cli
