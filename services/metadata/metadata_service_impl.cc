#include "services/metadata/metadata_service_impl.h"

#include <memory>
#include <utility>

#include "libs/rpc/status_grpc.h"
#include "services/metadata/watch_stream.h"

namespace falaj::metadata {

namespace pb = ::falaj::internal::v1;

grpc::ServerUnaryReactor* MetadataServiceImpl::Execute(grpc::CallbackServerContext* context,
                                                       const pb::ExecuteRequest* request,
                                                       pb::ExecuteResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  node_->Execute(request->command(),
                 [reactor, response](absl::StatusOr<pb::ExecuteResponse> result) {
                   if (result.ok()) *response = *std::move(result);
                   reactor->Finish(rpc::ToGrpc(result.status()));
                 });
  return reactor;
}

grpc::ServerUnaryReactor* MetadataServiceImpl::Heartbeat(grpc::CallbackServerContext* context,
                                                         const pb::HeartbeatRequest* request,
                                                         pb::HeartbeatResponse* /*response*/) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  node_->Heartbeat(SessionId(request->session_id()),
                   [reactor](const absl::Status& status) { reactor->Finish(rpc::ToGrpc(status)); });
  return reactor;
}

grpc::ServerWriteReactor<pb::WatchClusterResponse>* MetadataServiceImpl::WatchCluster(
    grpc::CallbackServerContext* /*context*/, const pb::WatchClusterRequest* request) {
  const std::shared_ptr<WatchStream> stream = WatchStream::Create(watcher_queue_bytes_);
  node_->Watch(*request, stream, [stream](const absl::Status& status) {
    if (!status.ok()) stream->Close(status);
  });
  return stream.get();
}

grpc::ServerUnaryReactor* MetadataServiceImpl::GetStatus(grpc::CallbackServerContext* context,
                                                         const pb::GetStatusRequest* /*request*/,
                                                         pb::GetStatusResponse* response) {
  const NodeStatus status = node_->status();
  response->set_node_id(node_->id().value());
  response->set_role(std::string(raft::RoleName(status.core.soft.role)));
  response->set_term(status.core.soft.term.value());
  response->set_leader_id(status.core.soft.leader.value());
  response->set_commit_index(status.core.committed.value());
  response->set_applied_index(status.core.applied.value());
  response->set_first_index(status.core.first_index.value());
  for (NodeId voter : status.core.membership.voters) response->add_voters(voter.value());
  for (NodeId learner : status.core.membership.learners) response->add_learners(learner.value());
  response->set_ready(status.ready);
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* MetadataServiceImpl::TransferLeadership(
    grpc::CallbackServerContext* context, const pb::TransferLeadershipRequest* request,
    pb::TransferLeadershipResponse* /*response*/) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  node_->Transfer(NodeId(request->node_id()),
                  [reactor](const absl::Status& status) { reactor->Finish(rpc::ToGrpc(status)); });
  return reactor;
}

}  // namespace falaj::metadata
