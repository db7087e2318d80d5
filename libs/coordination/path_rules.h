// The rules a znode's path must keep, and how a path is taken apart. Pure functions.
//
// A path is "/" or /name(/name)*. Names are compared byte by byte: Unicode is not normalised, so
// two names that look alike may be two znodes.
#ifndef LIBS_COORDINATION_PATH_RULES_H_
#define LIBS_COORDINATION_PATH_RULES_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace falaj::coordination {

inline constexpr absl::string_view kRootPath = "/";
// The cluster's own znodes: this one and everything below it.
inline constexpr absl::string_view kReservedPath = "/falaj";
inline constexpr absl::string_view kCandidatePrefix = "candidate-";

// INVALID_PATH with metadata field, rule, and where a number is exceeded value and limit. `field`
// is the name of the request's field that holds the path.
absl::Status ValidatePath(absl::string_view path, absl::string_view field = "path");
// The same for a path that digits will be appended to: there must be room, and it may end with "/".
absl::Status ValidateSequentialPath(absl::string_view path, absl::string_view field = "path");

// True for kReservedPath and what is below it.
bool IsReserved(absl::string_view path);
// PATH_RESERVED if so.
absl::Status CheckNotReserved(absl::string_view path);

// True for candidate-NNNNNNNNNN: a name that Campaign gives.
bool IsCandidateName(absl::string_view name);

// "/a/b" -> "/a", "/a" -> "/". Requires: a valid path other than "/", or one with "/" at its end.
absl::string_view ParentOf(absl::string_view path);
// "/a/b" -> "b", "/" -> "".
absl::string_view NameOf(absl::string_view path);
// ("/", "a") -> "/a", ("/a", "b") -> "/a/b".
std::string JoinPath(absl::string_view parent, absl::string_view name);
// Ten digits. Requires: number <= kSequenceMax.
std::string SequenceSuffix(uint64_t number);

}  // namespace falaj::coordination

#endif  // LIBS_COORDINATION_PATH_RULES_H_
