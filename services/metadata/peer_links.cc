#include "services/metadata/peer_links.h"

#include <grpcpp/grpcpp.h>

#include <deque>
#include <thread>
#include <utility>

#include "falaj/internal/v1/raft.grpc.pb.h"

#include "libs/base/log.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;

constexpr absl::Duration kReconnectBackoff = absl::Milliseconds(50);

bool IsHeartbeat(const pb::RaftMessage& message) {
  return message.type() == pb::RAFT_MESSAGE_TYPE_HEARTBEAT;
}

}  // namespace

// One peer: the queue, and the thread that empties it into a stream.
class PeerLinks::Link {
 public:
  Link(const Options& options, NodeId peer, std::string address)
      : options_(options), peer_(peer), address_(std::move(address)), thread_([this] { Run(); }) {}

  ~Link() {
    {
      MutexLock lock(&mu_);
      stopping_ = true;
      if (context_ != nullptr) context_->TryCancel();
      wake_.NotifyAll();
    }
    thread_.join();
  }

  const std::string& address() const { return address_; }

  void Send(pb::RaftMessage message) {
    const size_t size = message.ByteSizeLong();
    MutexLock lock(&mu_);
    // The newest heartbeat says all that the one before it did.
    if (IsHeartbeat(message) && !queue_.empty() && IsHeartbeat(queue_.back().message())) {
      bytes_ -= queue_.back().ByteSizeLong();
      queue_.pop_back();
    }
    if (queue_.size() >= options_.queue_messages_max) return;
    if (!queue_.empty() && bytes_ + size > options_.queue_bytes_max) return;
    pb::ExchangeRequest request;
    *request.mutable_message() = std::move(message);
    request.set_cluster_id(std::string(options_.cluster_id.bytes()));
    request.set_incarnation(options_.incarnation);
    bytes_ += request.ByteSizeLong();
    queue_.push_back(std::move(request));
    wake_.NotifyOne();
  }

 private:
  void Run() {
    rpc::ChannelOptions channel_options;
    channel_options.reconnect_backoff_max = absl::Milliseconds(500);
    const auto stub = pb::RaftService::NewStub(rpc::MakeChannel(address_, channel_options));
    std::string last_error;
    while (true) {
      grpc::ClientContext context;
      if (!BeginStream(&context)) return;
      const grpc::Status status = RunStream(stub.get(), &context);
      const bool stopping = EndStream();
      if (stopping) return;
      const std::string error = rpc::FromGrpc(status).ToString();
      if (error != last_error) {  // Once per kind: a peer may be away for hours.
        log::Warning("the stream to a metadata node broke",
                     {{"peer", peer_}, {"address", address_}, {"error", error}});
        last_error = error;
      }
    }
  }

  // Waits for something to send. False: stopping.
  bool BeginStream(grpc::ClientContext* context) {
    MutexLock lock(&mu_);
    while (queue_.empty() && !stopping_) wake_.Wait(&mu_);
    context_ = context;
    return !stopping_;
  }

  grpc::Status RunStream(pb::RaftService::Stub* stub, grpc::ClientContext* context) {
    pb::ExchangeResponse response;
    const auto writer = stub->Exchange(context, &response);
    std::deque<pb::ExchangeRequest> batch;
    while (TakeQueue(&batch)) {
      for (size_t i = 0; i < batch.size(); ++i) {
        grpc::WriteOptions write;
        if (i + 1 < batch.size()) write.set_buffer_hint();
        if (!writer->Write(batch[i], write)) return writer->Finish();
      }
      batch.clear();
    }
    context->TryCancel();
    return writer->Finish();
  }

  // False: stopping.
  bool TakeQueue(std::deque<pb::ExchangeRequest>* batch) {
    MutexLock lock(&mu_);
    while (queue_.empty() && !stopping_) wake_.Wait(&mu_);
    batch->swap(queue_);
    bytes_ = 0;
    return !stopping_;
  }

  // Drops what waits, which is stale by the time there is a new stream, and backs off.
  bool EndStream() {
    MutexLock lock(&mu_);
    context_ = nullptr;
    if (!stopping_) wake_.WaitFor(&mu_, kReconnectBackoff);
    queue_.clear();
    bytes_ = 0;
    return stopping_;
  }

  const Options options_;
  const NodeId peer_;
  const std::string address_;

  Mutex mu_;
  CondVar wake_;
  std::deque<pb::ExchangeRequest> queue_ ABSL_GUARDED_BY(mu_);
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mu_) = nullptr;  // Of the open stream.

  std::thread thread_;  // Last: it uses the rest.
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
