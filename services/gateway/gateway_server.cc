#include "services/gateway/gateway_server.h"

#include <utility>

#include "libs/base/log.h"
#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/http/http_server.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/client_metrics.h"
#include "libs/rpc/metadata_channel.h"
#include "libs/rpc/open_calls.h"
#include "libs/rpc/server.h"
#include "libs/telemetry/process_metrics.h"
#include "libs/telemetry/registry.h"
#include "services/gateway/cluster_history.h"
#include "services/gateway/cluster_service_impl.h"
#include "services/gateway/connection_budgets.h"
#include "services/gateway/consumer_service_impl.h"
#include "services/gateway/coordination_backend.h"
#include "services/gateway/coordination_service_impl.h"
#include "services/gateway/gateway_parts.h"
#include "services/gateway/producer_ids.h"
#include "services/gateway/producer_lane.h"
#include "services/gateway/producer_service_impl.h"
#include "services/gateway/route_confirmer.h"
#include "services/gateway/storage_link.h"
#include "services/gateway/topic_service_impl.h"

namespace falaj::gateway {
namespace {

constexpr absl::Duration kReadinessInterval = absl::Seconds(1);
constexpr absl::Duration kAllocateTimeout = absl::Seconds(1);
// Connections are closed now and then so that clients spread over gateways that were added (gRFC
// A9).
constexpr absl::Duration kConnectionAgeMax = absl::Hours(1);

class GatewayServerImpl final : public GatewayServer {
 public:
  explicit GatewayServerImpl(const Options& options)
      : options_(options),
        clock_(options.clock == nullptr ? Clock::Real() : options.clock),
        metadata_({.addresses = options.metadata_addresses, .metrics = client_metrics_}),
        routes_(&metadata_, clock_),
        confirmer_(&routes_,
                   [this](absl::Duration wait) { return metadata_.GetNewestChange(wait); }),
        history_(&routes_),
        links_(client_metrics_),
        budgets_(options.connection_bytes_max, options.total_bytes_max),
        metrics_(&registry_),
        producer_ids_([this](int32_t count) { return Allocate(count); }, clock_),
        lanes_(&producer_ids_),
        parts_{&routes_, &confirmer_,    &links_, &budgets_, &metrics_, &timers_,
               &calls_,  &producer_ids_, &lanes_, clock_,    &turns_,   LimitsOf(options)},
        topics_(&parts_, &metadata_),
        producers_(&parts_),
        consumers_(&parts_),
        cluster_(&parts_, &history_, &metadata_),
        coordination_backend_(BackendOptions(), metrics_.coordination_calls),
        coordination_(&parts_, &coordination_backend_) {}

  ~GatewayServerImpl() override { Stop(); }

  absl::Status Open() {
    telemetry::AddProcessMetrics("gateway", &registry_);
    registry_.AddCollector([this](telemetry::Samples* out) { Collect(out); });
    route_watch_ = routes_.Listen([this](const auto& view, const auto& event) {
      AnnounceReady();
      LeaveNodes(*view, event);
    });
    rpc::ServerHost::Options host;
    host.listen_address = options_.listen_address;
    host.max_receive_bytes = rpc::kPublicMessageBytesMax;
    host.max_concurrent_streams = options_.connection_streams_max;
    host.connection_age_max = kConnectionAgeMax;
    FALAJ_ASSIGN_OR_RETURN(
        host_,
        rpc::ServerHost::Start(
            host, {&topics_, &producers_, &consumers_, &cluster_, &coordination_}, &registry_));
    if (!options_.http_address.empty()) {
      FALAJ_ASSIGN_OR_RETURN(
          http_,
          http::HttpServer::Start({.address = options_.http_address},
                                  http::StandardHandlers(&registry_, [this] { return Ready(); })));
    }
    routes_.Start();
    confirmer_.Start();
    producer_ids_.Start();
    CheckReadiness();
    log::Info("gateway listens", {{"grpc", grpc_address()}, {"http", http_address()}});
    return absl::OkStatus();
  }

  std::string grpc_address() const override { return host_->address(); }
  std::string http_address() const override { return http_ == nullptr ? "" : http_->address(); }
  bool Ready() const override { return !stopped_ && routes_.age() <= options_.routes_age_max; }

  void Stop() override {
    {
      MutexLock lock(&announce_mu_);  // What health says is Drain()'s business from here on.
      if (stopped_.exchange(true)) return;
    }
    log::Info("gateway stops", {});
    if (host_ != nullptr) host_->Drain(options_.stop_wait);
    calls_.StopAll();
    // What waits for a second attempt is answered now; what is under way has until the grace ends,
    // then the calls to the storage nodes are broken so that no client's call waits for them.
    timers_.Close();
    producer_ids_.Stop();  // Ends calls that wait for an id,
    confirmer_.Stop();     // or to hear whether their topic exists.
    RetryTimers grace;
    grace.RunAfter(options_.stop_grace, [this] { links_.Break(); });
    if (host_ != nullptr) host_->Stop(options_.stop_grace);
    grace.Close();
    coordination_backend_.Close();
    route_watch_.reset();
    routes_.Stop();
    links_.Close();
    turns_.Close();
    http_.reset();
    registry_.ClearCollectors();
  }

 private:
  static GatewayLimits LimitsOf(const Options& options) {
    GatewayLimits limits;
    limits.stream_batches_in_flight_max = options.stream_batches_in_flight_max;
    limits.stream_bytes_in_flight_max = options.stream_bytes_in_flight_max;
    return limits;
  }

  absl::StatusOr<ProducerId> Allocate(int32_t count) {
    internal::v1::ClusterCommand command;
    command.mutable_allocate_producer_ids()->set_count(count);
    FALAJ_ASSIGN_OR_RETURN(const internal::v1::ExecuteResponse response,
                           metadata_.Execute(command, kAllocateTimeout));
    return ProducerId(response.first_producer_id());
  }

  CoordinationBackend::Options BackendOptions() const {
    CoordinationBackend::Options backend;
    backend.addresses = options_.metadata_addresses;
    backend.metrics = client_metrics_;
    backend.calls_max = options_.coordination_calls_max;
    return backend;
  }

  // Follows Ready(): at once when the first routes come, within a second afterwards.
  void AnnounceReady() {
    MutexLock lock(&announce_mu_);
    if (stopped_) return;
    const bool ready = Ready();
    if (std::exchange(announced_, ready) == ready) return;
    host_->SetReady(ready);
    if (ready) {
      log::Info("gateway is ready", {{"topics", routes_.View()->topics().size()}});
    } else {
      log::Warning("gateway is not ready: its routes are too old", {});
    }
  }

  // Waits no longer for nodes that others have taken over from.
  void LeaveNodes(const cluster::ClusterView& view,
                  const internal::v1::WatchClusterResponse& event) {
    for (const internal::v1::NodeState& node : event.delta().nodes()) {
      const cluster::NodeInfo* const now = view.FindNode(NodeId(node.node_id()));
      if (now != nullptr && !now->online()) links_.Reset(now->address);
    }
  }

  void CheckReadiness() {
    if (stopped_) return;
    AnnounceReady();
    timers_.RunAfter(kReadinessInterval, [this] { CheckReadiness(); });
  }

  void Collect(telemetry::Samples* out) const {
    out->Gauge("falaj_gateway_inflight_bytes",
               "Bytes held for clients: batches under way and frames not yet sent.", {},
               static_cast<double>(budgets_.used_bytes()));
    const absl::Duration age = routes_.age();
    if (age < absl::InfiniteDuration()) {
      out->Gauge("falaj_gateway_route_table_age_seconds",
                 "Time since the metadata service was last heard of.", {},
                 absl::ToDoubleSeconds(age));
    }
  }

  const Options options_;
  Clock* const clock_;
  telemetry::Registry registry_;
  const std::shared_ptr<rpc::ClientMetrics> client_metrics_ =
      std::make_shared<rpc::ClientMetrics>(&registry_);
  rpc::MetadataChannel metadata_;
  RouteTable routes_;
  RouteConfirmer confirmer_;
  ClusterHistory history_;
  StorageLinks links_;
  ConnectionBudgets budgets_;
  GatewayMetrics metrics_;
  RetryTimers timers_;
  rpc::OpenCalls calls_;
  ProducerIds producer_ids_;
  ProducerLanes lanes_;
  Gate turns_;
  const GatewayParts parts_;
  TopicServiceImpl topics_;
  ProducerServiceImpl producers_;
  ConsumerServiceImpl consumers_;
  ClusterServiceImpl cluster_;
  CoordinationBackend coordination_backend_;
  CoordinationServiceImpl coordination_;
  std::unique_ptr<rpc::ServerHost> host_;
  std::unique_ptr<http::HttpServer> http_;
  std::shared_ptr<void> route_watch_;
  Mutex announce_mu_;
  bool announced_ ABSL_GUARDED_BY(announce_mu_) = false;  // What health says.
  std::atomic<bool> stopped_{false};
};

absl::Status CheckOptions(const GatewayServer::Options& options) {
  if (options.metadata_addresses.empty()) {
    return MakeError(Reason::kInvalidConfig,
                     "a gateway needs the address of a metadata node (--metadata)",
                     {{"field", "metadata"}});
  }
  if (options.stream_batches_in_flight_max < 1 || options.stream_bytes_in_flight_max < 1 ||
      options.connection_bytes_max < 1 || options.total_bytes_max < 1 ||
      options.connection_streams_max < 1 || options.coordination_calls_max < 1) {
    return MakeError(Reason::kInvalidConfig, "limits of a gateway must be at least 1",
                     {{"field", "limits"}});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<GatewayServer>> GatewayServer::Start(const Options& options) {
  FALAJ_RETURN_IF_ERROR(CheckOptions(options));
  auto server = std::make_unique<GatewayServerImpl>(options);
  FALAJ_RETURN_IF_ERROR(server->Open());
  return server;
}

}  // namespace falaj::gateway
