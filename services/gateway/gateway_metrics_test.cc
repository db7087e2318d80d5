// What /metrics of a gateway says after known traffic.
#include <gmock/gmock.h>

#include <string>
#include <thread>

#include "absl/strings/str_cat.h"

#include "libs/http/testing/scrape.h"
#include "libs/rpc/status_grpc.h"
#include "services/gateway/testing/consume_fixture.h"

namespace falaj::gateway {
namespace {

class GatewayMetricsTest : public ConsumeTest {
 protected:
  GatewayServer::Options Options() const override {
    GatewayServer::Options options = ConsumeTest::Options();
    options.connection_bytes_max = 10'000;
    return options;
  }
  // -1 if there is no such series.
  double Metric(const std::string& series) const {
    return http::ScrapeMetric(gateway_->http_address(), series).value_or(-1);
  }
  static v1::ProduceRequest Request(size_t bytes, v1::Acks acks = v1::ACKS_ALL) {
    v1::ProduceRequest request;
    request.set_topic("t");
    request.set_acks(acks);
    request.set_partition(0);
    request.set_batch(MakeBatch(1, std::string(bytes, 'x')).ToString());
    return request;
  }
};

TEST_F(GatewayMetricsTest, ProducesAreTimedByAcksAndBlindOnesAreNot) {
  CreateTopic("t", 1);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Produce(Request(1)).ok());
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(Produce(Request(1, v1::ACKS_LEADER)).ok());
  ASSERT_TRUE(Produce(Request(1, v1::ACKS_NONE)).ok());
  EXPECT_EQ(Metric(R"(falaj_produce_seconds_count{acks="all"})"), 3);
  EXPECT_EQ(Metric(R"(falaj_produce_seconds_count{acks="leader"})"), 2);
  EXPECT_EQ(Metric(R"(falaj_produce_seconds_count{acks="none"})"), -1);
  EXPECT_GT(Metric(R"(falaj_produce_seconds_sum{acks="all"})"), 0);
}

TEST_F(GatewayMetricsTest, StreamsAreCountedWhileTheyAreOpen) {
  CreateTopic("t", 1);
  MustProduce("t", 0, MakeBatch(1));
  {
    grpc::ClientContext context;
    const auto stream = ConsumeTest::Start(&context, OpenFrame("t", {0}, 1 << 20));
    grpc::ClientContext produce_context;
    const auto produce = producers_->StreamProduce(&produce_context);
    v1::StreamProduceRequest open;
    open.mutable_open()->set_topic("t");
    open.mutable_open()->set_acks(v1::ACKS_ALL);
    v1::StreamProduceResponse opened;
    ASSERT_TRUE(produce->Write(open) && produce->Read(&opened));
    EXPECT_EQ(Metric(R"(falaj_gateway_streams{kind="consume"})"), 1);
    EXPECT_EQ(Metric(R"(falaj_gateway_streams{kind="produce"})"), 1);
    stream->WritesDone();
    produce->WritesDone();
    v1::ConsumeResponse rest;
    while (stream->Read(&rest)) continue;
    EXPECT_TRUE(stream->Finish().ok());
    EXPECT_TRUE(produce->Finish().ok());
  }
  EXPECT_TRUE(Eventually([&] {
    return Metric(R"(falaj_gateway_streams{kind="consume"})") == 0 &&
           Metric(R"(falaj_gateway_streams{kind="produce"})") == 0;
  }));
}

TEST_F(GatewayMetricsTest, BytesUnderWayAndCallsThatFindNoRoomAreCounted) {
  CreateTopic("t", 1);
  FakeStorage* const leader = LeaderOf("t", 0);
  EXPECT_EQ(Metric("falaj_gateway_inflight_bytes"), 0);
  leader->HoldAnswers(true);
  std::thread waiter([&] { EXPECT_TRUE(Produce(Request(12'000)).ok()); });
  EXPECT_TRUE(Eventually([&] { return leader->appends() == 1; }));
  EXPECT_GT(Metric("falaj_gateway_inflight_bytes"), 12'000);
  const absl::Status refused = Produce(Request(1)).status();
  EXPECT_EQ(ReasonOf(refused), Reason::kQuotaExceeded);
  EXPECT_TRUE(RetryAfterOf(refused).has_value());
  EXPECT_EQ(Metric(R"(falaj_gateway_throttled_requests_total{reason="connection_bytes"})"), 1);
  EXPECT_EQ(Metric(R"(falaj_gateway_throttled_requests_total{reason="gateway_bytes"})"), 0);
  EXPECT_EQ(Metric(R"(falaj_errors_total{reason="QUOTA_EXCEEDED"})"), 1);
  leader->HoldAnswers(false);
  waiter.join();
  EXPECT_EQ(Metric("falaj_gateway_inflight_bytes"), 0);
}

TEST_F(GatewayMetricsTest, RetriesAndTheAgeOfTheRoutesAreTold) {
  CreateTopic("t", 1);
  LeaderOf("t", 0)->RefuseAppends(MakeError(Reason::kNotLeader, "moved"), 2);
  ASSERT_TRUE(Produce(Request(1)).ok());
  EXPECT_EQ(Metric(R"(falaj_gateway_retries_total{reason="leader"})"), 2);
  EXPECT_EQ(Metric(R"(falaj_gateway_retries_total{reason="metadata"})"), 0);
  EXPECT_EQ(Metric("falaj_gateway_coordination_calls"), 0);
  const double age = Metric("falaj_gateway_route_table_age_seconds");
  EXPECT_GE(age, 0);
  EXPECT_LT(age, 30);
  const char handled[] = R"(grpc_server_handled_total{grpc_code="OK",grpc_method="Produce",)"
                         R"(grpc_service="falaj.v1.ProducerService",grpc_type="unary"})";
  EXPECT_TRUE(Eventually([&] { return Metric(handled) == 1; })) << "counted once it is over";
}

}  // namespace
}  // namespace falaj::gateway
