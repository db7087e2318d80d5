// Coordination calls on their way through a gateway, between a client and nodes that fail on
// purpose.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "falaj/v1/coordination_service.grpc.pb.h"

#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"
#include "services/gateway/storage_link.h"
#include "services/gateway/testing/coordination_fixture.h"
#include "services/gateway/testing/test_gateway.h"

namespace falaj::gateway {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using KeepStream = grpc::ClientReaderWriter<v1::KeepSessionsRequest, v1::KeepSessionsResponse>;

absl::Status NotLeader(const std::string& outcome, const std::string& leader = "") {
  ErrorMetadata metadata = {{"outcome", outcome}};
  if (!leader.empty()) metadata["leader"] = leader;
  return MakeError(Reason::kMetadataUnavailable, "not the leader", metadata);
}

std::string OutcomeOf(const absl::Status& status) { return MetadataOf(status)["outcome"]; }

v1::WatchZnodesResponse Change(uint64_t index) {
  v1::WatchZnodesResponse message;
  message.set_index(index);
  message.add_events()->mutable_znode()->set_path("/a");
  return message;
}

v1::WatchZnodesResponse Alive(uint64_t index) {
  v1::WatchZnodesResponse message;
  message.set_index(index);
  return message;
}

TEST_F(CoordinationForwardTest, FollowsTheLeaderAndStaysWithIt) {
  FakeCoordination follower;
  FakeCoordination leader;
  follower.Answer(NotLeader("none", leader.address()));
  StartGateway({follower.address()});
  EXPECT_TRUE(Create(0).ok());
  EXPECT_TRUE(Create(0).ok());
  EXPECT_EQ(1u, follower.calls().size());
  EXPECT_EQ(2u, leader.calls().size());
}

TEST_F(CoordinationForwardTest, PassesBytesThatItDoesNotKnow) {
  FakeCoordination node;
  StartGateway({node.address()});
  grpc::ClientContext context;
  v1::GetZnodeRequest request;
  request.GetReflection()->MutableUnknownFields(&request)->AddVarint(1000, 7);
  v1::GetZnodeResponse response;
  ASSERT_TRUE(stub_->GetZnode(&context, request, &response).ok());
  ASSERT_EQ(1, response.GetReflection()->GetUnknownFields(response).field_count());
  EXPECT_EQ(7u, response.GetReflection()->GetUnknownFields(response).field(0).varint());
}

TEST_F(CoordinationForwardTest, ANodeThatRefusesTheConnectionHadNoEffect) {
  FakeCoordination down;
  FakeCoordination up;
  StartGateway({down.address(), up.address()});
  down.Stop();
  EXPECT_TRUE(Create(0).ok()) << "it was never sent, so it may go to the next node";
}

TEST_F(CoordinationForwardTest, TheAnswerOfTheTreeIsFinalAndKeepsItsDetails) {
  FakeCoordination node;
  node.Answer(MakeError(Reason::kZnodeNotFound, "no /a", {{"path", "/a"}}));
  StartGateway({node.address()});
  const absl::Status status = Create(0);
  EXPECT_EQ(Reason::kZnodeNotFound, ReasonOf(status));
  EXPECT_EQ("/a", MetadataOf(status)["path"]);
  EXPECT_EQ(1u, node.calls().size());
}

TEST_F(CoordinationForwardTest, RepeatsWhatHadNoEffect) {
  FakeCoordination node;
  node.Answer(NotLeader("none"));
  node.Answer(MakeError(Reason::kShuttingDown, "stopping"));
  StartGateway({node.address()});
  EXPECT_TRUE(Create(0).ok());
  EXPECT_EQ(3u, node.calls().size());
}

TEST_F(CoordinationForwardTest, AWriteOfUnknownOutcomeIsRepeatedOnlyByItsRequestId) {
  FakeCoordination node;
  StartGateway({node.address()});
  node.Answer(NotLeader("unknown"));
  const absl::Status status = Create(0);
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(status));
  EXPECT_EQ("unknown", OutcomeOf(status));
  EXPECT_EQ(1u, node.calls().size());
  node.Answer(NotLeader("unknown"));
  EXPECT_TRUE(Create(5).ok());
  EXPECT_EQ(3u, node.calls().size());
}

TEST_F(CoordinationForwardTest, TellsWhenTheTimeIsUpThatNothingHappened) {
  FakeCoordination node;
  options_.patience = absl::Milliseconds(300);
  StartGateway({node.address()});
  node.Stop();
  const absl::Status status = Create(0);
  EXPECT_THAT(ReasonOf(status), AnyOf(Reason::kMetadataUnavailable, Reason::kTimedOut)) << status;
  EXPECT_EQ("none", OutcomeOf(status));
}

TEST_F(CoordinationForwardTest, OneUnknownAttemptMakesTheWholeCallUnknown) {
  FakeCoordination node;
  options_.patience = absl::Milliseconds(300);
  StartGateway({node.address()});
  node.Answer(NotLeader("unknown"));
  for (int i = 0; i < 1000; ++i) node.Answer(NotLeader("none"));
  const absl::Status status = Create(5);  // The last attempt may have been cut short.
  EXPECT_THAT(ReasonOf(status), AnyOf(Reason::kMetadataUnavailable, Reason::kTimedOut)) << status;
  EXPECT_EQ("unknown", OutcomeOf(status)) << status;
}

TEST_F(CoordinationForwardTest, ARefusedRepetitionDoesNotDenyTheFirstAttempt) {
  FakeCoordination node;
  StartGateway({node.address()});
  for (const Reason later :
       {Reason::kSessionExpired, Reason::kSessionMismatch, Reason::kRequestTooOld}) {
    node.Answer(NotLeader("unknown"));
    node.Answer(MakeError(later, "too late"));
    const absl::Status status = Create(5);
    EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(status)) << status;
    EXPECT_EQ("unknown", OutcomeOf(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(ReasonName(later))));
    EXPECT_THAT(std::string(status.message()), HasSubstr("too late"));
  }
}

TEST_F(CoordinationForwardTest, ARefusalWithoutAnUnknownAttemptBeforeItIsPassedOn) {
  FakeCoordination node;
  StartGateway({node.address()});
  node.Answer(NotLeader("none"));
  node.Answer(MakeError(Reason::kSessionExpired, "it was silent"));
  EXPECT_EQ(Reason::kSessionExpired, ReasonOf(Create(5)));
  node.Answer(NotLeader("unknown"));
  node.Answer(MakeError(Reason::kZnodeAlreadyExists, "the first attempt's answer"));
  EXPECT_EQ(Reason::kZnodeAlreadyExists, ReasonOf(Create(5)));
  node.Answer(NotLeader("unknown"));
  node.Answer(MakeError(Reason::kSessionExpired, "it was silent"));
  grpc::ClientContext context;
  v1::KeepSessionResponse response;
  const absl::Status kept =
      rpc::FromGrpc(stub_->KeepSession(&context, v1::KeepSessionRequest(), &response));
  EXPECT_EQ(Reason::kSessionExpired, ReasonOf(kept)) << "it is the answer to a sign of life";
}

TEST_F(CoordinationForwardTest, TheDeadlineOfTheClientReachesTheNode) {
  FakeCoordination node;
  node.SetSilent(true);
  StartGateway({node.address()});
  EXPECT_EQ(absl::StatusCode::kDeadlineExceeded, Create(0, absl::Milliseconds(200)).code());
  EXPECT_TRUE(Eventually([&] { return node.cancelled() == 1; }));
}

TEST_F(CoordinationForwardTest, ASilentLeaderIsLeftIfTheCallMayBeRepeated) {
  FakeCoordination paused;
  FakeCoordination other;
  paused.SetSilent(true);
  options_.attempt_timeout = absl::Milliseconds(100);
  StartGateway({paused.address(), other.address()});
  EXPECT_TRUE(Create(5).ok());
  EXPECT_FALSE(paused.calls().empty());
  EXPECT_FALSE(other.calls().empty());
}

TEST_F(CoordinationForwardTest, TwoNodesThatPointAtEachOtherDoNotMakeABusyLoop) {
  FakeCoordination a;
  FakeCoordination b;
  for (int i = 0; i < 2000; ++i) {
    a.Answer(NotLeader("none", b.address()));
    b.Answer(NotLeader("none", a.address()));
  }
  options_.patience = absl::Milliseconds(300);
  StartGateway({a.address(), b.address()});
  EXPECT_FALSE(Create(0).ok());
  EXPECT_LT(a.calls().size() + b.calls().size(), 1500u) << "every fourth attempt waits";
}

TEST_F(CoordinationForwardTest, ACampaignWaitsAsLongAsItsClient) {
  FakeCoordination node;
  node.SetSilent(true);
  options_.waiting_attempt_timeout = absl::Milliseconds(100);
  options_.patience = absl::Milliseconds(50);
  StartGateway({node.address()});
  std::thread electorate([&] {
    EXPECT_TRUE(Eventually([&] { return node.calls().size() >= 3; })) << "it is asked again";
    node.SetSilent(false);
  });
  grpc::ClientContext context;
  v1::CampaignResponse response;
  EXPECT_TRUE(stub_->Campaign(&context, v1::CampaignRequest(), &response).ok());
  electorate.join();
}

TEST_F(CoordinationForwardTest, AClientThatGivesUpCancelsTheCallAtTheNode) {
  FakeCoordination node;
  node.SetSilent(true);
  StartGateway({node.address()});
  grpc::ClientContext context;
  std::thread client([&] {
    v1::CreateZnodeResponse response;
    const grpc::Status status = stub_->CreateZnode(&context, v1::CreateZnodeRequest(), &response);
    EXPECT_EQ(grpc::StatusCode::CANCELLED, status.error_code());
  });
  ASSERT_TRUE(Eventually([&] { return !node.calls().empty(); }));
  context.TryCancel();
  client.join();
  EXPECT_TRUE(Eventually([&] { return node.cancelled() == 1; }));
}

TEST_F(CoordinationForwardTest, MoreCallsThanAllowedAreRefused) {
  FakeCoordination node;
  options_.calls_max = 1;
  StartGateway({node.address()});
  grpc::ClientContext watching;
  const auto watch = stub_->WatchZnodes(&watching, v1::WatchZnodesRequest());
  ASSERT_TRUE(Eventually([&] { return !node.watched_after().empty(); }));
  const absl::Status status = Create(0);
  EXPECT_EQ(Reason::kQuotaExceeded, ReasonOf(status));
  EXPECT_TRUE(RetryAfterOf(status).has_value());
  grpc::ClientContext another;
  const auto refused = stub_->WatchZnodes(&another, v1::WatchZnodesRequest());
  EXPECT_EQ(Reason::kQuotaExceeded, ReasonOf(rpc::FromGrpc(refused->Finish())));
  watching.TryCancel();
  IgnoreError(rpc::FromGrpc(watch->Finish()), "cancelled");
  EXPECT_TRUE(Eventually([&] { return Create(0).ok(); })) << "the place is free again";
}

TEST_F(CoordinationForwardTest, LocalReadsDoNotFollowTheLeader) {
  FakeCoordination follower;
  FakeCoordination leader;
  follower.Answer(NotLeader("none", leader.address()));
  StartGateway({follower.address()});
  ASSERT_TRUE(Create(0).ok());
  for (const auto consistency : {v1::READ_CONSISTENCY_LINEARIZABLE, v1::READ_CONSISTENCY_LOCAL}) {
    grpc::ClientContext context;
    v1::GetZnodeRequest request;
    request.mutable_options()->set_consistency(consistency);
    v1::GetZnodeResponse response;
    ASSERT_TRUE(stub_->GetZnode(&context, request, &response).ok());
  }
  EXPECT_THAT(follower.calls(), ElementsAre("CreateZnode", "GetZnode"));
  EXPECT_THAT(leader.calls(), ElementsAre("CreateZnode", "GetZnode"));
}

// Reads a watch until its end, or `count` messages.
std::vector<uint64_t> ReadIndexes(grpc::ClientReader<v1::WatchZnodesResponse>* watch,
                                  size_t count) {
  std::vector<uint64_t> indexes;
  v1::WatchZnodesResponse message;
  while (indexes.size() < count && watch->Read(&message)) indexes.push_back(message.index());
  return indexes;
}

TEST_F(CoordinationForwardTest, AWatchGoesOnAtAnotherNodeWithoutGapOrDuplicate) {
  FakeCoordination node;  // Plays both.
  node.ScriptWatch({Alive(7), Change(9)}, MakeError(Reason::kShuttingDown, "stopping"));
  node.ScriptWatch({Alive(8), Change(9), Alive(9), Change(12)}, NotLeader("none"));
  StartGateway({node.address()});
  grpc::ClientContext context;
  const auto watch = stub_->WatchZnodes(&context, v1::WatchZnodesRequest());
  EXPECT_THAT(ReadIndexes(watch.get(), 4), ElementsAre(7, 9, 9, 12));
  ASSERT_TRUE(Eventually([&] { return node.watched_after().size() >= 3; }));
  EXPECT_THAT(node.watched_after(), ElementsAre(0, 9, 12));
  context.TryCancel();
  IgnoreError(rpc::FromGrpc(watch->Finish()), "cancelled");
  EXPECT_TRUE(Eventually([&] { return node.cancelled() == 1; }));
}

TEST_F(CoordinationForwardTest, AWatchThatCannotResumeSaysSo) {
  FakeCoordination node;
  node.ScriptWatch({Alive(7)}, MakeError(Reason::kShuttingDown, "stopping"));
  node.ScriptWatch({}, MakeError(Reason::kWatchCompacted, "too old"));
  StartGateway({node.address()});
  grpc::ClientContext context;
  const auto watch = stub_->WatchZnodes(&context, v1::WatchZnodesRequest());
  EXPECT_THAT(ReadIndexes(watch.get(), 2), ElementsAre(7));
  EXPECT_EQ(Reason::kWatchCompacted, ReasonOf(rpc::FromGrpc(watch->Finish())));
}

TEST_F(CoordinationForwardTest, ASilentNodeLosesItsWatches) {
  FakeCoordination node;
  node.ScriptWatch({Alive(7)}, absl::OkStatus());  // Then silent.
  node.ScriptWatch({Alive(8)}, MakeError(Reason::kWatchCompacted, "enough"));
  options_.watch_silence_max = absl::Seconds(1);
  StartGateway({node.address()});
  grpc::ClientContext context;
  const auto watch = stub_->WatchZnodes(&context, v1::WatchZnodesRequest());
  EXPECT_THAT(ReadIndexes(watch.get(), 3), ElementsAre(7, 8));
  EXPECT_THAT(node.watched_after(), ElementsAre(0, 7));
}

TEST_F(CoordinationForwardTest, AWatchWithoutAnyNodeEndsAfterAWhile) {
  FakeCoordination node;
  options_.patience = absl::Milliseconds(300);
  StartGateway({node.address()});
  node.Stop();
  grpc::ClientContext context;
  const auto watch = stub_->WatchZnodes(&context, v1::WatchZnodesRequest());
  EXPECT_TRUE(ReadIndexes(watch.get(), 1).empty());
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(rpc::FromGrpc(watch->Finish())));
}

v1::KeepSessionsRequest Sign(int64_t id) {
  v1::KeepSessionsRequest request;
  request.add_sessions()->set_session_id(id);
  return request;
}

// Sends one sign of life and returns whose answer comes; 0 if none does.
int64_t Keep(KeepStream* stream, int64_t id) {
  v1::KeepSessionsResponse response;
  if (!stream->Write(Sign(id)) || !stream->Read(&response)) return 0;
  return response.expired_session_ids(0);
}

TEST_F(CoordinationForwardTest, AKeepAliveStreamMovesToTheNewLeaderUnnoticed) {
  FakeCoordination old_leader;
  FakeCoordination new_leader;
  old_leader.ScriptKeepSessions(2, NotLeader("none", new_leader.address()));
  StartGateway({old_leader.address()});
  grpc::ClientContext context;
  const auto stream = stub_->KeepSessions(&context);
  for (int64_t id = 1; id <= 5; ++id) EXPECT_EQ(id, Keep(stream.get(), id));
  EXPECT_THAT(old_leader.kept(), ElementsAre(1, 2, 3));
  EXPECT_THAT(new_leader.kept(), ElementsAre(3, 4, 5)) << "3 was not answered, so it is sent again";
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(CoordinationForwardTest, PipelinedFramesAreAnsweredInOrderAcrossAChange) {
  FakeCoordination node;
  node.ScriptKeepSessions(10, NotLeader("unknown"));
  node.ScriptKeepSessions(0, MakeError(Reason::kShuttingDown, "stopping"));
  StartGateway({node.address()});
  grpc::ClientContext context;
  const auto stream = stub_->KeepSessions(&context);
  constexpr int64_t kFrames = 100;  // More than the gateway holds.
  std::thread writer([&] {
    for (int64_t id = 1; id <= kFrames; ++id) EXPECT_TRUE(stream->Write(Sign(id)));
    stream->WritesDone();
  });
  v1::KeepSessionsResponse response;
  int64_t answered = 0;
  while (stream->Read(&response)) EXPECT_EQ(++answered, response.expired_session_ids(0));
  writer.join();
  EXPECT_EQ(kFrames, answered);
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(CoordinationForwardTest, ASilentLeaderLosesItsKeepAliveStream) {
  FakeCoordination paused;
  FakeCoordination other;
  paused.SetSilent(true);
  options_.attempt_timeout = absl::Milliseconds(100);
  StartGateway({paused.address(), other.address()});
  grpc::ClientContext context;
  const auto stream = stub_->KeepSessions(&context);
  EXPECT_EQ(1, Keep(stream.get(), 1));
  EXPECT_FALSE(other.kept().empty());
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(CoordinationForwardTest, ABadFrameEndsTheStreamAfterTheAnswersBeforeIt) {
  FakeCoordination node;
  node.ScriptKeepSessions(1, MakeError(Reason::kInvalidRequest, "too many"));
  StartGateway({node.address()});
  grpc::ClientContext context;
  const auto stream = stub_->KeepSessions(&context);
  EXPECT_EQ(1, Keep(stream.get(), 1));
  EXPECT_EQ(0, Keep(stream.get(), 2));
  EXPECT_EQ(Reason::kInvalidRequest, ReasonOf(rpc::FromGrpc(stream->Finish())));
}

TEST_F(CoordinationForwardTest, AMalformedFrameIsTheClientsFaultAndNotTheNodes) {
  FakeCoordination node;
  FakeCoordination other;
  StartGateway({node.address(), other.address()});
  const std::shared_ptr<grpc::Channel> channel = rpc::MakeChannel(host_->address());
  v1::KeepSessionsRequest kept;
  kept.add_sessions()->set_session_id(1);
  for (const char* method : {kKeepSessionsPath, kStreamWritesPath}) {
    const absl::Status end = SendRawFrames(channel, method, {kept.SerializeAsString(), "\x0a\x7f"});
    EXPECT_EQ(Reason::kInvalidRequest, ReasonOf(end)) << method << ": " << end;
  }
  EXPECT_TRUE(Create(0).ok());
  EXPECT_EQ(1u, node.calls().size()) << "nobody has gone looking for another leader";
}

using WriteStream = grpc::ClientReaderWriter<v1::StreamWritesRequest, v1::StreamWritesResponse>;

v1::StreamWritesRequest Set(const std::string& path) {
  v1::StreamWritesRequest request;
  request.add_writes()->mutable_set()->set_path(path);
  return request;
}

// Sends one write and returns whose answer comes; empty if none does.
std::string SetOne(WriteStream* stream, const std::string& path) {
  v1::StreamWritesResponse response;
  if (!stream->Write(Set(path)) || !stream->Read(&response)) return "";
  return response.results(0).set().znode().path();
}

TEST_F(CoordinationForwardTest, WritesThatHadNoEffectMoveToTheNewLeaderUnnoticed) {
  FakeCoordination old_leader;
  FakeCoordination new_leader;
  old_leader.ScriptStreamWrites(1, NotLeader("none", new_leader.address()));
  StartGateway({old_leader.address()});
  grpc::ClientContext context;
  const auto stream = stub_->StreamWrites(&context);
  for (const char* path : {"/1", "/2", "/3"}) EXPECT_EQ(path, SetOne(stream.get(), path));
  EXPECT_THAT(old_leader.written(), ElementsAre("/1", "/2"));
  EXPECT_THAT(new_leader.written(), ElementsAre("/2", "/3"));
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(CoordinationForwardTest, WritesOfUnknownOutcomeAreNotSentAgain) {
  FakeCoordination old_leader;
  FakeCoordination new_leader;
  old_leader.ScriptStreamWrites(1, NotLeader("unknown", new_leader.address()));
  StartGateway({old_leader.address()});
  grpc::ClientContext context;
  const auto stream = stub_->StreamWrites(&context);
  EXPECT_EQ("/1", SetOne(stream.get(), "/1"));
  EXPECT_EQ("", SetOne(stream.get(), "/2"));
  const absl::Status end = rpc::FromGrpc(stream->Finish());
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(end));
  EXPECT_EQ("unknown", OutcomeOf(end));
  EXPECT_TRUE(new_leader.written().empty());
}

TEST_F(CoordinationForwardTest, AWriteStreamThatBreaksLeavesTheOutcomeUnknown) {
  FakeCoordination node;
  node.SetSilent(true);
  StartGateway({node.address()});
  grpc::ClientContext context;
  const auto stream = stub_->StreamWrites(&context);
  ASSERT_TRUE(stream->Write(Set("/1")));
  ASSERT_TRUE(Eventually([&] { return !node.written().empty(); }));
  node.Stop();
  v1::StreamWritesResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ("unknown", OutcomeOf(rpc::FromGrpc(stream->Finish())));
}

// An answer that the gateway cannot take ends the stream with an error of gRPC's own.
TEST_F(CoordinationForwardTest, AnErrorOfTheTransportLeavesTheOutcomeUnknown) {
  FakeCoordination node;
  node.PadAnswers(40 << 20);  // Above what may be sent.
  StartGateway({node.address()});
  grpc::ClientContext context;
  const auto stream = stub_->StreamWrites(&context);
  EXPECT_EQ("", SetOne(stream.get(), "/1"));
  const absl::Status end = rpc::FromGrpc(stream->Finish());
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(end)) << end;
  EXPECT_EQ("unknown", OutcomeOf(end));
}

TEST_F(CoordinationForwardTest, AnswersThatAClientLeavesHoldItsWritesBack) {
  constexpr size_t kFrames = 40;
  FakeCoordination node;
  node.PadAnswers(1 << 20);
  StartGateway({node.address()});
  grpc::ClientContext context;
  const auto stream = stub_->StreamWrites(&context);
  for (size_t i = 0; i < kFrames; ++i) ASSERT_TRUE(stream->Write(Set("/a")));
  EXPECT_FALSE(HappensSoon([&] { return node.written().size() == kFrames; }));
  v1::StreamWritesResponse response;
  for (size_t i = 0; i < kFrames; ++i) ASSERT_TRUE(stream->Read(&response));
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(kFrames, node.written().size());
}

TEST_F(CoordinationForwardTest, StreamsWaitWhileTheGatewayHoldsTooMuch) {
  FakeCoordination node;
  node.ScriptWatch({Alive(7)}, absl::OkStatus());
  StartGateway({node.address()});
  const CallBudget hog = budgets_.Open("somebody else");
  hog.Add(2 << 20);
  grpc::ClientContext watching;
  const auto watch = stub_->WatchZnodes(&watching, v1::WatchZnodesRequest());
  grpc::ClientContext keeping;
  const auto stream = stub_->KeepSessions(&keeping);
  ASSERT_TRUE(stream->Write(Sign(1)));
  ASSERT_TRUE(Eventually([&] { return node.watched_after().size() == 1; }));
  std::atomic<int> received = 0;
  std::thread watcher([&] { received += static_cast<int>(ReadIndexes(watch.get(), 1).size()); });
  EXPECT_FALSE(HappensSoon([&] { return received > 0 || !node.kept().empty(); }));
  hog.Remove(2 << 20);
  v1::KeepSessionsResponse response;
  EXPECT_TRUE(stream->Read(&response));
  watcher.join();
  EXPECT_EQ(1, received);
  watching.TryCancel();
  keeping.TryCancel();
  IgnoreError(rpc::FromGrpc(watch->Finish()), "cancelled");
  IgnoreError(rpc::FromGrpc(stream->Finish()), "cancelled");
}

TEST_F(CoordinationForwardTest, StoppingEndsWhatIsUnderWay) {
  FakeCoordination node;
  node.SetSilent(true);
  StartGateway({node.address()});
  grpc::ClientContext watching;
  const auto watch = stub_->WatchZnodes(&watching, v1::WatchZnodesRequest());
  std::thread caller([&] { EXPECT_FALSE(Create(5).ok()); });
  ASSERT_TRUE(Eventually([&] { return !node.calls().empty() && !node.watched_after().empty(); }));
  StopGateway();  // Returns although neither call would ever end.
  caller.join();
  EXPECT_TRUE(ReadIndexes(watch.get(), 1).empty());
  EXPECT_FALSE(watch->Finish().ok());
}

}  // namespace
}  // namespace falaj::gateway
