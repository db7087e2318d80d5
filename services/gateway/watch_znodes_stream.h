// WatchZnodesStream is one client's WatchZnodes call: messages of a metadata node pass through
// untouched, and when that node goes away the watch goes on at another one after the last index
// that was passed on, so that the client sees neither a gap nor anything twice.
//
//   opening ── first message ──▶ passing ── last word (WATCH_COMPACTED, ...) ──▶ finished
//      ▲                            │
//      └── after a pause, for `patience` ◀── connection lost, node silent or stopping
//
// A message is read from the node only when the one before it has been written to the client: a
// slow client holds back its node, which then decides by its own bounds. So does a byte budget that
// is used up.
//
// Ownership: it keeps itself alive until gRPC is done with it; the stream to the node keeps it too.
// Threads: gRPC's; mu_ guards everything that changes. Nothing blocks.
#ifndef SERVICES_GATEWAY_WATCH_ZNODES_STREAM_H_
#define SERVICES_GATEWAY_WATCH_ZNODES_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>

#include "libs/base/mutex.h"
#include "libs/rpc/open_calls.h"
#include "libs/rpc/retry.h"
#include "services/gateway/coordination_backend.h"
#include "services/gateway/coordination_requests.h"
#include "services/gateway/gateway_parts.h"
#include "services/gateway/upstream_stream.h"

namespace falaj::gateway {

class WatchZnodesStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                                public UpstreamListener,
                                public rpc::StoppableCall,
                                public std::enable_shared_from_this<WatchZnodesStream> {
 public:
  // The reactor of the call; one that has ended already if the gateway is too busy.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(const GatewayParts* parts,
                                                           CoordinationBackend* backend,
                                                           const std::string& peer,
                                                           const grpc::ByteBuffer& request);
  ~WatchZnodesStream() override;

 private:
  WatchZnodesStream(const GatewayParts* parts, CoordinationBackend* backend,
                    CoordinationBackend::Slot slot, CallBudget budget,
                    const grpc::ByteBuffer& request);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  void Stop() override;
  void OnUpstreamMessage(const grpc::ByteBuffer& message) override;
  void OnUpstreamWritten() override {}
  void OnUpstreamDone(const CallEnd& end, const grpc::Status& wire) override;

  void Open();
  void WatchSilence();
  // Asks for the next message if nothing is in the way of passing it on.
  void ReadUpstream() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnRoom();
  // False if the client has it already: the node has resumed earlier than it was asked to.
  bool IsNew(const WatchPosition& position) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void End(const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const CoordinationBackend::Slot slot_;  // First, so that it is given back last.
  const CallBudget budget_;
  const GatewayParts* const parts_;
  CoordinationBackend* const backend_;
  const grpc::ByteBuffer request_;
  std::shared_ptr<WatchZnodesStream> self_;  // Released by OnDone.

  Mutex mu_;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  // Nothing is read while one of these holds.
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool waiting_for_room_ ABSL_GUARDED_BY(mu_) = false;
  grpc::ByteBuffer outgoing_ ABSL_GUARDED_BY(mu_);
  int64_t outgoing_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::shared_ptr<UpstreamStream> upstream_ ABSL_GUARDED_BY(mu_);
  std::optional<uint64_t> passed_index_ ABSL_GUARDED_BY(mu_);  // Of the last message passed on.
  MonotonicTime heard_ ABSL_GUARDED_BY(mu_);                   // When the node last said something.
  std::optional<MonotonicTime> failing_since_ ABSL_GUARDED_BY(mu_);
  rpc::Backoff backoff_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_WATCH_ZNODES_STREAM_H_
