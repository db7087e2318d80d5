#include "libs/coordination/path_rules.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "libs/base/status.h"
#include "libs/coordination/limits.h"
#include "libs/record/utf8.h"

namespace falaj::coordination {
namespace {

constexpr size_t kQuotedSizeMax = 64;  // Of what an error repeats of a bad path.

absl::Status Invalid(absl::string_view field, absl::string_view value, absl::string_view rule) {
  // The path may be megabytes of anything, and an error must be UTF-8.
  std::string quoted = absl::CHexEscape(value.substr(0, kQuotedSizeMax));
  if (value.size() > kQuotedSizeMax) quoted += "...";
  return MakeError(Reason::kInvalidPath, absl::StrCat(field, " '", quoted, "': ", rule),
                   {{"field", std::string(field)}, {"value", quoted}, {"rule", std::string(rule)}});
}

absl::Status TooMany(absl::string_view field, absl::string_view what, size_t value, size_t limit) {
  return MakeError(Reason::kInvalidPath,
                   absl::StrCat(field, " has ", value, " ", what, ", more than ", limit),
                   {{"field", std::string(field)},
                    {"rule", absl::StrCat("at most ", limit, " ", what)},
                    {"value", absl::StrCat(value)},
                    {"limit", absl::StrCat(limit)}});
}

// C0, DEL and C1. Requires: well-formed UTF-8, in which C1 is 0xc2 and a byte below 0xa0.
bool HasControlCharacter(absl::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7f) return true;
    if (byte == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0) return true;
  }
  return false;
}

bool IsPlainAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

// Checks all names of `path`, with room for `suffix` more bytes at its end. `open`: the last name
// may be empty.
absl::Status ValidateNames(absl::string_view path, absl::string_view field, size_t suffix,
                           bool open) {
  size_t names = 0;
  size_t begin = 1;
  while (true) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const absl::string_view name = path.substr(begin, end - begin);
    const bool last = end == path.size();
    if (name.empty() && !(last && open)) {
      return Invalid(field, path, last ? "must not end with '/'" : "has an empty name");
    }
    if (name == "." || name == "..") return Invalid(field, path, "'.' and '..' are no names");
    const size_t size = name.size() + (last ? suffix : 0);
    if (size > kNameSizeMax) return TooMany(field, "bytes in one name", size, kNameSizeMax);
    ++names;
    if (last) break;
    begin = end + 1;
  }
  if (names > kPathNamesMax) return TooMany(field, "names", names, kPathNamesMax);
  return absl::OkStatus();
}

absl::Status Validate(absl::string_view path, absl::string_view field, size_t suffix, bool open) {
  if (path.size() + suffix > kPathSizeMax) {
    return TooMany(field, "bytes", path.size() + suffix, kPathSizeMax);
  }
  if (path.empty() || path.front() != '/') return Invalid(field, path, "must begin with '/'");
  if (!IsPlainAscii(path)) {
    if (!record::IsUtf8(path)) return Invalid(field, path, "must be UTF-8");
    if (HasControlCharacter(path)) return Invalid(field, path, "has a control character");
  }
  if (path == kRootPath) return absl::OkStatus();
  return ValidateNames(path, field, suffix, open);
}

}  // namespace

absl::Status ValidatePath(absl::string_view path, absl::string_view field) {
  return Validate(path, field, 0, false);
}

absl::Status ValidateSequentialPath(absl::string_view path, absl::string_view field) {
  return Validate(path, field, kSequenceDigits, true);
}

bool IsReserved(absl::string_view path) {
  return absl::StartsWith(path, kReservedPath) &&
         (path.size() == kReservedPath.size() || path[kReservedPath.size()] == '/');
}

absl::Status CheckNotReserved(absl::string_view path) {
  if (!IsReserved(path)) return absl::OkStatus();
  return MakeError(Reason::kPathReserved,
                   absl::StrCat("'", path, "': the cluster's own znodes, only to be read"),
                   {{"field", "path"}, {"value", std::string(path)}});
}

bool IsCandidateName(absl::string_view name) {
  if (name.size() != kCandidatePrefix.size() + kSequenceDigits) return false;
  if (!absl::StartsWith(name, kCandidatePrefix)) return false;
  name.remove_prefix(kCandidatePrefix.size());
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); });
}

absl::string_view ParentOf(absl::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == 0 ? kRootPath : path.substr(0, slash);
}

absl::string_view NameOf(absl::string_view path) { return path.substr(path.rfind('/') + 1); }

std::string JoinPath(absl::string_view parent, absl::string_view name) {
  return parent == kRootPath ? absl::StrCat(parent, name) : absl::StrCat(parent, "/", name);
}

std::string SequenceSuffix(uint64_t number) { return absl::StrFormat("%010u", number); }

}  // namespace falaj::coordination
