#include "services/metadata/round_meter.h"

#include <algorithm>
#include <utility>

namespace falaj::metadata {
namespace {

constexpr absl::Duration kLongestWindow = absl::Seconds(10);

const telemetry::Labels kMetadataGroup = {{"raft_group", "metadata"}};

}  // namespace

RoundMeter::RoundMeter(telemetry::Registry* registry)
    : seconds_(registry->AddHistogram(
          "falaj_raft_round_seconds",
          "Time for which a node took in nothing: a round, without what the relief did of it.",
          kMetadataGroup)),
      longest_seconds_(registry->AddGauge(
          "falaj_raft_round_longest_seconds",
          "Longest time in the last 10 to 20 seconds for which a node took in nothing.",
          kMetadataGroup)),
      longest_off_disk_seconds_(registry->AddGauge(
          "falaj_raft_round_longest_off_disk_seconds",
          "The same without the time it waited for its disk.", kMetadataGroup)) {}

void RoundMeter::Begin(MonotonicTime now) {
  stopped_since_ = now;
  on_disk_ = absl::ZeroDuration();
}

void RoundMeter::End(MonotonicTime now) {
  if (!stopped_since_.has_value()) return;
  const absl::Duration stop = now - *std::exchange(stopped_since_, std::nullopt);
  ended_ = now;
  if (on_disk_since_.has_value()) on_disk_ += now - *std::exchange(on_disk_since_, std::nullopt);
  seconds_->Observe(stop);
  const bool next_window = now >= longest_until_;
  if (next_window) longest_until_ = now + kLongestWindow;
  const auto keep = [next_window](absl::Duration took, Longest* longest, telemetry::Gauge* gauge) {
    if (next_window) longest->before = std::exchange(longest->present, absl::ZeroDuration());
    longest->present = std::max(longest->present, took);
    gauge->Set(absl::FDivDuration(std::max(longest->present, longest->before), absl::Seconds(1)));
  };
  keep(stop, &longest_, longest_seconds_);
  keep(stop - on_disk_, &longest_off_disk_, longest_off_disk_seconds_);
}

void RoundMeter::DiskEnds(MonotonicTime now, MonotonicTime relief_until) {
  if (!stopped_since_.has_value()) {
    Begin(std::min(now, std::max(relief_until, ended_)));  // Its last round may end after that.
    on_disk_ = now - *stopped_since_;
  } else if (on_disk_since_.has_value()) {
    on_disk_ += now - *on_disk_since_;
  }
  on_disk_since_.reset();
}

}  // namespace falaj::metadata
