// What clients see of a gateway that is told to stop.
#include <gmock/gmock.h>

#include <algorithm>
#include <future>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "grpc/health/v1/health.grpc.pb.h"

#include "libs/client/admin.h"
#include "libs/client/consumer.h"
#include "libs/client/producer.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"
#include "services/gateway/testing/consume_fixture.h"
#include "services/gateway/testing/coordination_fixture.h"

namespace falaj::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ProduceStream = grpc::ClientReaderWriter<v1::StreamProduceRequest, v1::StreamProduceResponse>;

constexpr absl::Duration kQuick = absl::Seconds(5);
constexpr absl::Duration kLong = absl::Seconds(20);

void ExpectShuttingDown(const grpc::Status& end) {
  const absl::Status status = rpc::FromGrpc(end);
  EXPECT_EQ(ReasonOf(status), Reason::kShuttingDown) << status;
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(RetryAfterOf(status).has_value()) << status;
}

class GatewayStopTest : public ConsumeTest {
 protected:
  // Whoever has to be cut off takes longer than a test may.
  GatewayServer::Options Options() const override {
    GatewayServer::Options options;
    options.stop_grace = absl::Minutes(1);
    options.stop_wait = stop_wait_;
    return options;
  }
  // Stops the gateway and expects that to be quick.
  void StopQuickly() {
    const MonotonicTime start = Clock::Real()->MonotonicNow();
    gateway_->Stop();
    EXPECT_LT(Clock::Real()->MonotonicNow() - start, kQuick);
  }
  std::unique_ptr<ProduceStream> OpenProduce(grpc::ClientContext* context) {
    context->set_deadline(absl::ToChronoTime(Clock::Real()->Now() + absl::Seconds(30)));
    auto stream = producers_->StreamProduce(context);
    v1::StreamProduceRequest open;
    open.mutable_open()->set_topic("t");
    open.mutable_open()->set_acks(v1::ACKS_ALL);
    v1::StreamProduceResponse response;
    EXPECT_TRUE(stream->Write(open));
    EXPECT_TRUE(stream->Read(&response) && response.has_opened());
    return stream;
  }
  static v1::StreamProduceRequest BatchFrame(uint64_t id) {
    v1::StreamProduceRequest frame;
    frame.mutable_batch()->set_batch_id(id);
    frame.mutable_batch()->set_batch(MakeBatch(1).ToString());
    return frame;
  }
  // Where clients find this gateway first, and then the other one.
  std::string StartAnother() {
    GatewayServer::Options options = Options();
    options.metadata_addresses = {metadata_.address()};
    other_ = *GatewayServer::Start(options);
    EXPECT_TRUE(Eventually([this] { return other_->Ready(); }));
    return absl::StrCat("ipv4:", gateway_->grpc_address(), ",", other_->grpc_address());
  }

  absl::Duration stop_wait_ = absl::ZeroDuration();
  std::unique_ptr<GatewayServer> other_;
};

TEST_F(GatewayStopTest, AConsumeStreamEndsAtOnceAndSaysWhy) {
  CreateTopic("t", 1);
  MustProduce("t", 0, MakeBatch(2));
  grpc::ClientContext context;
  const auto stream = Start(&context, OpenFrame("t", {0}, 1 << 20));
  EXPECT_EQ(ReadRecords(stream.get()).next_offset(), 2);
  StopQuickly();
  v1::ConsumeResponse rest;
  while (stream->Read(&rest)) continue;
  ExpectShuttingDown(stream->Finish());
}

TEST_F(GatewayStopTest, AStreamThatHasNotBegunEndsToo) {
  grpc::ClientContext context;
  const auto idle = consumers_->Consume(&context);
  grpc::ClientContext other_context;
  const auto produce = producers_->StreamProduce(&other_context);
  CreateTopic("t", 1);
  MustProduce("t", 0, MakeBatch(1));
  StopQuickly();
  // Cut off before the gateway knew of it, or told: but not left hanging.
  EXPECT_EQ(idle->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(produce->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(GatewayStopTest, WhatAProduceStreamHasTakenIsAckedBeforeItEnds) {
  CreateTopic("t", 1);
  FakeStorage* const leader = LeaderOf("t", 0);
  grpc::ClientContext context;
  const auto stream = OpenProduce(&context);
  ASSERT_TRUE(stream->Write(BatchFrame(1)));
  v1::StreamProduceResponse response;
  ASSERT_TRUE(stream->Read(&response));  // From here on several may be under way.
  leader->HoldAnswers(true);
  for (uint64_t id = 2; id <= 4; ++id) ASSERT_TRUE(stream->Write(BatchFrame(id)));
  ASSERT_TRUE(Eventually([&] { return leader->appends() == 4; }));
  std::promise<void> stopped;
  std::thread stopper([&] {
    gateway_->Stop();
    stopped.set_value();
  });
  auto done = stopped.get_future();
  EXPECT_EQ(done.wait_for(std::chrono::milliseconds(200)), std::future_status::timeout)
      << "three batches have no answer yet";
  leader->HoldAnswers(false);
  std::vector<uint64_t> acked;
  while (stream->Read(&response)) {
    acked.push_back(response.ack().batch_id());
    EXPECT_FALSE(response.ack().appends(0).has_error());
  }
  EXPECT_THAT(acked, ElementsAre(2, 3, 4));
  ExpectShuttingDown(stream->Finish());
  EXPECT_EQ(done.wait_for(absl::ToChronoSeconds(kQuick)), std::future_status::ready);
  stopper.join();
}

TEST_F(GatewayStopTest, AnIdleProduceStreamEndsAtOnce) {
  CreateTopic("t", 1);
  grpc::ClientContext context;
  const auto stream = OpenProduce(&context);
  StopQuickly();
  v1::StreamProduceResponse response;
  EXPECT_FALSE(stream->Read(&response));
  ExpectShuttingDown(stream->Finish());
}

TEST_F(GatewayStopTest, ALongPollEndsAtOnceAndSaysWhy) {
  CreateTopic("t", 2);
  MustProduce("t", 0, MakeBatch(1));
  MustProduce("t", 1, MakeBatch(1));
  v1::FetchRequest request = FetchOf("t", {0, 1}, 1);
  request.mutable_max_wait()->set_seconds(30);
  absl::StatusOr<v1::FetchResponse> answer;
  std::thread waiter([&] { answer = Fetch(request); });
  ASSERT_TRUE(Eventually([&] { return storage1_.reads().size() + storage2_.reads().size() >= 4; }));
  StopQuickly();
  waiter.join();
  EXPECT_EQ(ReasonOf(answer.status()), Reason::kShuttingDown) << answer.status();
  EXPECT_TRUE(RetryAfterOf(answer.status()).has_value());
}

TEST_F(GatewayStopTest, AWatchOfTheClusterEndsAtOnceAndSaysWhy) {
  grpc::ClientContext context;
  const auto watch = cluster_->WatchCluster(&context, v1::WatchClusterRequest());
  v1::WatchClusterResponse response;
  ASSERT_TRUE(watch->Read(&response));
  StopQuickly();
  while (watch->Read(&response)) continue;
  ExpectShuttingDown(watch->Finish());
}

TEST_F(GatewayStopTest, AConsumerGoesOnAtAnotherGateway) {
  CreateTopic("t", 1);
  MustProduce("t", 0, MakeBatch(2, "a"));
  client::ConsumerOptions options;
  options.address = StartAnother();
  const auto consumer =
      *client::Consumer::Create(options, {{"t", PartitionIndex(0), client::AtStart()}});
  auto run = consumer->Poll(kLong);
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->next_offset(), Offset(2));
  StopQuickly();
  gateway_ = std::move(other_);
  producers_ = v1::ProducerService::NewStub(rpc::MakeChannel(gateway_->grpc_address()));
  MustProduce("t", 0, MakeBatch(1, "b"));
  run = consumer->Poll(kLong);
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->next_offset(), Offset(3));
}

TEST_F(GatewayStopTest, AProducerGoesOnAtAnotherGatewayWithoutAnErrorOrADuplicate) {
  CreateTopic("t", 1);
  client::ProducerOptions options;
  options.address = StartAnother();
  const auto producer = *client::Producer::Create(options);
  constexpr int kRecords = 2000;
  std::vector<std::future<client::Delivery>> deliveries;
  const auto send_until = [&](size_t count) {
    while (deliveries.size() < count) {
      record::Record record;
      record.value = absl::StrCat(deliveries.size());
      deliveries.push_back(producer->Send("t", record));
    }
  };
  send_until(kRecords / 2);
  deliveries[0].wait();
  // Some of these reach the leader and have no answer when the gateway begins to stop.
  FakeStorage* const leader = LeaderOf("t", 0);
  leader->HoldAnswers(true);
  const int appends = leader->appends();
  send_until(kRecords - kRecords / 4);
  ASSERT_TRUE(Eventually([&] { return leader->appends() > appends; }));
  std::thread stopper([this] { StopQuickly(); });
  EXPECT_TRUE(Eventually([this] { return !gateway_->Ready(); }));
  EXPECT_EQ(deliveries.back().wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  send_until(kRecords);
  leader->HoldAnswers(false);
  stopper.join();
  for (int i = 0; i < kRecords; ++i) {
    const client::Delivery delivery = deliveries[static_cast<size_t>(i)].get();
    ASSERT_TRUE(delivery.status.ok()) << i << ": " << delivery.status;
    EXPECT_EQ(delivery.offset, Offset(i));
  }
}

// What the gateway has not answered it has not taken: nothing is uncertain because it stops. A
// write may still meet a connection that is closed already, and then nobody hears why.
TEST_F(GatewayStopTest, AProducerWithoutSequencesGoesOnAtAnotherGateway) {
  CreateTopic("t", 1);
  client::ProducerOptions options;
  options.address = StartAnother();
  options.acks = v1::ACKS_LEADER;
  options.batch_bytes = 200;  // Many batches, so that some are on their way.
  const auto producer = *client::Producer::Create(options);
  constexpr int kRecords = 2000;
  std::vector<std::future<client::Delivery>> deliveries;
  std::thread stopper;
  for (int i = 0; i < kRecords; ++i) {
    record::Record record;
    record.value = absl::StrCat(i);
    deliveries.push_back(producer->Send("t", record));
    if (i == kRecords / 2) stopper = std::thread([this] { StopQuickly(); });
  }
  stopper.join();
  Offset last(-1);
  for (int i = 0; i < kRecords; ++i) {
    const client::Delivery delivery = deliveries[static_cast<size_t>(i)].get();
    if (!delivery.status.ok()) {
      EXPECT_EQ(ReasonOf(delivery.status), Reason::kAppendUncertain) << i << delivery.status;
      EXPECT_NE(MetadataOf(delivery.status)["cause"], "SHUTTING_DOWN") << i << delivery.status;
      continue;
    }
    EXPECT_GT(delivery.offset, last) << i;
    last = delivery.offset;
  }
  EXPECT_GT(last, Offset(0));
}

TEST_F(GatewayStopTest, AWatchGoesOnAtAnotherGateway) {
  CreateTopic("t", 1);
  client::Admin admin({.address = StartAnother(), .timeout = kLong});
  std::promise<void> begun;
  std::promise<void> changed;
  std::thread watcher([&] {
    bool first = true;
    const absl::Status status = admin.WatchCluster(0, [&](const v1::WatchClusterResponse& event) {
      if (std::exchange(first, false)) begun.set_value();
      const auto& topics =
          event.has_snapshot() ? event.snapshot().topics() : event.delta().topics();
      return std::none_of(topics.begin(), topics.end(),
                          [](const v1::Topic& topic) { return topic.name() == "later"; });
    });
    EXPECT_TRUE(status.ok()) << status;
    changed.set_value();
  });
  begun.get_future().wait();
  StopQuickly();
  gateway_ = std::move(other_);
  topics_ = v1::TopicService::NewStub(rpc::MakeChannel(gateway_->grpc_address()));
  CreateTopic("later", 1);
  EXPECT_EQ(changed.get_future().wait_for(absl::ToChronoSeconds(kLong)), std::future_status::ready);
  watcher.join();
}

using CoordinationStopTest = CoordinationForwardTest;

TEST_F(CoordinationStopTest, WhatWaitsForNewsEndsAtOnceAndSaysWhy) {
  FakeCoordination node;
  StartGateway({node.address()});
  grpc::ClientContext watch_context;
  const auto watch = stub_->WatchZnodes(&watch_context, v1::WatchZnodesRequest());
  node.SetSilent(true);
  grpc::Status campaign;
  std::thread candidate([&] {
    grpc::ClientContext context;
    v1::CampaignResponse response;
    campaign = stub_->Campaign(&context, v1::CampaignRequest(), &response);
  });
  ASSERT_TRUE(Eventually([&] { return !node.calls().empty() && !node.watched_after().empty(); }));
  calls_.StopAll();
  ExpectShuttingDown(watch->Finish());
  candidate.join();
  ExpectShuttingDown(campaign);
}

TEST_F(CoordinationStopTest, FramesThatWereTakenAreAnsweredBeforeTheStreamEnds) {
  FakeCoordination node;
  StartGateway({node.address()});
  node.SetSilent(true);
  grpc::ClientContext context;
  const auto stream = stub_->KeepSessions(&context);
  v1::KeepSessionsRequest sign;
  sign.add_sessions()->set_session_id(7);
  ASSERT_TRUE(stream->Write(sign));
  ASSERT_TRUE(Eventually([&] { return node.kept().size() == 1; }));
  calls_.StopAll();
  node.SetSilent(false);
  v1::KeepSessionsResponse response;
  EXPECT_TRUE(stream->Read(&response));
  EXPECT_FALSE(stream->Read(&response));
  ExpectShuttingDown(stream->Finish());
}

class GatewayDrainTest : public GatewayStopTest {
 protected:
  GatewayDrainTest() { stop_wait_ = absl::Seconds(2); }
};

TEST_F(GatewayDrainTest, WhileItWaitsItIsNotReadyAndServes) {
  CreateTopic("t", 1);
  const auto health = grpc::health::v1::Health::NewStub(channel_);
  std::thread stopper([this] { gateway_->Stop(); });
  EXPECT_TRUE(Eventually([&] {
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckRequest request;
    request.set_service("readiness");
    grpc::health::v1::HealthCheckResponse response;
    EXPECT_TRUE(health->Check(&context, request, &response).ok());
    return response.status() == grpc::health::v1::HealthCheckResponse::NOT_SERVING;
  }));
  MustProduce("t", 0, MakeBatch(1));
  grpc::ClientContext context;
  const auto stream = Start(&context, OpenFrame("t", {0}, 1 << 20));
  EXPECT_EQ(ReadRecords(stream.get()).next_offset(), 1);
  v1::ConsumeResponse rest;
  while (stream->Read(&rest)) continue;
  ExpectShuttingDown(stream->Finish());
  stopper.join();
}

TEST_F(GatewayDrainTest, WhileItWaitsItSaysNothingOfOldRoutesAndStaysUnready) {
  const auto health = grpc::health::v1::Health::NewStub(channel_);
  const auto serving = [&] {
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckRequest request;
    request.set_service("readiness");
    grpc::health::v1::HealthCheckResponse response;
    EXPECT_TRUE(health->Check(&context, request, &response).ok());
    return response.status() == grpc::health::v1::HealthCheckResponse::SERVING;
  };
  ASSERT_TRUE(Eventually(serving));
  testing::internal::CaptureStderr();
  std::thread stopper([this] { gateway_->Stop(); });
  EXPECT_TRUE(Eventually([&] { return !serving(); }));
  metadata_.Keepalive();
  EXPECT_FALSE(HappensSoon(serving));
  stopper.join();
  EXPECT_THAT(testing::internal::GetCapturedStderr(), Not(HasSubstr("not ready")));
}

}  // namespace
}  // namespace falaj::gateway
