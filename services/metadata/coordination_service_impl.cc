#include "services/metadata/coordination_service_impl.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

#include "libs/base/status.h"
#include "libs/coordination/command_rules.h"
#include "libs/coordination/limits.h"
#include "libs/rpc/status_grpc.h"
#include "services/metadata/call_deadline.h"
#include "services/metadata/keep_stream.h"
#include "services/metadata/write_stream.h"
#include "services/metadata/znode_watch_stream.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;

constexpr absl::Duration kForEver = absl::Hours(24 * 365);

// Sessions are milliseconds in the log. Out of range stays out of range.
absl::StatusOr<int32_t> TimeoutMs(const v1::OpenSessionRequest& request) {
  if (!request.has_timeout()) return coordination::kSessionTimeoutMsDefault;
  const absl::Duration timeout =
      absl::Seconds(request.timeout().seconds()) + absl::Nanoseconds(request.timeout().nanos());
  const int64_t ms = absl::ToInt64Milliseconds(timeout);
  FALAJ_RETURN_IF_ERROR(coordination::ValidateSessionTimeout(ms));
  return static_cast<int32_t>(ms);
}

absl::StatusOr<bool> IsLinearizable(const v1::ReadOptions& options) {
  switch (options.consistency()) {
    case v1::READ_CONSISTENCY_UNSPECIFIED:
    case v1::READ_CONSISTENCY_LINEARIZABLE:
      return true;
    case v1::READ_CONSISTENCY_LOCAL:
      return false;
    default:
      return MakeError(
          Reason::kInvalidRequest,
          absl::StrCat("options.consistency is unknown: ", static_cast<int>(options.consistency())),
          {{"field", "options.consistency"},
           {"value", absl::StrCat(static_cast<int>(options.consistency()))}});
  }
}

grpc::ServerUnaryReactor* Refuse(grpc::CallbackServerContext* context, const absl::Status& why) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(rpc::ToGrpc(why));
  return reactor;
}

}  // namespace

template <typename Response>
grpc::ServerUnaryReactor* CoordinationServiceImpl::Execute(
    grpc::CallbackServerContext* context, pb::CoordinationCommand command, Response* response,
    Response* (pb::CoordinationResult::*result)()) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  pb::ClusterCommand entry;
  *entry.mutable_coordination() = std::move(command);
  const auto answer = [reactor, response, result](absl::StatusOr<pb::ExecuteResponse> executed) {
    if (executed.ok()) response->Swap((executed->mutable_coordination()->*result)());
    reactor->Finish(rpc::ToGrpc(executed.status()));
  };
  node_->Post(
      [entry = std::move(entry), answer](MetadataNode* node, const absl::Status& refused) mutable {
        if (node == nullptr) return answer(refused);
        node->Execute(std::move(entry), answer);
      });
  return reactor;
}

template <typename Response>
grpc::ServerUnaryReactor* CoordinationServiceImpl::Read(
    grpc::CallbackServerContext* context, const std::string& path, const v1::ReadOptions& options,
    Response* response, std::function<absl::StatusOr<Response>(const State&)> read) {
  if (const absl::Status valid = coordination::ValidateReadPath(path); !valid.ok()) {
    return Refuse(context, valid);
  }
  const absl::StatusOr<bool> linearizable = IsLinearizable(options);
  if (!linearizable.ok()) return Refuse(context, linearizable.status());
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  PendingReads::Options when;
  when.linearizable = *linearizable;
  when.min_index = LogIndex(options.min_index());
  when.deadline = CallDeadline(*context, node_->clock(), kReadPatienceMax);
  node_->Post([reactor, response, when, read = std::move(read)](MetadataNode* node,
                                                                const absl::Status& refused) {
    if (node == nullptr) return reactor->Finish(rpc::ToGrpc(refused));
    node->Read(when, [reactor, response, read, node](const absl::Status& readable) {
      if (!readable.ok()) return reactor->Finish(rpc::ToGrpc(readable));
      absl::StatusOr<Response> found = read(node->state().coordination());
      if (found.ok()) {
        response->Swap(&*found);
        response->set_index(node->state().index().value());
      }
      reactor->Finish(rpc::ToGrpc(found.status()));
    });
  });
  return reactor;
}

grpc::ServerUnaryReactor* CoordinationServiceImpl::OpenSession(
    grpc::CallbackServerContext* context, const v1::OpenSessionRequest* request,
    v1::OpenSessionResponse* response) {
  const absl::StatusOr<int32_t> timeout_ms = TimeoutMs(*request);
  if (!timeout_ms.ok()) return Refuse(context, timeout_ms.status());
  pb::CoordinationCommand command;
  command.mutable_open_session()->set_timeout_ms(*timeout_ms);
  return Execute(context, std::move(command), response,
                 &pb::CoordinationResult::mutable_open_session);
}

grpc::ServerUnaryReactor* CoordinationServiceImpl::KeepSession(
    grpc::CallbackServerContext* context, const v1::KeepSessionRequest* request,
    v1::KeepSessionResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  node_->Post([reactor, request, response](MetadataNode* node, const absl::Status& refused) {
    if (node == nullptr) return reactor->Finish(rpc::ToGrpc(refused));
    const absl::StatusOr<absl::Duration> timeout = node->KeepSession(request->session());
    if (timeout.ok()) {
      const int64_t ms = absl::ToInt64Milliseconds(*timeout);
      response->mutable_timeout()->set_seconds(ms / 1000);
      response->mutable_timeout()->set_nanos(static_cast<int32_t>(ms % 1000) * 1'000'000);
    }
    reactor->Finish(rpc::ToGrpc(timeout.status()));
  });
  return reactor;
}

grpc::ServerBidiReactor<v1::KeepSessionsRequest, v1::KeepSessionsResponse>*
CoordinationServiceImpl::KeepSessions(grpc::CallbackServerContext* /*context*/) {
  return KeepStream::Open(node_, &keep_streams_);
}

grpc::ServerBidiReactor<v1::StreamWritesRequest, v1::StreamWritesResponse>*
CoordinationServiceImpl::StreamWrites(grpc::CallbackServerContext* /*context*/) {
  return WriteStream::Open(node_, &write_streams_);
}

void CoordinationServiceImpl::Close() {
  const absl::Status stopping = MakeError(Reason::kShuttingDown, "the metadata node is stopping");
  keep_streams_.CloseAll(stopping);
  write_streams_.CloseAll(stopping);
}

grpc::ServerUnaryReactor* CoordinationServiceImpl::CloseSession(
    grpc::CallbackServerContext* context, const v1::CloseSessionRequest* request,
    v1::CloseSessionResponse* response) {
  pb::CoordinationCommand command;
  *command.mutable_close_session() = *request;
  return Execute(context, std::move(command), response,
                 &pb::CoordinationResult::mutable_close_session);
}

grpc::ServerUnaryReactor* CoordinationServiceImpl::CreateZnode(
    grpc::CallbackServerContext* context, const v1::CreateZnodeRequest* request,
    v1::CreateZnodeResponse* response) {
  pb::CoordinationCommand command;
  *command.mutable_create() = *request;
  return Execute(context, std::move(command), response, &pb::CoordinationResult::mutable_create);
}

grpc::ServerUnaryReactor* CoordinationServiceImpl::SetZnode(grpc::CallbackServerContext* context,
                                                            const v1::SetZnodeRequest* request,
                                                            v1::SetZnodeResponse* response) {
  pb::CoordinationCommand command;
  *command.mutable_set() = *request;
  return Execute(context, std::move(command), response, &pb::CoordinationResult::mutable_set);
}

grpc::ServerUnaryReactor* CoordinationServiceImpl::DeleteZnode(
    grpc::CallbackServerContext* context, const v1::DeleteZnodeRequest* request,
    v1::DeleteZnodeResponse* response) {
  pb::CoordinationCommand command;
  *command.mutable_delete_() = *request;
  return Execute(context, std::move(command), response, &pb::CoordinationResult::mutable_delete_);
}

grpc::ServerUnaryReactor* CoordinationServiceImpl::ExecuteMulti(
    grpc::CallbackServerContext* context, const v1::ExecuteMultiRequest* request,
    v1::ExecuteMultiResponse* response) {
  pb::CoordinationCommand command;
  *command.mutable_multi() = *request;
  return Execute(context, std::move(command), response, &pb::CoordinationResult::mutable_multi);
}

grpc::ServerUnaryReactor* CoordinationServiceImpl::ResignCampaign(
    grpc::CallbackServerContext* context, const v1::ResignCampaignRequest* request,
    v1::ResignCampaignResponse* response) {
  pb::CoordinationCommand command;
  *command.mutable_resign() = *request;
  return Execute(context, std::move(command), response, &pb::CoordinationResult::mutable_resign);
}

grpc::ServerUnaryReactor* CoordinationServiceImpl::GetZnode(grpc::CallbackServerContext* context,
                                                            const v1::GetZnodeRequest* request,
                                                            v1::GetZnodeResponse* response) {
  return Read<v1::GetZnodeResponse>(
      context, request->path(), request->options(), response,
      [request](const State& state) { return state.Get(request->path()); });
}

grpc::ServerUnaryReactor* CoordinationServiceImpl::ListChildren(
    grpc::CallbackServerContext* context, const v1::ListChildrenRequest* request,
    v1::ListChildrenResponse* response) {
  return Read<v1::ListChildrenResponse>(
      context, request->path(), request->options(), response,
      [request](const State& state) { return state.List(*request); });
}

grpc::ServerUnaryReactor* CoordinationServiceImpl::GetLeader(grpc::CallbackServerContext* context,
                                                             const v1::GetLeaderRequest* request,
                                                             v1::GetLeaderResponse* response) {
  return Read<v1::GetLeaderResponse>(
      context, request->path(), request->options(), response,
      [request](const State& state) { return state.GetLeader(request->path()); });
}

grpc::ServerUnaryReactor* CoordinationServiceImpl::Campaign(grpc::CallbackServerContext* context,
                                                            const v1::CampaignRequest* request,
                                                            v1::CampaignResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const MonotonicTime deadline = CallDeadline(*context, node_->clock(), kForEver);
  const auto answer = [reactor, response](absl::StatusOr<v1::CampaignResponse> won) {
    if (won.ok()) response->Swap(&*won);
    reactor->Finish(rpc::ToGrpc(won.status()));
  };
  node_->Post(
      [request, context, deadline, answer](MetadataNode* node, const absl::Status& refused) {
        if (node == nullptr) return answer(refused);
        node->Campaign(
            *request, deadline, [context] { return context->IsCancelled(); }, answer);
      });
  return reactor;
}

grpc::ServerWriteReactor<v1::WatchZnodesResponse>* CoordinationServiceImpl::WatchZnodes(
    grpc::CallbackServerContext* context, const v1::WatchZnodesRequest* request) {
  const std::shared_ptr<ZnodeWatchStream> stream = ZnodeWatchStream::Create(watcher_queue_bytes_);
  // How long it may take to begin; the watch itself has no end.
  const MonotonicTime deadline = CallDeadline(*context, node_->clock(), kReadPatienceMax);
  node_->Post(
      [stream, request = *request, deadline](MetadataNode* node, const absl::Status& refused) {
        if (node == nullptr) return stream->Close(refused);
        node->WatchZnodes(request, deadline, stream, [stream](const absl::Status& begun) {
          if (!begun.ok()) stream->Close(begun);
        });
      });
  return stream.get();
}

}  // namespace falaj::metadata
