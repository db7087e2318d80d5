#include "services/cli/metadata_members.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/rpc/server.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::cli {
namespace {

namespace pb = ::falaj::internal::v1;
using testing::ElementsAre;

// A node of a quorum whose learners catch up by 100 entries each time somebody asks.
class FakeNode final : public pb::MetadataService::Service {
 public:
  explicit FakeNode(bool leads) : leads_(leads) {
    host_ = *rpc::ServerHost::Start({}, {this}, nullptr);
  }
  ~FakeNode() override { host_->Stop(absl::ZeroDuration()); }
  std::string address() const { return host_->address(); }
  std::vector<std::string> changes() const {
    MutexLock lock(&mu_);
    return changes_;
  }
  void FailNext(absl::Status status) {
    MutexLock lock(&mu_);
    failure_ = std::move(status);
  }

 private:
  grpc::Status GetStatus(grpc::ServerContext*, const pb::GetStatusRequest*,
                         pb::GetStatusResponse* response) override {
    MutexLock lock(&mu_);
    response->set_node_id(1);
    response->set_role(leads_ ? "leader" : "follower");
    if (!leads_ || lag_ < 0) return grpc::Status::OK;
    pb::MetadataMember* learner = response->add_members();
    learner->set_node_id(4);
    learner->set_active(true);
    learner->set_receiving_snapshot(lag_ > 250);
    learner->set_lag(static_cast<uint64_t>(lag_));
    learner->set_match_index(1);
    lag_ -= 100;
    return grpc::Status::OK;
  }
  grpc::Status ChangeMembership(grpc::ServerContext*, const pb::ChangeMembershipRequest* request,
                                pb::ChangeMembershipResponse*) override {
    MutexLock lock(&mu_);
    const absl::Status failure = std::exchange(failure_, absl::OkStatus());
    if (!failure.ok()) return rpc::ToGrpc(failure);
    if (request->change() == pb::MEMBERSHIP_CHANGE_ADD_LEARNER) lag_ = 300;
    changes_.push_back(pb::MembershipChange_Name(request->change()) + " " +
                       std::to_string(request->node_id()) + " " + request->address());
    return grpc::Status::OK;
  }

  const bool leads_;
  std::unique_ptr<rpc::ServerHost> host_;
  mutable Mutex mu_;
  int64_t lag_ ABSL_GUARDED_BY(mu_) = -1;
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> changes_ ABSL_GUARDED_BY(mu_);
};

class MetadataMembersTest : public testing::Test {
 protected:
  absl::Status Run(const std::string& action) {
    options_.action = action;
    options_.addresses = {follower_.address(), leader_.address()};
    return ChangeMembers(options_, absl::Seconds(10));
  }

  FakeNode follower_{false};
  FakeNode leader_{true};
  MetadataOptions options_;
};

TEST_F(MetadataMembersTest, ANewMemberVotesOnceItHasTheLog) {
  options_.member = "4=m4:7400";
  EXPECT_TRUE(Run("add").ok());
  EXPECT_THAT(leader_.changes(), ElementsAre("MEMBERSHIP_CHANGE_ADD_LEARNER 4 m4:7400",
                                             "MEMBERSHIP_CHANGE_PROMOTE 4 "));
  EXPECT_TRUE(follower_.changes().empty());
}

TEST_F(MetadataMembersTest, ALearnerStaysOne) {
  options_.member = "4=m4:7400";
  options_.learner = true;
  EXPECT_TRUE(Run("add").ok());
  EXPECT_THAT(leader_.changes(), ElementsAre("MEMBERSHIP_CHANGE_ADD_LEARNER 4 m4:7400"));
}

TEST_F(MetadataMembersTest, AChangeUnderWayIsWaitedFor) {
  leader_.FailNext(MakeError(Reason::kMembershipChanging, "a change is under way"));
  options_.node = 3;
  EXPECT_TRUE(Run("remove").ok());
  EXPECT_THAT(leader_.changes(), ElementsAre("MEMBERSHIP_CHANGE_REMOVE 3 "));
}

TEST_F(MetadataMembersTest, ARefusalIsFinal) {
  leader_.FailNext(MakeError(Reason::kInvalidRequest, "the last voter"));
  options_.node = 1;
  EXPECT_EQ(Reason::kInvalidRequest, ReasonOf(Run("remove")));
  EXPECT_TRUE(leader_.changes().empty());
}

TEST_F(MetadataMembersTest, WithoutALeaderNothingIsChanged) {
  EXPECT_EQ(Reason::kMetadataUnavailable,
            ReasonOf(FindMetadataLeader({follower_.address()}, absl::Seconds(10)).status()));
}

TEST(ParseMemberTest, TakesAnIdAndAnAddress) {
  const auto member = ParseMember("4=host:7400");
  ASSERT_TRUE(member.ok());
  EXPECT_EQ(4, member->first);
  EXPECT_EQ("host:7400", member->second);
  for (const char* bad : {"", "4", "host:7400", "0=h:1", "x=h:1", "4=host", "4=host:", "-1=h:1"}) {
    EXPECT_EQ(Reason::kInvalidRequest, ReasonOf(ParseMember(bad).status())) << bad;
  }
}

}  // namespace
}  // namespace falaj::cli
