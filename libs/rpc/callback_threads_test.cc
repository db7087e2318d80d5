#include "libs/rpc/callback_threads.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"

#include "libs/base/mutex.h"
#include "libs/base/turn.h"
#include "libs/rpc/channel.h"

namespace falaj::rpc {
namespace {

// As many as there should be.
const int kThreads = static_cast<int>(std::clamp(std::thread::hardware_concurrency() / 2, 1U, 16U));

std::string ThisThread() {
  std::array<char, 16> name{};
  pthread_getname_np(pthread_self(), name.data(), name.size());
  return name.data();
}

// Of this process, by name as the kernel prints it.
int CountThreads(const std::string& name) {
  int count = 0;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(thread.path() / "comm");
    std::string comm((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (comm == name) ++count;
  }
  return count;
}

// If gRPC's own definition were taken, these would be its threads, and two at least.
TEST(CallbackThreads, RunEveryCallback) {
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
  EXPECT_LE(threads.size(), static_cast<size_t>(kThreads));
}

// A call to nobody, whose end is a callback.
class FailingCall {
 public:
  explicit FailingCall(std::function<void()> at_end)
      : at_end_(std::move(at_end)), stub_(MakeChannel("127.0.0.1:1")) {
    const grpc::Slice slice("x");
    request_ = grpc::ByteBuffer(&slice, 1);
    stub_.UnaryCall(&context_, "/test/Call", grpc::StubOptions(), &request_, &response_,
                    [this](const grpc::Status& /*status*/) {
                      at_end_();
                      MutexLock lock(&mu_);
                      ended_ = true;
                      changed_.NotifyAll();
                    });
  }
  ~FailingCall() { Wait(); }

  void Wait() {
    MutexLock lock(&mu_);
    while (!ended_) changed_.Wait(&mu_);
  }
  bool ended() {
    MutexLock lock(&mu_);
    return ended_;
  }

 private:
  const std::function<void()> at_end_;
  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  Mutex mu_;
  CondVar changed_;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
};

// Keeps whoever comes in until it is opened.
class Trap {
 public:
  void Enter() {
    MutexLock lock(&mu_);
    ++inside_;
    changed_.NotifyAll();
    while (!open_) changed_.Wait(&mu_);
    --inside_;
  }
  void WaitUntilInside(int count) {
    MutexLock lock(&mu_);
    while (inside_ < count) changed_.Wait(&mu_);
  }
  void Open() {
    MutexLock lock(&mu_);
    open_ = true;
    changed_.NotifyAll();
  }

 private:
  Mutex mu_;
  CondVar changed_;
  int inside_ ABSL_GUARDED_BY(mu_) = 0;
  bool open_ ABSL_GUARDED_BY(mu_) = false;
};

// As many calls as there are threads, each of which does `at_end`.
std::vector<std::unique_ptr<FailingCall>> OneForEachThread(const std::function<void()>& at_end) {
  std::vector<std::unique_ptr<FailingCall>> calls;
  for (int i = 0; i < kThreads; ++i) calls.push_back(std::make_unique<FailingCall>(at_end));
  return calls;
}

// In a callback, or at the end of its turn.
class HeldUpTest : public testing::TestWithParam<bool> {
 protected:
  void BeHeldUp(Trap* trap) {
    const auto enter = [trap] {
      const MayBlock may_block;
      trap->Enter();
    };
    if (GetParam()) return enter();
    Turn::AtEnd(trap, enter);
  }
};

INSTANTIATE_TEST_SUITE_P(CallbackThreads, HeldUpTest, testing::Bool());

TEST_P(HeldUpTest, IsReplacedAndEnds) {
  Trap trap;
  const auto held = OneForEachThread([&] { BeHeldUp(&trap); });
  trap.WaitUntilInside(kThreads);
  FailingCall behind([] {});
  EXPECT_EQ(ReplaceHeldUp(absl::Hours(1)), 0) << "not for so long";
  EXPECT_FALSE(behind.ended()) << "nobody is left to run it";
  EXPECT_EQ(ReplaceHeldUp(absl::ZeroDuration()), kThreads);
  behind.Wait();
  EXPECT_EQ(ReplaceHeldUp(absl::ZeroDuration()), 0) << "each once";
  trap.Open();
  for (const auto& call : held) call->Wait();
  // Those that were let go end. (If they do not, neither does this test.)
  while (CountThreads("falaj-rpc\n") != kThreads) std::this_thread::yield();
}

TEST(CallbackThreads, WhoDoesNothingThatMayBlockIsNotReplaced) {
  FailingCall([] { const MayBlock over; }).Wait();
  const MayBlock means_nothing_here;
  EXPECT_EQ(ReplaceHeldUp(absl::ZeroDuration()), 0);
}

}  // namespace
}  // namespace falaj::rpc
