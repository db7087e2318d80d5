// What the files of `falaj znode` share.
#ifndef SERVICES_CLI_ZNODE_HOLD_H_
#define SERVICES_CLI_ZNODE_HOLD_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

#include "falaj/v1/coordination_service.pb.h"

#include "services/cli/commands.h"

namespace falaj::cli {

// create -e, elect and lock: hold a session until Ctrl-C or the end of a command.
ExitCode RunZnodeHold(const ZnodeOptions& options);

// The request of create; without options.
absl::StatusOr<v1::CreateZnodeRequest> CreateRequestOf(const ZnodeOptions& options);
// Data as it was typed; "-" reads standard input to its end. ZNODE_TOO_LARGE above 1 MiB.
absl::StatusOr<std::string> ReadZnodeData(const std::string& text);
// Path, version and index after a write.
void PrintWritten(const v1::Znode& znode, uint64_t index, OutputMode mode);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_ZNODE_HOLD_H_
