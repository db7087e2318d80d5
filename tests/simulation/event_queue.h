#ifndef TESTS_SIMULATION_EVENT_QUEUE_H_
#define TESTS_SIMULATION_EVENT_QUEUE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/strings/string_view.h"

#include "libs/base/random.h"

namespace falaj::simulation {

// Virtual time: nanoseconds since the beginning of the run.
using SimTime = int64_t;
constexpr SimTime kMicrosecond = 1'000;
constexpr SimTime kMillisecond = 1'000'000;
constexpr SimTime kSecond = 1'000'000'000;

// "12.345678": seconds, for traces.
std::string FormatTime(SimTime time);

// Timers are the simulation's own: mostly nothing comes of them, so they are not counted as events.
enum class EventKind { kTick, kMessage, kDisk, kClient, kFault, kTimer };
constexpr size_t kEventKinds = 6;

// EventQueue is the simulated world's clock: what is to happen, in the order in which it does.
//
// Events of one instant happen in an order drawn from the seed, so that no order is special; two
// events drawn equal keep the order in which they were made. Nothing else decides what comes next,
// hence a seed replays exactly. The hash covers every event, and whatever the events report by
// Note(): two runs of a seed that differ anywhere differ in it.
class EventQueue {
 public:
  using Action = absl::AnyInvocable<void()>;

  explicit EventQueue(uint64_t seed) : random_(seed) {}

  SimTime now() const { return now_; }
  // Events that have happened, without timers.
  uint64_t count() const { return count_; }
  uint64_t count(EventKind kind) const { return counts_[static_cast<size_t>(kind)]; }
  uint64_t hash() const { return hash_; }

  // Requires: `delay` is not negative.
  void After(SimTime delay, EventKind kind, Action action);
  // Lets the next event happen. False: there is none.
  bool RunNext();
  // Mixes a fact into the hash.
  void Note(uint64_t fact) { hash_ = (hash_ ^ fact) * 0x100000001b3 + (hash_ >> 47); }

 private:
  struct Key {
    SimTime time;
    uint64_t order;  // Drawn bits above, number of the event below.
    uint32_t slot;
    EventKind kind;
  };
  static bool IsLater(const Key& a, const Key& b) {
    return a.time != b.time ? a.time > b.time : a.order > b.order;
  }

  Random random_;
  SimTime now_ = 0;
  std::vector<Key> heap_;
  std::vector<Action> slots_;  // Actions stay where they are while their keys move.
  std::vector<uint32_t> free_slots_;
  uint64_t made_ = 0;
  uint64_t count_ = 0;
  std::array<uint64_t, kEventKinds> counts_{};
  uint64_t hash_ = 0xcbf29ce484222325;
};

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_EVENT_QUEUE_H_
