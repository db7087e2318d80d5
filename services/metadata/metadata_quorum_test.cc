// Three metadata nodes in one process, on real ports and real disks.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
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
namespace {

namespace pb = ::falaj::internal::v1;
using cluster::ClusterView;

constexpr absl::Duration kPatience = absl::Seconds(20);

class MetadataQuorumTest : public ::testing::Test {
 protected:
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
    options.cluster_id = "5f0c9f6e-1f5b-4d0c-9a53-0d3f6b3a9f10";
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
  void Connect() {
    for (auto& server : servers_) {
      if (server != nullptr) server->ConnectPeers(peers_);
    }
  }
  void Restart(int i) {
    Start(i);
    servers_[i]->ConnectPeers(peers_);
  }

  absl::StatusOr<pb::GetStatusResponse> StatusOf(int i) {
    const auto stub = pb::MetadataService::NewStub(rpc::MakeChannel(peers_[i].address));
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + kPatience));
    pb::GetStatusResponse response;
    const grpc::Status status = stub->GetStatus(&context, pb::GetStatusRequest(), &response);
    if (!status.ok()) return rpc::FromGrpc(status);
    return response;
  }
  // The node that leads, -1 if none was found in time.
  int WaitForLeader() {
    const MonotonicTime end = Clock::Real()->MonotonicNow() + kPatience;
    while (Clock::Real()->MonotonicNow() < end) {
      for (int i = 0; i < 3; ++i) {
        if (servers_[i] == nullptr || !servers_[i]->Ready()) continue;
        const absl::StatusOr<pb::GetStatusResponse> status = StatusOf(i);
        if (status.ok() && status->role() == "leader") return i;
      }
    }
    return -1;
  }
  absl::StatusOr<pb::ExecuteResponse> Create(const std::string& name,
                                             absl::Duration deadline = kPatience) {
    pb::ClusterCommand command;
    pb::CreateTopicCommand* const topic = command.mutable_create_topic();
    topic->set_name(name);
    topic->set_partition_count(1);
    topic->set_replication_factor(1);
    *topic->mutable_settings() = cluster::DefaultTopicSettings();
    return channel_->Execute(command, deadline);
  }
  void RegisterStorageNode() {
    pb::ClusterCommand command;
    pb::RegisterNodeCommand* const node = command.mutable_register_node();
    node->set_node_id(1);
    node->set_directory_id(std::string(16, 'd'));
    node->set_address("127.0.0.1:7001");
    node->set_session_timeout_ms(600'000);
    const auto registered = channel_->Execute(command, kPatience);
    ASSERT_TRUE(registered.ok()) << registered.status();
  }
  // Asks node i alone until it has the topic; false if it does not get it in time.
  bool WaitForTopic(int i, const std::string& name) {
    rpc::MetadataChannel channel({.addresses = {peers_[i].address}});
    Mutex mu;
    CondVar changed;
    ClusterView::Ptr view = ClusterView::Empty();
    const auto watch =
        channel.WatchCluster(Uuid(), [&](const pb::WatchClusterResponse& event) -> absl::Status {
          MutexLock lock(&mu);
          FALAJ_ASSIGN_OR_RETURN(view, ClusterView::Advance(view, event));
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
  size_t snapshot_entries_ = 100'000;
  std::vector<MetadataServer::Peer> peers_ = {{1, ""}, {2, ""}, {3, ""}};
  std::unique_ptr<MetadataServer> servers_[3];
  std::unique_ptr<rpc::MetadataChannel> channel_;
};

TEST_F(MetadataQuorumTest, EveryNodeHasWhatWasAnswered) {
  StartAll();
  RegisterStorageNode();
  ASSERT_TRUE(Create("flights").ok());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(WaitForTopic(i, "flights")) << i;
}

TEST_F(MetadataQuorumTest, GoesOnWithoutItsLeader) {
  StartAll();
  RegisterStorageNode();
  ASSERT_TRUE(Create("before").ok());
  const int leader = WaitForLeader();
  ASSERT_NE(-1, leader);
  servers_[leader].reset();
  const absl::StatusOr<pb::ExecuteResponse> created = Create("after");
  ASSERT_TRUE(created.ok()) << created.status();
  Restart(leader);
  EXPECT_TRUE(WaitForTopic(leader, "before"));
  EXPECT_TRUE(WaitForTopic(leader, "after")) << "what it missed";
}

TEST_F(MetadataQuorumTest, RefusesWritesWithoutAMajorityAndRecovers) {
  StartAll();
  RegisterStorageNode();
  ASSERT_TRUE(Create("before").ok());
  servers_[0].reset();
  servers_[1].reset();
  const Reason reason = ReasonOf(Create("alone", absl::Seconds(2)).status());
  EXPECT_TRUE(reason == Reason::kMetadataUnavailable || reason == Reason::kTimedOut);
  EXPECT_FALSE(servers_[2]->Ready()) << "no majority, no quorum known";
  Restart(0);
  const absl::StatusOr<pb::ExecuteResponse> created = Create("after");
  EXPECT_TRUE(created.ok()) << created.status();
  EXPECT_TRUE(WaitForTopic(0, "after"));
}

TEST_F(MetadataQuorumTest, ANodeThatCameLateGetsASnapshot) {
  snapshot_entries_ = 10;
  StartAll(2);
  RegisterStorageNode();
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(Create(absl::StrCat("t", i)).ok());
  const int leader = WaitForLeader();
  ASSERT_NE(-1, leader);
  const absl::StatusOr<pb::GetStatusResponse> status = StatusOf(leader);
  ASSERT_TRUE(status.ok());
  ASSERT_GT(status->first_index(), 1) << "nothing was compacted, the test proves nothing";
  Start(2);
  Connect();
  EXPECT_TRUE(WaitForTopic(2, "t0"));
  EXPECT_TRUE(WaitForTopic(2, "t39"));
}

TEST_F(MetadataQuorumTest, TheLeadIsHandedOverOnDemand) {
  StartAll();
  const int leader = WaitForLeader();
  ASSERT_NE(-1, leader);
  const auto transfer = [this](int from, int32_t to) {
    const auto stub = pb::MetadataService::NewStub(rpc::MakeChannel(peers_[from].address));
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + kPatience));
    pb::TransferLeadershipRequest request;
    request.set_node_id(to);
    pb::TransferLeadershipResponse response;
    return rpc::FromGrpc(stub->TransferLeadership(&context, request, &response));
  };
  EXPECT_EQ(Reason::kNodeNotFound, ReasonOf(transfer(leader, 9)));
  const int next = (leader + 1) % 3;
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(transfer(next, next + 1))) << "does not lead";
  const absl::Status handed = transfer(leader, next + 1);
  EXPECT_TRUE(handed.ok()) << handed;
  EXPECT_EQ(next, WaitForLeader());
}

TEST_F(MetadataQuorumTest, AStreamFromAnotherClusterIsRefused) {
  StartAll();
  const auto stub = pb::RaftService::NewStub(rpc::MakeChannel(peers_[0].address));
  grpc::ClientContext context;
  pb::ExchangeResponse response;
  const auto writer = stub->Exchange(&context, &response);
  pb::ExchangeRequest request;
  request.set_cluster_id(std::string(16, 'x'));
  request.mutable_message()->set_type(pb::RAFT_MESSAGE_TYPE_VOTE);
  request.mutable_message()->set_term(1'000'000);
  ASSERT_TRUE(writer->Write(request));
  EXPECT_EQ(Reason::kClusterMismatch, ReasonOf(rpc::FromGrpc(writer->Finish())));
  ASSERT_NE(-1, WaitForLeader());
  const absl::StatusOr<pb::GetStatusResponse> status = StatusOf(0);
  ASSERT_TRUE(status.ok());
  EXPECT_LT(status->term(), 1'000u);
}

TEST_F(MetadataQuorumTest, PeersMustNameTheNodeItselfAndNobodyTwice) {
  MetadataServer::Options options;
  options.data_dir = directory_;
  options.peers = {{2, ""}, {3, ""}};
  EXPECT_EQ(Reason::kInvalidConfig, ReasonOf(MetadataServer::Start(options).status()));
  options.peers = {{1, ""}, {1, ""}};
  EXPECT_EQ(Reason::kInvalidConfig, ReasonOf(MetadataServer::Start(options).status()));
}

}  // namespace
}  // namespace falaj::metadata
