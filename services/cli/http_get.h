// A page of a server's HTTP port, for the commands that collect what servers say.
#ifndef SERVICES_CLI_HTTP_GET_H_
#define SERVICES_CLI_HTTP_GET_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace falaj::cli {

struct HttpAnswer {
  int status = 0;  // 200, ...
  std::string body;
};

// What "host:port", or "[IPv6 address]:port", answers to a GET of `path`. Each step, to connect, to
// send, to receive some more, may take `timeout`. INVALID_REQUEST for an address that is none,
// kUnavailable if nobody answers, or the answer is not HTTP or cut short. Blocks.
absl::StatusOr<HttpAnswer> HttpGet(const std::string& address, const std::string& path,
                                   absl::Duration timeout);

// Takes an answer apart, from the status line to the last byte that came before the end. The error
// is a sentence without an address.
absl::StatusOr<HttpAnswer> ParseHttpAnswer(absl::string_view answer);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_HTTP_GET_H_
