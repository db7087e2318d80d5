#include "libs/rpc/metadata_channel.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <deque>
#include <utility>

#include "falaj/internal/v1/metadata_service.grpc.pb.h"

#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/rpc/server.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::rpc {
namespace {

namespace pb = ::falaj::internal::v1;

constexpr absl::Duration kPatience = absl::Seconds(20);

// A metadata node that does what the test has laid out for it.
class FakeNode final : public pb::MetadataService::Service {
 public:
  FakeNode() {
    host_ = *ServerHost::Start({}, {this}, nullptr);
    address_ = host_->address();
  }
  ~FakeNode() override { host_->Stop(absl::ZeroDuration()); }

  const std::string& address() const { return address_; }
  void Stop() { host_->Stop(absl::ZeroDuration()); }
  // The next answers to Execute; OK ones after that.
  void Answer(absl::Status status) {
    MutexLock lock(&mu_);
    answers_.push_back(std::move(status));
  }
  // The next watches: the messages to send and the status to end with. After that they stay silent
  // until they are cancelled.
  void Script(std::vector<pb::WatchClusterResponse> messages, absl::Status end) {
    MutexLock lock(&mu_);
    scripts_.emplace_back(std::move(messages), std::move(end));
  }
  int calls() const {
    MutexLock lock(&mu_);
    return calls_;
  }
  std::vector<uint64_t> WaitForWatches(size_t count) {
    MutexLock lock(&mu_);
    while (watched_after_.size() < count && changed_.WaitFor(&mu_, kPatience)) {
    }
    return watched_after_;
  }

 private:
  grpc::Status Execute(grpc::ServerContext*, const pb::ExecuteRequest*,
                       pb::ExecuteResponse* response) override {
    MutexLock lock(&mu_);
    ++calls_;
    response->set_index(42);
    if (answers_.empty()) return grpc::Status::OK;
    const absl::Status answer = answers_.front();
    answers_.pop_front();
    return ToGrpc(answer);
  }

  grpc::Status WatchCluster(grpc::ServerContext* context, const pb::WatchClusterRequest* request,
                            grpc::ServerWriter<pb::WatchClusterResponse>* writer) override {
    std::pair<std::vector<pb::WatchClusterResponse>, absl::Status> script;
    bool silent = false;
    {
      MutexLock lock(&mu_);
      watched_after_.push_back(request->after_index());
      changed_.NotifyAll();
      silent = scripts_.empty();
      if (!silent) {
        script = std::move(scripts_.front());
        scripts_.pop_front();
      }
    }
    for (const auto& message : script.first) writer->Write(message);
    MutexLock lock(&mu_);
    while (silent && !context->IsCancelled()) changed_.WaitFor(&mu_, absl::Milliseconds(5));
    return ToGrpc(script.second);
  }

  mutable Mutex mu_;
  CondVar changed_;
  std::deque<absl::Status> answers_ ABSL_GUARDED_BY(mu_);
  std::deque<std::pair<std::vector<pb::WatchClusterResponse>, absl::Status>> scripts_
      ABSL_GUARDED_BY(mu_);
  int calls_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<uint64_t> watched_after_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<ServerHost> host_;
  std::string address_;
};

std::unique_ptr<MetadataChannel> ChannelTo(std::vector<std::string> addresses) {
  MetadataChannel::Options options;
  options.addresses = std::move(addresses);
  options.backoff_base = absl::Milliseconds(1);
  options.backoff_max = absl::Milliseconds(5);
  return std::make_unique<MetadataChannel>(options);
}

absl::Status Unavailable(const ErrorMetadata& metadata) {
  return MakeError(Reason::kMetadataUnavailable, "not the leader", metadata);
}

pb::ClusterCommand Allocate() {
  pb::ClusterCommand command;
  command.mutable_allocate_producer_ids()->set_count(1);
  return command;
}

pb::ClusterCommand Delete() {
  pb::ClusterCommand command;
  command.mutable_delete_topic()->set_name("t");
  return command;
}

pb::WatchClusterResponse Snapshot(uint64_t index) {
  pb::WatchClusterResponse message;
  message.set_index(index);
  message.mutable_snapshot()->set_index(index);
  message.mutable_snapshot()->set_cluster_id(std::string(16, 'c'));
  return message;
}

pb::WatchClusterResponse Alive(uint64_t index) {
  pb::WatchClusterResponse message;
  message.set_index(index);
  return message;
}

TEST(MetadataChannelTest, FollowsTheLeaderAndStaysWithIt) {
  FakeNode follower;
  FakeNode leader;
  follower.Answer(Unavailable({{"outcome", "none"}, {"leader", leader.address()}}));
  const auto channel = ChannelTo({follower.address()});
  ASSERT_TRUE(channel->Execute(Delete(), kPatience).ok());
  ASSERT_TRUE(channel->Execute(Delete(), kPatience).ok());
  EXPECT_EQ(1, follower.calls());
  EXPECT_EQ(2, leader.calls());
}

TEST(MetadataChannelTest, PassesByANodeThatIsDown) {
  auto down = std::make_unique<FakeNode>();
  FakeNode up;
  const auto channel = ChannelTo({down->address(), up.address()});
  down.reset();
  EXPECT_TRUE(channel->Execute(Delete(), kPatience).ok()) << "it never reached the first node";
}

TEST(MetadataChannelTest, AnErrorOfTheStateMachineIsFinal) {
  FakeNode node;
  node.Answer(MakeError(Reason::kNotEnoughReplicas, "too few"));  // UNAVAILABLE, but an answer.
  const auto channel = ChannelTo({node.address()});
  EXPECT_EQ(Reason::kNotEnoughReplicas, ReasonOf(channel->Execute(Allocate(), kPatience).status()));
  EXPECT_EQ(1, node.calls());
}

TEST(MetadataChannelTest, RepeatsWhatHadNoEffect) {
  FakeNode node;
  for (int i = 0; i < 3; ++i) node.Answer(Unavailable({{"outcome", "none"}}));
  node.Answer(MakeError(Reason::kShuttingDown, "stopping"));
  const auto channel = ChannelTo({node.address()});
  EXPECT_TRUE(channel->Execute(Delete(), kPatience).ok());
  EXPECT_EQ(5, node.calls());
}

TEST(MetadataChannelTest, AnUnknownOutcomeIsRepeatedOnlyIfThatIsHarmless) {
  FakeNode node;
  node.Answer(Unavailable({{"outcome", "unknown"}}));
  const auto channel = ChannelTo({node.address()});
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(channel->Execute(Delete(), kPatience).status()));
  EXPECT_EQ(1, node.calls());
  node.Answer(Unavailable({{"outcome", "unknown"}}));
  EXPECT_TRUE(channel->Execute(Allocate(), kPatience).ok());
  EXPECT_EQ(3, node.calls());
}

TEST(MetadataChannelTest, GivesUpAtTheDeadlineSayingWhy) {
  auto down = std::make_unique<FakeNode>();
  const auto channel = ChannelTo({down->address()});
  down.reset();
  const absl::Status status = channel->Execute(Allocate(), absl::Milliseconds(100)).status();
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(status)) << status;
}

TEST(MetadataChannelTest, AWatchResumesAfterTheLastMessage) {
  FakeNode node;
  node.Script({Snapshot(7), Alive(9)}, MakeError(Reason::kShuttingDown, "stopping"));
  const auto channel = ChannelTo({node.address()});
  const auto watch = channel->WatchCluster(Uuid(), [](const auto&) { return absl::OkStatus(); });
  const std::vector<uint64_t> after = node.WaitForWatches(2);
  ASSERT_LE(2u, after.size());
  EXPECT_EQ(0u, after[0]);
  EXPECT_EQ(9u, after[1]);
}

TEST(MetadataChannelTest, AWatchThatCannotResumeBeginsWithASnapshot) {
  FakeNode node;
  node.Script({Snapshot(7)}, MakeError(Reason::kShuttingDown, "stopping"));
  node.Script({}, MakeError(Reason::kWatchCompacted, "too old"));
  const auto channel = ChannelTo({node.address()});
  const auto watch = channel->WatchCluster(Uuid(), [](const auto&) { return absl::OkStatus(); });
  const std::vector<uint64_t> after = node.WaitForWatches(3);
  ASSERT_LE(3u, after.size());
  EXPECT_EQ(7u, after[1]);
  EXPECT_EQ(0u, after[2]);
}

TEST(MetadataChannelTest, ACallbackThatRefusesAMessageGetsASnapshotNext) {
  FakeNode node;
  node.Script({Snapshot(7), Alive(8)}, absl::OkStatus());
  const auto channel = ChannelTo({node.address()});
  const auto watch = channel->WatchCluster(Uuid(), [](const pb::WatchClusterResponse& message) {
    return message.has_snapshot() ? absl::OkStatus() : MakeError(Reason::kCorruptRecord, "no fit");
  });
  const std::vector<uint64_t> after = node.WaitForWatches(2);
  ASSERT_LE(2u, after.size());
  EXPECT_EQ(0u, after[1]);
}

TEST(MetadataChannelTest, AWatchThatWorkedAndBrokeIsOpenedAtTheSameNodeFirst) {
  FakeNode node;
  FakeNode other;
  node.Script({Snapshot(7)}, MakeError(Reason::kInternal, "the connection broke"));
  MetadataChannel::Options options;
  options.addresses = {node.address(), other.address()};
  options.backoff_base = absl::Milliseconds(1);
  options.backoff_max = absl::Nanoseconds(1);  // Who has lived for so long has worked.
  MetadataChannel channel(options);
  const auto watch = channel.WatchCluster(Uuid(), [](const auto&) { return absl::OkStatus(); });
  EXPECT_EQ(2u, node.WaitForWatches(2).size());
  EXPECT_EQ(0u, other.WaitForWatches(0).size());
}

TEST(MetadataChannelTest, ASilentWatchCanBeDestroyed) {
  FakeNode node;
  const auto channel = ChannelTo({node.address()});
  auto watch = channel->WatchCluster(Uuid(), [](const auto&) { return absl::OkStatus(); });
  node.WaitForWatches(1);
  EXPECT_FALSE(watch->connected()) << "nothing has come yet";
  watch.reset();
}

}  // namespace
}  // namespace falaj::rpc
