#include "libs/rpc/channel.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "gtest/gtest.h"

#include "libs/base/mutex.h"
#include "libs/rpc/server.h"

namespace falaj::rpc {
namespace {

// One call on a channel of its own that nobody but the callback holds.
struct LoneCall {
  std::shared_ptr<grpc::Channel> channel = MakeChannel("127.0.0.1:1");
  grpc::GenericStub stub{channel};
  grpc::ClientContext context;
  grpc::ByteBuffer request;
  grpc::ByteBuffer response;
};

// gRPC 1.51 aborts the process when a callback releases the last channel there is.
TEST(Channel, ACallbackMayReleaseTheLastChannel) {
  Mutex mu;
  CondVar changed;
  int ended = 0;
  for (int i = 0; i < 20; ++i) {
    auto call = std::make_shared<LoneCall>();
    LoneCall* const raw = call.get();
    const grpc::Slice slice("x");
    raw->request = grpc::ByteBuffer(&slice, 1);
    std::weak_ptr<LoneCall> released = call;
    raw->stub.UnaryCall(
        &raw->context, "/test/Call", grpc::StubOptions(), &raw->request, &raw->response,
        [call = std::move(call), &mu, &changed, &ended](const grpc::Status& status) mutable {
          EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
          call.reset();
          MutexLock lock(&mu);
          ++ended;
          changed.NotifyAll();
        });
    MutexLock lock(&mu);
    while (ended <= i) changed.Wait(&mu);
    EXPECT_TRUE(released.expired());
  }
}

// The method is unknown to every server; what counts is whether one has seen the call.
bool CallReaches(const std::string& address) {
  grpc::GenericStub stub(MakeChannel(address));
  grpc::ClientContext context;
  const grpc::Slice slice("x");
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer response;
  Mutex mu;
  CondVar changed;
  bool ended = false;
  stub.UnaryCall(&context, "/test/Call", grpc::StubOptions(), &request, &response,
                 [&](const grpc::Status& status) {
                   EXPECT_FALSE(status.ok());
                   MutexLock lock(&mu);
                   ended = true;
                   changed.NotifyAll();
                 });
  MutexLock lock(&mu);
  while (!ended) changed.Wait(&mu);
  return ReachedConnection(context);
}

TEST(Channel, TellsACallThatNoServerCanHaveSeen) {
  auto host = *ServerHost::Start({}, {}, nullptr);
  const std::string port = host->address().substr(host->address().rfind(':'));
  EXPECT_TRUE(CallReaches("127.0.0.1" + port));
  host.reset();
  EXPECT_FALSE(CallReaches("127.0.0.1" + port));
  EXPECT_FALSE(CallReaches("localhost" + port));
  EXPECT_FALSE(CallReaches("no-such-host.invalid:1"));
}

}  // namespace
}  // namespace falaj::rpc
