#include "services/storage/fake_metadata.h"

#include "libs/base/status.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::storage {

grpc::Status FakeMetadata::Execute(grpc::ServerContext* /*context*/,
                                   const internal::v1::ExecuteRequest* request,
                                   internal::v1::ExecuteResponse* response) {
  auto applied = Apply(request->command());
  if (!applied.ok()) return rpc::ToGrpc(applied.status());
  *response = *std::move(applied);
  return grpc::Status::OK;
}

grpc::Status FakeMetadata::Heartbeat(grpc::ServerContext* /*context*/,
                                     const internal::v1::HeartbeatRequest* request,
                                     internal::v1::HeartbeatResponse* /*response*/) {
  MutexLock lock(&mu_);
  if (IsOpen(request->session_id())) return grpc::Status::OK;
  return rpc::ToGrpc(MakeError(Reason::kSessionExpired, "the session has ended"));
}

grpc::Status FakeMetadata::HoldSession(
    grpc::ServerContext* context, const internal::v1::HoldSessionRequest* request,
    grpc::ServerWriter<internal::v1::HoldSessionResponse>* writer) {
  writer->Write({});
  MutexLock lock(&mu_);
  while (!stopping_ && !context->IsCancelled()) {
    if (!IsOpen(request->session_id())) {
      return rpc::ToGrpc(MakeError(Reason::kSessionExpired, "the session has ended"));
    }
    changed_.WaitFor(&mu_, absl::Milliseconds(200));
  }
  return rpc::ToGrpc(MakeError(Reason::kShuttingDown, "stopped"));
}

bool FakeMetadata::IsOpen(int64_t session_id) {
  for (const auto& [id, node] : state_.nodes()) {
    if (node.session_id() == session_id) return true;
  }
  return false;
}

grpc::Status FakeMetadata::WatchCluster(
    grpc::ServerContext* context, const internal::v1::WatchClusterRequest* request,
    grpc::ServerWriter<internal::v1::WatchClusterResponse>* writer) {
  internal::v1::WatchClusterResponse event;
  size_t next = request->after_index();
  if (next == 0) {
    MutexLock lock(&mu_);
    *event.mutable_snapshot() = state_.Snapshot();
    next = deltas_.size();
    event.set_index(next);
  } else {
    event.set_index(next);
  }
  while (writer->Write(event) && !context->IsCancelled()) {
    event.Clear();
    MutexLock lock(&mu_);
    if (next == deltas_.size() && !stopping_) changed_.WaitFor(&mu_, absl::Milliseconds(200));
    if (stopping_) break;
    if (next < deltas_.size()) *event.mutable_delta() = deltas_[next++];
    event.set_index(next);
  }
  return rpc::ToGrpc(MakeError(Reason::kShuttingDown, "stopped"));
}

}  // namespace falaj::storage
