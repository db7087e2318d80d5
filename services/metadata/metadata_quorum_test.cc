// What a quorum of metadata nodes survives.
#include <filesystem>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "libs/log/raft_log.h"
#include "services/metadata/metadata_quorum_fixture.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;

TEST_F(MetadataQuorumTest, EveryNodeHasWhatWasAnswered) {
  StartAll();
  RegisterStorageNode();
  ASSERT_TRUE(Create("flights").ok());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(WaitForTopic(i, "flights")) << i;
}

// Asked at any node, whatever that one has heard so far.
TEST_F(MetadataQuorumTest, TheNewestChangeIsTheLastThatWasAnswered) {
  StartAll();
  RegisterStorageNode();
  LogIndex before;
  for (int round = 0; round < 20; ++round) {
    const absl::StatusOr<pb::ExecuteResponse> created = Create(absl::StrCat("t", round));
    ASSERT_TRUE(created.ok()) << created.status();
    for (int i = 0; i < 3; ++i) {
      const absl::StatusOr<LogIndex> newest = NewestChangeAt(i);
      ASSERT_TRUE(newest.ok()) << newest.status();
      EXPECT_EQ(*newest, LogIndex(created->index())) << "node " << i + 1;
    }
    EXPECT_GT(LogIndex(created->index()), before);
    before = LogIndex(created->index());
  }
}

TEST_F(MetadataQuorumTest, ANodeWithoutAMajorityDoesNotSayWhichChangeIsTheNewest) {
  StartAll();
  RegisterStorageNode();
  ASSERT_TRUE(Create("t").ok());
  servers_[0].reset();
  servers_[1].reset();
  const Reason reason = ReasonOf(NewestChangeAt(2, absl::Seconds(2)).status());
  EXPECT_TRUE(reason == Reason::kMetadataUnavailable || reason == Reason::kTimedOut);
}

TEST_F(MetadataQuorumTest, GoesOnWithoutItsLeader) {
  StartAll();
  RegisterStorageNode();
  ASSERT_TRUE(Create("before").ok());
  const int leader = WaitForLeader();
  ASSERT_NE(-1, leader);
  servers_[leader].reset();
  const absl::StatusOr<pb::ExecuteResponse> created = Create("after");
  ASSERT_TRUE(created.ok()) << created.status();
  Restart(leader);
  EXPECT_TRUE(WaitForTopic(leader, "before"));
  EXPECT_TRUE(WaitForTopic(leader, "after")) << "what it missed";
}

TEST_F(MetadataQuorumTest, RefusesWritesWithoutAMajorityAndRecovers) {
  StartAll();
  RegisterStorageNode();
  ASSERT_TRUE(Create("before").ok());
  servers_[0].reset();
  servers_[1].reset();
  const Reason reason = ReasonOf(Create("alone", absl::Seconds(2)).status());
  EXPECT_TRUE(reason == Reason::kMetadataUnavailable || reason == Reason::kTimedOut);
  EXPECT_FALSE(servers_[2]->Ready()) << "no majority, no quorum known";
  Restart(0);
  const absl::StatusOr<pb::ExecuteResponse> created = Create("after");
  EXPECT_TRUE(created.ok()) << created.status();
  EXPECT_TRUE(WaitForTopic(0, "after"));
}

TEST_F(MetadataQuorumTest, ANodeThatCameLateGetsASnapshot) {
  snapshot_entries_ = 10;
  StartAll();
  ASSERT_TRUE(WaitForReady(2));
  servers_[2].reset();
  RegisterStorageNode();
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(Create(absl::StrCat("t", i)).ok());
  const int leader = WaitForLeader();
  ASSERT_NE(-1, leader);
  ASSERT_TRUE(WaitForCompaction(leader)) << "nothing was compacted, the test proves nothing";
  Start(2);
  Connect();
  EXPECT_TRUE(WaitForTopic(2, "t0"));
  EXPECT_TRUE(WaitForTopic(2, "t39"));
}

TEST_F(MetadataQuorumTest, TheLeadIsHandedOverOnDemand) {
  StartAll();
  const int leader = WaitForLeader();
  ASSERT_NE(-1, leader);
  EXPECT_EQ(Reason::kNodeNotFound, ReasonOf(Transfer(leader, 9)));
  const int next = (leader + 1) % 3;
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(Transfer(next, next + 1))) << "does not lead";
  const absl::Status handed = Transfer(leader, next + 1);
  EXPECT_TRUE(handed.ok()) << handed;
  EXPECT_EQ(next, WaitForLeader());
}

TEST_F(MetadataQuorumTest, ANewMemberJoinsEmptyCatchesUpAndTakesTheLead) {
  snapshot_entries_ = 10;
  StartAll();
  RegisterStorageNode();
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(Create(absl::StrCat("t", i)).ok());
  const int leader = WaitForLeader();
  ASSERT_NE(-1, leader);
  MetadataServer::Options options = FourthToJoin();
  options.watch_keepalive = absl::Milliseconds(50);
  absl::StatusOr<std::unique_ptr<MetadataServer>> joined = MetadataServer::Start(options);
  ASSERT_TRUE(joined.ok()) << joined.status();
  const std::string address = (*joined)->grpc_address();
  using Change = pb::MembershipChange;
  const auto change = [&](int32_t id, Change what, const std::string& where = "") {
    return ChangeMembership(leader, id, what, where);
  };
  EXPECT_EQ(Reason::kNodeNotFound, ReasonOf(change(4, pb::MEMBERSHIP_CHANGE_PROMOTE)));
  ASSERT_TRUE(change(4, pb::MEMBERSHIP_CHANGE_ADD_LEARNER, address).ok());
  EXPECT_TRUE(change(4, pb::MEMBERSHIP_CHANGE_ADD_LEARNER, address).ok()) << "in force already";
  ASSERT_TRUE(WaitForReady(**joined));
  ASSERT_TRUE(change(4, pb::MEMBERSHIP_CHANGE_PROMOTE).ok());
  // Whoever leads, the old members go one by one; the new one is left with the last of them.
  const int removed = (leader + 1) % 3;
  ASSERT_TRUE(change(removed + 1, pb::MEMBERSHIP_CHANGE_REMOVE).ok());
  servers_[removed].reset();
  const absl::StatusOr<pb::GetStatusResponse> status = StatusOf(leader);
  ASSERT_TRUE(status.ok());
  EXPECT_EQ(3, status->voters_size());
  servers_[leader].reset();
  const auto created = Create("after");
  ASSERT_TRUE(created.ok()) << created.status();
  // Restarted, it knows its place without --join.
  joined->reset();
  options.join = false;
  options.peers.clear();
  options.listen_address = address;
  joined = MetadataServer::Start(options);
  ASSERT_TRUE(joined.ok()) << joined.status();
  const auto last = Create("at-last");
  EXPECT_TRUE(last.ok()) << last.status();
}

TEST_F(MetadataQuorumTest, ANodeKilledInItsFirstStartJoinsInTheNext) {
  StartAll();
  ASSERT_NE(-1, WaitForLeader());
  MetadataServer::Options options = FourthToJoin();
  options.peers.push_back({4, "127.0.0.1:1"});
  // As kill -9 leaves the directory: a database is made, but nothing says whose it is.
  std::filesystem::create_directories(options.data_dir);
  falaj::log::RaftLog::Options killed;
  killed.directory = options.data_dir + "/raft";
  killed.node_id = NodeId(4);
  EXPECT_FALSE(falaj::log::RaftLog::Open(killed).ok()) << "of no cluster";
  ASSERT_FALSE(std::filesystem::is_empty(killed.directory));

  const auto joined = MetadataServer::Start(options);
  ASSERT_TRUE(joined.ok()) << joined.status();
  EXPECT_EQ(servers_[0]->cluster_id(), (*joined)->cluster_id());
  joined.value()->Stop();
  options.data_dir = absl::StrCat(directory_, "/4b");
  options.cluster_id = "0e7e0000-0000-4000-8000-000000000000";
  EXPECT_EQ(Reason::kClusterMismatch, ReasonOf(MetadataServer::Start(options).status()));
}

TEST_F(MetadataQuorumTest, AFounderThatLostItsDiskIsRefusedUnderItsOldId) {
  StartAll();
  RegisterStorageNode();
  ASSERT_TRUE(Create("flights").ok());
  const int leader = WaitForLeader();
  ASSERT_NE(-1, leader);
  const int lost = (leader + 1) % 3;
  ASSERT_TRUE(WaitForTopic(lost, "flights"));
  LoseDisk(lost);
  const auto expect_refused = [&](const std::string& when) {
    const absl::Status refused = MetadataServer::Start(FounderOptions(lost)).status();
    EXPECT_EQ(Reason::kClusterMismatch, ReasonOf(refused)) << when << ": " << refused;
    EXPECT_TRUE(absl::StrContains(refused.message(), "--join")) << refused;
  };
  expect_refused("the leader of then still leads");
  expect_refused("the refused start leaves nothing that the next one would trust");
  EXPECT_TRUE(Create("after").ok()) << "the others go on";
  servers_[leader].reset();
  Restart(leader);
  EXPECT_TRUE(Create("again").ok());
  expect_refused("what the leader was told it has forgotten");
}

TEST_F(MetadataQuorumTest, AFounderThatLostItsDiskIsRefusedOnceItHearsOfTheOthers) {
  StartAll();
  RegisterStorageNode();
  ASSERT_TRUE(Create("flights").ok());
  const int lost = WaitForLeader();
  ASSERT_NE(-1, lost);
  const int others[] = {(lost + 1) % 3, (lost + 2) % 3};
  for (const int other : others) ASSERT_TRUE(WaitForTopic(other, "flights"));
  for (const int other : others) servers_[other].reset();
  LoseDisk(lost);
  Restart(lost);  // There is nobody to tell it.
  ASSERT_TRUE(WaitForStatus(lost, [](const auto& status) { return status.role() == "founder"; }));
  // One of the others alone with it is a majority of nodes, and none of votes.
  Restart(others[0]);
  servers_[lost]->ConnectPeers(peers_);
  ASSERT_TRUE(WaitForStatus(lost, [](const auto& status) { return !status.refusal().empty(); }));
  const Reason reason = ReasonOf(Create("forgotten", absl::Seconds(2)).status());
  EXPECT_TRUE(reason == Reason::kMetadataUnavailable || reason == Reason::kTimedOut);
  EXPECT_FALSE(servers_[lost]->Ready());
  EXPECT_EQ(0u, StatusOf(lost)->term()) << "it has promised nothing";
  Restart(others[1]);
  EXPECT_TRUE(Create("after").ok()) << "the others go on";
  EXPECT_TRUE(WaitForTopic(others[0], "flights"));
  // Its place is taken under a new id, and another time it is refused at once.
  servers_[lost].reset();
  const int leader = WaitForLeader();
  ASSERT_NE(-1, leader);
  EXPECT_TRUE(ChangeMembership(leader, lost + 1, pb::MEMBERSHIP_CHANGE_REMOVE, "").ok());
  Restart(lost);
  EXPECT_TRUE(WaitForStatus(
      lost, [](const auto& status) { return absl::StrContains(status.refusal(), "--join"); }));
}

TEST_F(MetadataQuorumTest, AMemberThatJoinedAndLostItsDiskCannotJoinAgain) {
  StartAll();
  const int leader = WaitForLeader();
  ASSERT_NE(-1, leader);
  MetadataServer::Options options = FourthToJoin();
  auto joined = MetadataServer::Start(options);
  ASSERT_TRUE(joined.ok()) << joined.status();
  const std::string address = (*joined)->grpc_address();
  ASSERT_TRUE(ChangeMembership(leader, 4, pb::MEMBERSHIP_CHANGE_ADD_LEARNER, address).ok());
  ASSERT_TRUE(WaitForReady(**joined));
  ASSERT_TRUE(ChangeMembership(leader, 4, pb::MEMBERSHIP_CHANGE_PROMOTE, "").ok());
  joined->reset();
  std::filesystem::remove_all(options.data_dir);
  const absl::Status refused = MetadataServer::Start(options).status();
  EXPECT_EQ(Reason::kClusterMismatch, ReasonOf(refused)) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), "members remove 4")) << refused;
}

TEST_F(MetadataQuorumTest, TheClusterBeginsWhenTheLastFounderIsThere) {
  StartAll(2);
  const auto awaits_the_last = [](const pb::GetStatusResponse& status) {
    return status.role() == "founder" && status.founders_awaited_size() == 1 &&
           status.founders_awaited(0) == 3;
  };
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(WaitForStatus(i, awaits_the_last)) << i;
  auto last = MetadataServer::Start(FounderOptions(2));
  ASSERT_TRUE(last.ok()) << last.status();
  servers_[2] = *std::move(last);
  peers_[2].address = servers_[2]->grpc_address();
  Connect();
  RegisterStorageNode();
  ASSERT_TRUE(Create("flights").ok());
  EXPECT_TRUE(WaitForTopic(2, "flights"));
  // With its disk it comes back as often as it likes.
  servers_[2].reset();
  auto again = MetadataServer::Start(FounderOptions(2));
  EXPECT_TRUE(again.ok()) << again.status();
}

TEST_F(MetadataQuorumTest, AFounderWaitsWhereNobodyAnswers) {
  peers_ = {{1, ""}, {2, "127.0.0.1:1"}, {3, "127.0.0.1:2"}};
  const auto first = MetadataServer::Start(FounderOptions(0));
  ASSERT_TRUE(first.ok()) << first.status();
  peers_[0].address = (*first)->grpc_address();
  EXPECT_TRUE(WaitForStatus(0, [](const auto& status) { return status.role() == "founder"; }));
}

TEST_F(MetadataQuorumTest, AStreamFromAnotherClusterIsRefused) {
  StartAll();
  const auto stub = pb::RaftService::NewStub(rpc::MakeChannel(peers_[0].address));
  grpc::ClientContext context;
  pb::ExchangeResponse response;
  const auto writer = stub->Exchange(&context, &response);
  pb::ExchangeRequest request;
  request.set_cluster_id(std::string(16, 'x'));
  pb::RaftMessage* const vote = request.add_messages();
  vote->set_type(pb::RAFT_MESSAGE_TYPE_VOTE);
  vote->set_term(1'000'000);
  ASSERT_TRUE(writer->Write(request));
  EXPECT_EQ(Reason::kClusterMismatch, ReasonOf(rpc::FromGrpc(writer->Finish())));
  ASSERT_NE(-1, WaitForLeader());
  const absl::StatusOr<pb::GetStatusResponse> status = StatusOf(0);
  ASSERT_TRUE(status.ok());
  EXPECT_LT(status->term(), 1'000u);
}

TEST_F(MetadataQuorumTest, PeersMustNameTheNodeItselfAndNobodyTwice) {
  MetadataServer::Options options;
  options.data_dir = directory_;
  options.peers = {{2, ""}, {3, ""}};
  EXPECT_EQ(Reason::kInvalidConfig, ReasonOf(MetadataServer::Start(options).status()));
  options.peers = {{1, ""}, {1, ""}};
  EXPECT_EQ(Reason::kInvalidConfig, ReasonOf(MetadataServer::Start(options).status()));
}

}  // namespace
}  // namespace falaj::metadata
