// Contexts name the clusters one works with, like those of nats and kubectl.
//
// They live in $XDG_CONFIG_HOME/falaj/contexts.json (~/.config by default). The address of a
// command is, in this order: --address, FALAJ_ADDRESS, the context named by --context or
// FALAJ_CONTEXT, the context in use, localhost:7400.
#ifndef SERVICES_CLI_CONTEXTS_H_
#define SERVICES_CLI_CONTEXTS_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace falaj::cli {

struct Context {
  std::string address;  // host:port of a gateway.
  std::string description;
};

struct ContextBook {
  std::map<std::string, Context> contexts;
  std::string current;
  std::string previous;

  // Makes `name` the current one. INVALID_REQUEST if there is none of this name.
  absl::Status Use(const std::string& name);
};

std::string ContextPath();
// An empty book if there is no file. INVALID_REQUEST if it cannot be understood.
absl::StatusOr<ContextBook> LoadContexts(const std::string& path);
// Replaces the file in one step, so that a crash leaves the old one.
absl::Status SaveContexts(const std::string& path, const ContextBook& book);

// See above; both may be empty.
absl::StatusOr<std::string> ResolveAddress(const std::string& address, const std::string& context);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_CONTEXTS_H_
