#include "services/cli/completion.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace falaj::cli {

std::string CompletionScript(const std::string& shell,
                             const std::map<std::string, std::vector<std::string>>& words) {
  std::string script;
  if (shell == "zsh") script = "#compdef falaj\nautoload -U +X bashcompinit && bashcompinit\n";
  absl::StrAppend(&script,
                  "_falaj() {\n"
                  "  local words=\"\"\n"
                  "  if [ \"$COMP_CWORD\" -eq 1 ]; then words=\"",
                  absl::StrJoin(words.at(""), " "), "\"; fi\n");
  for (const auto& [command, next] : words) {
    if (command.empty()) continue;
    absl::StrAppend(&script, "  if [ \"$COMP_CWORD\" -eq 2 ] && [ \"${COMP_WORDS[1]}\" = \"",
                    command, "\" ]; then words=\"", absl::StrJoin(next, " "), "\"; fi\n");
  }
  absl::StrAppend(&script,
                  "  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
                  "}\n"
                  "complete -o default -F _falaj falaj\n");
  return script;
}

}  // namespace falaj::cli
