#include "services/cli/move_watch.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "libs/base/clock.h"
#include "services/cli/progress.h"

namespace falaj::cli {

void MoveWatch::Take(const v1::WatchClusterResponse& event) {
  if (event.has_snapshot()) remaining_.clear();
  const auto& topics = event.has_snapshot() ? event.snapshot().topics() : event.delta().topics();
  for (const std::string& name : event.delta().deleted_topics()) remaining_.erase(name);
  for (const v1::Topic& topic : topics) Count(topic);
}

void MoveWatch::Count(const v1::Topic& topic) {
  remaining_[topic.name()] = std::count_if(
      topic.partitions().begin(), topic.partitions().end(),
      [&](const v1::Partition& partition) { return unfinished_(topic.name(), partition); });
}

int64_t MoveWatch::remaining() const {
  int64_t sum = 0;
  for (const auto& [topic, count] : remaining_) sum += count;
  return sum;
}

absl::Status WaitForMoves(client::Admin* admin, absl::string_view label,
                          MoveWatch::Unfinished unfinished) {
  MoveWatch watch(std::move(unfinished));
  std::optional<ProgressBar> bar;
  int64_t total = 0;
  return admin->WatchCluster(0, [&](const v1::WatchClusterResponse& event) {
    watch.Take(event);
    const int64_t remaining = watch.remaining();
    if (!bar.has_value()) {
      total = remaining;
      bar.emplace(label, total, Clock::Real());
    }
    bar->Update(std::max<int64_t>(total - remaining, 0), 0);
    return remaining > 0;
  });
}

}  // namespace falaj::cli
