#include "services/metadata/peer_links.h"

#include <grpcpp/grpcpp.h>

#include <deque>
#include <utility>

#include "falaj/internal/v1/raft.grpc.pb.h"

#include "libs/base/log.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;

constexpr absl::Duration kReconnectBackoff = absl::Milliseconds(50);
constexpr size_t kRequestBytesMax = 1 << 20;  // Of the messages; a larger one travels alone.

bool IsHeartbeat(const pb::RaftMessage& message) {
  return message.type() == pb::RAFT_MESSAGE_TYPE_HEARTBEAT;
}

}  // namespace

// One peer: the queue, and the stream it is emptied into. There is a stream from the first message
// on; after it broke, and a pause, from the next message on.
class PeerLinks::Link {
 public:
  Link(const Options& options, NodeId peer, std::string address)
      : options_(options),
        peer_(peer),
        address_(std::move(address)),
        stub_(pb::RaftService::NewStub(rpc::MakeChannel(
            address_,
            {.reconnect_backoff_max = absl::Milliseconds(500), .metrics = options.metrics}))) {}

  ~Link() {
    MutexLock lock(&mu_);
    stopping_ = true;
    if (stream_ != nullptr) {
      stream_->context.TryCancel();
      if (!writing_) stream_->RemoveHold();  // Else OnWriteDone() does.
    }
    while (stream_ != nullptr) ended_.Wait(&mu_);
  }

  const std::string& address() const { return address_; }

  void Send(pb::RaftMessage message) {
    const size_t size = message.ByteSizeLong();
    MutexLock lock(&mu_);
    // The newest heartbeat says all that the one before it did.
    if (IsHeartbeat(message) && !queue_.empty() && IsHeartbeat(queue_.back().message)) {
      bytes_ -= queue_.back().size;
      queue_.pop_back();
    }
    if (queue_.size() >= options_.queue_messages_max) return;
    if (!queue_.empty() && bytes_ + size > options_.queue_bytes_max) return;
    bytes_ += size;
    queue_.push_back({std::move(message), size});
    Write();
  }

 private:
  // The call in terms of gRPC, which holds on to it until OnDone().
  struct Stream final : public grpc::ClientWriteReactor<pb::ExchangeRequest> {
    explicit Stream(Link* of_link) : link(of_link) {}
    void OnWriteDone(bool ok) override { link->OnWriteDone(ok); }
    void OnDone(const grpc::Status& status) override { link->OnStreamDone(status); }

    Link* const link;
    grpc::ClientContext context;
    pb::ExchangeRequest request;  // Of gRPC while the link is writing.
    pb::ExchangeResponse response;
  };

  // Starts to write what waits, if there is nothing under way.
  void Write() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (writing_ || queue_.empty() || stopping_) return;
    if (stream_ == nullptr && !Open()) return DropQueue();
    pb::ExchangeRequest* const request = &stream_->request;
    request->Clear();
    request->set_cluster_id(std::string(options_.cluster_id.bytes()));
    request->set_incarnation(options_.incarnation);
    size_t taken = 0;
    do {
      taken += queue_.front().size;
      *request->add_messages() = std::move(queue_.front().message);
      queue_.pop_front();
    } while (!queue_.empty() && taken + queue_.front().size <= kRequestBytesMax);
    bytes_ -= taken;
    writing_ = true;
    stream_->StartWrite(request);
  }

  // False: the peer has to be left alone for a while.
  bool Open() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (options_.clock->MonotonicNow() < next_attempt_) return false;
    stream_ = std::make_unique<Stream>(this);
    stub_->async()->Exchange(&stream_->context, &stream_->response, stream_.get());
    stream_->AddHold();  // Writes come from outside of its callbacks.
    stream_->StartCall();
    return true;
  }

  void DropQueue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    queue_.clear();
    bytes_ = 0;
  }

  void OnWriteDone(bool ok) {
    MutexLock lock(&mu_);
    writing_ = false;
    if (ok && !stopping_) return Write();
    // Nothing more will be written: Write() starts nothing on it any more.
    writing_ = true;
    stream_->RemoveHold();
  }

  // What waits is stale by the time there is a new stream.
  void OnStreamDone(const grpc::Status& status) {
    std::unique_ptr<Stream> ended;  // Destroyed after the lock is released.
    MutexLock lock(&mu_);
    const std::string error = rpc::FromGrpc(status).ToString();
    if (!stopping_ && error != last_error_) {  // Once per kind: a peer may be away for hours.
      log::Warning("the stream to a metadata node broke",
                   {{"peer", peer_}, {"address", address_}, {"error", error}});
      last_error_ = error;
    }
    DropQueue();
    writing_ = false;
    next_attempt_ = options_.clock->MonotonicNow() + kReconnectBackoff;
    ended = std::move(stream_);
    ended_.NotifyAll();
  }

  const Options options_;
  const NodeId peer_;
  const std::string address_;
  const std::unique_ptr<pb::RaftService::Stub> stub_;

  struct Waiting {
    pb::RaftMessage message;
    size_t size = 0;
  };
  Mutex mu_;
  CondVar ended_;
  std::deque<Waiting> queue_ ABSL_GUARDED_BY(mu_);
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;  // Of the queue.
  std::unique_ptr<Stream> stream_ ABSL_GUARDED_BY(mu_);
  bool writing_ ABSL_GUARDED_BY(mu_) = false;  // Or the stream is about to end.
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  MonotonicTime next_attempt_ ABSL_GUARDED_BY(mu_);
  std::string last_error_ ABSL_GUARDED_BY(mu_);
};

PeerLinks::PeerLinks(const Options& options) : options_(options) {}

PeerLinks::~PeerLinks() = default;

void PeerLinks::SetAddresses(const std::map<NodeId, std::string>& addresses) {
  std::map<NodeId, std::unique_ptr<Link>> replaced;  // Joined after the lock is released.
  MutexLock lock(&mu_);
  for (const auto& [node, address] : addresses) {
    if (node == options_.self) continue;
    std::unique_ptr<Link>& link = links_[node];
    if (link != nullptr && link->address() == address) continue;
    replaced[node] = std::exchange(link, std::make_unique<Link>(options_, node, address));
  }
}

void PeerLinks::Send(pb::RaftMessage message) {
  MutexLock lock(&mu_);
  const auto link = links_.find(NodeId(message.to()));
  if (link != links_.end()) link->second->Send(std::move(message));
}

}  // namespace falaj::metadata
