// What the main() of every service does around its server.
#ifndef LIBS_RPC_PROCESS_H_
#define LIBS_RPC_PROCESS_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace falaj::rpc {

// Raises the soft limit of open files to the hard one and returns it. gRPC 1.51 stops accepting
// connections for good when it meets the limit once (CVE-2023-4785), so the limit must be far away.
int64_t RaiseFileDescriptorLimit();

// Sets up the allocator and the locks inside gRPC for processes that move large messages; the first
// thing in main(). Free memory is kept for the next message, up to a bound, instead of being given
// back and faulted in again; and the packaged Abseil, built for debugging, stops looking for
// deadlocks at every lock gRPC takes. Together they took a gateway from 1.6 to 0.9 CPU seconds per
// GB.
void TuneProcess();

// Blocks until SIGTERM or SIGINT and returns the signal. A second signal while the process is
// stopping kills it. One thread at a time.
int WaitForTermination();

// Reads every flag of the program (ABSL_FLAG) from its environment variable: --data_dir from
// FALAJ_DATA_DIR. Ends the process with a message if a value does not parse.
void ApplyEnvironmentToFlags();

// The flags of a service: from the environment, then from the command line, which wins. --help
// prints `usage` and the service's own flags. Ends the process with a message if something is
// wrong.
void ParseFlags(absl::string_view usage, int argc, char** argv);

}  // namespace falaj::rpc

#endif  // LIBS_RPC_PROCESS_H_
