// A page of a server's HTTP port, for the commands that collect what servers say.
#ifndef SERVICES_CLI_HTTP_GET_H_
#define SERVICES_CLI_HTTP_GET_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace falaj::cli {

// The body of what "host:port" answers to a GET of `path`, whatever its status. Each step, to
// connect, to send, to receive some more, may take `timeout`. INVALID_REQUEST for an address that
// is none, kUnavailable if nobody answers or the answer is not HTTP. Blocks.
absl::StatusOr<std::string> HttpGet(const std::string& address, const std::string& path,
                                    absl::Duration timeout);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_HTTP_GET_H_
