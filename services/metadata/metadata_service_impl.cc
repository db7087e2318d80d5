#include "services/metadata/metadata_service_impl.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/rpc/status_grpc.h"
#include "services/metadata/call_deadline.h"
#include "services/metadata/hold_stream.h"
#include "services/metadata/watch_stream.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;

// Fills in what is asked. The core refuses what makes no sense.
absl::StatusOr<raft::MembershipChange> ToChange(const pb::ChangeMembershipRequest& request) {
  using Kind = raft::MembershipChange::Kind;
  raft::MembershipChange change;
  change.node = NodeId(request.node_id());
  change.address = request.address();
  const bool wants_address = request.change() == pb::MEMBERSHIP_CHANGE_ADD_LEARNER ||
                             request.change() == pb::MEMBERSHIP_CHANGE_SET_ADDRESS;
  if (wants_address && request.address().empty()) {
    return MakeError(Reason::kInvalidRequest, "address must be host:port", {{"field", "address"}});
  }
  switch (request.change()) {
    case pb::MEMBERSHIP_CHANGE_ADD_LEARNER:
      change.kind = Kind::kAddLearner;
      return change;
    case pb::MEMBERSHIP_CHANGE_PROMOTE:
      change.kind = Kind::kPromote;
      return change;
    case pb::MEMBERSHIP_CHANGE_REMOVE:
      change.kind = Kind::kRemove;
      return change;
    case pb::MEMBERSHIP_CHANGE_SET_ADDRESS:
      change.kind = Kind::kSetAddress;
      return change;
    default:
      return MakeError(Reason::kInvalidRequest,
                       absl::StrCat("change is unknown: ", static_cast<int>(request.change())),
                       {{"field", "change"}});
  }
}

// The change is in force already, so that a call whose answer was lost may be repeated.
bool IsInForce(const raft::MembershipChange& change, const raft::Membership& members) {
  const auto address = members.addresses.find(change.node);
  const bool same_address = address != members.addresses.end() && address->second == change.address;
  switch (change.kind) {
    case raft::MembershipChange::Kind::kAddLearner:
      return members.Contains(change.node) && same_address;
    case raft::MembershipChange::Kind::kPromote:
      return members.IsVoter(change.node);
    case raft::MembershipChange::Kind::kRemove:
      return change.node >= NodeId(1) && !members.Contains(change.node);
    case raft::MembershipChange::Kind::kSetAddress:
      return members.Contains(change.node) && same_address;
    case raft::MembershipChange::Kind::kBindDirectory:
      return false;  // Nobody asks for that from outside.
  }
  return false;
}

void FillMembers(const NodeStatus& status, pb::GetStatusResponse* response) {
  for (NodeId node : status.core.membership.All()) {
    pb::MetadataMember* const member = response->add_members();
    member->set_node_id(node.value());
    member->set_voter(status.core.membership.IsVoter(node));
    const auto address = status.addresses.find(node);
    if (address != status.addresses.end()) member->set_address(address->second);
    if (node == NodeId(response->node_id())) {
      member->set_active(true);
      member->set_match_index(status.core.persisted.value());
    }
    for (const raft::FollowerStatus& follower : status.core.followers) {
      if (follower.node != node) continue;
      member->set_active(follower.active);
      member->set_match_index(follower.match.value());
      member->set_receiving_snapshot(follower.receiving_snapshot);
      member->set_lag(status.core.last_index - follower.match);
    }
  }
}

}  // namespace

grpc::ServerUnaryReactor* MetadataServiceImpl::Execute(grpc::CallbackServerContext* context,
                                                       const pb::ExecuteRequest* request,
                                                       pb::ExecuteResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const auto answer = [reactor, response](absl::StatusOr<pb::ExecuteResponse> result) {
    if (result.ok()) *response = *std::move(result);
    reactor->Finish(rpc::ToGrpc(result.status()));
  };
  node_->Post([request, answer](MetadataNode* node, const absl::Status& refused) {
    if (node == nullptr) return answer(refused);
    node->Execute(request->command(), answer);
  });
  return reactor;
}

grpc::ServerUnaryReactor* MetadataServiceImpl::Heartbeat(grpc::CallbackServerContext* context,
                                                         const pb::HeartbeatRequest* request,
                                                         pb::HeartbeatResponse* /*response*/) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  node_->Post([reactor, request](MetadataNode* node, const absl::Status& refused) {
    reactor->Finish(
        rpc::ToGrpc(node == nullptr ? refused : node->Heartbeat(SessionId(request->session_id()))));
  });
  return reactor;
}

grpc::ServerWriteReactor<pb::HoldSessionResponse>* MetadataServiceImpl::HoldSession(
    grpc::CallbackServerContext* /*context*/, const pb::HoldSessionRequest* request) {
  return HoldStream::Open(node_, SessionId(request->session_id()));
}

grpc::ServerWriteReactor<pb::WatchClusterResponse>* MetadataServiceImpl::WatchCluster(
    grpc::CallbackServerContext* /*context*/, const pb::WatchClusterRequest* request) {
  const std::shared_ptr<WatchStream> stream = WatchStream::Create(watcher_queue_bytes_);
  node_->Post([stream, request = *request](MetadataNode* node, const absl::Status& refused) {
    if (node == nullptr) return stream->Close(refused);
    node->Watch(request, stream, [stream](const absl::Status& begun) {
      if (!begun.ok()) stream->Close(begun);
    });
  });
  return stream.get();
}

grpc::ServerUnaryReactor* MetadataServiceImpl::GetNewestChange(
    grpc::CallbackServerContext* context, const pb::GetNewestChangeRequest* /*request*/,
    pb::GetNewestChangeResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  PendingReads::Options when;
  when.deadline = CallDeadline(*context, node_->clock(), kReadPatienceMax);
  node_->Post([reactor, response, when](MetadataNode* node, const absl::Status& refused) {
    if (node == nullptr) return reactor->Finish(rpc::ToGrpc(refused));
    node->Read(when, [reactor, response, node](const absl::Status& readable) {
      if (readable.ok()) response->set_index(node->newest_change().value());
      reactor->Finish(rpc::ToGrpc(readable));
    });
  });
  return reactor;
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
  response->set_cluster_id(std::string(cluster_id_.bytes()));
  response->set_last_index(status.core.last_index.value());
  response->set_snapshot_index(status.core.snapshot_index.value());
  response->set_incarnation(incarnation_);
  response->set_transferring_to(status.core.transferring_to.value());
  response->set_storage_failed(status.core.storage_failed);
  for (NodeId founder : status.core.founders_awaited) {
    response->add_founders_awaited(founder.value());
  }
  response->set_refusal(status.core.refusal);
  FillMembers(status, response);
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* MetadataServiceImpl::TransferLeadership(
    grpc::CallbackServerContext* context, const pb::TransferLeadershipRequest* request,
    pb::TransferLeadershipResponse* /*response*/) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const auto answer = [reactor](const absl::Status& status) {
    reactor->Finish(rpc::ToGrpc(status));
  };
  node_->Post([request, answer](MetadataNode* node, const absl::Status& refused) {
    if (node == nullptr) return answer(refused);
    node->Transfer(NodeId(request->node_id()), answer);
  });
  return reactor;
}

grpc::ServerUnaryReactor* MetadataServiceImpl::ChangeMembership(
    grpc::CallbackServerContext* context, const pb::ChangeMembershipRequest* request,
    pb::ChangeMembershipResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const auto answer = [reactor, response](const absl::StatusOr<pb::ExecuteResponse>& result) {
    if (result.ok()) response->set_index(result->index());
    reactor->Finish(rpc::ToGrpc(result.status()));
  };
  const absl::StatusOr<raft::MembershipChange> change = ToChange(*request);
  if (!change.ok()) {
    answer(change.status());
    return reactor;
  }
  node_->Post([change = *change, answer](MetadataNode* node, const absl::Status& refused) {
    if (node == nullptr) return answer(refused);
    if (node->core().is_leader() && IsInForce(change, node->core().committed_membership())) {
      return answer(pb::ExecuteResponse());
    }
    node->ChangeMembership(change, answer);
  });
  return reactor;
}

}  // namespace falaj::metadata
