// Registry holds the metrics of one server and prints them in the Prometheus text format.
//
//   Counter* requests = registry.AddCounter("falaj_requests_total", "Requests taken.", {{"kind",
//   "x"}}); requests->Add();                       // hot path: one atomic add, no lookup
//   registry.AddCollector([this](Samples* out) { ... });  // values known only at scrape time
//
// Every server owns one Registry (`falaj dev` runs many servers in one process, so there is no
// global one). Metrics live as long as the Registry. Adding a metric that exists returns the
// existing one, so a part need not know whether it is the first to ask.
//
// Two kinds of series: those with a home (Counter, Gauge, Histogram), for what is known at start,
// and those that collectors make up at each scrape, for what comes and goes (topics, partitions): a
// series nobody reports any more is gone at once.
//
// Threads: any. Collectors run on the scraping thread, one scrape at a time.
#ifndef LIBS_TELEMETRY_REGISTRY_H_
#define LIBS_TELEMETRY_REGISTRY_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#include "libs/base/mutex.h"

namespace falaj::telemetry {

using Labels = std::map<std::string, std::string>;

// Counter counts up. Threads: any.
class Counter {
 public:
  void Add(int64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

// Gauge goes up and down. Threads: any.
class Gauge {
 public:
  void Set(double value) { value_.store(value, std::memory_order_relaxed); }
  void Add(double n);
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

// Histogram counts observations in buckets. Threads: any; a scrape in the middle of an Observe()
// may see the count without the sum.
class Histogram {
 public:
  explicit Histogram(absl::Span<const double> bounds);

  void Observe(double value);
  void Observe(absl::Duration duration) { Observe(absl::ToDoubleSeconds(duration)); }

  const std::vector<double>& bounds() const { return bounds_; }
  std::vector<int64_t> cumulative_counts() const;  // One a bound, then the total.
  double sum() const { return sum_.value(); }
  int64_t count() const { return cumulative_counts().back(); }

 private:
  const std::vector<double> bounds_;          // Ascending upper bounds.
  std::vector<std::atomic<int64_t>> counts_;  // One a bound, then those above all bounds.
  Gauge sum_;
};

// Seconds, for every latency histogram, so that dashboards can lay them side by side.
absl::Span<const double> LatencyBuckets();
// Bytes: 1 KiB to 16 MiB in steps of four.
absl::Span<const double> SizeBuckets();

// Samples takes what a collector reports. It is good for one call of the collector.
class Samples {
 public:
  // All samples of one name need the same help text; the first one counts.
  void Gauge(absl::string_view name, absl::string_view help, Labels labels, double value);
  void Counter(absl::string_view name, absl::string_view help, Labels labels, double value);

 private:
  friend class Registry;
  struct Sample {
    Labels labels;
    double value;
  };
  struct Family {
    std::string help;
    bool is_counter = false;
    std::vector<Sample> samples;
  };
  void Add(absl::string_view name, absl::string_view help, bool is_counter, Labels labels,
           double value);
  std::map<std::string, Family> families_;
};

class Registry {
 public:
  using Collector = std::function<void(Samples*)>;

  Registry();
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // The pointers stay valid as long as the Registry. A name has one type and one help text.
  Counter* AddCounter(absl::string_view name, absl::string_view help, const Labels& labels = {});
  Gauge* AddGauge(absl::string_view name, absl::string_view help, const Labels& labels = {});
  Histogram* AddHistogram(absl::string_view name, absl::string_view help, const Labels& labels = {},
                          absl::Span<const double> bounds = LatencyBuckets());

  // `collector` runs at every scrape until ClearCollectors(). It must not call the Registry.
  void AddCollector(Collector collector);
  // Forgets all collectors, after waiting for a scrape under way: call it before what they refer to
  // is destroyed.
  void ClearCollectors();

  // The Prometheus text exposition format, version 0.0.4.
  std::string Serialize() const;

 private:
  struct Family;
  template <typename Metric, typename... Args>
  Metric* FindOrAdd(absl::string_view name, absl::string_view help, const Labels& labels,
                    Args... args);

  mutable Mutex mu_;  // Guards families_.
  std::map<std::string, std::unique_ptr<Family>> families_ ABSL_GUARDED_BY(mu_);
  mutable Mutex collectors_mu_;  // Held while collectors run.
  std::vector<Collector> collectors_ ABSL_GUARDED_BY(collectors_mu_);
};

}  // namespace falaj::telemetry

#endif  // LIBS_TELEMETRY_REGISTRY_H_
