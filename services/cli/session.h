// What a command needs before it can talk to a cluster: the address and the time it may take.
#ifndef SERVICES_CLI_SESSION_H_
#define SERVICES_CLI_SESSION_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "libs/client/admin.h"
#include "libs/client/options.h"
#include "services/cli/commands.h"

namespace falaj::cli {

struct Session {
  std::string address;
  absl::Duration timeout;

  client::AdminOptions admin_options() const { return {.address = address, .timeout = timeout}; }
};

// INVALID_REQUEST for a bad --timeout or an unknown context.
absl::StatusOr<Session> OpenSession(const CommonOptions& common);

absl::StatusOr<v1::Acks> ParseAcks(absl::string_view text);                // all, leader, none.
absl::StatusOr<v1::Compression> ParseCompression(absl::string_view text);  // none, lz4, zstd, "".
absl::StatusOr<v1::Durability> ParseDurability(absl::string_view text);    // fsync, os.

// Prints the error. kUsage if it says that something was typed wrong, else kFailed.
ExitCode Fail(const absl::Status& status);
// The same, always kUsage.
ExitCode FailUsage(const absl::Status& status);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_SESSION_H_
