// Commands that run while something is held: real child processes.
#include "services/cli/held_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"

#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/base/testing/temp_directory.h"
#include "services/cli/child_process.h"
#include "services/cli/wakeups.h"

namespace falaj::cli {
namespace {

std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

// Until the file is there: the child has come so far.
void WaitForFile(const std::string& path) {
  Mutex mu;
  CondVar never;
  for (int i = 0; i < 10'000 && !Exists(path); ++i) {
    MutexLock lock(&mu);
    never.WaitFor(&mu, absl::Milliseconds(2));
  }
  EXPECT_TRUE(Exists(path));
}

class HeldCommandTest : public testing::Test {
 protected:
  int Run(const std::string& script) {
    HeldCommand held{{"sh", "-c", script}, {{"FALAJ_FENCING_TOKEN", "42"}}, grace_, [this] {
                       return lost_ ? MakeError(Reason::kSessionExpired, "gone") : absl::OkStatus();
                     }};
    return static_cast<int>(RunHeld(held, &wakeups_));
  }
  void Lose() {
    lost_ = true;
    wakeups_.Wake();
  }

  TempDirectory directory_;
  Wakeups wakeups_;
  absl::Duration grace_ = absl::Seconds(20);
  std::atomic<bool> lost_ = false;
};

TEST_F(HeldCommandTest, ReturnsTheCodeOfTheCommand) {
  EXPECT_EQ(0, Run("exit 0"));
  EXPECT_EQ(7, Run("exit 7"));
  EXPECT_EQ(128 + SIGKILL, Run("kill -9 $$"));
}

TEST_F(HeldCommandTest, TheCommandSeesTheToken) {
  const std::string out = directory_.PathOf("token");
  EXPECT_EQ(0, Run(absl::StrCat("printf %s \"$FALAJ_FENCING_TOKEN\" > ", out)));
  EXPECT_EQ("42", ReadFile(out));
}

TEST_F(HeldCommandTest, ACommandThatDoesNotExistIsAMistake) {
  HeldCommand held{{"/no/such/program"}, {}, grace_, [] { return absl::OkStatus(); }};
  EXPECT_EQ(ExitCode::kUsage, RunHeld(held, &wakeups_));
}

TEST_F(HeldCommandTest, NothingRunsWhenItIsLostAlready) {
  const std::string out = directory_.PathOf("ran");
  Lose();
  EXPECT_EQ(1, Run("touch " + out));
  EXPECT_FALSE(Exists(out));
}

TEST_F(HeldCommandTest, LosingItEndsTheCommandInGoodOrder) {
  const std::string started = directory_.PathOf("started");
  const std::string tidied = directory_.PathOf("tidied");
  std::thread loser([&] {
    WaitForFile(started);
    Lose();
  });
  EXPECT_EQ(1, Run(absl::StrCat("trap 'touch ", tidied, "; exit 0' TERM; touch ", started,
                                "; while :; do sleep 0.01; done")))
      << "the command said 0, but it was not allowed to finish";
  EXPECT_TRUE(Exists(tidied));
  loser.join();
}

TEST_F(HeldCommandTest, ACommandThatDoesNotListenIsKilledAfterTheGrace) {
  grace_ = absl::Milliseconds(50);
  const std::string started = directory_.PathOf("started");
  std::thread loser([&] {
    WaitForFile(started);
    Lose();
  });
  EXPECT_EQ(128 + SIGKILL,
            Run(absl::StrCat("trap '' TERM; touch ", started, "; while :; do sleep 0.01; done")));
  loser.join();
}

TEST_F(HeldCommandTest, AnInterruptIsPassedOn) {
  const std::string started = directory_.PathOf("started");
  std::thread user([&] {
    WaitForFile(started);
    kill(getpid(), SIGTERM);
  });
  EXPECT_EQ(9, Run(absl::StrCat("trap 'exit 9' TERM; touch ", started,
                                "; while :; do sleep 0.01; done")));
  user.join();
}

TEST_F(HeldCommandTest, WithoutACommandItIsHeldUntilAnInterrupt) {
  kill(getpid(), SIGINT);
  HeldCommand held{{}, {}, grace_, [] { return absl::OkStatus(); }};
  EXPECT_EQ(ExitCode::kOk, RunHeld(held, &wakeups_));
}

}  // namespace
}  // namespace falaj::cli
