#ifndef TESTS_SIMULATION_TRACE_H_
#define TESTS_SIMULATION_TRACE_H_

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"

#include "tests/simulation/event_queue.h"

namespace falaj::simulation {

// Trace is the story of a run for people. Off, it costs a branch; on, it prints every line.
class Trace {
 public:
  Trace(const EventQueue* queue, bool on) : queue_(queue), on_(on) {}

  bool on() const { return on_; }
  template <typename... Parts>
  void operator()(const Parts&... parts) {
    if (on_) Print(absl::StrCat(parts...));
  }

 private:
  void Print(const std::string& line) {
    std::printf("%s  %s\n", FormatTime(queue_->now()).c_str(), line.c_str());
  }

  const EventQueue* const queue_;
  const bool on_;
};

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_TRACE_H_
