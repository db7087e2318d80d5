#include "libs/log/disk_pulse.h"

#include <algorithm>

namespace falaj::log {
namespace {

// What counts at most between two polls: it is asked much more often than that, so whatever lies
// beyond, nobody was running.
constexpr absl::Duration kStepMax = absl::Seconds(1);

}  // namespace

DiskPulse::Beat::Beat(DiskPulse* pulse, const char* what, const std::string& path) : pulse_(pulse) {
  const MonotonicTime begun = pulse->clock_->MonotonicNow();
  MutexLock lock(&pulse->mu_);
  number_ = ++pulse->last_number_;
  pulse->under_way_.emplace_hint(pulse->under_way_.end(), number_, UnderWay{begun, what, &path});
}

DiskPulse::Beat::~Beat() {
  MutexLock lock(&pulse_->mu_);
  pulse_->under_way_.erase(number_);
}

std::optional<DiskPulse::Operation> DiskPulse::Oldest() const {
  MutexLock lock(&mu_);
  if (under_way_.empty()) return std::nullopt;
  const auto& [number, operation] = *under_way_.begin();
  return Operation{number, operation.begun, operation.what, *operation.path};
}

bool StallWatch::Poll(MonotonicTime now, const std::optional<DiskPulse::Operation>& oldest) {
  const absl::Duration step = std::min(now - polled_, kStepMax);
  polled_ = now;
  const uint64_t number = oldest.has_value() ? oldest->number : 0;
  if (number == 0 || number != watched_) {
    watched_ = number;
    seen_ = absl::ZeroDuration();
    return false;
  }
  seen_ += step;
  if (stalled_ || limit_ == absl::ZeroDuration() || seen_ < limit_) return false;
  stalled_ = true;
  return true;
}

}  // namespace falaj::log
