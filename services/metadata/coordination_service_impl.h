#ifndef SERVICES_METADATA_COORDINATION_SERVICE_IMPL_H_
#define SERVICES_METADATA_COORDINATION_SERVICE_IMPL_H_

#include <grpcpp/grpcpp.h>

#include <cstddef>
#include <functional>

#include "falaj/internal/v1/coordination.pb.h"
#include "falaj/v1/coordination_service.grpc.pb.h"

#include "libs/coordination/coordination_state.h"
#include "services/metadata/open_streams.h"
#include "services/metadata/raft_node.h"

namespace falaj::metadata {

// CoordinationServiceImpl is the public CoordinationService at a metadata node: writes become
// entries of the log, reads run against the state machine when MetadataNode says that they may.
//
// Every node answers reads and watches; the rest needs the leader, and the others say who that is
// (METADATA_UNAVAILABLE, metadata key "leader"). It decides nothing. Threads: gRPC's; nothing here
// blocks.
class CoordinationServiceImpl final : public v1::CoordinationService::CallbackService {
 public:
  // `node` is not owned and outlives this.
  CoordinationServiceImpl(RaftNode* node, size_t watcher_queue_bytes)
      : node_(node), watcher_queue_bytes_(watcher_queue_bytes) {}

  // Ends the streams that clients keep open, also those that come later.
  void Close();

  grpc::ServerUnaryReactor* OpenSession(grpc::CallbackServerContext* context,
                                        const v1::OpenSessionRequest* request,
                                        v1::OpenSessionResponse* response) override;
  grpc::ServerUnaryReactor* KeepSession(grpc::CallbackServerContext* context,
                                        const v1::KeepSessionRequest* request,
                                        v1::KeepSessionResponse* response) override;
  grpc::ServerBidiReactor<v1::KeepSessionsRequest, v1::KeepSessionsResponse>* KeepSessions(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* CloseSession(grpc::CallbackServerContext* context,
                                         const v1::CloseSessionRequest* request,
                                         v1::CloseSessionResponse* response) override;
  grpc::ServerUnaryReactor* CreateZnode(grpc::CallbackServerContext* context,
                                        const v1::CreateZnodeRequest* request,
                                        v1::CreateZnodeResponse* response) override;
  grpc::ServerUnaryReactor* GetZnode(grpc::CallbackServerContext* context,
                                     const v1::GetZnodeRequest* request,
                                     v1::GetZnodeResponse* response) override;
  grpc::ServerUnaryReactor* SetZnode(grpc::CallbackServerContext* context,
                                     const v1::SetZnodeRequest* request,
                                     v1::SetZnodeResponse* response) override;
  grpc::ServerUnaryReactor* DeleteZnode(grpc::CallbackServerContext* context,
                                        const v1::DeleteZnodeRequest* request,
                                        v1::DeleteZnodeResponse* response) override;
  grpc::ServerUnaryReactor* ListChildren(grpc::CallbackServerContext* context,
                                         const v1::ListChildrenRequest* request,
                                         v1::ListChildrenResponse* response) override;
  grpc::ServerUnaryReactor* ExecuteMulti(grpc::CallbackServerContext* context,
                                         const v1::ExecuteMultiRequest* request,
                                         v1::ExecuteMultiResponse* response) override;
  grpc::ServerBidiReactor<v1::StreamWritesRequest, v1::StreamWritesResponse>* StreamWrites(
      grpc::CallbackServerContext* context) override;
  grpc::ServerWriteReactor<v1::WatchZnodesResponse>* WatchZnodes(
      grpc::CallbackServerContext* context, const v1::WatchZnodesRequest* request) override;
  grpc::ServerUnaryReactor* Campaign(grpc::CallbackServerContext* context,
                                     const v1::CampaignRequest* request,
                                     v1::CampaignResponse* response) override;
  grpc::ServerUnaryReactor* ResignCampaign(grpc::CallbackServerContext* context,
                                           const v1::ResignCampaignRequest* request,
                                           v1::ResignCampaignResponse* response) override;
  grpc::ServerUnaryReactor* GetLeader(grpc::CallbackServerContext* context,
                                      const v1::GetLeaderRequest* request,
                                      v1::GetLeaderResponse* response) override;

 private:
  class KeepStream;
  class WriteStream;
  using State = coordination::CoordinationState;

  // Executes a command and takes the result of its kind.
  template <typename Response>
  grpc::ServerUnaryReactor* Execute(grpc::CallbackServerContext* context,
                                    internal::v1::CoordinationCommand command, Response* response,
                                    Response* (internal::v1::CoordinationResult::*result)());
  // Answers `read` when it may be; `path` is checked first.
  template <typename Response>
  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context, const std::string& path,
                                 const v1::ReadOptions& options, Response* response,
                                 std::function<absl::StatusOr<Response>(const State&)> read);

  RaftNode* const node_;
  const size_t watcher_queue_bytes_;
  OpenStreams<KeepStream> keep_streams_;
  OpenStreams<WriteStream> write_streams_;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_COORDINATION_SERVICE_IMPL_H_
