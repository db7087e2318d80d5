// Running a command of the user's for as long as a session, or a lead, is held.
#ifndef SERVICES_CLI_HELD_COMMAND_H_
#define SERVICES_CLI_HELD_COMMAND_H_

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "services/cli/output.h"
#include "services/cli/wakeups.h"

namespace falaj::cli {

struct HeldCommand {
  std::vector<std::string> command;  // Empty: just hold until Ctrl-C.
  std::map<std::string, std::string> environment;
  absl::Duration grace;  // Between SIGTERM and SIGKILL once it is no longer held.
  // OK while it is held. Whoever makes it fail calls Wake().
  std::function<absl::Status()> held;
};

// What stands after the first "--" of `falaj znode` is a command to run, whatever it looks like.
// Returns how many of the arguments come before.
int TakeCommand(int argc, const char* const* argv, std::vector<std::string>* command);

// Runs it to its end and returns its exit code. SIGINT and SIGTERM are passed on; the second one
// kills. When it is no longer held, that is said, and the command gets SIGTERM, then SIGKILL; the
// exit code is then never 0.
ExitCode RunHeld(const HeldCommand& held, Wakeups* wakeups);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_HELD_COMMAND_H_
