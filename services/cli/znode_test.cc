// What `falaj znode` prints, and its recipes against a gateway that is none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
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
#include "libs/client/testing/fake_coordinator.h"
#include "services/cli/commands.h"
#include "services/cli/znode_format.h"
#include "services/cli/znode_hold.h"

namespace falaj::cli {
namespace {

TEST(ZnodeFormatTest, JoinsPaths) {
  EXPECT_EQ("/a", JoinPath("/", "a"));
  EXPECT_EQ("/a/b", JoinPath("/a", "b"));
}

TEST(ZnodeFormatTest, ALineForEveryChange) {
  v1::WatchZnodesResponse message;
  message.set_index(9);
  EXPECT_EQ("", RenderEvents(message, OutputMode::kTsv)) << "a sign of life";
  v1::ZnodeEvent* event = message.add_events();
  event->set_type(v1::ZNODE_EVENT_TYPE_CHANGED);
  event->mutable_znode()->set_path("/a");
  event->mutable_znode()->set_data("x\ny");
  event->mutable_znode()->mutable_stat()->set_version(3);
  message.add_events()->set_type(v1::ZNODE_EVENT_TYPE_DELETED);
  message.mutable_events(1)->mutable_znode()->set_path("/b");
  EXPECT_EQ("9\tchanged\t/a\t3\tx\\\\ny\n9\tdeleted\t/b\t0\t\n",
            RenderEvents(message, OutputMode::kTsv));
  EXPECT_THAT(RenderEvents(message, OutputMode::kJson),
              testing::StartsWith(R"({"index":9,"event":"changed","path":"/a","version":3)"));
}

TEST(ZnodeFormatTest, LongDataIsShortened) {
  EXPECT_EQ("short", ShowData("short"));
  EXPECT_EQ(83u, ShowData(std::string(1000, 'x')).size());
  EXPECT_EQ("\\x00", ShowData(std::string(1, '\0')));
}

class ZnodeHoldTest : public testing::Test {
 protected:
  ZnodeHoldTest() {
    options_.action = "elect";
    options_.path = "/leader";
    options_.common.address = fake_.address();
  }
  std::string out() const { return directory_.PathOf("out"); }
  std::string Output() const {
    std::ostringstream text;
    text << std::ifstream(out()).rdbuf();
    return text.str();
  }

  TempDirectory directory_;
  client::FakeCoordinator fake_;
  ZnodeOptions options_;
};

TEST_F(ZnodeHoldTest, RunsTheCommandWhileItLeads) {
  options_.command = {
      "sh", "-c",
      absl::StrCat("printf '%s %s' $FALAJ_FENCING_TOKEN $FALAJ_ZNODE > ", out(), "; exit 5")};
  EXPECT_EQ(5, static_cast<int>(RunZnode(options_)));
  EXPECT_THAT(Output(), testing::MatchesRegex("[0-9]+ /leader/1"));
  EXPECT_TRUE(fake_.sessions().empty()) << "the session is closed";
}

TEST_F(ZnodeHoldTest, EndsTheCommandWhenItLeadsNoMore) {
  std::thread administrator([&] {
    Mutex mu;
    CondVar never;
    MutexLock lock(&mu);
    while (access(out().c_str(), F_OK) != 0) never.WaitFor(&mu, absl::Milliseconds(2));
    fake_.Depose(1);
  });
  options_.command = {"sh", "-c", absl::StrCat("touch ", out(), "; while :; do sleep 0.01; done")};
  EXPECT_EQ(128 + SIGTERM, static_cast<int>(RunZnode(options_)));
  administrator.join();
}

TEST_F(ZnodeHoldTest, NeedsACommand) {
  EXPECT_EQ(ExitCode::kUsage, RunZnode(options_));
  options_.action = "lock";
  EXPECT_EQ(ExitCode::kUsage, RunZnode(options_));
  options_.action = "set";
  options_.command = {"true"};
  EXPECT_EQ(ExitCode::kUsage, RunZnode(options_)) << "set holds nothing";
  EXPECT_EQ(0, fake_.campaigns());
}

class ZnodeWatchTest : public testing::Test {
 protected:
  ZnodeWatchTest() {
    options_.action = "watch";
    options_.path = "/a";
    options_.common.address = fake_.address();
  }
  ExitCode Run() {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const ExitCode code = RunZnode(options_);
    printed_ = testing::internal::GetCapturedStdout();
    said_ = testing::internal::GetCapturedStderr();
    return code;
  }

  client::FakeCoordinator fake_;
  ZnodeOptions options_;
  std::string printed_;
  std::string said_;
};

TEST_F(ZnodeWatchTest, GoesOnAfterTheLastIndexWhenTheGatewayGoesAway) {
  options_.count = 2;
  fake_.EndWatch(MakeError(Reason::kShuttingDown, "stopping"));
  fake_.EndWatch(MakeError(Reason::kMetadataUnavailable, "no leader"));
  std::atomic<bool> over = false;
  std::thread cluster([&] {
    Mutex mu;
    CondVar never;
    MutexLock lock(&mu);
    while (!over && fake_.watched_after().size() < 3) never.WaitFor(&mu, absl::Milliseconds(2));
    fake_.Depose(1);
  });
  EXPECT_EQ(ExitCode::kOk, Run());
  over = true;
  cluster.join();
  EXPECT_THAT(fake_.watched_after(), testing::ElementsAre(0, 1, 1));
  EXPECT_THAT(printed_, testing::MatchesRegex("1\tdeleted[^\n]*\n2\tdeleted[^\n]*\n"));
  EXPECT_THAT(said_, testing::HasSubstr("interrupted, and will go on after index 1: stopping"));
  EXPECT_THAT(said_, testing::HasSubstr("the watch goes on after index 1"));
}

TEST_F(ZnodeWatchTest, SaysWhenWhatCameMeanwhileIsNoLongerKept) {
  fake_.EndWatch(MakeError(Reason::kShuttingDown, "stopping"));
  fake_.EndWatch(MakeError(Reason::kWatchCompacted, "too old"));
  EXPECT_EQ(ExitCode::kFailed, Run());
  EXPECT_THAT(said_, testing::HasSubstr("the changes after index 1 are no longer kept"));
}

TEST_F(ZnodeWatchTest, EndsWithAnErrorThatDoesNotPass) {
  fake_.EndWatch(MakeError(Reason::kInvalidPath, "no such thing"));
  EXPECT_EQ(ExitCode::kFailed, Run());
  EXPECT_THAT(said_, testing::HasSubstr("go on with --after 1"));
  options_.common.address = "127.0.0.1:1";
  EXPECT_EQ(ExitCode::kFailed, Run()) << "there was no connection to make again";
}

}  // namespace
}  // namespace falaj::cli
