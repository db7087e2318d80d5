// Histogram counts durations in log-linear buckets, in the manner of HdrHistogram: 128 buckets for
// each power of two, so every value is kept to within 0.8 %, from 1 ns to 292 years, in at most 58
// KiB.
//
//   histogram.Record(latency_ns);
//   histogram.Percentile(99.9);   // an upper bound of the bucket, never above max()
//
// Threads: one at a time; keep one per thread and Merge().
#ifndef SERVICES_CLI_HISTOGRAM_H_
#define SERVICES_CLI_HISTOGRAM_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace falaj::cli {

class Histogram {
 public:
  static constexpr std::array<double, 5> kPercentiles = {50, 90, 99, 99.9, 99.99};

  void Record(int64_t value_ns);  // Negative counts as 0.
  void Merge(const Histogram& other);

  int64_t count() const { return count_; }
  int64_t max() const { return max_; }
  int64_t min() const { return count_ == 0 ? 0 : min_; }
  double mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }
  // The value that `percent` of the values do not exceed; 0 without values.
  int64_t Percentile(double percent) const;

  // {"count":..,"p50_us":..,...,"max_us":..,"buckets":[[upper_us,count],...]}
  std::string ToJson() const;

 private:
  static constexpr int kSubBits = 7;  // 128 buckets a power of two.

  static size_t Bucket(int64_t value);
  static int64_t UpperBound(size_t bucket);

  std::vector<int64_t> counts_;
  int64_t count_ = 0;
  int64_t min_ = 0;
  int64_t max_ = 0;
  double sum_ = 0;
};

}  // namespace falaj::cli

#endif  // SERVICES_CLI_HISTOGRAM_H_
