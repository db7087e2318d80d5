#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "libs/base/status.h"
#include "libs/telemetry/error_counters.h"
#include "libs/telemetry/process_metrics.h"
#include "libs/telemetry/registry.h"

namespace falaj::telemetry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(RegistryTest, CountersAndGaugesAppearWithHelpTypeAndLabels) {
  Registry registry;
  registry.AddCounter("falaj_x_total", "Counts x.", {{"kind", "a"}})->Add(3);
  registry.AddGauge("falaj_y", "Measures y.")->Add(-1.5);
  const std::string text = registry.Serialize();
  EXPECT_THAT(text, HasSubstr("# HELP falaj_x_total Counts x.\n# TYPE falaj_x_total counter\n"));
  EXPECT_THAT(text, HasSubstr("falaj_x_total{kind=\"a\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE falaj_y gauge\nfalaj_y -1.5\n"));
}

TEST(RegistryTest, AddingTheSameSeriesTwiceGivesTheSameMetric) {
  Registry registry;
  EXPECT_EQ(registry.AddCounter("c", "h", {{"l", "1"}}),
            registry.AddCounter("c", "h", {{"l", "1"}}));
  EXPECT_NE(registry.AddCounter("c", "h", {{"l", "1"}}),
            registry.AddCounter("c", "h", {{"l", "2"}}));
}

TEST(RegistryTest, HistogramCountsEachValueInTheFirstBucketThatHoldsIt) {
  Registry registry;
  Histogram* histogram = registry.AddHistogram("h", "help", {}, {1.0, 2.0});
  for (double value : {0.5, 1.0, 1.5, 99.0}) histogram->Observe(value);
  EXPECT_THAT(histogram->cumulative_counts(), ElementsAre(2, 3, 4));
  EXPECT_DOUBLE_EQ(histogram->sum(), 102.0);
  EXPECT_THAT(registry.Serialize(), HasSubstr("h_bucket{le=\"+Inf\"} 4\n"));
}

TEST(RegistryTest, CollectedSeriesGoWhenTheyAreNoLongerReported) {
  Registry registry;
  bool exists = true;
  registry.AddCollector([&](Samples* out) {
    if (exists) out->Gauge("falaj_partition_size_bytes", "Size.", {{"topic", "t"}}, 7);
  });
  EXPECT_THAT(registry.Serialize(), HasSubstr("falaj_partition_size_bytes{topic=\"t\"} 7\n"));
  exists = false;
  EXPECT_THAT(registry.Serialize(), Not(HasSubstr("falaj_partition_size_bytes")));
}

TEST(RegistryTest, NoCollectorRunsAfterClearCollectors) {
  Registry registry;
  int runs = 0;
  registry.AddCollector([&](Samples*) { ++runs; });
  registry.Serialize();
  registry.ClearCollectors();
  registry.Serialize();
  EXPECT_EQ(runs, 1);
}

TEST(RegistryTest, LabelValuesAreEscaped) {
  Registry registry;
  registry.AddGauge("g", "h", {{"l", "a\"b\nc\\"}});
  EXPECT_THAT(registry.Serialize(), HasSubstr("g{l=\"a\\\"b\\nc\\\\\"} 0\n"));
}

TEST(ProcessMetricsTest, ReportPlausibleNumbersOfThisProcess) {
  Registry registry;
  AddProcessMetrics("gateway", &registry);
  const std::string text = registry.Serialize();
  EXPECT_THAT(text, HasSubstr("falaj_build_info{component=\"gateway\",revision=\""));
  for (const char* name : {"process_resident_memory_bytes", "process_open_fds", "process_max_fds",
                           "process_start_time_seconds", "process_threads"}) {
    EXPECT_THAT(text, HasSubstr(std::string(name) + " "));
    EXPECT_THAT(text, Not(HasSubstr(std::string(name) + " 0\n")));
  }
  EXPECT_THAT(text, HasSubstr("# TYPE process_cpu_seconds_total counter\n"));
}

TEST(ErrorCountersTest, CountByReasonAndIgnoreSuccess) {
  Registry registry;
  ErrorCounters errors(&registry);
  errors.Count(MakeError(Reason::kTopicNotFound, "no topic"));
  errors.Count(Reason::kInternal);
  errors.Count(absl::OkStatus());
  ErrorCounters(&registry).Count(Reason::kTopicNotFound);
  const std::string text = registry.Serialize();
  EXPECT_THAT(text, HasSubstr("falaj_errors_total{reason=\"TOPIC_NOT_FOUND\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("falaj_errors_total{reason=\"INTERNAL\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("falaj_errors_total{reason=\"CANCELLED\"} 0\n"));
}

}  // namespace
}  // namespace falaj::telemetry
