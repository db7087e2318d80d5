#include "libs/rpc/health_service.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::rpc {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// Watcher is one Watch call: it writes the status whenever it differs from the one written last.
// The service's lock guards it. Finish() happens once: when the watch is cancelled or the service
// shuts down.
class HealthService::Watcher final : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  Watcher(HealthService* service, std::string name) : service_(service), name_(std::move(name)) {
    MutexLock lock(&service_->mu_);
    service_->watchers_.insert(this);
    Update();
  }

  void Update() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (writing_ || finished_) return;
    const HealthCheckResponse::ServingStatus status = service_->StatusOf(name_);
    if (!written_ || status != response_.status()) {
      response_.set_status(status);
      writing_ = written_ = true;
      StartWrite(&response_);
    } else if (service_->shut_down_) {
      End(ToGrpc(MakeError(Reason::kShuttingDown, "the server is stopping")));
    }
  }

 private:
  void End(const grpc::Status& status) {
    if (std::exchange(finished_, true)) return;
    Finish(status);
  }
  void OnWriteDone(bool ok) override {
    MutexLock lock(&service_->mu_);
    writing_ = false;
    if (ok) {
      Update();
    } else {
      End(grpc::Status::CANCELLED);
    }
  }
  void OnCancel() override {
    MutexLock lock(&service_->mu_);
    End(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    {
      MutexLock lock(&service_->mu_);
      service_->watchers_.erase(this);
    }
    delete this;
  }

  HealthService* const service_;
  const std::string name_;
  HealthCheckResponse response_;  // Belongs to gRPC while writing_.
  bool written_ = false;
  bool writing_ = false;
  bool finished_ = false;
};

void HealthService::SetServing(const std::string& name, bool serving) {
  MutexLock lock(&mu_);
  serving_[name] = serving;
  for (Watcher* watcher : watchers_) watcher->Update();
}

void HealthService::Shutdown() {
  MutexLock lock(&mu_);
  shut_down_ = true;
  for (Watcher* watcher : watchers_) watcher->Update();
}

HealthService::ServingStatus HealthService::StatusOf(const std::string& name) const {
  const auto it = serving_.find(name);
  if (it == serving_.end()) return HealthCheckResponse::SERVICE_UNKNOWN;
  return it->second && !shut_down_ ? HealthCheckResponse::SERVING
                                   : HealthCheckResponse::NOT_SERVING;
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context,
                                               const HealthCheckRequest* request,
                                               HealthCheckResponse* response) {
  ServingStatus status = HealthCheckResponse::UNKNOWN;
  {
    MutexLock lock(&mu_);
    status = StatusOf(request->service());
  }
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  if (status == HealthCheckResponse::SERVICE_UNKNOWN) {
    reactor->Finish(grpc::Status(grpc::StatusCode::NOT_FOUND, "unknown service"));
  } else {
    response->set_status(status);
    reactor->Finish(grpc::Status::OK);
  }
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(
    grpc::CallbackServerContext* /*context*/, const HealthCheckRequest* request) {
  return new Watcher(this, request->service());
}

}  // namespace falaj::rpc
