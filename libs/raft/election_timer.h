#ifndef LIBS_RAFT_ELECTION_TIMER_H_
#define LIBS_RAFT_ELECTION_TIMER_H_

#include <algorithm>
#include <cstdint>

#include "libs/base/random.h"

namespace falaj::raft {

// ElectionTimer counts the ticks since a node last had reason to be patient, against a timeout
// drawn anew each time, so that two nodes seldom stand for election at once (paper 5.2).
class ElectionTimer {
 public:
  ElectionTimer(int ticks_min, int ticks_max, uint64_t seed)
      : ticks_min_(ticks_min), ticks_max_(ticks_max), random_(seed) {
    Reset();
  }

  void Reset() {
    elapsed_ = 0;
    timeout_ = static_cast<int>(random_.Between(ticks_min_, ticks_max_));
  }
  // Returns true once the timeout has passed, and at every tick from then on.
  bool Tick() { return ++elapsed_ >= timeout_; }
  // How many ticks from now on Tick() returns true.
  int TicksLeft() const { return std::max(1, timeout_ - elapsed_); }
  // An election is under way: if nothing comes of it, half the patience will do before the next.
  void ResetForElection() {
    elapsed_ = 0;
    timeout_ = DrawShare(2);
  }
  // Whoever spoke last has probably died: from now on a third of the patience will do, and nobody
  // is presumed alive any more.
  void Hasten() {
    if (elapsed_ < ticks_min_) timeout_ = ticks_min_ + DrawShare(3);
    elapsed_ = std::max(elapsed_, ticks_min_);
  }
  // True while a leader that spoke at the last Reset() must be presumed alive.
  bool IsWithinMinimum() const { return elapsed_ < ticks_min_; }

 private:
  int DrawShare(int divisor) {
    return static_cast<int>(
        random_.Between(std::max(1, ticks_min_ / divisor), std::max(1, ticks_max_ / divisor)));
  }

  const int ticks_min_;
  const int ticks_max_;
  Random random_;
  int elapsed_ = 0;
  int timeout_ = 0;
};

}  // namespace falaj::raft

#endif  // LIBS_RAFT_ELECTION_TIMER_H_
