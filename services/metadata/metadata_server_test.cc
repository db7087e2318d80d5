// A real metadata node on a real port and a real disk.
#include "services/metadata/metadata_server.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

#include "falaj/internal/v1/metadata_service.grpc.pb.h"

#include "libs/base/mutex.h"
#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/cluster/cluster_view.h"
#include "libs/cluster/topic_rules.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/metadata_channel.h"
#include "libs/rpc/status_grpc.h"
#include "libs/rpc/testing/small_window.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;
using cluster::ClusterView;
using ::testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Seconds(20);

// Follows a watch and lets a test wait for what it wants to see.
class Follower {
 public:
  explicit Follower(rpc::MetadataChannel* channel, const Uuid& cluster_id = Uuid())
      : watch_(channel->WatchCluster(
            cluster_id, [this](const pb::WatchClusterResponse& event) { return On(event); })) {}

  // Waits until `wanted` is true of the view. False if the patience runs out.
  bool Wait(const std::function<bool(const ClusterView&)>& wanted) {
    const MonotonicTime end = Clock::Real()->MonotonicNow() + kPatience;
    MutexLock lock(&mu_);
    while (!wanted(*view_)) {
      const absl::Duration left = end - Clock::Real()->MonotonicNow();
      if (left <= absl::ZeroDuration()) return false;
      changed_.WaitFor(&mu_, left);
    }
    return true;
  }
  int snapshots() const {
    MutexLock lock(&mu_);
    return snapshots_;
  }
  ClusterView::Ptr view() const {
    MutexLock lock(&mu_);
    return view_;
  }

 private:
  absl::Status On(const pb::WatchClusterResponse& event) {
    MutexLock lock(&mu_);
    if (event.has_snapshot()) ++snapshots_;
    FALAJ_ASSIGN_OR_RETURN(view_, ClusterView::Advance(view_, event));
    changed_.NotifyAll();
    return absl::OkStatus();
  }

  mutable Mutex mu_;
  CondVar changed_;
  ClusterView::Ptr view_ = ClusterView::Empty();
  int snapshots_ = 0;
  std::unique_ptr<rpc::MetadataChannel::Watch> watch_;  // Last: its thread uses the rest.
};

class MetadataServerTest : public ::testing::Test {
 protected:
  MetadataServerTest() {
    options_.data_dir = absl::StrCat(::testing::TempDir(), "/metadata_server_test_",
                                     Random::FromSystem().NextUuid().ToString());
    options_.watch_keepalive = absl::Milliseconds(50);
  }
  ~MetadataServerTest() override {
    channel_.reset();
    server_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(options_.data_dir, ignored);
  }

  // Keeps the port over restarts, so that channels find the server again.
  void Start() {
    absl::StatusOr<std::unique_ptr<MetadataServer>> server = MetadataServer::Start(options_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    options_.listen_address = server_->grpc_address();
    if (channel_ != nullptr) return;
    rpc::MetadataChannel::Options channel_options;
    channel_options.addresses = {server_->grpc_address()};
    channel_ = std::make_unique<rpc::MetadataChannel>(channel_options);
  }
  void Restart() {
    server_->Stop();
    server_.reset();
    Start();
  }

  absl::StatusOr<pb::ExecuteResponse> Register(int32_t id, int32_t timeout_ms = 10'000,
                                               const std::string& cluster_id = "") {
    pb::ClusterCommand command;
    pb::RegisterNodeCommand* const node = command.mutable_register_node();
    node->set_node_id(id);
    node->set_directory_id(std::string(16, static_cast<char>('a' + id)));
    node->set_address(absl::StrCat("127.0.0.1:", 7'000 + id));
    node->set_session_timeout_ms(timeout_ms);
    node->set_cluster_id(cluster_id);
    return channel_->Execute(command, kPatience);
  }
  absl::StatusOr<pb::ExecuteResponse> Create(const std::string& name, int32_t partitions = 1) {
    pb::ClusterCommand command;
    pb::CreateTopicCommand* const topic = command.mutable_create_topic();
    topic->set_name(name);
    topic->set_partition_count(partitions);
    topic->set_replication_factor(1);
    *topic->mutable_settings() = cluster::DefaultTopicSettings();
    return channel_->Execute(command, kPatience);
  }
  // One raw watch, without the channel's retries. Returns the first message or the error.
  absl::StatusOr<pb::WatchClusterResponse> FirstOfWatch(uint64_t after_index,
                                                        const std::string& cluster_id = "") {
    const auto stub =
        pb::MetadataService::NewStub(rpc::MakeChannel(server_->grpc_address(), {.lane = 9}));
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + kPatience));
    pb::WatchClusterRequest request;
    request.set_after_index(after_index);
    request.set_cluster_id(cluster_id);
    const auto reader = stub->WatchCluster(&context, request);
    pb::WatchClusterResponse message;
    if (reader->Read(&message)) {
      context.TryCancel();
      IgnoreError(rpc::FromGrpc(reader->Finish()), "cancelled by ourselves");
      return message;
    }
    return rpc::FromGrpc(reader->Finish());
  }

  MetadataServer::Options options_;
  std::unique_ptr<MetadataServer> server_;
  std::unique_ptr<rpc::MetadataChannel> channel_;
};

TEST_F(MetadataServerTest, WhatWasAnsweredIsThereAfterARestart) {
  Start();
  ASSERT_TRUE(Register(1).ok());
  const absl::StatusOr<pb::ExecuteResponse> created = Create("flights", 6);
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_EQ(16u, created->topic().topic_id().size()) << "drawn by the leader";
  EXPECT_NE(0, created->topic().create_time_ms());
  const std::string cluster_id = created->cluster_id();
  Restart();
  const absl::StatusOr<pb::ExecuteResponse> again = Create("flights", 6);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(created->topic().topic_id(), again->topic().topic_id());
  EXPECT_EQ(cluster_id, again->cluster_id());
}

TEST_F(MetadataServerTest, ErrorsOfTheStateMachineArriveWithTheirReason) {
  Start();
  ASSERT_TRUE(Register(1).ok());
  EXPECT_EQ(Reason::kInvalidName, ReasonOf(Create("a/b").status()));
  ASSERT_TRUE(Create("t").ok());
  EXPECT_EQ(Reason::kTopicAlreadyExists, ReasonOf(Create("t", 2).status()));
  EXPECT_EQ(Reason::kInvalidRequest,
            ReasonOf(channel_->Execute(pb::ClusterCommand(), kPatience).status()));
  EXPECT_EQ(Reason::kClusterMismatch, ReasonOf(Register(2, 10'000, std::string(16, 'x')).status()));
  EXPECT_EQ(Reason::kSessionExpired, ReasonOf(channel_->Heartbeat(SessionId(12'345))));
}

TEST_F(MetadataServerTest, AWatchSendsASnapshotThenChanges) {
  Start();
  ASSERT_TRUE(Register(1).ok());
  Follower follower(channel_.get());
  ASSERT_TRUE(follower.Wait([](const ClusterView& v) { return v.FindNode(NodeId(1)) != nullptr; }));
  ASSERT_TRUE(Create("t", 3).ok());
  ASSERT_TRUE(follower.Wait([](const ClusterView& v) { return v.FindTopic("t") != nullptr; }));
  EXPECT_EQ(3u, follower.view()->FindTopic("t")->partitions.size());
  EXPECT_EQ(1, follower.snapshots());
}

TEST_F(MetadataServerTest, AWatchResumesAcrossARestartWithoutASnapshot) {
  Start();
  ASSERT_TRUE(Register(1).ok());
  Follower follower(channel_.get());
  ASSERT_TRUE(follower.Wait([](const ClusterView& v) { return v.FindNode(NodeId(1)) != nullptr; }));
  Restart();
  ASSERT_TRUE(Create("t").ok());
  ASSERT_TRUE(follower.Wait([](const ClusterView& v) { return v.FindTopic("t") != nullptr; }));
  EXPECT_EQ(1, follower.snapshots());
}

TEST_F(MetadataServerTest, AWatchThatIsTooOldIsCompactedAndTheChannelBeginsAnew) {
  options_.delta_history_entries = 3;
  Start();
  ASSERT_TRUE(Register(1).ok());
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(Create(absl::StrCat("t", i)).ok());
  const absl::StatusOr<pb::WatchClusterResponse> old = FirstOfWatch(2);
  EXPECT_EQ(Reason::kWatchCompacted, ReasonOf(old.status()));
  EXPECT_EQ(Reason::kTimedOut, ReasonOf(FirstOfWatch(1'000'000).status())) << "not compacted";
  const absl::StatusOr<pb::WatchClusterResponse> fresh = FirstOfWatch(0);
  ASSERT_TRUE(fresh.ok()) << fresh.status();
  EXPECT_EQ(6, fresh->snapshot().topics_size());
  const absl::StatusOr<pb::WatchClusterResponse> resumed = FirstOfWatch(fresh->index() - 1);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ("t5", resumed->delta().topics(0).topic().name());
}

TEST_F(MetadataServerTest, ASlowWatcherIsCutOffWithoutAGapAndToldWhereToResume) {
  options_.watcher_queue_bytes = 4'096;
  Start();
  ASSERT_TRUE(Register(1, 60'000).ok());
  const auto stub = pb::MetadataService::NewStub(rpc::SmallWindowChannel(server_->grpc_address()));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + kPatience));
  const auto reader = stub->WatchCluster(&context, pb::WatchClusterRequest());
  pb::WatchClusterResponse message;
  ASSERT_TRUE(reader->Read(&message));
  // Far more than the connection's window holds, and nobody reads.
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(Create(absl::StrCat("t", i), 5'000).ok());
  uint64_t last = message.index();
  int topics = 0;
  while (reader->Read(&message)) {
    if (message.has_delta()) {
      EXPECT_EQ(absl::StrCat("t", topics++), message.delta().topics(0).topic().name());
    }
    last = message.index();
  }
  const absl::Status status = rpc::FromGrpc(reader->Finish());
  EXPECT_EQ(Reason::kQuotaExceeded, ReasonOf(status)) << status;
  EXPECT_EQ(absl::StrCat(last), MetadataOf(status)["resume_after_index"]);
  EXPECT_LT(topics, 10);
  EXPECT_TRUE(FirstOfWatch(last).ok());
}

TEST_F(MetadataServerTest, AWatchOfAnotherClusterIsRefused) {
  Start();
  ASSERT_TRUE(Register(1).ok());
  EXPECT_EQ(Reason::kClusterMismatch, ReasonOf(FirstOfWatch(0, std::string(16, 'x')).status()));
}

TEST_F(MetadataServerTest, ASessionWithoutHeartbeatsEndsThroughTheLog) {
  Start();
  const absl::StatusOr<pb::ExecuteResponse> registered = Register(1, 200);
  ASSERT_TRUE(registered.ok());
  const SessionId session(registered->node().session_id());
  ASSERT_TRUE(channel_->Heartbeat(session).ok());
  Follower follower(channel_.get());
  ASSERT_TRUE(follower.Wait([](const ClusterView& view) {
    const cluster::NodeInfo* const node = view.FindNode(NodeId(1));
    return node != nullptr && !node->online();
  }));
  EXPECT_EQ(Reason::kSessionExpired, ReasonOf(channel_->Heartbeat(session)));
}

// A HoldSession call as a process makes it; it breaks when it is destroyed.
class HeldCall {
 public:
  HeldCall(const std::string& address, SessionId session)
      : stub_(pb::MetadataService::NewStub(rpc::MakeChannel(address, {.lane = 9}))) {
    pb::HoldSessionRequest request;
    request.set_session_id(session.value());
    reader_ = stub_->HoldSession(&context_, request);
  }
  ~HeldCall() {
    if (reader_ == nullptr) return;
    context_.TryCancel();
    IgnoreError(End(), "cancelled by ourselves");
  }
  // Waits until the session is held. False: it is not.
  bool Held() {
    pb::HoldSessionResponse response;
    return reader_->Read(&response);
  }
  // Waits for the end of the call.
  absl::Status End() {
    pb::HoldSessionResponse response;
    while (reader_->Read(&response)) {
    }
    const absl::Status status = rpc::FromGrpc(reader_->Finish());
    reader_.reset();
    return status;
  }

 private:
  std::unique_ptr<pb::MetadataService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<pb::HoldSessionResponse>> reader_;
};

TEST_F(MetadataServerTest, ASessionEndsSoonAfterTheCallThatHeldItHasBroken) {
  Start();
  const absl::StatusOr<pb::ExecuteResponse> registered = Register(1, 60'000);
  ASSERT_TRUE(registered.ok());
  const SessionId session(registered->node().session_id());
  Follower follower(channel_.get());
  {
    HeldCall call(server_->grpc_address(), session);
    ASSERT_TRUE(call.Held());
  }
  ASSERT_TRUE(follower.Wait([](const ClusterView& view) {
    const cluster::NodeInfo* const node = view.FindNode(NodeId(1));
    return node != nullptr && !node->online();
  })) << "the timeout is a minute";
  HeldCall late(server_->grpc_address(), session);
  EXPECT_EQ(Reason::kSessionExpired, ReasonOf(late.End()));
}

TEST_F(MetadataServerTest, OneCallHoldsASessionAndLearnsOfItsEnd) {
  Start();
  const absl::StatusOr<pb::ExecuteResponse> registered = Register(1, 60'000);
  ASSERT_TRUE(registered.ok());
  const SessionId session(registered->node().session_id());
  HeldCall first(server_->grpc_address(), session);
  ASSERT_TRUE(first.Held());
  HeldCall second(server_->grpc_address(), session);
  ASSERT_TRUE(second.Held());
  EXPECT_EQ(Reason::kCancelled, ReasonOf(first.End())) << "the second has taken its place";
  pb::ClusterCommand end;
  end.mutable_end_session()->set_session_id(session.value());
  ASSERT_TRUE(channel_->Execute(end, kPatience).ok());
  EXPECT_EQ(Reason::kSessionExpired, ReasonOf(second.End()));
}

TEST_F(MetadataServerTest, HeartbeatsKeepASessionAliveAlsoAcrossARestart) {
  Start();
  const absl::StatusOr<pb::ExecuteResponse> registered = Register(1, 2'000);
  ASSERT_TRUE(registered.ok());
  const SessionId session(registered->node().session_id());
  Restart();
  EXPECT_TRUE(channel_->Heartbeat(session, kPatience).ok());
}

TEST_F(MetadataServerTest, ANewerProcessFencesTheOlder) {
  Start();
  const absl::StatusOr<pb::ExecuteResponse> older = Register(1);
  const absl::StatusOr<pb::ExecuteResponse> newer = Register(1);
  ASSERT_TRUE(older.ok() && newer.ok());
  EXPECT_EQ(Reason::kSessionExpired,
            ReasonOf(channel_->Heartbeat(SessionId(older->node().session_id()))));
  EXPECT_TRUE(channel_->Heartbeat(SessionId(newer->node().session_id())).ok());
}

TEST_F(MetadataServerTest, SnapshotsCompactTheLogAndRestoreTheState) {
  options_.snapshot_entries = 10;
  options_.entries_kept = 2;
  Start();
  ASSERT_TRUE(Register(1).ok());
  for (int i = 0; i < 25; ++i) ASSERT_TRUE(Create(absl::StrCat("t", i)).ok());
  // Snapshots are made beside the node's work: the second one covers more than ten entries.
  const MonotonicTime end = Clock::Real()->MonotonicNow() + kPatience;
  absl::StatusOr<pb::GetStatusResponse> status;
  do {
    status = channel_->GetStatus();
    ASSERT_TRUE(status.ok());
    ASSERT_LT(Clock::Real()->MonotonicNow(), end) << "the log is not compacted";
  } while (status->first_index() <= 10u || status->snapshot_index() < 20u);
  EXPECT_EQ("leader", status->role());
  Restart();
  const absl::StatusOr<pb::WatchClusterResponse> first = [this] {
    absl::StatusOr<pb::ExecuteResponse> ready = Create("t0");  // Waits for the leader.
    EXPECT_TRUE(ready.ok()) << ready.status();
    return FirstOfWatch(0);
  }();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(25, first->snapshot().topics_size());
}

TEST_F(MetadataServerTest, ConcurrentCommandsAllGetTheirOwnAnswer) {
  Start();
  std::atomic<int> wrong = 0;
  std::vector<std::vector<int64_t>> blocks(8);
  std::vector<std::thread> threads;
  for (auto& mine : blocks) {
    threads.emplace_back([this, &mine, &wrong] {
      pb::ClusterCommand command;
      command.mutable_allocate_producer_ids()->set_count(10);
      for (int i = 0; i < 25; ++i) {
        const absl::StatusOr<pb::ExecuteResponse> response = channel_->Execute(command, kPatience);
        if (response.ok()) {
          mine.push_back(response->first_producer_id());
        } else {
          ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(0, wrong);
  std::vector<int64_t> all;
  for (const auto& mine : blocks) all.insert(all.end(), mine.begin(), mine.end());
  std::sort(all.begin(), all.end());
  for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(static_cast<int64_t>(1 + 10 * i), all[i]);
}

TEST_F(MetadataServerTest, ADirectoryOfAnotherNodeIsRefused) {
  Start();
  ASSERT_TRUE(Register(1).ok());
  server_->Stop();
  server_.reset();
  options_.node_id = 2;
  EXPECT_EQ(Reason::kClusterMismatch, ReasonOf(MetadataServer::Start(options_).status()));
}

TEST_F(MetadataServerTest, OptionsThatMakeNoSenseAreRefused) {
  const auto reason = [this](auto change) {
    MetadataServer::Options options = options_;
    change(&options);
    return ReasonOf(MetadataServer::Start(options).status());
  };
  using Options = MetadataServer::Options;
  EXPECT_EQ(Reason::kInvalidConfig, reason([](Options* o) { o->node_id = 0; }));
  EXPECT_EQ(Reason::kInvalidConfig, reason([](Options* o) { o->data_dir = ""; }));
  EXPECT_EQ(Reason::kInvalidConfig, reason([](Options* o) { o->tick = absl::ZeroDuration(); }));
  EXPECT_EQ(Reason::kInvalidConfig, reason([](Options* o) { o->peers = {{2, "127.0.0.1:1"}}; }));
  const auto field = [this](auto change) {
    MetadataServer::Options options = options_;
    change(&options);
    const absl::Status refused = MetadataServer::Start(options).status();
    EXPECT_EQ(Reason::kInvalidConfig, ReasonOf(refused)) << refused;
    return MetadataOf(refused)["field"];
  };
  EXPECT_EQ("tick", field([](Options* o) { o->tick = absl::Seconds(11); }));
  EXPECT_EQ("heartbeat_ticks", field([](Options* o) { o->heartbeat_ticks = 0; }));
  EXPECT_EQ("election_ticks_min", field([](Options* o) { o->election_ticks_min = 11; }));
  EXPECT_EQ("election_ticks_max", field([](Options* o) { o->election_ticks_max = 15; }));
  EXPECT_EQ("snapshot_entries", field([](Options* o) { o->snapshot_entries = 0; }));
  EXPECT_EQ("snapshot_log_bytes", field([](Options* o) { o->snapshot_log_bytes = -1; }));
  EXPECT_EQ("entries_kept", field([](Options* o) { o->entries_kept = -1; }));
  EXPECT_EQ("leader_rebalance_period",
            field([](Options* o) { o->leader_rebalance_period = -absl::Seconds(1); }));
  EXPECT_EQ("leader_imbalance_percent",
            field([](Options* o) { o->leader_imbalance_percent = 101; }));
  for (const char* address :
       {"host", "host:", ":1", "host:0", "host:65536", "host:http", "a b:1"}) {
    MetadataServer::Options options = options_;
    options.peers = {{1, "127.0.0.1:1"}, {2, address}, {3, "127.0.0.1:3"}};
    const absl::Status refused = MetadataServer::Start(options).status();
    EXPECT_EQ(Reason::kInvalidConfig, ReasonOf(refused)) << refused;
    EXPECT_EQ("peers", MetadataOf(refused)["field"]);
    EXPECT_THAT(std::string(refused.message()), HasSubstr(address));
    EXPECT_THAT(std::string(refused.message()), HasSubstr("ID=HOST:PORT"));
  }
}

TEST_F(MetadataServerTest, StopEndsWatchesAndMayBeRepeated) {
  Start();
  ASSERT_TRUE(Register(1).ok());
  Follower follower(channel_.get());
  ASSERT_TRUE(follower.Wait([](const ClusterView& v) { return !v.cluster_id().is_nil(); }));
  EXPECT_TRUE(server_->Ready());
  server_->Stop();
  server_->Stop();
  EXPECT_FALSE(server_->Ready());
}

TEST_F(MetadataServerTest, SeveralNodesRunInOneProcess) {
  Start();
  MetadataServer::Options other = options_;
  other.listen_address = "127.0.0.1:0";
  other.data_dir = absl::StrCat(options_.data_dir, "/other");
  const auto second = MetadataServer::Start(other);
  ASSERT_TRUE(second.ok()) << second.status();
  rpc::MetadataChannel::Options channel_options;
  channel_options.addresses = {(*second)->grpc_address()};
  rpc::MetadataChannel channel(channel_options);
  pb::ClusterCommand command;
  command.mutable_allocate_producer_ids()->set_count(10);
  const auto there = channel.Execute(command, kPatience);
  const auto here = channel_->Execute(command, kPatience);
  ASSERT_TRUE(there.ok() && here.ok());
  EXPECT_NE(there->cluster_id(), here->cluster_id());
}

TEST_F(MetadataServerTest, AStopEndsWatchesAtOnceAndSaysWhy) {
  Start();
  ASSERT_TRUE(Register(1).ok());
  const auto stub = pb::MetadataService::NewStub(rpc::MakeChannel(server_->grpc_address()));
  grpc::ClientContext context;
  const auto watch = stub->WatchCluster(&context, pb::WatchClusterRequest());
  pb::WatchClusterResponse event;
  ASSERT_TRUE(watch->Read(&event));
  const MonotonicTime start = Clock::Real()->MonotonicNow();
  server_->Stop();
  EXPECT_LT(Clock::Real()->MonotonicNow() - start, absl::Seconds(4)) << "the grace is five";
  while (watch->Read(&event)) continue;
  const absl::Status end = rpc::FromGrpc(watch->Finish());
  EXPECT_EQ(ReasonOf(end), Reason::kShuttingDown) << end;
  EXPECT_TRUE(RetryAfterOf(end).has_value());
}

}  // namespace
}  // namespace falaj::metadata
