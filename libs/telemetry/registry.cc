#include "libs/telemetry/registry.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <limits>
#include <type_traits>
#include <utility>

namespace falaj::telemetry {
namespace {

constexpr std::array<double, 14> kLatencyBuckets = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                    0.1,    0.25,  0.5,    1,     2.5,  5,     10};
constexpr std::array<double, 8> kSizeBuckets = {1024,    4096,    16384,   65536,
                                                262'144, 1 << 20, 4 << 20, 16 << 20};

std::vector<prometheus::ClientMetric::Label> ToPrometheus(const Labels& labels) {
  std::vector<prometheus::ClientMetric::Label> out;
  for (const auto& [name, value] : labels) {
    prometheus::ClientMetric::Label label;
    label.name = name;
    label.value = value;
    out.push_back(std::move(label));
  }
  return out;
}

prometheus::ClientMetric::Histogram ToPrometheus(const Histogram& histogram) {
  prometheus::ClientMetric::Histogram out;
  const std::vector<int64_t> counts = histogram.cumulative_counts();
  for (size_t i = 0; i < counts.size(); ++i) {
    prometheus::ClientMetric::Bucket bucket;
    bucket.cumulative_count = static_cast<uint64_t>(counts[i]);
    bucket.upper_bound = i < histogram.bounds().size() ? histogram.bounds()[i]
                                                       : std::numeric_limits<double>::infinity();
    out.bucket.push_back(bucket);
  }
  out.sample_count = static_cast<uint64_t>(counts.back());
  out.sample_sum = histogram.sum();
  return out;
}

prometheus::ClientMetric Sample(const Labels& labels) {
  prometheus::ClientMetric metric;
  metric.label = ToPrometheus(labels);
  return metric;
}

}  // namespace

absl::Span<const double> LatencyBuckets() { return kLatencyBuckets; }
absl::Span<const double> SizeBuckets() { return kSizeBuckets; }

void Gauge::Add(double n) {
  double value = value_.load(std::memory_order_relaxed);
  while (!value_.compare_exchange_weak(value, value + n, std::memory_order_relaxed)) {
  }
}

Histogram::Histogram(absl::Span<const double> bounds)
    : bounds_(bounds.begin(), bounds.end()), counts_(bounds.size() + 1) {}

void Histogram::Observe(double value) {
  const auto bound = std::lower_bound(bounds_.begin(), bounds_.end(), value);
  const size_t index = static_cast<size_t>(bound - bounds_.begin());
  counts_[index].fetch_add(1, std::memory_order_relaxed);
  sum_.Add(value);
}

std::vector<int64_t> Histogram::cumulative_counts() const {
  std::vector<int64_t> counts;
  counts.reserve(counts_.size());
  int64_t total = 0;
  for (const std::atomic<int64_t>& count : counts_) {
    total += count.load(std::memory_order_relaxed);
    counts.push_back(total);
  }
  return counts;
}

void Samples::Gauge(absl::string_view name, absl::string_view help, Labels labels, double value) {
  Add(name, help, false, std::move(labels), value);
}

void Samples::Counter(absl::string_view name, absl::string_view help, Labels labels, double value) {
  Add(name, help, true, std::move(labels), value);
}

void Samples::Add(absl::string_view name, absl::string_view help, bool is_counter, Labels labels,
                  double value) {
  Family& family = families_[std::string(name)];
  if (family.samples.empty()) {
    family.help = std::string(help);
    family.is_counter = is_counter;
  }
  family.samples.push_back({std::move(labels), value});
}

// Family is all series of one name; one of the three maps is in use.
struct Registry::Family {
  std::string help;
  std::map<Labels, std::unique_ptr<Counter>> counters;
  std::map<Labels, std::unique_ptr<Gauge>> gauges;
  std::map<Labels, std::unique_ptr<Histogram>> histograms;

  template <typename Metric>
  std::map<Labels, std::unique_ptr<Metric>>& Series() {
    if constexpr (std::is_same_v<Metric, Counter>) {
      return counters;
    } else if constexpr (std::is_same_v<Metric, Gauge>) {
      return gauges;
    } else {
      return histograms;
    }
  }

  prometheus::MetricFamily Collect(const std::string& name) const {
    prometheus::MetricFamily out;
    out.name = name;
    out.help = help;
    for (const auto& [labels, counter] : counters) {
      out.type = prometheus::MetricType::Counter;
      out.metric.push_back(Sample(labels));
      out.metric.back().counter.value = static_cast<double>(counter->value());
    }
    for (const auto& [labels, gauge] : gauges) {
      out.type = prometheus::MetricType::Gauge;
      out.metric.push_back(Sample(labels));
      out.metric.back().gauge.value = gauge->value();
    }
    for (const auto& [labels, histogram] : histograms) {
      out.type = prometheus::MetricType::Histogram;
      out.metric.push_back(Sample(labels));
      out.metric.back().histogram = ToPrometheus(*histogram);
    }
    return out;
  }
};

Registry::Registry() = default;
Registry::~Registry() = default;

template <typename Metric, typename... Args>
Metric* Registry::FindOrAdd(absl::string_view name, absl::string_view help, const Labels& labels,
                            Args... args) {
  MutexLock lock(&mu_);
  std::unique_ptr<Family>& family = families_[std::string(name)];
  if (family == nullptr) {
    family = std::make_unique<Family>();
    family->help = std::string(help);
  }
  std::unique_ptr<Metric>& metric = family->Series<Metric>()[labels];
  if (metric == nullptr) metric = std::make_unique<Metric>(args...);
  return metric.get();
}

Counter* Registry::AddCounter(absl::string_view name, absl::string_view help,
                              const Labels& labels) {
  return FindOrAdd<Counter>(name, help, labels);
}

Gauge* Registry::AddGauge(absl::string_view name, absl::string_view help, const Labels& labels) {
  return FindOrAdd<Gauge>(name, help, labels);
}

Histogram* Registry::AddHistogram(absl::string_view name, absl::string_view help,
                                  const Labels& labels, absl::Span<const double> bounds) {
  return FindOrAdd<Histogram>(name, help, labels, bounds);
}

void Registry::AddCollector(Collector collector) {
  MutexLock lock(&collectors_mu_);
  collectors_.push_back(std::move(collector));
}

void Registry::ClearCollectors() {
  MutexLock lock(&collectors_mu_);
  collectors_.clear();
}

std::string Registry::Serialize() const {
  std::vector<prometheus::MetricFamily> families;
  {
    MutexLock lock(&mu_);
    for (const auto& [name, family] : families_) families.push_back(family->Collect(name));
  }
  Samples samples;
  {
    MutexLock lock(&collectors_mu_);
    for (const Collector& collector : collectors_) collector(&samples);
  }
  for (const auto& [name, family] : samples.families_) {
    prometheus::MetricFamily out;
    out.name = name;
    out.help = family.help;
    out.type = family.is_counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
    for (const Samples::Sample& sample : family.samples) {
      out.metric.push_back(Sample(sample.labels));
      out.metric.back().counter.value = sample.value;
      out.metric.back().gauge.value = sample.value;
    }
    families.push_back(std::move(out));
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace falaj::telemetry
