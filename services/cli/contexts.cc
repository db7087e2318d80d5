#include "services/cli/contexts.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "libs/base/status.h"

namespace falaj::cli {
namespace {

constexpr char kDefaultAddress[] = "localhost:7400";

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

absl::Status ContextBook::Use(const std::string& name) {
  if (!contexts.contains(name)) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("no context '", name, "'; see falaj context list"));
  }
  if (name != current) previous = std::exchange(current, name);
  return absl::OkStatus();
}

std::string ContextPath() {
  std::string base = Environment("XDG_CONFIG_HOME");
  if (base.empty()) base = absl::StrCat(Environment("HOME"), "/.config");
  return absl::StrCat(base, "/falaj/contexts.json");
}

absl::StatusOr<ContextBook> LoadContexts(const std::string& path) {
  ContextBook book;
  std::ifstream file(path);
  if (!file) return book;
  const nlohmann::json json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  const auto text = [](const nlohmann::json& object, const char* key) {
    const auto it = object.find(key);
    return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  if (!json.is_object() || (json.contains("contexts") && !json["contexts"].is_object())) {
    return MakeError(Reason::kInvalidRequest, absl::StrCat(path, " is not a file of contexts"));
  }
  book.current = text(json, "current");
  book.previous = text(json, "previous");
  if (!json.contains("contexts")) return book;
  for (const auto& [name, entry] : json["contexts"].items()) {
    if (!entry.is_object()) continue;
    book.contexts[name] = {text(entry, "address"), text(entry, "description")};
  }
  return book;
}

absl::Status SaveContexts(const std::string& path, const ContextBook& book) {
  nlohmann::ordered_json json;
  json["current"] = book.current;
  json["previous"] = book.previous;
  json["contexts"] = nlohmann::ordered_json::object();
  for (const auto& [name, context] : book.contexts) {
    json["contexts"][name] = {{"address", context.address}, {"description", context.description}};
  }
  const std::filesystem::path target(path);
  const std::filesystem::path draft(path + ".new");
  std::error_code error;
  std::filesystem::create_directories(target.parent_path(), error);
  {
    std::ofstream file(draft);
    file << json.dump(2) << "\n";
    if (!file.flush()) {
      return MakeError(Reason::kInvalidRequest, absl::StrCat("cannot write ", draft.string()));
    }
  }
  std::filesystem::rename(draft, target, error);
  if (!error) return absl::OkStatus();
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("cannot write ", path, ": ", error.message()));
}

absl::StatusOr<std::string> ResolveAddress(const std::string& address, const std::string& context) {
  if (!address.empty()) return address;
  if (context.empty()) {
    if (std::string env = Environment("FALAJ_ADDRESS"); !env.empty()) return env;
  }
  FALAJ_ASSIGN_OR_RETURN(ContextBook book, LoadContexts(ContextPath()));
  std::string name = context.empty() ? Environment("FALAJ_CONTEXT") : context;
  if (name.empty()) name = book.current;
  if (name.empty()) return std::string(kDefaultAddress);
  const auto it = book.contexts.find(name);
  if (it != book.contexts.end()) return it->second.address;
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("no context '", name, "'; see falaj context list"));
}

}  // namespace falaj::cli
