#ifndef SERVICES_METADATA_ROUND_TIMER_H_
#define SERVICES_METADATA_ROUND_TIMER_H_

#include <cstdint>
#include <limits>

#include "absl/time/time.h"

#include "libs/base/clock.h"

namespace falaj::metadata {

// Later than any other: nothing is due.
inline constexpr MonotonicTime kForever{std::numeric_limits<int64_t>::max()};

// RoundTimer counts the ticks of the Raft core from the time that has passed, and says how long a
// node that nobody asks anything may sleep: until something is due, not from tick to tick.
//
// RaftNode owns one, and so does the simulated node:
//
//   const RoundTimer::Passed passed = timer.BeginRound(now);
//   ...                                                         // A round of the MetadataNode.
//   sleep until timer.EndRound(now, {what the node says is due}), or something comes in
//
// A process that stood still (stopped, or starved of processor time) must not take its own absence
// for the silence of others, whose messages wait in its sockets: who wakes much later than it asked
// for counts a few ticks only, too few for an election.
//
// Threads: none; one thread at a time. Times are arguments.
class RoundTimer {
 public:
  struct Passed {
    int ticks = 0;
    absl::Duration stood_still;  // Zero unless it is worth speaking of.
  };

  RoundTimer(absl::Duration tick, MonotonicTime now)
      : tick_(tick), round_(now), next_tick_(now + tick) {}

  // What is due, as a MetadataNode says it.
  struct Due {
    int ticks = 1;          // With the tick so many ticks from now.
    MonotonicTime wake_by;  // Then, but not before the next tick.
    MonotonicTime hurry_by = MonotonicTime{std::numeric_limits<int64_t>::max()};  // Then.
  };

  Passed BeginRound(MonotonicTime now);
  // When the next round begins at the latest: with the first of it.
  MonotonicTime EndRound(MonotonicTime now, const Due& due);

  // When the present round, or the last one, began.
  MonotonicTime round() const { return round_; }

 private:
  absl::Duration tick_;
  MonotonicTime round_;
  MonotonicTime next_tick_;
  absl::Duration sleep_;  // As it was meant to be after the last round.
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_ROUND_TIMER_H_
