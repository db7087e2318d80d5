#include <gtest/gtest.h>

#include "libs/coordination/coordination_test_support.h"
#include "libs/coordination/limits.h"

namespace falaj::coordination {
namespace {

using testing::CampaignCommand;
using testing::Command;
using testing::CreateCommand;
using testing::DeleteCommand;
using testing::EphemeralCommand;
using testing::ResignCommand;
using testing::Tree;

class CoordinationElectionTest : public ::testing::Test {
 protected:
  v1::CampaignResponse Campaign(const v1::SessionHandle& session, const std::string& value = "") {
    const auto result = tree_.Apply(CampaignCommand("/app/lead", session, value));
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->campaign() : v1::CampaignResponse();
  }

  Tree tree_;
  const v1::SessionHandle a_ = tree_.Open();
  const v1::SessionHandle b_ = tree_.Open();
  const v1::SessionHandle c_ = tree_.Open();
};

TEST_F(CoordinationElectionTest, TheFirstLeadsAndTokensRise) {
  const v1::CampaignResponse first = Campaign(a_, "A");
  EXPECT_EQ(tree_.Changes(),
            "created /app, created /app/lead, created /app/lead/candidate-0000000000");
  EXPECT_EQ(first.znode_path(), "/app/lead/candidate-0000000000");
  EXPECT_EQ(first.fencing_token(), tree_.index.value());
  EXPECT_EQ(first.index(), tree_.index.value());
  const v1::CampaignResponse second = Campaign(b_, "B");
  const v1::CampaignResponse third = Campaign(c_, "C");
  EXPECT_LT(first.fencing_token(), second.fencing_token());
  EXPECT_TRUE(tree_.state.Leads(first.znode_path()));
  EXPECT_FALSE(tree_.state.Leads(second.znode_path()));

  auto leader = tree_.state.GetLeader("/app/lead");
  ASSERT_TRUE(leader.ok());
  EXPECT_EQ(leader->value(), "A");
  EXPECT_EQ(leader->fencing_token(), first.fencing_token());
  EXPECT_EQ(leader->znode_path(), first.znode_path());
  EXPECT_EQ(leader->candidate_count(), 3);

  tree_.End(a_);
  EXPECT_FALSE(tree_.state.Leads(first.znode_path()));
  EXPECT_TRUE(tree_.state.Leads(second.znode_path()));
  EXPECT_EQ(tree_.state.FirstCandidate("/app/lead")->data(), "B");
  ASSERT_TRUE(tree_.Apply(ResignCommand("/app/lead", b_)).ok());
  EXPECT_EQ(tree_.Changes(), "deleted " + second.znode_path());
  EXPECT_EQ(tree_.state.GetLeader("/app/lead")->fencing_token(), third.fencing_token());
}

TEST_F(CoordinationElectionTest, ARepetitionResumesTheCandidacy) {
  const v1::CampaignResponse first = Campaign(a_, "A");
  Campaign(b_);
  const v1::CampaignResponse again = Campaign(a_, "other value");
  EXPECT_TRUE(tree_.changes.empty());
  EXPECT_EQ(again.znode_path(), first.znode_path());
  EXPECT_EQ(again.fencing_token(), first.fencing_token());
  EXPECT_EQ(tree_.state.GetLeader("/app/lead")->value(), "A");
}

TEST_F(CoordinationElectionTest, WhoResignsGoesToTheEnd) {
  const v1::CampaignResponse first = Campaign(a_);
  const v1::CampaignResponse second = Campaign(b_);
  ASSERT_TRUE(tree_.Apply(ResignCommand("/app/lead", a_)).ok());
  ASSERT_TRUE(tree_.Apply(ResignCommand("/app/lead", a_)).ok()) << "there is none";
  EXPECT_TRUE(tree_.changes.empty());
  const v1::CampaignResponse again = Campaign(a_);
  EXPECT_LT(second.fencing_token(), again.fencing_token());
  EXPECT_TRUE(tree_.state.Leads(second.znode_path()));
  EXPECT_TRUE(tree_.Apply(ResignCommand("/nowhere", a_)).ok());
}

TEST_F(CoordinationElectionTest, TokensRiseEvenIfThePathIsMadeAnew) {
  const v1::CampaignResponse first = Campaign(a_);
  tree_.End(a_);
  ASSERT_TRUE(tree_.Apply(DeleteCommand("/app/lead")).ok());
  const v1::CampaignResponse second = Campaign(b_);
  EXPECT_EQ(second.znode_path(), first.znode_path());
  EXPECT_LT(first.fencing_token(), second.fencing_token());
}

TEST_F(CoordinationElectionTest, OtherChildrenAreNoCandidates) {
  Campaign(b_);
  tree_.Create("/app/lead/candidate-0000000001");  // Persistent: for whatever reason.
  tree_.Create("/app/lead/a");
  tree_.Create("/app/lead/candidate-x");
  ASSERT_TRUE(tree_.Apply(EphemeralCommand("/app/lead/candidate-", a_)).ok());
  ASSERT_TRUE(tree_.Apply(EphemeralCommand("/app/lead/candidate-00000000", a_)).ok());
  EXPECT_EQ(tree_.state.GetLeader("/app/lead")->candidate_count(), 1);
  EXPECT_EQ(Campaign(c_).znode_path(), "/app/lead/candidate-0000000002") << "1 is taken";
  EXPECT_EQ(tree_.state.GetLeader("/app/lead")->candidate_count(), 2);
  ASSERT_TRUE(tree_.Apply(ResignCommand("/app/lead", a_)).ok());
  EXPECT_TRUE(tree_.changes.empty());
}

TEST_F(CoordinationElectionTest, NobodyJumpsTheQueue) {
  EXPECT_EQ(tree_.ReasonFor(EphemeralCommand("/candidate-0000000000", a_)), Reason::kInvalidPath);
  Command sequential = EphemeralCommand("/candidate-", a_);
  sequential.mutable_create()->set_sequential(true);
  EXPECT_EQ(tree_.ReasonFor(sequential), Reason::kInvalidPath);
}

TEST_F(CoordinationElectionTest, Refuses) {
  EXPECT_EQ(tree_.ReasonFor(CampaignCommand("/falaj", a_)), Reason::kPathReserved);
  EXPECT_EQ(tree_.ReasonFor(CampaignCommand("/falaj/nodes", a_)), Reason::kPathReserved);
  EXPECT_EQ(tree_.ReasonFor(CampaignCommand("app", a_)), Reason::kInvalidPath);
  EXPECT_EQ(tree_.ReasonFor(CampaignCommand("/" + std::string(255, 'n'), a_)), Reason::kNone);
  std::string deep;
  for (size_t i = 0; i < kPathNamesMax; ++i) deep += "/d";
  EXPECT_EQ(tree_.ReasonFor(CampaignCommand(deep, a_)), Reason::kInvalidPath);
  EXPECT_EQ(tree_.ReasonFor(CampaignCommand("/a", a_, std::string(kDataSizeMax + 1, 'v'))),
            Reason::kZnodeTooLarge);
  EXPECT_EQ(tree_.Said("field"), "value");
  EXPECT_EQ(ReasonOf(tree_.state.GetLeader("/nobody").status()), Reason::kZnodeNotFound);
  EXPECT_EQ(ReasonOf(tree_.state.GetLeader("nobody").status()), Reason::kInvalidPath);
  EXPECT_FALSE(tree_.state.Leads("/nobody/candidate-0000000000"));
  EXPECT_EQ(tree_.ReasonFor(ResignCommand("/falaj", a_)), Reason::kPathReserved);
}

TEST_F(CoordinationElectionTest, TheRootIsAPathLikeAnyOther) {
  const auto result = tree_.Apply(CampaignCommand("/", a_, "root"));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->campaign().znode_path(), "/candidate-0000000000");
  EXPECT_TRUE(tree_.state.Leads("/candidate-0000000000"));
  EXPECT_EQ(tree_.state.GetLeader("/")->value(), "root");
}

}  // namespace
}  // namespace falaj::coordination
