// What leaves a metadata node for another one, also when that one does not listen.
#include "services/metadata/peer_links.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "falaj/internal/v1/raft.grpc.pb.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/rpc/server.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;

constexpr NodeId kSelf{1};
constexpr NodeId kPeer{2};

// A peer that takes messages in only while it is told to.
class Peer final : public pb::RaftService::CallbackService {
 public:
  class Stream final : public grpc::ServerReadReactor<pb::ExchangeRequest> {
   public:
    explicit Stream(Peer* peer) : peer_(peer) {}
    void Read() { StartRead(&request_); }
    void End() { Finish(grpc::Status::OK); }

   private:
    void OnReadDone(bool ok) override { peer_->OnRead(this, ok, request_); }
    void OnCancel() override {}  // Its read fails, too.
    void OnDone() override { delete this; }

    Peer* const peer_;
    pb::ExchangeRequest request_;
  };

  grpc::ServerReadReactor<pb::ExchangeRequest>* Exchange(
      grpc::CallbackServerContext* /*context*/, pb::ExchangeResponse* /*response*/) override {
    auto* const stream = new Stream(this);
    MutexLock lock(&mu_);
    ++streams_;
    open_.insert(stream);
    if (listening_) stream->Read();
    changed_.NotifyAll();
    return stream;
  }

  // Once on, for good.
  void Listen() {
    MutexLock lock(&mu_);
    listening_ = true;
    for (Stream* stream : open_) stream->Read();
  }
  // Ends the streams that are open; they must not be listened to.
  void Break() {
    MutexLock lock(&mu_);
    for (Stream* stream : open_) stream->End();
    open_.clear();
  }
  void WaitForStream(int count) {
    MutexLock lock(&mu_);
    while (streams_ < count) changed_.Wait(&mu_);
  }
  // Calls `nudge` until a message with this index has come; returns everything that came.
  std::vector<pb::RaftMessage> ReceiveUpTo(uint64_t index, const std::function<void()>& nudge) {
    MutexLock lock(&mu_);
    while (received_.empty() || received_.back().log_index() < index) {
      mu_.Unlock();
      nudge();
      mu_.Lock();
      changed_.WaitFor(&mu_, absl::Milliseconds(20));
    }
    return received_;
  }

 private:
  void OnRead(Stream* stream, bool ok, const pb::ExchangeRequest& request) {
    MutexLock lock(&mu_);
    if (!ok) {
      if (open_.erase(stream) > 0) stream->End();
      return;
    }
    received_.insert(received_.end(), request.messages().begin(), request.messages().end());
    changed_.NotifyAll();
    stream->Read();
  }

  Mutex mu_;
  CondVar changed_;
  bool listening_ ABSL_GUARDED_BY(mu_) = false;
  int streams_ ABSL_GUARDED_BY(mu_) = 0;
  std::set<Stream*> open_ ABSL_GUARDED_BY(mu_);
  std::vector<pb::RaftMessage> received_ ABSL_GUARDED_BY(mu_);
};

class PeerLinksTest : public ::testing::Test {
 protected:
  PeerLinksTest() {
    auto host = rpc::ServerHost::Start({}, {&peer_}, nullptr);
    if (!host.ok()) std::abort();
    host_ = *std::move(host);
  }
  ~PeerLinksTest() override {
    links_.reset();
    host_->Stop(absl::Seconds(5));
  }

  void Connect(size_t messages_max, size_t bytes_max) {
    PeerLinks::Options options;
    options.self = kSelf;
    options.queue_messages_max = messages_max;
    options.queue_bytes_max = bytes_max;
    options.clock = &clock_;
    links_ = std::make_unique<PeerLinks>(options);
    links_->SetAddresses({{kPeer, host_->address()}});
  }
  void Send(pb::RaftMessageType type, size_t size = 0) {
    pb::RaftMessage message;
    message.set_type(type);
    message.set_from(kSelf.value());
    message.set_to(kPeer.value());
    message.set_log_index(++sent_);
    if (size > 0) message.add_entries()->set_data(std::string(size, 'e'));
    links_->Send(std::move(message));
  }
  void SendAppend(size_t size) { Send(pb::RAFT_MESSAGE_TYPE_APPEND, size); }
  // Until something sent from now on has come.
  std::vector<pb::RaftMessage> ReceiveAll() {
    return peer_.ReceiveUpTo(sent_ + 1, [this] { SendAppend(1); });
  }

  Peer peer_;
  std::unique_ptr<rpc::ServerHost> host_;
  ManualClock clock_;
  std::unique_ptr<PeerLinks> links_;
  uint64_t sent_ = 0;
};

void ExpectRising(const std::vector<pb::RaftMessage>& messages) {
  for (size_t i = 1; i < messages.size(); ++i) {
    ASSERT_LT(messages[i - 1].log_index(), messages[i].log_index()) << "out of order, or twice";
  }
}

TEST_F(PeerLinksTest, MessagesArriveInTheOrderTheyWereSent) {
  peer_.Listen();
  Connect(1024, 16 << 20);
  for (int i = 0; i < 200; ++i) SendAppend(100);
  const std::vector<pb::RaftMessage> received = ReceiveAll();
  ExpectRising(received);
  ASSERT_GE(received.size(), 201u) << "the queue had room for all of them";
  EXPECT_EQ(received.front().log_index(), 1u);
  EXPECT_EQ(received.front().entries(0).data().size(), 100u);
}

TEST_F(PeerLinksTest, APeerThatDoesNotListenCostsABoundedNumberOfMessages) {
  Connect(/*messages_max=*/10, 16 << 20);
  // What gRPC takes in for the peer goes on top: some windows, far below what is sent.
  for (int i = 0; i < 2000; ++i) SendAppend(64 << 10);
  peer_.Listen();
  const std::vector<pb::RaftMessage> received = ReceiveAll();
  ExpectRising(received);
  EXPECT_LT(received.size(), 500u);
}

TEST_F(PeerLinksTest, APeerThatDoesNotListenCostsABoundedNumberOfBytes) {
  Connect(1'000'000, /*bytes_max=*/1 << 20);
  for (int i = 0; i < 500; ++i) SendAppend(256 << 10);
  peer_.Listen();
  const std::vector<pb::RaftMessage> received = ReceiveAll();
  ExpectRising(received);
  EXPECT_LT(received.size(), 125u) << "32 MiB of 125";
}

TEST_F(PeerLinksTest, AMessageAboveTheBoundTravelsAlone) {
  peer_.Listen();
  Connect(10, /*bytes_max=*/1000);
  SendAppend(100'000);
  const std::vector<pb::RaftMessage> received = ReceiveAll();
  EXPECT_EQ(received.front().entries(0).data().size(), 100'000u);
}

TEST_F(PeerLinksTest, OfHeartbeatsOnlyTheNewestWaits) {
  Connect(1'000'000, 64 << 20);
  // Nothing more can be written: whatever comes now waits.
  for (int i = 0; i < 200; ++i) SendAppend(256 << 10);
  for (int i = 0; i < 50; ++i) Send(pb::RAFT_MESSAGE_TYPE_HEARTBEAT);
  const uint64_t newest = sent_;
  SendAppend(1);
  Send(pb::RAFT_MESSAGE_TYPE_HEARTBEAT);
  peer_.Listen();
  std::vector<uint64_t> heartbeats;
  for (const pb::RaftMessage& message : ReceiveAll()) {
    if (message.type() != pb::RAFT_MESSAGE_TYPE_HEARTBEAT) continue;
    heartbeats.push_back(message.log_index());
  }
  EXPECT_THAT(heartbeats, ::testing::ElementsAre(newest, newest + 2))
      << "one on either side of the append, which it must not overtake";
}

TEST_F(PeerLinksTest, ABrokenStreamTakesWhatWaitedAlongAndIsOpenedAgainAfterAPause) {
  Connect(1'000'000, 64 << 20);
  SendAppend(1);
  peer_.WaitForStream(1);
  for (int i = 0; i < 200; ++i) SendAppend(256 << 10);
  const uint64_t lost = sent_;
  peer_.Break();
  peer_.Listen();
  // The pause is the clock's: without it no attempt is made.
  const std::vector<pb::RaftMessage> received = peer_.ReceiveUpTo(lost + 1, [this] {
    clock_.Advance(absl::Milliseconds(1));
    SendAppend(1);
  });
  peer_.WaitForStream(2);
  ExpectRising(received);
  EXPECT_GT(received.front().log_index(), lost) << "what waited is stale";
}

}  // namespace
}  // namespace falaj::metadata
