#include "services/metadata/metadata_server.h"

#include <filesystem>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"

#include "libs/base/crc32c.h"
#include "libs/base/log.h"
#include "libs/base/mutex.h"
#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/http/http_server.h"
#include "libs/log/raft_log.h"
#include "libs/rpc/server.h"
#include "libs/telemetry/process_metrics.h"
#include "libs/telemetry/registry.h"
#include "services/metadata/metadata_metrics.h"
#include "services/metadata/metadata_service_impl.h"
#include "services/metadata/peer_links.h"
#include "services/metadata/raft_node.h"
#include "services/metadata/raft_service_impl.h"

namespace falaj::metadata {
namespace {

constexpr absl::Duration kStopGrace = absl::Seconds(5);

absl::Status InvalidOption(absl::string_view field, absl::string_view rule) {
  return MakeError(Reason::kInvalidConfig, absl::StrCat(field, " ", rule),
                   {{"field", std::string(field)}});
}

absl::Status ValidatePeers(const MetadataServer::Options& options) {
  std::set<int32_t> ids;
  for (const MetadataServer::Peer& peer : options.peers) {
    if (peer.node_id < 1) return InvalidOption("peers", "must have ids of at least 1");
    if (!ids.insert(peer.node_id).second) {
      return InvalidOption("peers", absl::StrCat("name node ", peer.node_id, " twice"));
    }
  }
  if (!ids.empty() && !ids.contains(options.node_id)) {
    return InvalidOption("peers", absl::StrCat("must name this node, ", options.node_id));
  }
  return absl::OkStatus();
}

absl::Status Validate(const MetadataServer::Options& options) {
  if (options.node_id < 1) return InvalidOption("node_id", "must be at least 1");
  if (options.data_dir.empty()) return InvalidOption("data_dir", "must be set");
  FALAJ_RETURN_IF_ERROR(ValidatePeers(options));
  if (options.tick <= absl::ZeroDuration()) return InvalidOption("tick", "must be positive");
  if (options.watch_keepalive <= absl::ZeroDuration()) {
    return InvalidOption("watch_keepalive", "must be positive");
  }
  return absl::OkStatus();
}

// By id; also brings the peers into one order.
std::map<NodeId, std::string> AddressesOf(const std::vector<MetadataServer::Peer>& peers) {
  std::map<NodeId, std::string> addresses;
  for (const MetadataServer::Peer& peer : peers) addresses[NodeId(peer.node_id)] = peer.address;
  return addresses;
}

absl::StatusOr<Uuid> NewClusterId(const MetadataServer::Options& options) {
  if (!options.cluster_id.empty()) return Uuid::Parse(options.cluster_id);
  if (options.peers.empty()) return Random::FromSystem().NextUuid();
  std::string members = options.cluster_name;
  for (const auto& [node, address] : AddressesOf(options.peers)) {
    absl::StrAppend(&members, "\n", node, "=", address);
  }
  // Not secret and not random: four checksums with different beginnings tell clusters apart.
  uint64_t halves[2] = {0, 0};
  for (int i = 0; i < 4; ++i) {
    halves[i / 2] = halves[i / 2] << 32 | crc32c::Of(absl::StrCat(i, "\n", members));
  }
  return Uuid::FromRandomBits(halves[0], halves[1]);
}

absl::StatusOr<std::unique_ptr<falaj::log::RaftLog>> OpenLog(
    const MetadataServer::Options& options) {
  std::error_code error;
  std::filesystem::create_directories(options.data_dir, error);
  if (error) {
    return MakeError(Reason::kStorageFailed,
                     absl::StrCat("cannot make ", options.data_dir, ": ", error.message()),
                     {{"directory", options.data_dir}});
  }
  falaj::log::RaftLog::Options log_options;
  log_options.directory = absl::StrCat(options.data_dir, "/raft");
  log_options.node_id = NodeId(options.node_id);
  FALAJ_ASSIGN_OR_RETURN(log_options.cluster_id_if_new, NewClusterId(options));
  if (!options.cluster_id.empty()) log_options.cluster_id = log_options.cluster_id_if_new;
  for (const auto& [node, address] : AddressesOf(options.peers)) {
    log_options.initial_membership.voters.push_back(node);
  }
  if (options.peers.empty()) log_options.initial_membership.voters = {NodeId(options.node_id)};
  return falaj::log::RaftLog::Open(log_options);
}

RaftNode::Options NodeOptions(const MetadataServer::Options& options) {
  RaftNode::Options result;
  result.raft.self = NodeId(options.node_id);
  result.raft.random_seed = Random::FromSystem().Next();
  result.raft.snapshot_entries = options.snapshot_entries;
  result.raft.snapshot_log_bytes = options.snapshot_log_bytes;
  result.raft.entries_kept = options.entries_kept;
  result.tick = options.tick;
  result.watch_keepalive = options.watch_keepalive;
  result.queue_max = options.proposals_queued_max;
  result.watches.history_entries = options.delta_history_entries;
  result.watches.history_bytes = options.delta_history_bytes;
  result.watches.watchers_max = options.watchers_max;
  result.clock = Clock::Real();
  return result;
}

// The parts in the order they are made; they go in reverse.
class MetadataServerImpl final : public MetadataServer {
 public:
  ~MetadataServerImpl() override { Stop(); }

  absl::Status Init(const Options& options) {
    FALAJ_RETURN_IF_ERROR(Validate(options));
    FALAJ_ASSIGN_OR_RETURN(std::unique_ptr<falaj::log::RaftLog> log, OpenLog(options));
    const Uuid cluster_id = log->cluster_id();
    links_ = std::make_unique<PeerLinks>(
        PeerLinks::Options{.self = NodeId(options.node_id), .cluster_id = cluster_id});
    RaftNode::Options node_options = NodeOptions(options);
    node_options.send = [this](internal::v1::RaftMessage message) {
      links_->Send(std::move(message));
    };
    node_options.on_health = [this](bool live, bool ready) { SetHealth(live, ready); };
    FALAJ_ASSIGN_OR_RETURN(node_, RaftNode::Create(node_options, std::move(log), &registry_));
    service_ = std::make_unique<MetadataServiceImpl>(node_.get(), options.watcher_queue_bytes);
    raft_service_ = std::make_unique<RaftServiceImpl>(node_.get(), cluster_id);
    telemetry::AddProcessMetrics("metadata", &registry_);
    registry_.AddCollector(
        [node = node_.get()](telemetry::Samples* out) { CollectMetrics(node->status(), out); });
    rpc::ServerHost::Options host_options;
    host_options.listen_address = options.listen_address;
    FALAJ_ASSIGN_OR_RETURN(
        host_,
        rpc::ServerHost::Start(host_options, {service_.get(), raft_service_.get()}, &registry_));
    grpc_address_ = host_->address();
    if (!options.http_address.empty()) {
      FALAJ_ASSIGN_OR_RETURN(
          http_,
          http::HttpServer::Start({.address = options.http_address},
                                  http::StandardHandlers(&registry_, [this] { return Ready(); })));
      http_address_ = http_->address();
    }
    ConnectPeers(options.peers);
    node_->Start();
    log::Info("metadata node started", {{"node", options.node_id},
                                        {"address", grpc_address_},
                                        {"http_address", http_address_},
                                        {"cluster_name", options.cluster_name}});
    return absl::OkStatus();
  }

  std::string grpc_address() const override { return grpc_address_; }
  std::string http_address() const override { return http_address_; }
  bool Ready() const override { return node_->status().ready && !stopped(); }

  void ConnectPeers(const std::vector<Peer>& peers) override {
    std::map<NodeId, std::string> addresses = AddressesOf(peers);
    std::erase_if(addresses, [](const auto& peer) { return peer.second.empty(); });
    if (addresses.empty()) return;
    links_->SetAddresses(addresses);
    node_->SetAddresses(std::move(addresses));
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
    if (host_ != nullptr) host_->Stop(kStopGrace);
    http_.reset();
    registry_.ClearCollectors();
    if (node_ != nullptr) log::Info("metadata node stopped", {{"address", grpc_address_}});
  }

 private:
  bool stopped() const {
    MutexLock lock(&mu_);
    return stopped_;
  }

  void SetHealth(bool live, bool ready) {
    host_->SetServing("liveness", live);
    host_->SetReady(ready && !stopped());
  }

  telemetry::Registry registry_;
  std::unique_ptr<PeerLinks> links_;
  std::unique_ptr<RaftNode> node_;
  std::unique_ptr<MetadataServiceImpl> service_;
  std::unique_ptr<RaftServiceImpl> raft_service_;
  std::unique_ptr<rpc::ServerHost> host_;
  std::unique_ptr<http::HttpServer> http_;
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
