// HttpServer answers GET requests on a handful of fixed paths: /metrics for Prometheus, /healthz
// for load balancers. It is not a general web server: paths match exactly, requests have no body,
// and there are two worker threads.
//
//   auto server = HttpServer::Start({.address = "127.0.0.1:7401"},
//       {{"/healthz", [&] { return Response{.status = ready ? 200 : 503, .body = "..."}; }}});
//
// Threads: handlers run on the server's threads, several at once. Start and the destructor belong
// to the owner; the destructor waits for handlers that are running.
//
// Failures: an unknown path is 404, another method than GET or HEAD is 405; a client that takes
// longer than five seconds over its request is dropped.
#ifndef LIBS_HTTP_HTTP_SERVER_H_
#define LIBS_HTTP_HTTP_SERVER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "libs/telemetry/registry.h"

struct mg_connection;
struct mg_context;

namespace falaj::http {

struct Response {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

class HttpServer {
 public:
  struct Options {
    std::string address;  // "host:port"; port 0 picks a free one.
  };
  using Handler = std::function<Response()>;
  using Handlers = std::map<std::string, Handler>;  // By path, for example "/metrics".

  // Returns kUnavailable if the address cannot be listened on.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const Options& options,
                                                           Handlers handlers);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const { return port_; }
  std::string address() const;  // "host:port" with the real port.

 private:
  HttpServer(const Options& options, Handlers handlers);
  static int Answer(mg_connection* connection);

  const Options options_;
  const Handlers handlers_;
  mg_context* context_ = nullptr;
  int port_ = 0;
};

// The two paths every service has: /metrics from the registry, and /healthz, which is 200 "ok" or
// 503 "not ready", followed by what `why_not` says, if it says something.
HttpServer::Handlers StandardHandlers(const telemetry::Registry* registry,
                                      std::function<bool()> ready,
                                      std::function<std::string()> why_not = nullptr);

}  // namespace falaj::http

#endif  // LIBS_HTTP_HTTP_SERVER_H_
