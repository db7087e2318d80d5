// The command line: words in, the chosen command with its options out.
#ifndef SERVICES_CLI_COMMAND_LINE_H_
#define SERVICES_CLI_COMMAND_LINE_H_

#include "services/cli/output.h"

namespace falaj::cli {

// Parses and runs. Help and version go to standard output (exit code 0), mistakes to standard error
// (exit code 2).
ExitCode RunCommandLine(int argc, const char* const* argv);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_COMMAND_LINE_H_
