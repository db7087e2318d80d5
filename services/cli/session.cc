#include "services/cli/session.h"

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "services/cli/contexts.h"
#include "services/cli/values.h"

namespace falaj::cli {
namespace {

absl::Status BadChoice(absl::string_view option, absl::string_view text,
                       absl::string_view choices) {
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat(option, " is '", text, "', it must be one of: ", choices),
                   {{"field", std::string(option)}});
}

}  // namespace

absl::StatusOr<Session> OpenSession(const CommonOptions& common) {
  Session session;
  FALAJ_ASSIGN_OR_RETURN(session.address, ResolveAddress(common.address, common.context));
  FALAJ_ASSIGN_OR_RETURN(session.timeout, ParseDuration(common.timeout));
  if (session.timeout <= absl::ZeroDuration()) {
    return MakeError(Reason::kInvalidRequest, "--timeout must be more than zero");
  }
  return session;
}

absl::StatusOr<v1::Acks> ParseAcks(absl::string_view text) {
  if (text == "all") return v1::ACKS_ALL;
  if (text == "leader") return v1::ACKS_LEADER;
  if (text == "none") return v1::ACKS_NONE;
  return BadChoice("acks", text, "all, leader, none");
}

absl::StatusOr<v1::Compression> ParseCompression(absl::string_view text) {
  if (text.empty()) return v1::COMPRESSION_UNSPECIFIED;
  if (text == "none") return v1::COMPRESSION_NONE;
  if (text == "lz4") return v1::COMPRESSION_LZ4;
  if (text == "zstd") return v1::COMPRESSION_ZSTD;
  return BadChoice("compression", text, "none, lz4, zstd");
}

absl::StatusOr<v1::Durability> ParseDurability(absl::string_view text) {
  if (text == "fsync") return v1::DURABILITY_FSYNC;
  if (text == "os") return v1::DURABILITY_OS;
  return BadChoice("durability", text, "fsync, os");
}

ExitCode Fail(const absl::Status& status) {
  PrintError(status);
  const Reason reason = ReasonOf(status);
  const bool mistyped = reason == Reason::kInvalidRequest || reason == Reason::kInvalidName ||
                        reason == Reason::kInvalidConfig;
  return mistyped ? ExitCode::kUsage : ExitCode::kFailed;
}

ExitCode FailUsage(const absl::Status& status) {
  PrintError(status);
  return ExitCode::kUsage;
}

}  // namespace falaj::cli
