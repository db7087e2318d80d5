#include "services/metadata/raft_service_impl.h"

#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::metadata {

namespace pb = ::falaj::internal::v1;

// One peer's stream; gRPC owns it until OnDone().
class RaftServiceImpl::ExchangeStream final : public grpc::ServerReadReactor<pb::ExchangeRequest> {
 public:
  explicit ExchangeStream(RaftServiceImpl* service) : service_(service) { StartRead(&request_); }

  void Close(const absl::Status& status) {
    if (!finished_.exchange(true)) Finish(rpc::ToGrpc(status));
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Close(absl::OkStatus());
    if (const absl::Status ours = CheckOrigin(); !ours.ok()) return Close(ours);
    if (peer_ == NodeId() && !request_.messages().empty()) {
      peer_ = NodeId(request_.messages(0).from());
      service_->newest_.Opened(peer_, this);
    }
    for (pb::RaftMessage& message : *request_.mutable_messages()) {
      service_->node_->Step(std::move(message));
    }
    StartRead(&request_);
  }
  void OnCancel() override { Close(absl::OkStatus()); }
  void OnDone() override {
    if (service_->newest_.Closed(peer_, this)) service_->node_->PeerBroke(peer_);
    service_->streams_.Remove(this);
    delete this;
  }

 private:
  absl::Status CheckOrigin() const {
    if (request_.cluster_id() != service_->cluster_id_.bytes()) {
      return MakeError(Reason::kClusterMismatch, "this metadata node belongs to another cluster",
                       {{"cluster_id", service_->cluster_id_.ToString()}});
    }
    if (request_.incarnation() != service_->incarnation_) {
      return MakeError(
          Reason::kClusterMismatch,
          absl::StrCat("this metadata node belongs to incarnation ", service_->incarnation_,
                       " of the quorum, the caller to ", request_.incarnation()),
          {{"incarnation", absl::StrCat(service_->incarnation_)}});
    }
    return absl::OkStatus();
  }

  RaftServiceImpl* const service_;
  pb::ExchangeRequest request_;
  NodeId peer_;                         // Once it has sent a message.
  std::atomic<bool> finished_ = false;  // Close() may come from several threads.
};

grpc::ServerReadReactor<pb::ExchangeRequest>* RaftServiceImpl::Exchange(
    grpc::CallbackServerContext* /*context*/, pb::ExchangeResponse* /*response*/) {
  auto* const stream = new ExchangeStream(this);
  streams_.Add(stream);
  return stream;
}

void RaftServiceImpl::Close() {
  streams_.CloseAll(MakeError(Reason::kShuttingDown, "the metadata node is stopping"));
}

}  // namespace falaj::metadata
