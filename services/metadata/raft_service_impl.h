#ifndef SERVICES_METADATA_RAFT_SERVICE_IMPL_H_
#define SERVICES_METADATA_RAFT_SERVICE_IMPL_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>

#include "falaj/internal/v1/raft.grpc.pb.h"

#include "libs/base/ids.h"
#include "services/metadata/newest_streams.h"
#include "services/metadata/open_streams.h"
#include "services/metadata/raft_node.h"

namespace falaj::metadata {

// RaftServiceImpl takes in the other metadata nodes' messages and passes them to RaftNode.
//
// A stream from another cluster, or from another incarnation of the quorum (one that was recovered
// without its majority, RaftLog::RecoverQuorum), ends with CLUSTER_MISMATCH, and says nothing about
// the peer it claims to come from. When the newest stream of a peer breaks, RaftNode is told: the
// peer may have died. A message that finds RaftNode's queue full is dropped, which Raft bears. The
// streams belong to gRPC and live until it is done with them, before the server has stopped.
// Threads: any; nothing here blocks.
class RaftServiceImpl final : public internal::v1::RaftService::CallbackService {
 public:
  // `node` is not owned and outlives this.
  RaftServiceImpl(RaftNode* node, const Uuid& cluster_id, uint64_t incarnation)
      : node_(node), cluster_id_(cluster_id), incarnation_(incarnation) {}

  grpc::ServerReadReactor<internal::v1::ExchangeRequest>* Exchange(
      grpc::CallbackServerContext* context, internal::v1::ExchangeResponse* response) override;
  // Ends all streams, also those that come later: peers keep theirs open for ever.
  void Close();

 private:
  class ExchangeStream;

  RaftNode* const node_;
  const Uuid cluster_id_;
  const uint64_t incarnation_;
  NewestStreams newest_;
  OpenStreams<ExchangeStream> streams_;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_RAFT_SERVICE_IMPL_H_
