#include "libs/rpc/channel.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <memory>

#include "gtest/gtest.h"

#include "libs/base/mutex.h"

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

}  // namespace
}  // namespace falaj::rpc
