// Three metadata nodes in one process, on real ports and real disks; for tests.
#ifndef SERVICES_METADATA_METADATA_QUORUM_FIXTURE_H_
#define SERVICES_METADATA_METADATA_QUORUM_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "falaj/internal/v1/metadata_service.grpc.pb.h"
#include "falaj/internal/v1/raft.grpc.pb.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/cluster/cluster_view.h"
#include "libs/cluster/topic_rules.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/metadata_channel.h"
#include "libs/rpc/status_grpc.h"
#include "services/metadata/metadata_server.h"

namespace falaj::metadata {

class MetadataQuorumTest : public ::testing::Test {
 protected:
  static constexpr absl::Duration kPatience = absl::Seconds(20);
  static constexpr char kClusterId[] = "5f0c9f6e-1f5b-4d0c-9a53-0d3f6b3a9f10";

  MetadataQuorumTest()
      : directory_(absl::StrCat(::testing::TempDir(), "/metadata_quorum_test_",
                                Random::FromSystem().NextUuid().ToString())) {}
  ~MetadataQuorumTest() override {
    channel_.reset();
    for (auto& server : servers_) server.reset();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  // Starts nodes [0, count); their ports are known afterwards only.
  void StartAll(int count = 3) {
    for (int i = 0; i < count; ++i) Start(i);
    Connect();
    rpc::MetadataChannel::Options options;
    options.attempt_timeout = absl::Milliseconds(500);
    options.backoff_max = absl::Milliseconds(50);
    for (const auto& peer : peers_) {
      if (!peer.address.empty()) options.addresses.push_back(peer.address);
    }
    channel_ = std::make_unique<rpc::MetadataChannel>(options);
  }
  void Start(int i) {
    MetadataServer::Options options;
    options.node_id = i + 1;
    options.data_dir = absl::StrCat(directory_, "/", i + 1);
    options.cluster_id = kClusterId;
    options.peers = {{1, ""}, {2, ""}, {3, ""}};
    options.snapshot_entries = snapshot_entries_;
    options.entries_kept = 5;
    options.watch_keepalive = absl::Milliseconds(50);
    // Keeps the port over restarts.
    if (!peers_[i].address.empty()) options.listen_address = peers_[i].address;
    absl::StatusOr<std::unique_ptr<MetadataServer>> server = MetadataServer::Start(options);
    ASSERT_TRUE(server.ok()) << server.status();
    servers_[i] = *std::move(server);
    peers_[i].address = servers_[i]->grpc_address();
  }
  // Of a node that knows from the start where the others are, as one on the command line does.
  MetadataServer::Options FounderOptions(int i) const {
    MetadataServer::Options options;
    options.node_id = i + 1;
    options.data_dir = absl::StrCat(directory_, "/", i + 1);
    options.cluster_id = kClusterId;
    options.peers = peers_;
    options.watch_keepalive = absl::Milliseconds(50);
    if (!peers_[i].address.empty()) options.listen_address = peers_[i].address;
    return options;
  }
  void Connect() {
    for (auto& server : servers_) {
      if (server != nullptr) server->ConnectPeers(peers_);
    }
  }
  void Restart(int i) {
    Start(i);
    servers_[i]->ConnectPeers(peers_);
  }

  absl::StatusOr<internal::v1::GetStatusResponse> StatusOf(int i) {
    const auto stub = internal::v1::MetadataService::NewStub(rpc::MakeChannel(peers_[i].address));
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + kPatience));
    internal::v1::GetStatusResponse response;
    const grpc::Status status =
        stub->GetStatus(&context, internal::v1::GetStatusRequest(), &response);
    if (!status.ok()) return rpc::FromGrpc(status);
    return response;
  }
  // As node i says.
  absl::StatusOr<LogIndex> NewestChangeAt(int i, absl::Duration timeout = kPatience) {
    const auto stub = internal::v1::MetadataService::NewStub(rpc::MakeChannel(peers_[i].address));
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + timeout));
    internal::v1::GetNewestChangeResponse response;
    const grpc::Status status =
        stub->GetNewestChange(&context, internal::v1::GetNewestChangeRequest(), &response);
    if (!status.ok()) return rpc::FromGrpc(status);
    return LogIndex(response.index());
  }
  // Asks node i to hand the lead over to the node of that id.
  absl::Status Transfer(int i, int32_t to) {
    const auto stub = internal::v1::MetadataService::NewStub(rpc::MakeChannel(peers_[i].address));
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + kPatience));
    internal::v1::TransferLeadershipRequest request;
    request.set_node_id(to);
    internal::v1::TransferLeadershipResponse response;
    return rpc::FromGrpc(stub->TransferLeadership(&context, request, &response));
  }
  // Until node i has made a snapshot and forgotten entries. False: not in time.
  bool WaitForCompaction(int i) {
    const MonotonicTime end = Clock::Real()->MonotonicNow() + kPatience;
    while (Clock::Real()->MonotonicNow() < end) {
      const absl::StatusOr<internal::v1::GetStatusResponse> status = StatusOf(i);
      if (status.ok() && status->first_index() > 1) return true;
    }
    return false;
  }
  // Until node i says so. False: not in time.
  bool WaitForStatus(int i, const std::function<bool(const internal::v1::GetStatusResponse&)>& so) {
    const MonotonicTime end = Clock::Real()->MonotonicNow() + kPatience;
    while (Clock::Real()->MonotonicNow() < end) {
      const absl::StatusOr<internal::v1::GetStatusResponse> status = StatusOf(i);
      if (status.ok() && so(*status)) return true;
    }
    return false;
  }
  bool WaitForReady(int i) {
    return WaitForStatus(i, [](const auto& status) { return status.ready(); });
  }
  static bool WaitForReady(const MetadataServer& server) {
    const MonotonicTime end = Clock::Real()->MonotonicNow() + kPatience;
    while (Clock::Real()->MonotonicNow() < end) {
      if (server.Ready()) return true;
      std::this_thread::yield();
    }
    return false;
  }
  // A node that is no founder.
  MetadataServer::Options FourthToJoin() const {
    MetadataServer::Options options;
    options.node_id = 4;
    options.data_dir = absl::StrCat(directory_, "/4");
    options.peers = peers_;
    options.join = true;
    return options;
  }
  void LoseDisk(int i) {
    servers_[i].reset();
    std::filesystem::remove_all(absl::StrCat(directory_, "/", i + 1));
  }
  // The node that leads, -1 if none was found in time.
  int WaitForLeader() {
    const MonotonicTime end = Clock::Real()->MonotonicNow() + kPatience;
    while (Clock::Real()->MonotonicNow() < end) {
      for (int i = 0; i < 3; ++i) {
        if (servers_[i] == nullptr || !servers_[i]->Ready()) continue;
        const absl::StatusOr<internal::v1::GetStatusResponse> status = StatusOf(i);
        if (status.ok() && status->role() == "leader") return i;
      }
    }
    return -1;
  }
  absl::StatusOr<internal::v1::ExecuteResponse> Create(const std::string& name,
                                                       absl::Duration deadline = kPatience) {
    internal::v1::ClusterCommand command;
    internal::v1::CreateTopicCommand* const topic = command.mutable_create_topic();
    topic->set_name(name);
    topic->set_partition_count(1);
    topic->set_replication_factor(1);
    *topic->mutable_settings() = cluster::DefaultTopicSettings();
    return channel_->Execute(command, deadline);
  }
  void RegisterStorageNode() {
    internal::v1::ClusterCommand command;
    internal::v1::RegisterNodeCommand* const node = command.mutable_register_node();
    node->set_node_id(1);
    node->set_directory_id(std::string(16, 'd'));
    node->set_address("127.0.0.1:7001");
    node->set_session_timeout_ms(600'000);
    const auto registered = channel_->Execute(command, kPatience);
    ASSERT_TRUE(registered.ok()) << registered.status();
  }
  absl::Status ChangeMembership(int at, int32_t node_id, internal::v1::MembershipChange what,
                                const std::string& address) {
    const auto stub = internal::v1::MetadataService::NewStub(rpc::MakeChannel(peers_[at].address));
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + kPatience));
    internal::v1::ChangeMembershipRequest request;
    request.set_node_id(node_id);
    request.set_change(what);
    request.set_address(address);
    internal::v1::ChangeMembershipResponse response;
    return rpc::FromGrpc(stub->ChangeMembership(&context, request, &response));
  }
  // Asks node i alone until it has the topic; false if it does not get it in time.
  bool WaitForTopic(int i, const std::string& name) {
    rpc::MetadataChannel channel({.addresses = {peers_[i].address}});
    Mutex mu;
    CondVar changed;
    cluster::ClusterView::Ptr view = cluster::ClusterView::Empty();
    const auto watch = channel.WatchCluster(
        Uuid(), [&](const internal::v1::WatchClusterResponse& event) -> absl::Status {
          MutexLock lock(&mu);
          FALAJ_ASSIGN_OR_RETURN(view, cluster::ClusterView::Advance(view, event));
          changed.NotifyAll();
          return absl::OkStatus();
        });
    const MonotonicTime end = Clock::Real()->MonotonicNow() + kPatience;
    MutexLock lock(&mu);
    while (view->FindTopic(name) == nullptr) {
      const absl::Duration left = end - Clock::Real()->MonotonicNow();
      if (left <= absl::ZeroDuration()) return false;
      changed.WaitFor(&mu, left);
    }
    return true;
  }

  const std::string directory_;
  int64_t snapshot_entries_ = 100'000;
  std::vector<MetadataServer::Peer> peers_ = {{1, ""}, {2, ""}, {3, ""}};
  std::unique_ptr<MetadataServer> servers_[3];
  std::unique_ptr<rpc::MetadataChannel> channel_;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_METADATA_QUORUM_FIXTURE_H_
