// The commands of `falaj cluster` that move partitions, leads, and all that a node holds.
#ifndef SERVICES_CLI_MOVE_COMMAND_H_
#define SERVICES_CLI_MOVE_COMMAND_H_

#include "absl/status/statusor.h"

#include "libs/client/admin.h"
#include "services/cli/commands.h"

namespace falaj::cli {

// Runs "drain", "undrain", "reassign", "reassignments", "cancel" or "elect". Requires one of these.
absl::StatusOr<ExitCode> RunMove(const ClusterOptions& options, client::Admin* admin);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_MOVE_COMMAND_H_
