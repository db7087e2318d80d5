// How tests look at the HTTP port of a server.
#ifndef LIBS_HTTP_TESTING_SCRAPE_H_
#define LIBS_HTTP_TESTING_SCRAPE_H_

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"

namespace falaj::http {

// The answer to a GET, header and all.
inline std::string Get(const std::string& address, const std::string& path) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  std::string answer;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0) {
    const std::string request =
        absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(::send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    char buffer[4096];
    for (ssize_t n = 0; (n = ::recv(fd, buffer, sizeof(buffer), 0)) > 0;) {
      answer.append(buffer, static_cast<size_t>(n));
    }
  }
  ::close(fd);
  return answer;
}

// The value of a series, labels in the order of the alphabet: name{a="1",b="2"}. Nullopt if the
// server has none.
inline std::optional<double> ScrapeMetric(const std::string& address, const std::string& series) {
  const std::string metrics = Get(address, "/metrics");
  const size_t line = metrics.find(absl::StrCat("\n", series, " "));
  if (line == std::string::npos) return std::nullopt;
  return std::stod(metrics.substr(line + series.size() + 2));
}

}  // namespace falaj::http

#endif  // LIBS_HTTP_TESTING_SCRAPE_H_
