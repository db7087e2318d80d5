// What `--help` of a subcommand ends with.
#ifndef SERVICES_CLI_COMMAND_EXAMPLES_H_
#define SERVICES_CLI_COMMAND_EXAMPLES_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace falaj::cli {

// The lines as the end of a help text.
std::string Examples(const std::vector<std::string>& lines);

// Of a subcommand by its full name without "falaj", such as "topic create". Empty if there are
// none.
std::vector<std::string> ExamplesOf(absl::string_view command);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_COMMAND_EXAMPLES_H_
