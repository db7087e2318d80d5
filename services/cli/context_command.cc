#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "services/cli/commands.h"
#include "services/cli/contexts.h"
#include "services/cli/session.h"

namespace falaj::cli {
namespace {

void PrintContexts(const ContextBook& book, const std::string& only, OutputMode mode) {
  Table table({"CURRENT", "NAME", "ADDRESS", "DESCRIPTION"});
  for (const auto& [name, context] : book.contexts) {
    if (!only.empty() && name != only) continue;
    table.Add({name == book.current ? "*" : "", name, context.address, context.description});
  }
  table.Print(mode);
}

absl::Status Change(const ContextOptions& options, ContextBook* book) {
  if (options.action == "add") {
    book->contexts[options.name] = {options.address, options.description};
    if (book->current.empty()) book->current = options.name;
    return absl::OkStatus();
  }
  if (options.action == "use") return book->Use(options.name);
  if (options.action == "previous") {
    if (!book->previous.empty()) return book->Use(book->previous);
    return MakeError(Reason::kInvalidRequest, "there is no context before this one");
  }
  if (book->contexts.erase(options.name) == 0) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("no context '", options.name, "'; see falaj context list"));
  }
  if (book->current == options.name) book->current.clear();
  if (book->previous == options.name) book->previous.clear();
  return absl::OkStatus();
}

}  // namespace

ExitCode RunContext(const ContextOptions& options) {
  const std::string path = ContextPath();
  absl::StatusOr<ContextBook> book = LoadContexts(path);
  if (!book.ok()) return Fail(book.status());
  if (options.action == "list" || options.action == "show") {
    const std::string name = options.name.empty() ? book->current : options.name;
    PrintContexts(*book, options.action == "show" ? name : "", options.output);
    const bool missing = options.action == "show" && !book->contexts.contains(name);
    return missing ? ExitCode::kFailed : ExitCode::kOk;
  }
  if (absl::Status status = Change(options, &*book); !status.ok()) return FailUsage(status);
  if (absl::Status status = SaveContexts(path, *book); !status.ok()) return Fail(status);
  if (!book->current.empty() && options.action != "remove") {
    std::fprintf(stderr, "Using context %s (%s).\n", book->current.c_str(),
                 book->contexts[book->current].address.c_str());
  }
  return ExitCode::kOk;
}

}  // namespace falaj::cli
