// A gateway whose watch is behind: what it does not know yet, it asks for before it says no.
#include <gmock/gmock.h>

#include <chrono>
#include <functional>
#include <future>
#include <utility>
#include <vector>

#include "libs/base/random.h"
#include "libs/rpc/metadata_channel.h"
#include "libs/rpc/status_grpc.h"
#include "services/gateway/route_confirmer.h"
#include "services/gateway/testing/produce_fixture.h"
#include "services/gateway/topic_messages.h"

namespace falaj::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class BehindTest : public ProduceTest {
 protected:
  // Another gateway has made a change that this one has not heard of: `call` meets it, and must not
  // be answered before the change has come.
  template <typename Call>
  auto WhileBehind(const internal::v1::ClusterCommand& change, Call call) {
    const int asked_before = metadata_.questions();
    metadata_.HoldWatches(true);
    EXPECT_TRUE(metadata_.Apply(change).ok());
    auto answer = std::async(std::launch::async, call);
    EXPECT_TRUE(Eventually([&] { return metadata_.questions() > asked_before; }));
    EXPECT_NE(answer.wait_for(std::chrono::milliseconds(20)), std::future_status::ready);
    metadata_.HoldWatches(false);
    return answer.get();
  }
  static internal::v1::ClusterCommand Creation(const std::string& name) {
    internal::v1::ClusterCommand command;
    internal::v1::CreateTopicCommand* const create = command.mutable_create_topic();
    create->set_name(name);
    create->set_partition_count(1);
    create->set_replication_factor(1);
    const absl::StatusOr<internal::v1::TopicSettings> settings = ToSettings(v1::TopicConfig());
    EXPECT_TRUE(settings.ok());
    *create->mutable_settings() = settings.value_or(internal::v1::TopicSettings());
    return command;
  }
  static internal::v1::ClusterCommand Growth(const std::string& name, int32_t partitions) {
    internal::v1::ClusterCommand command;
    command.mutable_add_partitions()->set_name(name);
    command.mutable_add_partitions()->set_partition_count(partitions);
    return command;
  }
  absl::Status GetTopic(const std::string& name) {
    v1::GetTopicRequest request;
    v1::GetTopicResponse response;
    request.set_name(name);
    grpc::ClientContext context;
    return rpc::FromGrpc(topics_->GetTopic(&context, request, &response));
  }
  absl::StatusOr<v1::ListOffsetsResponse> ListEarliest(const std::string& name) {
    v1::ListOffsetsRequest request;
    v1::ListOffsetsResponse response;
    request.add_queries()->set_topic(name);
    request.mutable_queries(0)->mutable_target()->set_named(v1::NAMED_OFFSET_EARLIEST);
    grpc::ClientContext context;
    const absl::Status status =
        rpc::FromGrpc(consumers_->ListOffsets(&context, request, &response));
    if (!status.ok()) return status;
    return response;
  }
};

TEST_F(BehindTest, ATopicThatAnotherGatewayMadeIsFoundByEveryCall) {
  EXPECT_TRUE(WhileBehind(Creation("get"), [this] { return GetTopic("get"); }).ok());
  EXPECT_TRUE(
      WhileBehind(Creation("produce"), [this] { return Produce(Records("produce", {"k"})); }).ok());
  EXPECT_TRUE(WhileBehind(Creation("open"), [this] {
                grpc::ClientContext context;
                return End(Open(&context, "open").get());
              }).ok());
  const auto fetched =
      WhileBehind(Creation("fetch"), [this] { return Fetch(FetchOf("fetch", {0})); });
  ASSERT_TRUE(fetched.ok());
  EXPECT_FALSE(fetched->partitions(0).has_error()) << fetched->partitions(0).DebugString();
  const auto listed = WhileBehind(Creation("list"), [this] { return ListEarliest("list"); });
  ASSERT_TRUE(listed.ok());
  EXPECT_FALSE(listed->results(0).has_error()) << listed->results(0).DebugString();
}

TEST_F(BehindTest, PartitionsThatAnotherGatewayAddedAreFound) {
  CreateTopic("t", 1);
  EXPECT_TRUE(WhileBehind(Growth("t", 2), [this] {
                v1::ProduceRequest request = Records("t", {"k"});
                request.set_partition(1);
                return Produce(request);
              }).ok());
  const auto fetched = WhileBehind(Growth("t", 3), [this] { return Fetch(FetchOf("t", {0, 2})); });
  ASSERT_TRUE(fetched.ok());
  EXPECT_FALSE(fetched->partitions(1).has_error()) << fetched->partitions(1).DebugString();
}

TEST_F(BehindTest, AnOpenStreamWritesToPartitionsThatAreAddedAndKeepsTheOrder) {
  CreateTopic("t", 1);
  grpc::ClientContext context;
  const auto stream = Open(&context, "t");
  WhileBehind(Growth("t", 2), [&] {
    EXPECT_TRUE(stream->Write(BatchFrame(1, 1, MakeBatch(2))));
    EXPECT_TRUE(stream->Write(BatchFrame(2, 1, MakeBatch(3))));
    std::vector<uint64_t> ids;
    std::vector<int64_t> offsets;
    for (int i = 0; i < 2; ++i) {
      const v1::BatchAck ack = ReadAck(stream.get());
      EXPECT_FALSE(ack.has_error()) << ack.DebugString();
      ids.push_back(ack.batch_id());
      offsets.push_back(ack.appends(0).base_offset());
    }
    EXPECT_THAT(ids, ElementsAre(1, 2));
    EXPECT_THAT(offsets, ElementsAre(0, 2));
    return 0;
  });
  EXPECT_TRUE(End(stream.get()).ok());
}

TEST_F(BehindTest, WhatIsKnownAsksNobody) {
  CreateTopic("t", 1);
  EXPECT_TRUE(GetTopic("t").ok());
  MustProduce("t", 0, MakeBatch(1));
  EXPECT_TRUE(Fetch(FetchOf("t", {0})).ok());
  EXPECT_TRUE(ListEarliest("t").ok());
  EXPECT_EQ(metadata_.questions(), 0);
  EXPECT_EQ(ReasonOf(GetTopic("none")), Reason::kTopicNotFound);
  EXPECT_EQ(metadata_.questions(), 1);
}

TEST_F(BehindTest, WithoutTheMetadataServiceNobodyIsToldThatATopicDoesNotExist) {
  CreateTopic("t", 1);
  metadata_.Stop();
  const absl::Status got = GetTopic("none");
  EXPECT_EQ(ReasonOf(got), Reason::kLeaderUnavailable) << got;
  EXPECT_THAT(std::string(got.message()), HasSubstr("'none'"));
  EXPECT_TRUE(RetryAfterOf(got).has_value());
  EXPECT_EQ(ReasonOf(Produce(Records("none", {"k"})).status()), Reason::kLeaderUnavailable);
  // What is known goes on, in the same call, too.
  v1::FetchRequest both = FetchOf("t", {0});
  *both.add_partitions() = FetchOf("none", {0}).partitions(0);
  MustProduce("t", 0, MakeBatch(1));
  const auto fetched = Fetch(both);
  ASSERT_TRUE(fetched.ok());
  EXPECT_FALSE(fetched->partitions(0).has_error());
  EXPECT_EQ(fetched->partitions(1).error().reason(), "LEADER_UNAVAILABLE");
}

// A table that follows a metadata service, and a question whose answer the test gives.
class RouteConfirmerTest : public ::testing::Test {
 protected:
  RouteConfirmerTest()
      : channel_({.addresses = {metadata_.address()}}),
        routes_(&channel_, Clock::Real()),
        confirmer_(&routes_, [this](absl::Duration /*timeout*/) { return Ask(); }) {
    routes_.Start();
    EXPECT_TRUE(Eventually([this] { return routes_.age() < absl::Seconds(1); }));
  }

  absl::StatusOr<LogIndex> Ask() {
    MutexLock lock(&mu_);
    ++asked_;
    changed_.NotifyAll();
    while (!answers_open_) changed_.Wait(&mu_);
    return answer_;
  }
  void WaitForQuestions(int count) {
    MutexLock lock(&mu_);
    while (asked_ < count) changed_.Wait(&mu_);
  }
  void LetAnswers(bool open) {
    MutexLock lock(&mu_);
    answers_open_ = open;
    changed_.NotifyAll();
  }
  RouteConfirmer::Done Keep() {
    return [this](const absl::Status& confirmed) {
      MutexLock lock(&mu_);
      heard_.push_back(confirmed);
      changed_.NotifyAll();
    };
  }
  std::vector<absl::Status> WaitForAnswers(size_t count) {
    MutexLock lock(&mu_);
    while (heard_.size() < count) changed_.Wait(&mu_);
    return heard_;
  }
  int asked() {
    MutexLock lock(&mu_);
    return asked_;
  }

  Mutex mu_;
  CondVar changed_;
  int asked_ ABSL_GUARDED_BY(mu_) = 0;
  bool answers_open_ ABSL_GUARDED_BY(mu_) = false;
  absl::StatusOr<LogIndex> answer_ ABSL_GUARDED_BY(mu_) = LogIndex(0);
  std::vector<absl::Status> heard_ ABSL_GUARDED_BY(mu_);
  FakeMetadata metadata_;
  rpc::MetadataChannel channel_;
  RouteTable routes_;
  RouteConfirmer confirmer_;
};

TEST_F(RouteConfirmerTest, WhoComesDuringAQuestionWaitsForTheNextAndAllOfThemShareIt) {
  confirmer_.Start();
  confirmer_.Confirm(Keep());
  WaitForQuestions(1);
  for (int i = 0; i < 100; ++i) confirmer_.Confirm(Keep());
  LetAnswers(true);
  for (const absl::Status& heard : WaitForAnswers(101)) EXPECT_TRUE(heard.ok()) << heard;
  EXPECT_EQ(asked(), 2);
}

TEST_F(RouteConfirmerTest, AnOlderMetadataNodeLeavesItToTheTableAndOneThatFailsDoesNot) {
  LetAnswers(true);
  confirmer_.Start();
  {
    MutexLock lock(&mu_);
    answer_ = absl::UnimplementedError("no such method");
  }
  EXPECT_TRUE(confirmer_.ConfirmNow().ok());
  {
    MutexLock lock(&mu_);
    answer_ = MakeError(Reason::kMetadataUnavailable, "no leader");
  }
  EXPECT_EQ(ReasonOf(confirmer_.ConfirmNow()), Reason::kLeaderUnavailable);
}

TEST_F(RouteConfirmerTest, HoldsABoundedNumberAndAnswersAllOfThemWhenItStops) {
  LetAnswers(true);
  for (size_t i = 0; i < RouteConfirmer::kWaitingMax; ++i) confirmer_.Confirm(Keep());
  EXPECT_EQ(ReasonOf(confirmer_.ConfirmNow()), Reason::kQuotaExceeded);
  confirmer_.Start();
  confirmer_.Stop();
  EXPECT_EQ(WaitForAnswers(RouteConfirmer::kWaitingMax).size(), RouteConfirmer::kWaitingMax);
  EXPECT_EQ(ReasonOf(confirmer_.ConfirmNow()), Reason::kShuttingDown);
}

}  // namespace
}  // namespace falaj::gateway
