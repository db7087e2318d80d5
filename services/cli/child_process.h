// ChildProcess is a command of the user's that we run: same terminal, same standard streams, a few
// more environment variables. If we die, even by kill -9, it gets SIGTERM: it must not go on as if
// somebody still held for it what we held.
//
// Threads: one, the one that has started it.
#ifndef SERVICES_CLI_CHILD_PROCESS_H_
#define SERVICES_CLI_CHILD_PROCESS_H_

#include <signal.h>
#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace falaj::cli {

class ChildProcess {
 public:
  // `command` is the program, looked up in PATH, and its arguments. `mask`: signals it has blocked.
  // INVALID_REQUEST if the program cannot be run.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(
      const std::vector<std::string>& command,
      const std::map<std::string, std::string>& environment, const sigset_t& mask);
  ~ChildProcess();  // Kills it if it runs still.
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // True once it has ended. Does not block.
  bool Ended();
  void Signal(int signal);
  // Its exit code, or 128 + the signal that killed it. Requires Ended().
  int exit_code() const { return exit_code_; }

 private:
  explicit ChildProcess(pid_t pid) : pid_(pid) {}

  const pid_t pid_;
  bool ended_ = false;
  int exit_code_ = 0;
};

}  // namespace falaj::cli

#endif  // SERVICES_CLI_CHILD_PROCESS_H_
