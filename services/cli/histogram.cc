#include "services/cli/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "services/cli/json_line.h"

namespace falaj::cli {
namespace {

double Microseconds(int64_t ns) { return static_cast<double>(ns) / 1000.0; }

}  // namespace

// Values below 128 have a bucket each. Above, the highest bit names the group and the next seven
// bits the bucket in it.
size_t Histogram::Bucket(int64_t value) {
  const auto v = static_cast<uint64_t>(value);
  if (v < (uint64_t{1} << kSubBits)) return v;
  const int shift = static_cast<int>(std::bit_width(v)) - 1 - kSubBits;
  return (static_cast<size_t>(shift + 1) << kSubBits) + (v >> shift) - (uint64_t{1} << kSubBits);
}

int64_t Histogram::UpperBound(size_t bucket) {
  const size_t group = bucket >> kSubBits;
  if (group == 0) return static_cast<int64_t>(bucket);
  const size_t sub = (bucket & ((size_t{1} << kSubBits) - 1)) + (size_t{1} << kSubBits);
  return static_cast<int64_t>(((sub + 1) << (group - 1)) - 1);
}

void Histogram::Record(int64_t value_ns) {
  const int64_t value = std::max<int64_t>(value_ns, 0);
  const size_t bucket = Bucket(value);
  if (bucket >= counts_.size()) counts_.resize(bucket + 1);
  ++counts_[bucket];
  min_ = count_ == 0 ? value : std::min(min_, value);
  max_ = std::max(max_, value);
  sum_ += static_cast<double>(value);
  ++count_;
}

void Histogram::Merge(const Histogram& other) {
  if (other.count_ == 0) return;
  if (counts_.size() < other.counts_.size()) counts_.resize(other.counts_.size());
  for (size_t i = 0; i < other.counts_.size(); ++i) counts_[i] += other.counts_[i];
  min_ = count_ == 0 ? other.min_ : std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
  sum_ += other.sum_;
  count_ += other.count_;
}

int64_t Histogram::Percentile(double percent) const {
  const auto wanted = static_cast<int64_t>(std::ceil(static_cast<double>(count_) * percent / 100));
  int64_t seen = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    seen += counts_[i];
    if (counts_[i] > 0 && seen >= wanted) return std::min(UpperBound(i), max_);
  }
  return max_;
}

std::string Histogram::ToJson() const {
  JsonLine line;
  line.Add("count", count_).Add("mean_us", mean() / 1000);
  for (const double percent : kPercentiles) {
    line.Add(absl::StrFormat("p%g_us", percent), Microseconds(Percentile(percent)));
  }
  line.Add("max_us", Microseconds(max_));
  std::string buckets;
  for (size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] == 0) continue;
    absl::StrAppendFormat(&buckets, "%s[%.3f,%d]", buckets.empty() ? "" : ",",
                          Microseconds(UpperBound(i)), counts_[i]);
  }
  return line.AddRaw("buckets", absl::StrCat("[", buckets, "]")).ToString();
}

}  // namespace falaj::cli
