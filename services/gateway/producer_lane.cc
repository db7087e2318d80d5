#include "services/gateway/producer_lane.h"

#include <optional>

namespace falaj::gateway {
namespace {

// A lane that knows more partitions is not used again, which bounds what a long life collects.
constexpr size_t kPartitionsMax = 1000;
// As many as this wait to be used again; more were in use at the same time only for a moment.
constexpr size_t kIdleMax = 1000;

}  // namespace

std::shared_ptr<ProducerLane> ProducerLanes::Take() {
  std::unique_ptr<ProducerLane> lane;
  {
    MutexLock lock(&idle_->mu);
    if (!idle_->lanes.empty()) {
      // The one used last: the others are forgotten by the partitions in time.
      lane = std::move(idle_->lanes.back());
      idle_->lanes.pop_back();
    }
  }
  if (lane == nullptr) {
    const std::optional<ProducerId> id = ids_->TryTake();
    if (!id.has_value()) return nullptr;
    lane = std::make_unique<ProducerLane>(*id);
  }
  return {lane.release(), [idle = idle_](ProducerLane* done) {
            std::unique_ptr<ProducerLane> back(done);
            if (back->size() > kPartitionsMax) return;
            MutexLock lock(&idle->mu);
            if (idle->lanes.size() < kIdleMax) idle->lanes.push_back(std::move(back));
          }};
}

}  // namespace falaj::gateway
