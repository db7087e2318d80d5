// A gateway's coordination service alone, for tests that fail the nodes behind it on purpose.
#ifndef SERVICES_GATEWAY_TESTING_COORDINATION_FIXTURE_H_
#define SERVICES_GATEWAY_TESTING_COORDINATION_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "falaj/v1/coordination_service.grpc.pb.h"

#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/open_calls.h"
#include "libs/rpc/server.h"
#include "libs/rpc/status_grpc.h"
#include "services/gateway/coordination_service_impl.h"
#include "services/gateway/testing/fake_coordination.h"

namespace falaj::gateway {

// With times a test can wait for.
class CoordinationForwardTest : public testing::Test {
 protected:
  ~CoordinationForwardTest() override { StopGateway(); }

  void StopGateway() {
    timers_.Close();
    if (host_ != nullptr) host_->Stop(absl::Milliseconds(50));
    if (backend_ != nullptr) backend_->Close();
  }

  // Whoever tests a timeout shortens it first; on a busy machine the others must not pass.
  CoordinationForwardTest() {
    options_.calls_max = 100;
    options_.attempt_timeout = absl::Minutes(1);
    options_.waiting_attempt_timeout = absl::Minutes(1);
    options_.watch_silence_max = absl::Minutes(1);
    options_.backoff_base = absl::Milliseconds(1);
    options_.backoff_max = absl::Milliseconds(5);
  }

  void StartGateway(std::vector<std::string> addresses) {
    options_.addresses = std::move(addresses);
    backend_ = std::make_unique<CoordinationBackend>(options_, metrics_.coordination_calls);
    parts_.budgets = &budgets_;
    parts_.metrics = &metrics_;
    parts_.timers = &timers_;
    parts_.calls = &calls_;
    parts_.clock = Clock::Real();
    service_ = std::make_unique<CoordinationServiceImpl>(&parts_, backend_.get());
    host_ = *rpc::ServerHost::Start({}, {service_.get()}, nullptr);
    stub_ = v1::CoordinationService::NewStub(rpc::MakeChannel(host_->address()));
  }

  absl::Status Create(uint64_t request_id, absl::Duration timeout = absl::InfiniteDuration()) {
    grpc::ClientContext context;
    if (timeout < absl::InfiniteDuration()) {
      context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    }
    v1::CreateZnodeRequest request;
    request.set_path("/a");
    if (request_id != 0) request.mutable_options()->mutable_session()->set_session_id(1);
    request.mutable_options()->set_request_id(request_id);
    v1::CreateZnodeResponse response;
    return rpc::FromGrpc(stub_->CreateZnode(&context, request, &response));
  }

  telemetry::Registry registry_;
  GatewayMetrics metrics_{&registry_};
  ConnectionBudgets budgets_{1 << 20, 1 << 20};
  RetryTimers timers_;
  rpc::OpenCalls calls_;
  GatewayParts parts_;
  CoordinationBackend::Options options_;
  std::unique_ptr<CoordinationBackend> backend_;
  std::unique_ptr<CoordinationServiceImpl> service_;
  std::unique_ptr<rpc::ServerHost> host_;
  std::unique_ptr<v1::CoordinationService::Stub> stub_;
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_TESTING_COORDINATION_FIXTURE_H_
