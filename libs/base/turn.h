// Turn is one turn of a thread that works off a queue: what leaves because of it can wait for its
// end, and leave together. Many small inputs that came at once then make one message, one write,
// one wake-up of the next thread, where each would have made its own.
//
//   while (true) {
//     Turn turn;
//     for (Event& event : TakeAllThereIs()) Handle(event);  // stream->Queue(event);
//   }                                                       //   Turn::AtEnd(stream, write);
//
// A turn ends when its queue is empty, or has lasted for as long as its owner lets anything wait.
//
// Threads: a turn is its thread's own. Turns nest: what is left for the end waits for that of the
// innermost. Nobody may wait in a turn for what its end would start.
#ifndef LIBS_BASE_TURN_H_
#define LIBS_BASE_TURN_H_

#include <functional>
#include <vector>

#include "absl/container/flat_hash_set.h"

namespace falaj {

class Turn {
 public:
  Turn();
  // Runs what was left for the end, in order. What that leaves for the end runs at that of the turn
  // around this one, or at once.
  ~Turn();
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  // Runs `work` at the end of this thread's turn, once for each `subject`, of which it is the only
  // kind of work; at once if the thread is in no turn. Call it without a lock that `work` takes.
  // `work` keeps its subject alive.
  static void AtEnd(const void* subject, std::function<void()> work);
  // Whether there is such work already: no need to prepare it once more.
  static bool IsDue(const void* subject);
  // Whether this thread is in a turn.
  static bool IsOpen();

  bool empty() const { return work_.empty(); }

 private:
  Turn* const outer_;
  std::vector<std::function<void()>> work_;
  absl::flat_hash_set<const void*> subjects_;  // Of work_.
};

}  // namespace falaj

#endif  // LIBS_BASE_TURN_H_
