#include "tests/simulation/event_queue.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

namespace falaj::simulation {

std::string FormatTime(SimTime time) {
  return absl::StrFormat("%d.%06d", time / kSecond, time % kSecond / kMicrosecond);
}

void EventQueue::After(SimTime delay, EventKind kind, Action action) {
  constexpr int kNumberBits = 40;
  uint32_t slot = 0;
  if (free_slots_.empty()) {
    slot = static_cast<uint32_t>(slots_.size());
    slots_.push_back(std::move(action));
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
    slots_[slot] = std::move(action);
  }
  const uint64_t order = (random_.Next() << kNumberBits) | made_++;
  heap_.push_back({now_ + delay, order, slot, kind});
  std::push_heap(heap_.begin(), heap_.end(), IsLater);
}

bool EventQueue::RunNext() {
  if (heap_.empty()) return false;
  std::pop_heap(heap_.begin(), heap_.end(), IsLater);
  const Key key = heap_.back();
  heap_.pop_back();
  now_ = key.time;
  if (key.kind != EventKind::kTimer) ++count_;
  ++counts_[static_cast<size_t>(key.kind)];
  Note(static_cast<uint64_t>(key.time));
  Note(static_cast<uint64_t>(key.kind));
  Action action = std::move(slots_[key.slot]);
  free_slots_.push_back(key.slot);
  action();
  return true;
}

}  // namespace falaj::simulation
