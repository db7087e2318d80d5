#include "services/cli/http_get.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "libs/base/status.h"

namespace falaj::cli {
namespace {

constexpr size_t kAnswerBytesMax = 64 << 20;

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

absl::Status Failed(const std::string& address, absl::string_view why) {
  return absl::UnavailableError(absl::StrCat("http://", address, ": ", why));
}

// Of a socket with a timeout: connect() and the others say different things when it has passed.
std::string SocketError(int number) {
  const bool late = number == EAGAIN || number == EWOULDBLOCK || number == EINPROGRESS;
  return late ? "timed out" : std::strerror(number);
}

absl::StatusOr<std::unique_ptr<Socket>> Connect(const std::string& address,
                                                absl::Duration timeout) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == address.size()) {
    return MakeError(Reason::kInvalidRequest, absl::StrCat("'", address, "' is not host:port"),
                     {{"field", "http"}});
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  std::string host = address.substr(0, colon);
  if (host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  const int error = getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found);
  if (error != 0) return Failed(address, gai_strerror(error));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, freeaddrinfo);
  std::string why = "nothing to connect to";
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    auto made = std::make_unique<Socket>(::socket(at->ai_family, at->ai_socktype, 0));
    const timeval limit = absl::ToTimeval(timeout);  // Of connect() too.
    setsockopt(made->fd(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(made->fd(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (made->fd() >= 0 && ::connect(made->fd(), at->ai_addr, at->ai_addrlen) == 0) return made;
    why = SocketError(errno);
  }
  return Failed(address, why);
}

}  // namespace

absl::StatusOr<HttpAnswer> ParseHttpAnswer(absl::string_view answer) {
  const size_t end = answer.find("\r\n\r\n");
  HttpAnswer parsed;
  if (end == absl::string_view::npos || !absl::StartsWith(answer, "HTTP/1.")) {
    return absl::UnavailableError("the answer is not HTTP");
  }
  const std::vector<absl::string_view> lines = absl::StrSplit(answer.substr(0, end), "\r\n");
  const std::vector<absl::string_view> words = absl::StrSplit(lines[0], ' ');
  if (words.size() < 2 || !absl::SimpleAtoi(words[1], &parsed.status)) {
    return absl::UnavailableError("the answer is not HTTP");
  }
  answer.remove_prefix(end + 4);
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::pair<absl::string_view, absl::string_view> field =
        absl::StrSplit(lines[i], absl::MaxSplits(':', 1));
    const absl::string_view value = absl::StripAsciiWhitespace(field.second);
    if (absl::EqualsIgnoreCase(field.first, "Transfer-Encoding")) {
      return absl::UnavailableError(absl::StrCat("the answer has the encoding ", value));
    }
    size_t length = 0;
    if (!absl::EqualsIgnoreCase(field.first, "Content-Length")) continue;
    if (!absl::SimpleAtoi(value, &length)) return absl::UnavailableError("the answer is not HTTP");
    if (length != answer.size()) {
      return absl::UnavailableError(
          absl::StrCat("the answer was cut: ", answer.size(), " of ", length, " bytes came"));
    }
  }
  parsed.body = std::string(answer);
  return parsed;
}

absl::StatusOr<HttpAnswer> HttpGet(const std::string& address, const std::string& path,
                                   absl::Duration timeout) {
  FALAJ_ASSIGN_OR_RETURN(const std::unique_ptr<Socket> socket, Connect(address, timeout));
  const std::string request =
      absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: ", address, "\r\nConnection: close\r\n\r\n");
  if (::send(socket->fd(), request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return Failed(address, SocketError(errno));
  }
  std::string answer;
  char buffer[16 << 10];
  while (true) {
    const ssize_t got = ::recv(socket->fd(), buffer, sizeof buffer, 0);
    if (got < 0) return Failed(address, SocketError(errno));
    if (got == 0) break;
    answer.append(buffer, static_cast<size_t>(got));
    if (answer.size() > kAnswerBytesMax) return Failed(address, "the answer is too large");
  }
  absl::StatusOr<HttpAnswer> parsed = ParseHttpAnswer(answer);
  if (!parsed.ok()) return Failed(address, parsed.status().message());
  return parsed;
}

}  // namespace falaj::cli
