#include "libs/rpc/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/impl/server_initializer.h>
#include <grpcpp/resource_quota.h>

#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/clock.h"
#include "libs/base/log.h"
#include "libs/base/status.h"
#include "libs/rpc/call_interceptor.h"
#include "libs/rpc/callback_threads.h"
#include "libs/rpc/health_service.h"
#include "libs/rpc/server_metrics.h"

namespace falaj::rpc {
namespace {

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(absl::ToInt64Milliseconds(duration));
}

// ServiceNames tells the names of the services of a server when all are registered and before it
// starts; gRPC shows them to plugins only.
class ServiceNames final : public grpc::ServerBuilderPlugin {
 public:
  using Callback = std::function<void(const std::vector<std::string>&)>;
  explicit ServiceNames(Callback callback) : callback_(std::move(callback)) {}
  std::string name() override { return "falaj.service_names"; }
  void InitServer(grpc::ServerInitializer* initializer) override {
    callback_(*initializer->GetServiceList());
  }
  void Finish(grpc::ServerInitializer* /*initializer*/) override {}
  void ChangeArguments(const std::string& /*name*/, void* /*value*/) override {}

 private:
  const Callback callback_;
};

class InstallServiceNames final : public grpc::ServerBuilderOption {
 public:
  explicit InstallServiceNames(ServiceNames::Callback callback) : callback_(std::move(callback)) {}
  void UpdateArguments(grpc::ChannelArguments* /*args*/) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    plugins->push_back(std::make_unique<ServiceNames>(callback_));
  }

 private:
  const ServiceNames::Callback callback_;
};

void InitReflection() {
  static const bool done = [] {
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    return true;
  }();
  static_cast<void>(done);
}

// Threads of synchronous calls. Beyond that a call is refused, RESOURCE_EXHAUSTED.
constexpr int kSyncThreadsMax = 64;

// See reliability notes in README.md for why each argument is there.
void SetArguments(const ServerHost::Options& options, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(options.max_receive_bytes);
  builder->SetMaxSendMessageSize(options.max_send_bytes);
  const auto set = [builder](const char* name, int value) {
    builder->AddChannelArgument(name, value);
  };
  set(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_concurrent_streams);
  set(GRPC_ARG_MAX_METADATA_SIZE, kMetadataBytesMax);
  set(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  // What is not inflated must not be announced: a compressed call is refused by name.
  set(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE);
  set(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 5000);
  set(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(kServerKeepalive));
  set(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(kServerKeepaliveTimeout));
  set(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  set(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, Milliseconds(kServerPingIntervalMin));
  set(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  set(GRPC_ARG_MAX_CONNECTION_IDLE_MS, Milliseconds(options.connection_idle_max));
  if (options.connection_age_max > absl::ZeroDuration()) {
    set(GRPC_ARG_MAX_CONNECTION_AGE_MS, Milliseconds(options.connection_age_max));
    set(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, Milliseconds(options.connection_age_grace));
  }
  set(GRPC_ARG_ALLOW_REUSEPORT, 0);
  set(GRPC_ARG_ENABLE_CHANNELZ, 0);
  set(GRPC_ARG_TCP_TX_ZEROCOPY_ENABLED, 0);
  grpc::ResourceQuota quota("falaj.server");
  if (options.memory_bytes_max > 0) quota.Resize(static_cast<size_t>(options.memory_bytes_max));
  quota.SetMaxThreads(kSyncThreadsMax);
  builder->SetResourceQuota(quota);
  // Synchronous are reflection, and the rare calls that wait for the metadata service.
  builder->SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder->SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder->SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 1);
}

}  // namespace

ServerHost::ServerHost(const Options& options)
    : options_(options), health_(std::make_unique<HealthService>()) {}

ServerHost::~ServerHost() { Stop(absl::ZeroDuration()); }

absl::StatusOr<std::unique_ptr<ServerHost>> ServerHost::Start(
    const Options& options, const std::vector<grpc::Service*>& services,
    telemetry::Registry* registry) {
  InitReflection();
  std::unique_ptr<ServerHost> host(new ServerHost(options));
  if (registry != nullptr) host->metrics_ = std::make_shared<ServerMetrics>(registry);
  host->Build(services);
  if (host->server_ == nullptr) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", options.listen_address));
  }
  host->SetReady(false);
  host->SetServing("liveness", true);
  return host;
}

void ServerHost::Build(const std::vector<grpc::Service*>& services) {
  grpc::ServerBuilder builder;
  SetArguments(options_, &builder);
  builder.AddListeningPort(options_.listen_address, grpc::InsecureServerCredentials(), &port_);
  for (grpc::Service* service : services) builder.RegisterService(service);
  builder.RegisterService(health_.get());
  builder.SetOption(
      std::make_unique<InstallServiceNames>([this](const std::vector<std::string>& names) {
        service_names_ = names;
        if (metrics_ == nullptr) return;
        for (const std::string& name : names) metrics_->AddService(name);
      }));
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> creators;
  creators.push_back(std::make_unique<CallInterceptorFactory>(metrics_));
  builder.experimental().SetInterceptorCreators(std::move(creators));
  StartCallbackThreads();
  server_ = builder.BuildAndStart();
}

std::string ServerHost::address() const {
  const absl::string_view listen(options_.listen_address);
  return absl::StrCat(listen.substr(0, listen.rfind(':')), ":", port_);
}

void ServerHost::SetServing(const std::string& name, bool serving) {
  health_->SetServing(name, serving);
}

void ServerHost::SetReady(bool ready) {
  SetServing("readiness", ready);
  SetServing("", ready);
  for (const std::string& name : service_names_) SetServing(name, ready);
}

void ServerHost::Drain(absl::Duration wait) {
  SetReady(false);
  Mutex mu;
  CondVar never;  // Waited on for its timeout only.
  const MonotonicTime until = Clock::Real()->MonotonicNow() + wait;
  MutexLock lock(&mu);
  while (Clock::Real()->MonotonicNow() < until) {
    never.WaitFor(&mu, until - Clock::Real()->MonotonicNow());
  }
}

void ServerHost::Stop(absl::Duration grace) {
  MutexLock lock(&mu_);
  if (std::exchange(stopped_, true) || server_ == nullptr) return;
  health_->Shutdown();
  server_->Shutdown(absl::ToChronoTime(Clock::Real()->Now() + grace));
  server_->Wait();
}

}  // namespace falaj::rpc
