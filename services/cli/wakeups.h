// Wakeups is where a command waits for whichever comes first: Ctrl-C, the end of a child process,
// or another thread that has something to say.
//
// Make one before anything starts threads: it blocks SIGINT, SIGTERM and SIGCHLD in this thread and
// those it starts, and reads them from a file descriptor instead. One at a time in a process.
//
// Threads: Wait() from one; Wake() from any.
#ifndef SERVICES_CLI_WAKEUPS_H_
#define SERVICES_CLI_WAKEUPS_H_

#include <signal.h>

#include "absl/time/time.h"

namespace falaj::cli {

class Wakeups {
 public:
  Wakeups();
  ~Wakeups();  // Signals do again what they did before.
  Wakeups(const Wakeups&) = delete;
  Wakeups& operator=(const Wakeups&) = delete;

  void Wake();
  // Returns SIGINT, SIGTERM or SIGCHLD, or 0 for a Wake() or when the limit (may be infinite) has
  // passed.
  int Wait(absl::Duration limit);

  // The signals that were blocked before; what a child process wants.
  const sigset_t& mask_before() const { return before_; }

 private:
  sigset_t before_;
  int signal_fd_;
  int wake_fd_;
};

}  // namespace falaj::cli

#endif  // SERVICES_CLI_WAKEUPS_H_
