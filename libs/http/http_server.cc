#include "libs/http/http_server.h"

#include <arpa/inet.h>
#include <civetweb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "libs/base/log.h"
#include "libs/base/mutex.h"
#include "libs/base/status.h"

namespace falaj::http {
namespace {

const char* StatusText(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 503:
      return "Service Unavailable";
    default:
      return "Error";
  }
}

void Write(mg_connection* connection, const Response& response, bool with_body) {
  const std::string head = absl::StrCat(
      "HTTP/1.1 ", response.status, " ", StatusText(response.status),
      "\r\nContent-Type: ", response.content_type, "\r\nContent-Length: ", response.body.size(),
      "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: "
      "close\r\n\r\n");
  mg_write(connection, head.data(), head.size());
  if (with_body) mg_write(connection, response.body.data(), response.body.size());
}

// Opens a connection and closes it.
void Touch(const std::string& address, int port) {
  const std::string host = address.substr(0, address.rfind(':'));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  if (inet_pton(AF_INET, host.c_str(), &to.sin_addr) != 1) {
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  }
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return;
  // Whether it succeeds does not matter: the loop of the caller tries again.
  static_cast<void>(connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to));
  close(fd);
}

int LogMessage(const mg_connection* /*connection*/, const char* message) {
  log::Warning("http server", {{"detail", message}});
  return 1;  // Handled: CivetWeb writes no log of its own.
}

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const Options& options,
                                                              Handlers handlers) {
  static const unsigned initialised = mg_init_library(0);
  static_cast<void>(initialised);
  std::unique_ptr<HttpServer> server(new HttpServer(options, std::move(handlers)));
  mg_callbacks callbacks{};
  callbacks.begin_request = &HttpServer::Answer;
  callbacks.log_message = &LogMessage;
  const char* settings[] = {"listening_ports",
                            options.address.c_str(),
                            "num_threads",
                            "2",
                            "request_timeout_ms",
                            "5000",
                            nullptr};
  server->context_ = mg_start(&callbacks, server.get(), settings);
  if (server->context_ == nullptr) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", options.address));
  }
  mg_server_port ports[1] = {};
  if (mg_get_server_ports(server->context_, 1, ports) == 1) server->port_ = ports[0].port;
  return server;
}

HttpServer::HttpServer(const Options& options, Handlers handlers)
    : options_(options), handlers_(std::move(handlers)) {}

// CivetWeb looks at its stop flag every two seconds only, unless a connection wakes it: make some
// until it has stopped.
HttpServer::~HttpServer() {
  if (context_ == nullptr) return;
  Mutex mu;
  CondVar done;
  bool stopped = false;
  std::thread stopper([&] {
    mg_stop(context_);
    MutexLock lock(&mu);
    stopped = true;
    done.NotifyAll();
  });
  {
    MutexLock lock(&mu);
    while (!stopped) {
      Touch(options_.address, port_);
      done.WaitFor(&mu, absl::Milliseconds(10));
    }
  }
  stopper.join();
}

std::string HttpServer::address() const {
  const absl::string_view host(options_.address);
  return absl::StrCat(host.substr(0, host.rfind(':')), ":", port_);
}

int HttpServer::Answer(mg_connection* connection) {
  const mg_request_info* request = mg_get_request_info(connection);
  const auto* server = static_cast<const HttpServer*>(request->user_data);
  const absl::string_view method(request->request_method);
  const char* path = request->local_uri == nullptr ? "" : request->local_uri;
  Response response;
  if (method != "GET" && method != "HEAD") {
    response = {.status = 405, .body = "only GET\n"};
  } else if (const auto it = server->handlers_.find(path); it != server->handlers_.end()) {
    response = it->second();
  } else {
    response = {.status = 404, .body = "not found\n"};
  }
  Write(connection, response, method != "HEAD");
  return response.status;
}

HttpServer::Handlers StandardHandlers(const telemetry::Registry* registry,
                                      std::function<bool()> ready,
                                      std::function<std::string()> why_not) {
  HttpServer::Handlers handlers;
  handlers["/metrics"] = [registry] {
    return Response{.content_type = "text/plain; version=0.0.4; charset=utf-8",
                    .body = registry->Serialize()};
  };
  handlers["/healthz"] = [ready = std::move(ready), why_not = std::move(why_not)] {
    if (ready()) return Response{.body = "ok\n"};
    const std::string why = why_not ? why_not() : "";
    return Response{.status = 503,
                    .body = absl::StrCat("not ready", why.empty() ? "" : ": ", why, "\n")};
  };
  return handlers;
}

}  // namespace falaj::http
