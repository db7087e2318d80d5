#include "libs/rpc/process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <thread>

#include "absl/flags/flag.h"

ABSL_FLAG(int32_t, process_test_number, 1, "Read by the tests below.");
ABSL_FLAG(std::string, process_test_text, "default", "Read by the tests below.");

namespace falaj::rpc {
namespace {

bool HasDefaultAction(int signal) {
  struct sigaction current {};
  sigaction(signal, nullptr, &current);
  return current.sa_handler == SIG_DFL;
}

TEST(ProcessTest, FlagsTakeTheirValuesFromTheEnvironment) {
  setenv("FALAJ_PROCESS_TEST_NUMBER", "42", 1);
  ApplyEnvironmentToFlags();
  EXPECT_EQ(absl::GetFlag(FLAGS_process_test_number), 42);
  EXPECT_EQ(absl::GetFlag(FLAGS_process_test_text), "default");
  unsetenv("FALAJ_PROCESS_TEST_NUMBER");
}

// Named so that GoogleTest runs it first: it forks, and threads that gRPC leaves behind would look
// like leaks.
TEST(ProcessDeathTest, AWrongValueInTheEnvironmentEndsTheProcess) {
  setenv("FALAJ_PROCESS_TEST_NUMBER", "many", 1);
  EXPECT_EXIT(ApplyEnvironmentToFlags(), testing::ExitedWithCode(2), "FALAJ_PROCESS_TEST_NUMBER");
  unsetenv("FALAJ_PROCESS_TEST_NUMBER");
}

TEST(ProcessTest, WaitsForASignalAndLeavesTheNextOneItsEffect) {
  for (const int signal : {SIGTERM, SIGINT}) {
    std::thread sender([signal] {
      while (HasDefaultAction(signal)) std::this_thread::yield();
      kill(getpid(), signal);
    });
    EXPECT_EQ(WaitForTermination(), signal);
    sender.join();
    EXPECT_TRUE(HasDefaultAction(SIGTERM));
    EXPECT_TRUE(HasDefaultAction(SIGINT));
  }
}

TEST(ProcessTest, TheLimitOfOpenFilesIsRaisedToTheHardOne) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  EXPECT_EQ(RaiseFileDescriptorLimit(), static_cast<int64_t>(limit.rlim_max));
}

}  // namespace
}  // namespace falaj::rpc
