#include "services/metadata/raft_service_impl.h"

#include <atomic>
#include <utility>

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
    if (request_.cluster_id() != service_->cluster_id_.bytes()) {
      return Close(MakeError(Reason::kClusterMismatch,
                             "this metadata node belongs to another cluster",
                             {{"cluster_id", service_->cluster_id_.ToString()}}));
    }
    service_->node_->Step(std::move(*request_.mutable_message()));
    StartRead(&request_);
  }
  void OnCancel() override { Close(absl::OkStatus()); }
  void OnDone() override {
    service_->Remove(this);
    delete this;
  }

 private:
  RaftServiceImpl* const service_;
  pb::ExchangeRequest request_;
  std::atomic<bool> finished_ = false;  // Close() may come from several threads.
};

grpc::ServerReadReactor<pb::ExchangeRequest>* RaftServiceImpl::Exchange(
    grpc::CallbackServerContext* /*context*/, pb::ExchangeResponse* /*response*/) {
  auto* const stream = new ExchangeStream(this);
  MutexLock lock(&mu_);
  streams_.insert(stream);
  if (closed_) stream->Close(MakeError(Reason::kShuttingDown, "the metadata node is stopping"));
  return stream;
}

void RaftServiceImpl::Close() {
  MutexLock lock(&mu_);
  closed_ = true;
  // Under the lock: OnDone, which deletes a stream, waits for it.
  for (ExchangeStream* stream : streams_) {
    stream->Close(MakeError(Reason::kShuttingDown, "the metadata node is stopping"));
  }
}

void RaftServiceImpl::Remove(ExchangeStream* stream) {
  MutexLock lock(&mu_);
  streams_.erase(stream);
}

}  // namespace falaj::metadata
