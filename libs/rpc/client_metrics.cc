#include "libs/rpc/client_metrics.h"

#include <google/protobuf/descriptor.h>
#include <grpcpp/support/status.h>

#include <utility>

#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

#include "libs/base/clock.h"

namespace falaj::rpc {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;

// Counts one call. gRPC makes one for each and deletes it. Its hooks may run at once: nothing in it
// changes.
class CallCounter final : public Interceptor {
 public:
  explicit CallCounter(MethodMetrics* method)
      : method_(method), start_(Clock::Real()->MonotonicNow()) {
    method_->started->Add();
  }

  void Intercept(grpc::experimental::InterceptorBatchMethods* batch) override {
    if (batch->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_MESSAGE)) {
      method_->sent->Add();
    }
    if (batch->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_MESSAGE) &&
        batch->GetRecvMessage() != nullptr) {
      method_->received->Add();
    }
    if (batch->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_STATUS)) {
      method_->CountHandled(batch->GetRecvStatus()->error_code());
      method_->seconds->Observe(Clock::Real()->MonotonicNow() - start_);
    }
    batch->Proceed();
  }

 private:
  MethodMetrics* const method_;
  const MonotonicTime start_;
};

class CallCounterFactory final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit CallCounterFactory(std::shared_ptr<ClientMetrics> metrics)
      : metrics_(std::move(metrics)) {}
  Interceptor* CreateClientInterceptor(grpc::experimental::ClientRpcInfo* info) override {
    MethodMetrics* const method = metrics_->Find(info->method());
    return method == nullptr ? nullptr : new CallCounter(method);
  }

 private:
  const std::shared_ptr<ClientMetrics> metrics_;
};

}  // namespace

MethodMetrics* ClientMetrics::Find(absl::string_view path) {
  MutexLock lock(&mu_);
  const auto it = methods_.find(path);
  if (it != methods_.end()) return it->second.get();
  const google::protobuf::MethodDescriptor* const method =
      google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(
          absl::StrReplaceAll(absl::StripPrefix(path, "/"), {{"/", "."}}));
  if (method == nullptr) return nullptr;
  return methods_
      .emplace(std::string(path),
               std::make_unique<MethodMetrics>(registry_, MethodMetrics::Side::kClient, *method))
      .first->second.get();
}

ClientMetrics::Interceptors ClientMetrics::For(const std::shared_ptr<ClientMetrics>& metrics) {
  Interceptors interceptors;
  if (metrics != nullptr) interceptors.push_back(std::make_unique<CallCounterFactory>(metrics));
  return interceptors;
}

}  // namespace falaj::rpc
