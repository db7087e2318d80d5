#include "services/metadata/metadata_server.h"

#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"

#include "libs/base/log.h"
#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/http/http_server.h"
#include "libs/log/raft_log.h"
#include "libs/rpc/client_metrics.h"
#include "libs/rpc/server.h"
#include "libs/telemetry/process_metrics.h"
#include "libs/telemetry/registry.h"
#include "services/metadata/coordination_service_impl.h"
#include "services/metadata/metadata_metrics.h"
#include "services/metadata/metadata_options.h"
#include "services/metadata/metadata_service_impl.h"
#include "services/metadata/peer_links.h"
#include "services/metadata/raft_node.h"
#include "services/metadata/raft_service_impl.h"

namespace falaj::metadata {
namespace {

constexpr absl::Duration kStopGrace = absl::Seconds(5);

// The parts in the order they are made; they go in reverse.
class MetadataServerImpl final : public MetadataServer {
 public:
  ~MetadataServerImpl() override { Stop(); }

  absl::Status Init(const Options& options) {
    FALAJ_RETURN_IF_ERROR(ValidateOptions(options));
    FALAJ_ASSIGN_OR_RETURN(std::unique_ptr<falaj::log::RaftLog> log, OpenRaftLog(options));
    FALAJ_RETURN_IF_ERROR(MakeNode(options, std::move(log)));
    telemetry::AddProcessMetrics("metadata", &registry_);
    registry_.AddCollector(
        [node = node_.get()](telemetry::Samples* out) { CollectMetrics(node->status(), out); });
    rpc::ServerHost::Options host_options;
    host_options.listen_address = options.listen_address;
    FALAJ_ASSIGN_OR_RETURN(
        host_, rpc::ServerHost::Start(
                   host_options, {service_.get(), raft_service_.get(), coordination_service_.get()},
                   &registry_));
    grpc_address_ = host_->address();
    if (!options.http_address.empty()) {
      FALAJ_ASSIGN_OR_RETURN(
          http_,
          http::HttpServer::Start({.address = options.http_address},
                                  http::StandardHandlers(&registry_, [this] { return Ready(); })));
      http_address_ = http_->address();
    }
    node_->Start();
    ConnectPeers(options.peers);
    log::Info("metadata node started", {{"node", options.node_id},
                                        {"address", grpc_address_},
                                        {"http_address", http_address_},
                                        {"cluster_name", options.cluster_name}});
    return absl::OkStatus();
  }

  std::string grpc_address() const override { return grpc_address_; }
  std::string http_address() const override { return http_address_; }
  Uuid cluster_id() const override { return cluster_id_; }
  bool Ready() const override { return node_->status().ready && !stopped(); }

  void ConnectPeers(const std::vector<Peer>& peers) override {
    std::map<NodeId, std::string> addresses = AddressesOf(peers);
    std::erase_if(addresses, [](const auto& peer) { return peer.second.empty(); });
    if (addresses.empty()) return;
    node_->Post([addresses = std::move(addresses)](MetadataNode* node, const absl::Status&) {
      if (node != nullptr) node->SetAddresses(addresses);
    });
  }

  void Stop() override {
    {
      MutexLock lock(&mu_);
      if (stopped_) return;
      stopped_ = true;
    }
    if (host_ != nullptr) host_->SetReady(false);
    if (node_ != nullptr) node_->Stop();
    if (raft_service_ != nullptr) raft_service_->Close();
    if (coordination_service_ != nullptr) coordination_service_->Close();
    if (host_ != nullptr) host_->Stop(kStopGrace);
    http_.reset();
    registry_.ClearCollectors();
    if (node_ != nullptr) log::Info("metadata node stopped", {{"address", grpc_address_}});
  }

 private:
  absl::Status MakeNode(const Options& options, std::unique_ptr<falaj::log::RaftLog> log) {
    const Uuid cluster_id = cluster_id_ = log->cluster_id();
    const uint64_t incarnation = log->incarnation();
    RaftNode::Options node_options = NodeOptions(options, cluster_id);
    node_options.node.recoveries = incarnation;
    node_options.node.raft.directory = log->directory_id();
    links_ = std::make_unique<PeerLinks>(PeerLinks::Options{.self = NodeId(options.node_id),
                                                            .cluster_id = cluster_id,
                                                            .incarnation = incarnation,
                                                            .clock = node_options.clock,
                                                            .metrics = client_metrics_});
    node_options.send = [this](internal::v1::RaftMessage message) {
      links_->Send(std::move(message));
    };
    node_options.node.on_health = [this](bool live, bool ready) { SetHealth(live, ready); };
    node_options.node.on_addresses = [this](const auto& addresses) {
      links_->SetAddresses(addresses);
    };
    FALAJ_ASSIGN_OR_RETURN(node_, RaftNode::Create(node_options, std::move(log), &registry_));
    service_ = std::make_unique<MetadataServiceImpl>(node_.get(), cluster_id, incarnation,
                                                     options.watcher_queue_bytes);
    raft_service_ = std::make_unique<RaftServiceImpl>(node_.get(), cluster_id, incarnation);
    coordination_service_ =
        std::make_unique<CoordinationServiceImpl>(node_.get(), options.watcher_queue_bytes);
    return absl::OkStatus();
  }

  bool stopped() const {
    MutexLock lock(&mu_);
    return stopped_;
  }

  void SetHealth(bool live, bool ready) {
    host_->SetServing("liveness", live);
    host_->SetReady(ready && !stopped());
  }

  telemetry::Registry registry_;
  const std::shared_ptr<rpc::ClientMetrics> client_metrics_ =
      std::make_shared<rpc::ClientMetrics>(&registry_);
  std::unique_ptr<PeerLinks> links_;
  std::unique_ptr<RaftNode> node_;
  std::unique_ptr<MetadataServiceImpl> service_;
  std::unique_ptr<RaftServiceImpl> raft_service_;
  std::unique_ptr<CoordinationServiceImpl> coordination_service_;
  std::unique_ptr<rpc::ServerHost> host_;
  std::unique_ptr<http::HttpServer> http_;
  Uuid cluster_id_;
  std::string grpc_address_;
  std::string http_address_;

  mutable Mutex mu_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<MetadataServer>> MetadataServer::Start(const Options& options) {
  auto server = std::make_unique<MetadataServerImpl>();
  FALAJ_RETURN_IF_ERROR(server->Init(options));
  return std::unique_ptr<MetadataServer>(std::move(server));
}

}  // namespace falaj::metadata
