// Shell completion of commands and subcommands.
#ifndef SERVICES_CLI_COMPLETION_H_
#define SERVICES_CLI_COMPLETION_H_

#include <map>
#include <string>
#include <vector>

namespace falaj::cli {

// `words` maps a command ("" for none yet) to what may follow it. `shell` is "bash" or "zsh", which
// runs bash's script through bashcompinit.
std::string CompletionScript(const std::string& shell,
                             const std::map<std::string, std::vector<std::string>>& words);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_COMPLETION_H_
