// The follower's end of a replica stream, with a leader that is this test: node 2.
#include "services/storage/replica_link.h"

#include <deque>
#include <memory>
#include <optional>

#include "gtest/gtest.h"

#include "falaj/internal/v1/storage_service.grpc.pb.h"

#include "libs/rpc/server.h"
#include "services/storage/store_shard_fixture.h"

namespace falaj::storage {
namespace {

using internal::v1::ReplicateRequest;
using internal::v1::ReplicateResponse;

// Keeps what the follower says on its one stream, and says what it is told to.
class FakeLeader final : public internal::v1::StorageService::Service {
 public:
  FakeLeader() {
    host_ = rpc::ServerHost::Start({.listen_address = "127.0.0.1:0"}, {this}, /*registry=*/nullptr)
                .value();
  }
  ~FakeLeader() override { host_->Stop(absl::ZeroDuration()); }

  std::string address() const { return host_->address(); }

  grpc::Status Replicate(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<ReplicateResponse, ReplicateRequest>* stream) override {
    stream->SendInitialMetadata();
    {
      MutexLock lock(&mu_);
      context_ = context;
      stream_ = stream;
    }
    ReplicateRequest request;
    while (stream->Read(&request)) {
      MutexLock lock(&mu_);
      requests_.push_back(request);
      changed_.NotifyAll();
    }
    MutexLock lock(&mu_);
    context_ = nullptr;
    stream_ = nullptr;
    return grpc::Status::OK;
  }

  ReplicateRequest Next() {
    MutexLock lock(&mu_);
    while (requests_.empty()) changed_.Wait(&mu_);
    ReplicateRequest next = requests_.front();
    requests_.pop_front();
    return next;
  }
  void Answer(const internal::v1::ReplicaAttached& answer) {
    ReplicateResponse response;
    *response.add_attached() = answer;
    MutexLock lock(&mu_);
    stream_->Write(response);
  }
  void EndStream() {
    MutexLock lock(&mu_);
    context_->TryCancel();
  }

 private:
  Mutex mu_;
  CondVar changed_;
  grpc::ServerContext* context_ ABSL_GUARDED_BY(mu_) = nullptr;
  grpc::ServerReaderWriter<ReplicateResponse, ReplicateRequest>* stream_ ABSL_GUARDED_BY(mu_) =
      nullptr;
  std::deque<ReplicateRequest> requests_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<rpc::ServerHost> host_;
};

class ReplicaLinkTest : public StoreShardTest {
 protected:
  // After the link: the shard speaks to nobody, the test passes on what it says.
  ~ReplicaLinkTest() override { link_.reset(); }

  void Connect(Lane lane) {
    link_.emplace(Source{.leader = NodeId{2}, .lane = lane}, leader_.address(), &*shard_, [this] {
      MutexLock lock(&mu_);
      ++troubles_;
      changed_.NotifyAll();
    });
  }
  // Passes the shard's latest attach on; what the leader hears of it.
  ReplicateRequest AttachLatest(int32_t partition) {
    const replica::IsrMember self{NodeId{1}, NodeEpoch{5}};
    EXPECT_TRUE(link_->Attach(self, Key(partition), outbox_.attaches().back().second));
    link_->Flush();
    return leader_.Next();
  }
  void AwaitTrouble() {
    MutexLock lock(&mu_);
    while (troubles_ == 0) changed_.Wait(&mu_);
    troubles_ = 0;
  }
  // Waits until the shard has asked for its `count`th attach.
  Source AwaitAttach(size_t count) {
    while (outbox_.attaches().size() < count) Drain();
    EXPECT_EQ(outbox_.attaches().size(), count);
    return outbox_.attaches().back().first;
  }

  FakeLeader leader_;
  Mutex mu_;
  CondVar changed_;
  int troubles_ ABSL_GUARDED_BY(mu_) = 0;
  std::optional<ReplicaLink> link_;
};

TEST_F(ReplicaLinkTest, SaysItsLaneAndGrantsLessCreditForWhatIsOld) {
  Follow(0);
  Connect(Lane::kCatchUp);
  const ReplicateRequest first = AttachLatest(0);
  EXPECT_EQ(first.hello().lane(), internal::v1::REPLICA_LANE_CATCH_UP);
  EXPECT_EQ(first.attaches_size(), 1);
  link_->Close();
  Connect(Lane::kLive);
  const ReplicateRequest live = AttachLatest(0);
  EXPECT_EQ(live.hello().lane(), internal::v1::REPLICA_LANE_LIVE);
  EXPECT_GT(live.credit_bytes(), first.credit_bytes());
}

TEST_F(ReplicaLinkTest, HasThePartitionAttachOnTheLaneTheLeaderNames) {
  Follow(0);
  Connect(Lane::kLive);
  internal::v1::ReplicaAttached move;
  move.set_index(AttachLatest(0).attaches(0).index());
  move.set_lane(internal::v1::REPLICA_LANE_CATCH_UP);
  leader_.Answer(move);
  EXPECT_EQ(AwaitAttach(2), (Source{.leader = NodeId{2}, .lane = Lane::kCatchUp}));
  // It has left this stream, whose end does not concern it.
  leader_.EndStream();
  AwaitTrouble();
  link_->Tick();
  Drain();
  EXPECT_EQ(outbox_.attaches().size(), 2u);
}

TEST_F(ReplicaLinkTest, HasAttachAgainWhatWasRefusedAndWhatWasOnAStreamThatBroke) {
  Follow(0);
  Connect(Lane::kLive);
  internal::v1::ReplicaAttached refusal;
  refusal.set_index(AttachLatest(0).attaches(0).index());
  refusal.mutable_error()->set_reason("NOT_LEADER");
  leader_.Answer(refusal);
  AwaitTrouble();
  EXPECT_FALSE(link_->Tick());
  EXPECT_EQ(AwaitAttach(2).lane, Lane::kLive);
  AttachLatest(0);
  leader_.EndStream();
  AwaitTrouble();
  EXPECT_FALSE(link_->Tick()) << "the connection stands";
  EXPECT_EQ(AwaitAttach(3).lane, Lane::kLive);
}

TEST_F(ReplicaLinkTest, WhatCannotBeAttachedWhileTheStreamBreaksIsAttachedAfterwards) {
  Follow(0);
  Connect(Lane::kLive);
  AttachLatest(0);
  Follow(1);
  link_->Break();
  const replica::IsrMember self{NodeId{1}, NodeEpoch{5}};
  // Unless it has broken already, which then opens the next one.
  if (link_->Attach(self, Key(1), outbox_.attaches().back().second)) return;
  AwaitTrouble();
  while (link_->Tick()) AwaitTrouble();
  AwaitAttach(4);  // Both.
}

}  // namespace
}  // namespace falaj::storage
