#include "services/cli/dev_cluster.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/random.h"
#include "libs/base/status.h"

namespace falaj::cli {
namespace {

constexpr absl::Duration kReadyTimeout = absl::Seconds(30);
constexpr absl::Duration kReadyCheck = absl::Milliseconds(5);

}  // namespace

absl::Status DevCluster::Start(const DevOptions& options) {
  if (options.metadata < 1 || options.storage < 1 || options.gateways < 1) {
    return MakeError(Reason::kInvalidRequest, "a cluster has at least one node of each kind");
  }
  std::error_code error;
  std::filesystem::create_directories(options.data, error);
  if (error) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("cannot make ", options.data, ": ", error.message()));
  }
  FALAJ_RETURN_IF_ERROR(StartMetadata(options));
  for (int i = 1; i <= options.storage; ++i) FALAJ_RETURN_IF_ERROR(StartStorage(options, i));
  for (int i = 0; i < options.gateways; ++i) FALAJ_RETURN_IF_ERROR(StartGateway(options, i));
  return WaitReady();
}

void DevCluster::Stop() {
  for (const auto& gateway : gateways_) gateway->Stop();
  for (const auto& node : storage_) node->Stop();
  for (const auto& node : metadata_) node->Stop();
  gateways_.clear();
  storage_.clear();
  metadata_.clear();
}

Table DevCluster::Describe() const {
  Table table({"SERVICE", "ID", "GRPC", "HTTP"});
  for (size_t i = 0; i < gateways_.size(); ++i) {
    table.Add({"gateway", static_cast<int64_t>(i), gateways_[i]->grpc_address(),
               gateways_[i]->http_address()});
  }
  for (size_t i = 0; i < storage_.size(); ++i) {
    table.Add({"storage", static_cast<int64_t>(i + 1), storage_[i]->grpc_address(),
               storage_[i]->http_address()});
  }
  for (size_t i = 0; i < metadata_.size(); ++i) {
    table.Add({"metadata", static_cast<int64_t>(i + 1), metadata_[i]->grpc_address(),
               metadata_[i]->http_address()});
  }
  return table;
}

absl::Status DevCluster::StartMetadata(const DevOptions& options) {
  std::vector<metadata::MetadataServer::Peer> peers;
  for (int id = 1; id <= options.metadata; ++id) peers.push_back({id, ""});
  for (int id = 1; id <= options.metadata; ++id) {
    metadata::MetadataServer::Options node;
    node.node_id = id;
    node.data_dir = absl::StrCat(options.data, "/metadata-", id);
    node.cluster_name = "dev";
    if (options.metadata > 1) node.peers = peers;
    // Derived from peers without ports it would be that of every other such cluster.
    if (id > 1) {
      node.cluster_id = metadata_.front()->cluster_id().ToString();
    } else if (!std::filesystem::exists(node.data_dir)) {
      node.cluster_id = Random::FromSystem().NextUuid().ToString();
    }
    FALAJ_ASSIGN_OR_RETURN(auto server, metadata::MetadataServer::Start(node));
    metadata_.push_back(std::move(server));
  }
  // The ports are known only now.
  for (size_t i = 0; i < peers.size(); ++i) peers[i].address = metadata_[i]->grpc_address();
  for (const auto& node : metadata_) node->ConnectPeers(peers);
  return absl::OkStatus();
}

std::vector<std::string> DevCluster::MetadataAddresses() const {
  std::vector<std::string> addresses;
  for (const auto& node : metadata_) addresses.push_back(node->grpc_address());
  return addresses;
}

absl::Status DevCluster::StartStorage(const DevOptions& options, int id) {
  storage::StorageServer::Options node;
  node.node_id = id;
  node.data_dir = absl::StrCat(options.data, "/storage-", id);
  node.metadata_addresses = MetadataAddresses();
  node.zone = absl::StrCat("zone-", id);
  FALAJ_ASSIGN_OR_RETURN(auto server, storage::StorageServer::Start(node));
  storage_.push_back(std::move(server));
  return absl::OkStatus();
}

// The first gateway takes the well-known ports, the others the ones after the first two.
absl::Status DevCluster::StartGateway(const DevOptions& options, int index) {
  gateway::GatewayServer::Options node;
  const auto port = [index](int first) { return first == 0 ? 0 : first + 2 * index; };
  node.listen_address = absl::StrCat("127.0.0.1:", port(options.port));
  node.http_address = absl::StrCat("127.0.0.1:", port(options.http_port));
  node.metadata_addresses = MetadataAddresses();
  FALAJ_ASSIGN_OR_RETURN(auto server, gateway::GatewayServer::Start(node));
  gateways_.push_back(std::move(server));
  return absl::OkStatus();
}

bool DevCluster::Ready() const {
  bool ready = true;
  for (const auto& node : metadata_) ready = ready && node->Ready();
  for (const auto& node : storage_) ready = ready && node->Ready();
  for (const auto& gateway : gateways_) ready = ready && gateway->Ready();
  return ready;
}

absl::Status DevCluster::WaitReady() const {
  const MonotonicTime deadline = Clock::Real()->MonotonicNow() + kReadyTimeout;
  Mutex mu;
  CondVar never;  // Waited on for its timeout only.
  MutexLock lock(&mu);
  while (!Ready()) {
    if (Clock::Real()->MonotonicNow() > deadline) {
      return MakeError(Reason::kTimedOut, "the cluster did not become ready");
    }
    never.WaitFor(&mu, kReadyCheck);
  }
  return absl::OkStatus();
}

}  // namespace falaj::cli
