#include "libs/rpc/server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

#include "falaj/internal/v1/storage_service.grpc.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"

#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/client_metrics.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::rpc {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using internal::v1::AppendRequest;
using internal::v1::AppendResponse;
using internal::v1::StorageService;
using ::testing::HasSubstr;
using ::testing::Not;

// Echoes request ids until it is cancelled or half-closed.
class EchoStream final : public grpc::ServerBidiReactor<AppendRequest, AppendResponse> {
 public:
  EchoStream() { StartRead(&request_); }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return End(grpc::Status::OK);
    response_.clear_outcomes();
    for (const internal::v1::AppendBatch& batch : request_.batches()) {
      response_.add_outcomes()->set_request_id(batch.header().request_id());
    }
    StartWrite(&response_);
  }
  void OnWriteDone(bool ok) override {
    if (ok) StartRead(&request_);
  }
  void OnCancel() override { End(grpc::Status::CANCELLED); }
  void OnDone() override { delete this; }
  void End(const grpc::Status& status) {
    MutexLock lock(&mu_);
    if (!ended_) Finish(status);
    ended_ = true;
  }

  Mutex mu_;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  AppendRequest request_;
  AppendResponse response_;
};

class FakeStorage final : public StorageService::CallbackService {
 public:
  grpc::ServerBidiReactor<AppendRequest, AppendResponse>* Append(
      grpc::CallbackServerContext* /*context*/) override {
    return new EchoStream();
  }
  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context,
                                 const internal::v1::ReadRequest* request,
                                 internal::v1::ReadResponse* /*response*/) override {
    ++reads_;
    auto* reactor = context->DefaultReactor();
    reactor->Finish(request->max_bytes() < 0
                        ? ToGrpc(MakeError(Reason::kNotLeader, "not here", {{"leader", "2"}}))
                        : grpc::Status::OK);
    return reactor;
  }
  int reads() const { return reads_; }

 private:
  std::atomic<int> reads_ = 0;
};

// Sends the bytes as the one request of a method and returns how the call ends.
grpc::Status CallRaw(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                     const std::string& request) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const grpc::Slice slice(request);
  const auto call = stub.PrepareUnaryCall(&context, method, grpc::ByteBuffer(&slice, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer answer;
  grpc::Status status;
  call->Finish(&answer, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  return status;
}

class ServerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto host = ServerHost::Start({.max_receive_bytes = 1 << 20}, {&service_}, &registry_);
    ASSERT_TRUE(host.ok()) << host.status();
    host_ = *std::move(host);
    channel_ = MakeChannel(host_->address());
  }
  HealthCheckResponse::ServingStatus Health(const std::string& name) {
    grpc::ClientContext context;
    HealthCheckRequest request;
    HealthCheckResponse response;
    request.set_service(name);
    const grpc::Status status =
        grpc::health::v1::Health::NewStub(channel_)->Check(&context, request, &response);
    if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
      return HealthCheckResponse::SERVICE_UNKNOWN;
    }
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.status();
  }
  grpc::Status Read(int max_bytes) {
    grpc::ClientContext context;
    internal::v1::ReadRequest request;
    internal::v1::ReadResponse response;
    request.set_max_bytes(max_bytes);
    return StorageService::NewStub(channel_)->Read(&context, request, &response);
  }

  // What each side has counted, and how its metrics begin.
  std::map<std::string, std::string> BothSides() const {
    return {{"grpc_server_", registry_.Serialize()},
            {"grpc_client_", client_registry_.Serialize()}};
  }

  FakeStorage service_;
  telemetry::Registry registry_;
  telemetry::Registry client_registry_;
  const std::shared_ptr<ClientMetrics> client_metrics_ =
      std::make_shared<ClientMetrics>(&client_registry_);
  std::unique_ptr<ServerHost> host_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(ServerTest, LivesFromTheStartAndIsReadyWhenToldSo) {
  EXPECT_EQ(Health("liveness"), HealthCheckResponse::SERVING);
  for (const char* name : {"", "readiness", "falaj.internal.v1.StorageService"}) {
    EXPECT_EQ(Health(name), HealthCheckResponse::NOT_SERVING) << name;
  }
  host_->SetReady(true);
  for (const char* name : {"", "readiness", "falaj.internal.v1.StorageService"}) {
    EXPECT_EQ(Health(name), HealthCheckResponse::SERVING) << name;
  }
  EXPECT_EQ(Health("nobody"), HealthCheckResponse::SERVICE_UNKNOWN);
}

TEST_F(ServerTest, HealthWatchTellsEveryChangeAndEndsWithTheServer) {
  grpc::ClientContext context;
  HealthCheckRequest request;
  HealthCheckResponse response;
  request.set_service("readiness");
  auto watch = grpc::health::v1::Health::NewStub(channel_)->Watch(&context, request);
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  host_->SetReady(true);
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  // A grace this long would time the test out if the watch did not end by itself.
  host_->Stop(absl::Minutes(10));
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_FALSE(watch->Read(&response));
  EXPECT_EQ(ReasonOf(FromGrpc(watch->Finish())), Reason::kShuttingDown);
}

TEST_F(ServerTest, ReflectionListsHealthAndTheServices) {
  // The reflection messages are not among our protos: ask for the list by hand (list_services =
  // "*").
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  auto call = stub.PrepareCall(
      &context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  const auto next = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  call->StartCall(nullptr);
  ASSERT_TRUE(next());
  grpc::Slice list("\x3a\x01*", 3);
  call->Write(grpc::ByteBuffer(&list, 1), nullptr);
  ASSERT_TRUE(next());
  grpc::ByteBuffer answer;
  call->Read(&answer, nullptr);
  ASSERT_TRUE(next());
  grpc::Slice text;
  ASSERT_TRUE(answer.DumpToSingleSlice(&text).ok());
  const std::string names(reinterpret_cast<const char*>(text.begin()), text.size());
  EXPECT_THAT(names, HasSubstr("falaj.internal.v1.StorageService"));
  EXPECT_THAT(names, HasSubstr("grpc.health.v1.Health"));
  context.TryCancel();
  grpc::Status status;
  call->Finish(&status, nullptr);
  next();
}

TEST_F(ServerTest, BothSidesCountCallsMessagesAndErrorsByKnownMethodOnly) {
  channel_ = MakeChannel(host_->address(), {.metrics = client_metrics_});
  EXPECT_TRUE(Read(1).ok());
  EXPECT_EQ(ReasonOf(FromGrpc(Read(-1))), Reason::kNotLeader);
  EXPECT_EQ(CallRaw(channel_, "/made.up/Method", "").error_code(), grpc::StatusCode::UNIMPLEMENTED);

  host_->Stop(absl::Seconds(1));  // Every interceptor is gone now.
  const std::string labels =
      "grpc_method=\"Read\",grpc_service=\"falaj.internal.v1.StorageService\",grpc_type=\"unary\"}";
  for (const auto& [side, text] : BothSides()) {
    EXPECT_THAT(text, HasSubstr(side + "started_total{" + labels + " 2\n"));
    EXPECT_THAT(text, HasSubstr(side + "handled_total{grpc_code=\"OK\"," + labels + " 1\n"));
    EXPECT_THAT(text, HasSubstr(side + "handled_total{grpc_code=\"FailedPrecondition\"," + labels +
                                " 1\n"));
    EXPECT_THAT(text, HasSubstr(side + "handling_seconds_count{" + labels + " 2\n"));
    EXPECT_THAT(text, Not(HasSubstr("made.up")));
  }
  EXPECT_THAT(registry_.Serialize(),
              HasSubstr("grpc_server_msg_received_total{" + labels + " 2\n"));
  EXPECT_THAT(client_registry_.Serialize(),
              HasSubstr("grpc_client_msg_sent_total{" + labels + " 2\n"));
  EXPECT_THAT(client_registry_.Serialize(),
              HasSubstr("grpc_client_msg_received_total{" + labels + " 1\n"));
  EXPECT_THAT(registry_.Serialize(), HasSubstr("falaj_errors_total{reason=\"NOT_LEADER\"} 1\n"));
}

TEST_F(ServerTest, BothSidesCountTheMessagesOfAStream) {
  channel_ = MakeChannel(host_->address(), {.metrics = client_metrics_});
  grpc::ClientContext context;
  auto stream = StorageService::NewStub(channel_)->Append(&context);
  AppendRequest request;
  AppendResponse response;
  for (uint64_t id = 1; id <= 3; ++id) {
    request.clear_batches();
    request.add_batches()->mutable_header()->set_request_id(id);
    ASSERT_TRUE(stream->Write(request));
    ASSERT_TRUE(stream->Read(&response));
    ASSERT_EQ(response.outcomes_size(), 1);
    EXPECT_EQ(response.outcomes(0).request_id(), id);
  }
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
  host_->Stop(absl::Seconds(1));
  const std::string labels =
      "grpc_method=\"Append\",grpc_service=\"falaj.internal.v1.StorageService\","
      "grpc_type=\"bidi_stream\"}";
  for (const auto& [side, text] : BothSides()) {
    EXPECT_THAT(text, HasSubstr(side + "msg_received_total{" + labels + " 3\n"));
    EXPECT_THAT(text, HasSubstr(side + "msg_sent_total{" + labels + " 3\n"));
    EXPECT_THAT(text, HasSubstr(side + "handled_total{grpc_code=\"OK\"," + labels + " 1\n"));
  }
}

TEST_F(ServerTest, StopCancelsStreamsThatOutliveTheGrace) {
  grpc::ClientContext context;
  auto stream = StorageService::NewStub(channel_)->Append(&context);
  AppendRequest request;
  AppendResponse response;
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&response));
  host_->Stop(absl::Milliseconds(20));
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_FALSE(stream->Finish().ok());
  host_->Stop(absl::Seconds(1));  // Once more does nothing.
}

TEST_F(ServerTest, RefusesMessagesAboveItsLimit) {
  grpc::ClientContext context;
  auto stream = StorageService::NewStub(channel_)->Append(&context);
  AppendRequest request;
  request.add_batches()->set_batch(std::string(2 << 20, 'x'));
  stream->Write(request);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

// The reason in the details themselves; FromGrpc() would make one up.
std::string ReasonSent(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  for (const google::protobuf::Any& detail : details.details()) {
    if (detail.Is<google::rpc::ErrorInfo>()) detail.UnpackTo(&info);
  }
  return info.reason();
}

TEST_F(ServerTest, AMalformedRequestIsRefusedWithAReason) {
  const auto without_metrics = ServerHost::Start({}, {&service_}, nullptr);
  ASSERT_TRUE(without_metrics.ok());
  for (const auto& channel : {channel_, MakeChannel((*without_metrics)->address())}) {
    for (const char* method : {"/falaj.internal.v1.StorageService/Read",
                               "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"}) {
      const grpc::Status status = CallRaw(channel, method, "\x0a\x7f");
      EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
      EXPECT_EQ(ReasonSent(status), "INVALID_REQUEST") << method;
    }
  }
  EXPECT_EQ(service_.reads(), 0);
  host_->Stop(absl::Seconds(1));
  EXPECT_THAT(registry_.Serialize(),
              HasSubstr("falaj_errors_total{reason=\"INVALID_REQUEST\"} 3\n"));
}

TEST_F(ServerTest, AMethodThatIsNotServedIsUnsupported) {
  for (const char* method :
       {"/falaj.internal.v1.StorageService/TruncatePrefix", "/falaj.v1.Future/Method"}) {
    const grpc::Status status = CallRaw(channel_, method, "");
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << method;
    EXPECT_EQ(ReasonSent(status), "UNSUPPORTED") << method;
    EXPECT_FALSE(status.error_message().empty()) << method;
  }
}

TEST_F(ServerTest, ACompressedMessageIsRefusedAndNotInflated) {
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  internal::v1::ReadRequest request;
  internal::v1::ReadResponse response;
  // Small on the wire, far above the limit when inflated.
  request.GetReflection()->MutableUnknownFields(&request)->AddLengthDelimited(
      1000, std::string(24 << 20, '\0'));
  const grpc::Status status = StorageService::NewStub(channel_)->Read(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(status.error_message(), HasSubstr("gzip"));
  EXPECT_EQ(service_.reads(), 0);
  EXPECT_TRUE(Read(1).ok()) << "the connection goes on";
}

TEST_F(ServerTest, AnAddressInUseIsAnError) {
  const auto second = ServerHost::Start({.listen_address = host_->address()}, {&service_}, nullptr);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace falaj::rpc
