// Turn is one turn of a thread that works off a queue: what leaves because of it can wait for its
// end, and leave together. Many small inputs that came at once then make one message, one write,
// one wake-up of the next thread, where each would have made its own.
//
//   while (true) {
//     Turn turn;
//     for (Event& event : TakeAllThereIs()) Handle(event);  // stream->Queue(event);
//   }                                                       //   Turn::AtEnd(stream, write);
//
// A turn ends when its queue is empty, or after a bounded number of events: nothing waits longer
// than what else has come already takes.
//
// Threads: a turn is its thread's own. Turns nest: what is left for the end waits for that of the
// innermost.
#ifndef LIBS_BASE_TURN_H_
#define LIBS_BASE_TURN_H_

#include <functional>
#include <vector>

namespace falaj {

class Turn {
 public:
  Turn();
  // Runs what was left for the end, in order. What that leaves for the end runs at that of the turn
  // around this one, or at once.
  ~Turn();
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  // Runs `work` at the end of this thread's turn, once for each `subject`; at once if the thread is
  // in no turn. Call it without a lock that `work` takes. `work` keeps its subject alive.
  static void AtEnd(const void* subject, std::function<void()> work);

  bool empty() const { return work_.empty(); }

 private:
  struct Work {
    const void* subject;
    std::function<void()> run;
  };

  Turn* const outer_;
  std::vector<Work> work_;  // Few: the streams and queues that one thread has filled.
};

}  // namespace falaj

#endif  // LIBS_BASE_TURN_H_
