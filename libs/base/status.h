// Errors inside Falaj: absl::Status whose code comes from one table of reasons (errors.def).
//
//   return MakeError(Reason::kTopicNotFound, absl::StrCat("no topic '", name, "'"), {{"topic",
//   name}});
//   ...
//   if (ReasonOf(status) == Reason::kNotLeader) Refresh();
//
// Everything dynamic in a message is repeated in the metadata, so that programs never parse
// sentences (AIP-193). libs/rpc turns such a Status into grpc::Status + google.rpc.ErrorInfo and
// back without loss.
#ifndef LIBS_BASE_STATUS_H_
#define LIBS_BASE_STATUS_H_

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace falaj {

enum class Reason {
  kNone,  // The status is OK, or was made by somebody else and carries no reason.
#define FALAJ_REASON(constant, name, code, definite, sentence) constant,
#include "libs/base/errors.def"
#undef FALAJ_REASON
};

using ErrorMetadata = std::map<std::string, std::string>;

// Makes a Status with the reason's canonical code, the message, and machine-readable metadata.
[[nodiscard]] absl::Status MakeError(Reason reason, absl::string_view message,
                                     const ErrorMetadata& metadata = {});

// Adds how long a client should wait before it tries again. Requires !status.ok().
[[nodiscard]] absl::Status WithRetryAfter(absl::Status status, absl::Duration delay);

// Returns the reason a Status carries. A foreign error (no reason) is mapped by its code to the
// nearest reason, so that every error leaving a Falaj service has one; OK gives kNone.
Reason ReasonOf(const absl::Status& status);
ErrorMetadata MetadataOf(const absl::Status& status);
std::optional<absl::Duration> RetryAfterOf(const absl::Status& status);

// "TOPIC_NOT_FOUND"; empty for kNone.
absl::string_view ReasonName(Reason reason);
// kNone if the name is not in the table (a newer peer).
Reason ReasonFromName(absl::string_view name);
absl::StatusCode ReasonCode(Reason reason);
// True if the error guarantees that the request had no effect.
bool IsDefinite(Reason reason);

// Says at the call site why an error may be dropped; greppable, unlike a cast to void.
inline void IgnoreError(const absl::Status& /*status*/, absl::string_view /*why*/) {}

// RETURN_IF_ERROR(expr): leaves the function with the Status of `expr` if it is an error.
#define FALAJ_RETURN_IF_ERROR(expr)                                 \
  do {                                                              \
    if (absl::Status falaj_status_ = (expr); !falaj_status_.ok()) { \
      return falaj_status_;                                         \
    }                                                               \
  } while (false)

#define FALAJ_STATUS_CONCAT_(a, b) a##b
#define FALAJ_STATUS_NAME_(line) FALAJ_STATUS_CONCAT_(falaj_or_, line)

// FALAJ_ASSIGN_OR_RETURN(auto x, expr): x = value of the StatusOr, or leaves the function with its
// Status.
#define FALAJ_ASSIGN_OR_RETURN(lhs, expr)                    \
  auto FALAJ_STATUS_NAME_(__LINE__) = (expr);                \
  if (!FALAJ_STATUS_NAME_(__LINE__).ok()) {                  \
    return std::move(FALAJ_STATUS_NAME_(__LINE__)).status(); \
  }                                                          \
  lhs = *std::move(FALAJ_STATUS_NAME_(__LINE__))

}  // namespace falaj

#endif  // LIBS_BASE_STATUS_H_
