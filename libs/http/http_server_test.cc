#include "libs/http/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"

namespace falaj::http {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// Sends one request over a connection of its own and returns all that comes back.
std::string Ask(int port, const std::string& request) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    EXPECT_EQ(send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    char buffer[4096];
    for (ssize_t n = 0; (n = recv(fd, buffer, sizeof buffer, 0)) > 0;) {
      answer.append(buffer, static_cast<size_t>(n));
    }
  }
  close(fd);
  return answer;
}

std::string Get(int port, const std::string& path) {
  return Ask(port, absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: x\r\n\r\n"));
}

class HttpServerTest : public testing::Test {
 protected:
  HttpServerTest() {
    registry_.AddCounter("falaj_x_total", "Counts.")->Add(5);
    server_ =
        *HttpServer::Start({.address = "127.0.0.1:0"},
                           StandardHandlers(
                               &registry_, [this] { return ready_; }, [this] { return why_not_; }));
  }

  telemetry::Registry registry_;
  bool ready_ = false;
  std::string why_not_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, ServesMetrics) {
  const std::string answer = Get(server_->port(), "/metrics");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Type: text/plain; version=0.0.4"));
  EXPECT_THAT(answer, HasSubstr("falaj_x_total 5\n"));
}

TEST_F(HttpServerTest, HealthFollowsReadiness) {
  EXPECT_THAT(Get(server_->port(), "/healthz"), StartsWith("HTTP/1.1 503 "));
  ready_ = true;
  EXPECT_THAT(Get(server_->port(), "/healthz"), EndsWith("\r\n\r\nok\n"));
}

TEST_F(HttpServerTest, HealthSaysWhyItIsNotReadyIfItIsKnown) {
  EXPECT_THAT(Get(server_->port(), "/healthz"), EndsWith("\r\n\r\nnot ready\n"));
  why_not_ = "DISK_FULL: no room";
  EXPECT_THAT(Get(server_->port(), "/healthz"),
              EndsWith("\r\n\r\nnot ready: DISK_FULL: no room\n"));
  ready_ = true;
  EXPECT_THAT(Get(server_->port(), "/healthz"), EndsWith("\r\n\r\nok\n"));
}

TEST_F(HttpServerTest, UnknownPathIsNotFoundEvenBelowAKnownOne) {
  EXPECT_THAT(Get(server_->port(), "/metrics/x"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(Get(server_->port(), "/../etc/passwd"), testing::Not(HasSubstr("root:")));
}

TEST_F(HttpServerTest, OtherMethodsAreRefused) {
  EXPECT_THAT(Ask(server_->port(), "DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
              StartsWith("HTTP/1.1 405 "));
}

TEST_F(HttpServerTest, ReportsTheRealAddress) {
  EXPECT_NE(server_->port(), 0);
  EXPECT_EQ(server_->address(), absl::StrCat("127.0.0.1:", server_->port()));
}

TEST_F(HttpServerTest, AnAddressInUseIsAnError) {
  EXPECT_EQ(HttpServer::Start({.address = server_->address()}, {}).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(HttpServerTest, ManyServersRunInOneProcess) {
  auto other = HttpServer::Start({.address = "127.0.0.1:0"}, {});
  ASSERT_TRUE(other.ok());
  EXPECT_NE((*other)->port(), server_->port());
}

}  // namespace
}  // namespace falaj::http
