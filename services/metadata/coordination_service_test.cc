// The coordination API as clients see it, on a real quorum.
#include <gmock/gmock.h>

#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "falaj/v1/coordination_service.grpc.pb.h"

#include "services/metadata/metadata_quorum_fixture.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;
using ::testing::ElementsAre;
using Stub = v1::CoordinationService::Stub;

class CoordinationServiceTest : public MetadataQuorumTest {
 protected:
  void SetUp() override {
    StartAll();
    leader_ = WaitForLeader();
    ASSERT_NE(-1, leader_);
    for (int i = 0; i < 3; ++i) {
      stubs_[i] = v1::CoordinationService::NewStub(rpc::MakeChannel(peers_[i].address));
    }
  }

  int follower() const { return (leader_ + 1) % 3; }
  Stub* at_leader() { return stubs_[leader_].get(); }

  // One call with a deadline.
  template <typename Request, typename Response>
  absl::Status Call(Stub* stub,
                    grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response,
                    absl::Duration deadline = kPatience) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + deadline));
    return rpc::FromGrpc((stub->*method)(&context, request, response));
  }
  v1::SessionHandle OpenSession(int64_t timeout_seconds = 60) {
    v1::OpenSessionRequest request;
    request.mutable_timeout()->set_seconds(timeout_seconds);
    v1::OpenSessionResponse response;
    const absl::Status opened = Call(at_leader(), &Stub::OpenSession, request, &response);
    EXPECT_TRUE(opened.ok()) << opened;
    return response.session();
  }
  absl::StatusOr<uint64_t> Create(const std::string& path, const std::string& data = "",
                                  const v1::SessionHandle* session = nullptr) {
    v1::CreateZnodeRequest request;
    request.set_path(path);
    request.set_data(data);
    if (session != nullptr) {
      request.set_ephemeral(true);
      *request.mutable_options()->mutable_session() = *session;
    }
    v1::CreateZnodeResponse response;
    FALAJ_RETURN_IF_ERROR(Call(at_leader(), &Stub::CreateZnode, request, &response));
    return response.index();
  }
  absl::StatusOr<v1::GetZnodeResponse> Get(int node, const std::string& path,
                                           v1::ReadOptions options = {}) {
    v1::GetZnodeRequest request;
    request.set_path(path);
    *request.mutable_options() = options;
    v1::GetZnodeResponse response;
    FALAJ_RETURN_IF_ERROR(Call(stubs_[node].get(), &Stub::GetZnode, request, &response));
    return response;
  }

  // Finds the leader, and how many of the appends below /log there are. Each holds its number: none
  // stands behind one that is missing.
  int CountAppended() {
    leader_ = WaitForLeader();
    for (int count = 0;; ++count) {
      const auto read = Get(leader_, absl::StrFormat("/log/%010d", count));
      if (ReasonOf(read.status()) == Reason::kZnodeNotFound) return count;
      EXPECT_TRUE(read.ok()) << read.status();
      if (!read.ok()) return -1;
      EXPECT_EQ(absl::StrCat(count), read->znode().data());
    }
  }

  int leader_ = -1;
  std::unique_ptr<Stub> stubs_[3];
};

TEST_F(CoordinationServiceTest, EveryNodeReadsWhatWasWrittenBefore) {
  for (int i = 0; i < 20; ++i) {
    const std::string path = absl::StrCat("/z", i);
    ASSERT_TRUE(Create(path, "value").ok());
    for (int node = 0; node < 3; ++node) {
      const auto read = Get(node, path);
      ASSERT_TRUE(read.ok()) << "node " << node << ": " << read.status();
      EXPECT_EQ("value", read->znode().data());
    }
  }
}

TEST_F(CoordinationServiceTest, ALocalReadWaitsForTheIndexItsClientHasSeen) {
  const absl::StatusOr<uint64_t> index = Create("/a", "1");
  ASSERT_TRUE(index.ok());
  v1::ReadOptions options;
  options.set_consistency(v1::READ_CONSISTENCY_LOCAL);
  options.set_min_index(*index);
  const auto read = Get(follower(), "/a", options);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_GE(read->index(), *index);
  options.set_consistency(static_cast<v1::ReadConsistency>(99));
  EXPECT_EQ(Reason::kInvalidRequest, ReasonOf(Get(follower(), "/a", options).status()));
}

TEST_F(CoordinationServiceTest, AFollowerSaysWhoLeads) {
  v1::CreateZnodeRequest request;
  request.set_path("/a");
  v1::CreateZnodeResponse response;
  const absl::Status refused =
      Call(stubs_[follower()].get(), &Stub::CreateZnode, request, &response);
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(refused));
  EXPECT_EQ(peers_[leader_].address, MetadataOf(refused)["leader"]);
  EXPECT_EQ("none", MetadataOf(refused)["outcome"]);
}

TEST_F(CoordinationServiceTest, ARepeatedRequestTakesEffectOnce) {
  const v1::SessionHandle session = OpenSession();
  v1::CreateZnodeRequest request;
  request.set_path("/jobs/job-");
  request.set_sequential(true);
  request.set_create_parents(true);
  *request.mutable_options()->mutable_session() = session;
  request.mutable_options()->set_request_id(1);
  v1::CreateZnodeResponse first;
  v1::CreateZnodeResponse second;
  ASSERT_TRUE(Call(at_leader(), &Stub::CreateZnode, request, &first).ok());
  ASSERT_TRUE(Call(at_leader(), &Stub::CreateZnode, request, &second).ok());
  EXPECT_EQ(first.SerializeAsString(), second.SerializeAsString());
}

TEST_F(CoordinationServiceTest, AWatchAtAFollowerMissesNothing) {
  const absl::StatusOr<uint64_t> from = Create("/app");
  ASSERT_TRUE(from.ok());
  ASSERT_TRUE(Create("/app/a").ok());
  grpc::ClientContext context;
  v1::WatchZnodesRequest request;
  request.add_watches()->set_path("/app");
  request.mutable_watches(0)->set_scope(v1::WATCH_SCOPE_CHILDREN);
  request.set_after_index(*from);
  const auto reader = stubs_[follower()]->WatchZnodes(&context, request);
  ASSERT_TRUE(Create("/app/b").ok());
  std::vector<std::string> seen;
  v1::WatchZnodesResponse response;
  while (seen.size() < 2 && reader->Read(&response)) {
    for (const v1::ZnodeEvent& event : response.events()) seen.push_back(event.znode().path());
  }
  EXPECT_THAT(seen, ElementsAre("/app/a", "/app/b"));
  context.TryCancel();
  IgnoreError(rpc::FromGrpc(reader->Finish()), "cancelled by ourselves");
}

TEST_F(CoordinationServiceTest, OneStreamKeepsManySessionsAlive) {
  const v1::SessionHandle kept = OpenSession(1);
  const v1::SessionHandle silent = OpenSession(1);
  v1::SessionHandle foreign = OpenSession(60);
  foreign.set_secret(std::string(16, 'x'));
  ASSERT_TRUE(Create("/kept", "", &kept).ok());
  ASSERT_TRUE(Create("/silent", "", &silent).ok());
  grpc::ClientContext context;
  const auto stream = at_leader()->KeepSessions(&context);
  v1::KeepSessionsRequest request;
  *request.add_sessions() = kept;
  *request.add_sessions() = foreign;
  v1::KeepSessionsResponse response;
  // Until the silent one has ended.
  const MonotonicTime end = Clock::Real()->MonotonicNow() + kPatience;
  while (Get(leader_, "/silent").ok() && Clock::Real()->MonotonicNow() < end) {
    ASSERT_TRUE(stream->Write(request));
    ASSERT_TRUE(stream->Read(&response));
    ASSERT_EQ(0, response.expired_session_ids_size());
    EXPECT_THAT(response.mismatched_session_ids(), ElementsAre(foreign.session_id()));
  }
  EXPECT_TRUE(Get(leader_, "/kept").ok());
  *request.add_sessions() = silent;
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_THAT(response.expired_session_ids(), ElementsAre(silent.session_id()));
  for (int i = 0; i < 1'000; ++i) *request.add_sessions() = kept;
  ASSERT_TRUE(stream->Write(request));
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(Reason::kInvalidRequest, ReasonOf(rpc::FromGrpc(stream->Finish())));
}

TEST_F(CoordinationServiceTest, TheNextCandidateLeadsWithAHigherTokenAlsoAfterALeaderChange) {
  const v1::SessionHandle first = OpenSession();
  const v1::SessionHandle second = OpenSession();
  v1::CampaignRequest request;
  request.set_path("/service/leader");
  request.set_value("one");
  *request.mutable_session() = first;
  v1::CampaignResponse won;
  ASSERT_TRUE(Call(at_leader(), &Stub::Campaign, request, &won).ok());
  *request.mutable_session() = second;
  request.set_value("two");
  v1::CampaignResponse next;
  EXPECT_EQ(Reason::kTimedOut,
            ReasonOf(Call(at_leader(), &Stub::Campaign, request, &next, absl::Milliseconds(300))));
  servers_[leader_].reset();
  leader_ = WaitForLeader();
  ASSERT_NE(-1, leader_);
  v1::ResignCampaignRequest resign;
  resign.set_path("/service/leader");
  *resign.mutable_session() = first;
  v1::ResignCampaignResponse resigned;
  ASSERT_TRUE(Call(at_leader(), &Stub::ResignCampaign, resign, &resigned).ok());
  ASSERT_TRUE(Call(at_leader(), &Stub::Campaign, request, &next).ok()) << "the same candidacy";
  EXPECT_GT(next.fencing_token(), won.fencing_token());
  v1::GetLeaderRequest who;
  who.set_path("/service/leader");
  v1::GetLeaderResponse is;
  ASSERT_TRUE(Call(at_leader(), &Stub::GetLeader, who, &is).ok());
  EXPECT_EQ("two", is.value());
  EXPECT_EQ(next.fencing_token(), is.fencing_token());
}

using WriteStream = grpc::ClientReaderWriter<v1::StreamWritesRequest, v1::StreamWritesResponse>;

// Appends a sequential znode below /log, with `number` as its data.
void AddAppend(int number, v1::StreamWritesRequest* request) {
  v1::CreateZnodeRequest* const create = request->add_writes()->mutable_create();
  create->set_path("/log/");
  create->set_sequential(true);
  create->set_data(absl::StrCat(number));
}

TEST_F(CoordinationServiceTest, StreamedWritesTakeEffectAndAreAnsweredInOrder) {
  ASSERT_TRUE(Create("/log").ok());
  grpc::ClientContext context;
  const auto stream = at_leader()->StreamWrites(&context);
  constexpr int kFrames = 200;  // More than may be under way; two writes each.
  std::thread writer([&stream] {
    for (int i = 0; i < kFrames; ++i) {
      v1::StreamWritesRequest request;
      AddAppend(2 * i, &request);
      AddAppend(2 * i + 1, &request);
      EXPECT_TRUE(stream->Write(request));
    }
    stream->WritesDone();
  });
  int answered = 0;
  v1::StreamWritesResponse response;
  while (stream->Read(&response)) {
    ASSERT_EQ(2, response.results_size());
    for (const v1::ZnodeWriteResult& result : response.results()) {
      const std::string path = absl::StrFormat("/log/%010d", answered);
      EXPECT_EQ(path, result.create().znode().path());
      const auto read = Get(leader_, path);
      ASSERT_TRUE(read.ok()) << read.status();
      EXPECT_EQ(absl::StrCat(answered), read->znode().data());
      ++answered;
    }
  }
  writer.join();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(2 * kFrames, answered);
}

TEST_F(CoordinationServiceTest, AFailedStreamedWriteLeavesThoseAfterItAlone) {
  grpc::ClientContext context;
  const auto stream = at_leader()->StreamWrites(&context);
  v1::StreamWritesRequest request;
  request.add_writes()->mutable_set()->set_path("/missing");
  request.add_writes()->mutable_set()->set_path("no/slash");
  request.add_writes();
  request.add_writes()->mutable_create()->set_path("/made");
  request.add_writes()->mutable_delete_()->set_path("/made");
  v1::ExecuteMultiRequest* const multi = request.add_writes()->mutable_multi();
  multi->add_operations()->mutable_create()->set_path("/multi");
  ASSERT_TRUE(stream->Write(request));
  // A frame of no writes breaks the protocol, but not what came before it.
  ASSERT_TRUE(stream->Write(v1::StreamWritesRequest()));
  v1::StreamWritesResponse response;
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_EQ(6, response.results_size());
  EXPECT_EQ("ZNODE_NOT_FOUND", response.results(0).error().reason());
  EXPECT_EQ("INVALID_PATH", response.results(1).error().reason());
  EXPECT_EQ("INVALID_REQUEST", response.results(2).error().reason());
  EXPECT_EQ("/made", response.results(3).create().znode().path());
  EXPECT_TRUE(response.results(4).has_delete_());
  EXPECT_EQ("/multi", response.results(5).multi().znodes(0).path());
  EXPECT_FALSE(stream->Read(&response));
  const absl::Status end = rpc::FromGrpc(stream->Finish());
  EXPECT_EQ(Reason::kInvalidRequest, ReasonOf(end));
  EXPECT_EQ("writes", MetadataOf(end)["field"]);
}

TEST_F(CoordinationServiceTest, AStreamOfWritesAtAFollowerHasNoEffect) {
  grpc::ClientContext context;
  const auto stream = stubs_[follower()]->StreamWrites(&context);
  v1::StreamWritesRequest request;
  request.add_writes()->mutable_create()->set_path("/a");
  request.add_writes()->mutable_create()->set_path("/b");
  ASSERT_TRUE(stream->Write(request));
  v1::StreamWritesResponse response;
  EXPECT_FALSE(stream->Read(&response));
  const absl::Status end = rpc::FromGrpc(stream->Finish());
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(end));
  EXPECT_EQ(peers_[leader_].address, MetadataOf(end)["leader"]);
  EXPECT_EQ("none", MetadataOf(end)["outcome"]);
}

// Streams writes until the stream ends; what became of them. The writer runs ahead of the answers.
class Appender {
 public:
  explicit Appender(Stub* stub) : stream_(stub->StreamWrites(&context_)) {
    writer_ = std::thread([this] {
      for (v1::StreamWritesRequest request; stream_->Write(request = Next());) ++sent_;
    });
  }
  // Takes so many answers.
  void Await(int answers) {
    while (answered_ < answers && TakeAnswer()) {
    }
  }
  absl::Status Finish() {
    while (TakeAnswer()) {
    }
    writer_.join();
    return rpc::FromGrpc(stream_->Finish());
  }
  int answered() const { return answered_; }
  // One more may have left although Write() failed.
  int sent_at_most() const { return sent_ + 1; }

 private:
  v1::StreamWritesRequest Next() const {
    v1::StreamWritesRequest request;
    AddAppend(sent_, &request);
    return request;
  }
  bool TakeAnswer() {
    v1::StreamWritesResponse response;
    if (!stream_->Read(&response)) return false;
    EXPECT_TRUE(response.results(0).has_create()) << response.results(0).error().message();
    ++answered_;
    return true;
  }

  grpc::ClientContext context_;
  std::unique_ptr<WriteStream> stream_;
  std::thread writer_;
  int sent_ = 0;  // Of the writer.
  int answered_ = 0;
};

TEST_F(CoordinationServiceTest, WhenTheLeadIsLostAFirstPartOfTheWritesHasTakenEffect) {
  ASSERT_TRUE(Create("/log").ok());
  Appender appender(at_leader());
  appender.Await(100);
  // Without a majority the leader takes in writes until it notices.
  const int others[] = {(leader_ + 1) % 3, (leader_ + 2) % 3};
  for (int i : others) servers_[i].reset();
  const absl::Status end = appender.Finish();
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(end));
  EXPECT_EQ("unknown", MetadataOf(end)["outcome"]) << end;
  for (int i : others) Restart(i);
  const int found = CountAppended();
  EXPECT_GE(found, appender.answered());
  EXPECT_LE(found, appender.sent_at_most());
}

TEST_F(CoordinationServiceTest, ALeaderThatStopsLeavesNoWriteInDoubt) {
  ASSERT_TRUE(Create("/log").ok());
  Appender appender(at_leader());
  appender.Await(100);
  std::thread stopper([this] { servers_[leader_].reset(); });
  const absl::Status end = appender.Finish();
  stopper.join();
  EXPECT_TRUE(ReasonOf(end) == Reason::kShuttingDown || MetadataOf(end)["outcome"] == "none")
      << end;
  EXPECT_EQ(appender.answered(), CountAppended());
}

TEST_F(CoordinationServiceTest, AHandOverLeavesNoWriteInDoubt) {
  ASSERT_TRUE(Create("/log").ok());
  Appender appender(at_leader());
  appender.Await(100);
  const absl::Status handed = Transfer(leader_, follower() + 1);
  EXPECT_TRUE(handed.ok()) << handed;
  const absl::Status end = appender.Finish();
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(end));
  EXPECT_EQ("none", MetadataOf(end)["outcome"]) << end;
  EXPECT_EQ(appender.answered(), CountAppended());
}

TEST_F(CoordinationServiceTest, AFrameThatIsTooLargeIsRefused) {
  v1::StreamWritesRequest many;
  for (int i = 0; i < 9; ++i) {
    v1::ExecuteMultiRequest* const multi = many.add_writes()->mutable_multi();
    for (int j = 0; j < 125; ++j) multi->add_operations()->mutable_check()->set_path("/a");
  }
  v1::StreamWritesRequest large;
  for (int i = 0; i < 5; ++i) {
    v1::SetZnodeRequest* const set = large.add_writes()->mutable_set();
    set->set_path("/a");
    set->set_data(std::string(1 << 20, 'x'));
  }
  for (const auto& [request, limit] : {std::pair(many, "1000"), std::pair(large, "4194304")}) {
    grpc::ClientContext context;
    const auto stream = at_leader()->StreamWrites(&context);
    ASSERT_TRUE(stream->Write(request));
    v1::StreamWritesResponse response;
    EXPECT_FALSE(stream->Read(&response));
    const absl::Status end = rpc::FromGrpc(stream->Finish());
    EXPECT_EQ(Reason::kInvalidRequest, ReasonOf(end));
    EXPECT_EQ(limit, MetadataOf(end)["limit"]);
  }
}

TEST_F(CoordinationServiceTest, EverySessionHasASecretOfItsOwn) {
  const v1::SessionHandle one = OpenSession();
  const v1::SessionHandle two = OpenSession();
  EXPECT_EQ(16u, one.secret().size());
  EXPECT_NE(one.secret(), two.secret());
}

TEST_F(CoordinationServiceTest, BadTimeoutsAndPathsAreNamed) {
  v1::OpenSessionRequest request;
  request.mutable_timeout()->set_seconds(3600);
  v1::OpenSessionResponse response;
  const absl::Status refused = Call(at_leader(), &Stub::OpenSession, request, &response);
  EXPECT_EQ(Reason::kInvalidRequest, ReasonOf(refused));
  EXPECT_EQ("timeout", MetadataOf(refused)["field"]);
  EXPECT_EQ(Reason::kInvalidPath, ReasonOf(Get(leader_, "no/slash").status()));
  EXPECT_EQ(Reason::kInvalidPath, ReasonOf(Create("/a//b").status()));
  EXPECT_EQ(Reason::kPathReserved, ReasonOf(Create("/falaj/mine").status()));
}

}  // namespace
}  // namespace falaj::metadata
