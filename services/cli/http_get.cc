#include "services/cli/http_get.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

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
  const std::string host = address.substr(0, colon);
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
    why = std::strerror(errno);
  }
  return Failed(address, why);
}

}  // namespace

absl::StatusOr<std::string> HttpGet(const std::string& address, const std::string& path,
                                    absl::Duration timeout) {
  FALAJ_ASSIGN_OR_RETURN(const std::unique_ptr<Socket> socket, Connect(address, timeout));
  const std::string request =
      absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: ", address, "\r\nConnection: close\r\n\r\n");
  if (::send(socket->fd(), request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return Failed(address, std::strerror(errno));
  }
  std::string answer;
  char buffer[16 << 10];
  while (true) {
    const ssize_t got = ::recv(socket->fd(), buffer, sizeof buffer, 0);
    if (got < 0) return Failed(address, std::strerror(errno));
    if (got == 0) break;
    answer.append(buffer, static_cast<size_t>(got));
    if (answer.size() > kAnswerBytesMax) return Failed(address, "the answer is too large");
  }
  const size_t body = answer.find("\r\n\r\n");
  if (!absl::StartsWith(answer, "HTTP/1.") || body == std::string::npos) {
    return Failed(address, "the answer is not HTTP");
  }
  return answer.substr(body + 4);
}

}  // namespace falaj::cli
