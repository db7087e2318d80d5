#include "libs/rpc/callback_threads.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <thread>

#include "gtest/gtest.h"

#include "libs/base/mutex.h"
#include "libs/rpc/channel.h"

namespace falaj::rpc {
namespace {

std::string ThisThread() {
  std::array<char, 16> name{};
  pthread_getname_np(pthread_self(), name.data(), name.size());
  return name.data();
}

// If gRPC's own definition were taken, these would be its threads, and two at least.
TEST(CallbackThreads, RunEveryCallback) {
  const size_t bound = std::max(1U, std::thread::hardware_concurrency() / 2);
  Mutex mu;
  CondVar changed;
  std::set<std::thread::id> threads;
  int ended = 0;
  for (int i = 0; i < 50; ++i) {
    grpc::GenericStub stub(MakeChannel("127.0.0.1:1"));
    grpc::ClientContext context;
    const grpc::Slice slice("x");
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    stub.UnaryCall(&context, "/test/Call", grpc::StubOptions(), &request, &response,
                   [&](const grpc::Status& /*status*/) {
                     EXPECT_EQ("falaj-rpc", ThisThread());
                     MutexLock lock(&mu);
                     threads.insert(std::this_thread::get_id());
                     ++ended;
                     changed.NotifyAll();
                   });
    MutexLock lock(&mu);
    while (ended <= i) changed.Wait(&mu);
  }
  MutexLock lock(&mu);
  EXPECT_LE(threads.size(), bound);
}

}  // namespace
}  // namespace falaj::rpc
