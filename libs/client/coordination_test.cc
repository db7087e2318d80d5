#include "libs/client/coordination.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/client/coordination_session.h"
#include "libs/client/election.h"
#include "libs/client/testing/fake_coordinator.h"

namespace falaj::client {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);

bool Eventually(const std::function<bool()>& condition) {
  const MonotonicTime end = Clock::Real()->MonotonicNow() + kPatience;
  Mutex mu;
  CondVar never;
  while (!condition()) {
    if (Clock::Real()->MonotonicNow() > end) return false;
    MutexLock lock(&mu);
    never.WaitFor(&mu, absl::Milliseconds(2));
  }
  return true;
}

class CoordinationTest : public testing::Test {
 protected:
  std::unique_ptr<CoordinationSession> Open(
      std::function<void(const absl::Status&)> on_lost = nullptr) {
    auto session = CoordinationSession::Open(&coordination_, {.on_lost = std::move(on_lost)});
    EXPECT_TRUE(session.ok()) << session.status();
    return *std::move(session);
  }

  FakeCoordinator fake_;
  Coordination coordination_{{.address = fake_.address(), .timeout = absl::Seconds(20)}};
};

TEST_F(CoordinationTest, FollowsThePagesOfAList) {
  const auto names = coordination_.ListAllChildren("/a", v1::ReadOptions());
  ASSERT_TRUE(names.ok()) << names.status();
  EXPECT_THAT(*names, testing::ElementsAre("child-0", "child-1", "child-2", "child-3", "child-4"));
}

TEST_F(CoordinationTest, ReadsNeverGoBackInTime) {
  v1::GetZnodeRequest request;
  request.set_path("/nobody");
  request.mutable_options()->set_consistency(v1::READ_CONSISTENCY_LOCAL);
  EXPECT_FALSE(coordination_.GetZnode(request).ok());  // Nothing is seen yet.
  v1::ListChildrenRequest list;
  list.mutable_options()->set_consistency(v1::READ_CONSISTENCY_LOCAL);
  ASSERT_EQ(7u, coordination_.ListChildren(list)->index());
  EXPECT_FALSE(coordination_.GetZnode(request).ok()) << "another call, perhaps of another node";
  request.mutable_options()->set_min_index(9);
  EXPECT_FALSE(coordination_.GetZnode(request).ok()) << "who has seen more elsewhere may ask so";
  const auto session = Open();  // The fake answers with an index below 7.
  ASSERT_TRUE(coordination_.ListChildren(list).ok());
  EXPECT_THAT(fake_.min_indexes(), testing::ElementsAre(0, 0, 7, 9, 7));
}

TEST_F(CoordinationTest, ASessionLivesLongerThanItsTimeout) {
  fake_.SetTimeout(absl::Seconds(2));
  const auto session = Open();
  EXPECT_EQ(absl::Seconds(2), session->timeout()) << "what the service says counts";
  EXPECT_FALSE(session->WaitUntilEnded(absl::Seconds(3)));
  EXPECT_TRUE(session->status().ok());
  EXPECT_GE(fake_.signs(), 2);
}

TEST_F(CoordinationTest, ASessionThatTheServiceHasEndedIsLost) {
  std::atomic<int> told = 0;
  fake_.SetTimeout(absl::Milliseconds(400));
  const auto session = Open([&](const absl::Status&) { ++told; });
  fake_.Expire(session->id());
  EXPECT_TRUE(session->WaitUntilEnded(kPatience));
  EXPECT_EQ(Reason::kSessionExpired, ReasonOf(session->status()));
  EXPECT_TRUE(Eventually([&] { return told == 1; }));
}

TEST_F(CoordinationTest, ASessionWithoutAnswersIsLostWhenItsTimeoutIsOver) {
  const MonotonicTime begin = Clock::Real()->MonotonicNow();
  fake_.SetTimeout(absl::Milliseconds(400));
  fake_.SetDeaf(true);
  const auto session = Open();
  EXPECT_TRUE(session->WaitUntilEnded(kPatience));
  EXPECT_EQ(Reason::kSessionExpired, ReasonOf(session->status()));
  EXPECT_GE(Clock::Real()->MonotonicNow() - begin, session->timeout());
  fake_.SetDeaf(false);
  EXPECT_EQ(1u, fake_.sessions().count(session->id())) << "lost is for good all the same";
  EXPECT_EQ(Reason::kSessionExpired, ReasonOf(session->status()));
}

TEST_F(CoordinationTest, DestroyingASessionClosesIt) {
  auto session = Open();
  ASSERT_EQ(1u, fake_.sessions().size());
  session.reset();
  EXPECT_TRUE(fake_.sessions().empty());
}

TEST_F(CoordinationTest, EveryWriteHasAHigherRequestId) {
  const auto session = Open();
  const v1::WriteOptions first = session->NextWrite();
  const v1::WriteOptions second = session->NextWrite();
  EXPECT_EQ(session->id(), first.session().session_id());
  EXPECT_GT(first.request_id(), 0u);
  EXPECT_GT(second.request_id(), first.request_id());
}

TEST_F(CoordinationTest, TheNextCandidateLeadsWithAHigherToken) {
  const auto one = Open();
  const auto two = Open();
  Election first(one.get(), "/leader");
  Election second(two.get(), "/leader");
  const auto lead = first.Campaign("one", kPatience);
  ASSERT_TRUE(lead.ok()) << lead.status();
  std::atomic<bool> waits = true;
  std::thread contender([&] {
    const auto next = second.Campaign("two", kPatience);
    ASSERT_TRUE(next.ok()) << next.status();
    EXPECT_FALSE(waits) << "two leaders at a time";
    EXPECT_GT(next->fencing_token(), lead->fencing_token());
  });
  EXPECT_TRUE(Eventually([&] { return fake_.campaigns() == 2; }));
  waits = false;
  EXPECT_TRUE(first.Resign().ok());
  contender.join();
}

TEST_F(CoordinationTest, ACampaignEndsWithItsSession) {
  const auto one = Open();
  const auto two = Open();
  ASSERT_TRUE(Election(one.get(), "/leader").Campaign("", kPatience).ok());
  std::thread contender([&] {
    const auto lead = Election(two.get(), "/leader").Campaign("", absl::InfiniteDuration());
    EXPECT_EQ(Reason::kSessionExpired, ReasonOf(lead.status()));
  });
  EXPECT_TRUE(Eventually([&] { return fake_.campaigns() == 2; }));
  fake_.Expire(two->id());
  contender.join();
}

TEST_F(CoordinationTest, ACampaignGoesOnWhileNobodyLeadsTheService) {
  const auto session = Open();
  fake_.FailCampaign(MakeError(Reason::kMetadataUnavailable, "no leader"));
  fake_.FailCampaign(MakeError(Reason::kTimedOut, "too slow"));
  EXPECT_TRUE(Election(session.get(), "/leader").Campaign("", kPatience).ok());
  EXPECT_EQ(3, fake_.campaigns());
  fake_.FailCampaign(MakeError(Reason::kInvalidPath, "bad"));
  EXPECT_EQ(Reason::kInvalidPath,
            ReasonOf(Election(session.get(), "bad").Campaign("", kPatience).status()));
}

TEST_F(CoordinationTest, ACandidateMayGiveUpWaiting) {
  const auto one = Open();
  const auto two = Open();
  ASSERT_TRUE(Election(one.get(), "/leader").Campaign("", kPatience).ok());
  Election second(two.get(), "/leader");
  EXPECT_EQ(Reason::kTimedOut, ReasonOf(second.Campaign("", absl::Milliseconds(50)).status()));
  std::thread contender([&] {
    EXPECT_EQ(Reason::kCancelled, ReasonOf(second.Campaign("", absl::InfiniteDuration()).status()));
  });
  EXPECT_TRUE(Eventually([&] { return fake_.campaigns() >= 3; }));
  second.Cancel();
  contender.join();
}

TEST_F(CoordinationTest, ALeaderHearsThatItIsDeposed) {
  const auto session = Open();
  Election election(session.get(), "/leader");
  const auto lead = election.Campaign("", kPatience);
  ASSERT_TRUE(lead.ok());
  std::thread administrator([&] { fake_.Depose(session->id()); });
  EXPECT_EQ(Reason::kZnodeNotFound, ReasonOf(election.WaitUntilLeadEnds(*lead)));
  administrator.join();
  EXPECT_TRUE(session->status().ok()) << "the session has nothing to do with it";
}

TEST_F(CoordinationTest, AnotherCandidatesEndDoesNotEndTheLead) {
  const auto one = Open();
  const auto two = Open();
  Election election(one.get(), "/leader");
  const auto lead = election.Campaign("", kPatience);
  ASSERT_TRUE(lead.ok());
  std::atomic<bool> ended = false;
  std::thread leader([&] {
    EXPECT_EQ(Reason::kCancelled, ReasonOf(election.WaitUntilLeadEnds(*lead)));
    ended = true;
  });
  fake_.Expire(two->id());  // The fake tells every watcher; only a read tells the truth.
  EXPECT_FALSE(one->WaitUntilEnded(absl::Milliseconds(300)));
  EXPECT_FALSE(ended);
  election.Cancel();
  leader.join();
}

TEST_F(CoordinationTest, AWatchIsEndedFromAnotherThread) {
  Cancellation cancellation;
  std::atomic<int> messages = 0;
  v1::WatchZnodesRequest request;
  request.add_watches()->set_path("/a");
  request.set_after_index(1);
  std::thread canceller([&] {
    EXPECT_TRUE(Eventually([&] { return messages > 0; }));
    cancellation.Cancel();
  });
  EXPECT_TRUE(coordination_
                  .WatchZnodes(
                      request,
                      [&](const v1::WatchZnodesResponse&) {
                        ++messages;
                        return true;
                      },
                      &cancellation)
                  .ok());
  canceller.join();
}

}  // namespace
}  // namespace falaj::client
