// KeepSessionsStream is one client's KeepSessions call: frames go to the leader of the metadata
// service, answers come back, one for each frame and in order.
//
// Frames are kept until they are answered. When the stream to the leader breaks, or does not answer
// in time, it is opened again at the new leader and the unanswered frames are sent again: a sign of
// life may arrive twice without harm, and the client notices nothing but a pause. Only when nobody
// has answered for `patience` does the stream end, with METADATA_UNAVAILABLE. A stream without
// unanswered frames has no need of a leader, and is opened again by the next frame.
//
//   client ──▶ unanswered (at most 16, and 1 MiB) ──▶ leader
//   client ◀── answers (no more than there were frames) ◀──┘
//
// Bounds: the client is not read while there is no room for another frame, here or in a byte
// budget. At most one write is outstanding in each direction.
//
// Ownership: it keeps itself alive until gRPC is done with it; the stream to the node keeps it too.
// Threads: gRPC's; mu_ guards everything that changes. Nothing blocks.
#ifndef SERVICES_GATEWAY_KEEP_SESSIONS_STREAM_H_
#define SERVICES_GATEWAY_KEEP_SESSIONS_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "libs/base/mutex.h"
#include "libs/rpc/retry.h"
#include "services/gateway/coordination_backend.h"
#include "services/gateway/gateway_parts.h"
#include "services/gateway/upstream_stream.h"

namespace falaj::gateway {

class KeepSessionsStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                                 public UpstreamListener,
                                 public std::enable_shared_from_this<KeepSessionsStream> {
 public:
  // The reactor of the call; one that has ended already if the gateway is too busy.
  static grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Start(
      const GatewayParts* parts, CoordinationBackend* backend, const std::string& peer);
  ~KeepSessionsStream() override;

 private:
  KeepSessionsStream(const GatewayParts* parts, CoordinationBackend* backend,
                     CoordinationBackend::Slot slot, CallBudget budget);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  void OnUpstreamMessage(const grpc::ByteBuffer& message) override;
  void OnUpstreamWritten() override;
  void OnUpstreamDone(const CallEnd& end, const grpc::Status& wire) override;

  // Each does what can be done now.
  void Pump();
  void OnRoom();
  void ReadClient() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WriteClient() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WriteUpstream() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Open() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WatchAnswers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CheckAnswers();
  void Retry();
  // How long to wait before the next attempt; sets last_word_ if there is none.
  absl::Duration PlanNext(const CallEnd& end, const grpc::Status& wire, const std::string& asked)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void End(const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const CoordinationBackend::Slot slot_;  // First, so that it is given back last.
  const CallBudget budget_;
  const GatewayParts* const parts_;
  CoordinationBackend* const backend_;
  std::shared_ptr<KeepSessionsStream> self_;  // Released by OnDone.
  grpc::ByteBuffer incoming_;

  Mutex mu_;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  // How the stream ends once every answer has been written.
  std::optional<grpc::Status> last_word_ ABSL_GUARDED_BY(mu_);
  bool half_closed_ ABSL_GUARDED_BY(mu_) = false;  // The client sends no more.
  bool reading_ ABSL_GUARDED_BY(mu_) = false;
  bool waiting_for_room_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;  // To the client; the front of answers_.
  std::deque<grpc::ByteBuffer> unanswered_ ABSL_GUARDED_BY(mu_);  // Frames, oldest first.
  int64_t unanswered_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<grpc::ByteBuffer> answers_ ABSL_GUARDED_BY(mu_);

  std::shared_ptr<UpstreamStream> upstream_ ABSL_GUARDED_BY(mu_);
  size_t sent_ ABSL_GUARDED_BY(mu_) = 0;  // Of unanswered_, on upstream_.
  bool sending_ ABSL_GUARDED_BY(mu_) = false;
  bool pausing_ ABSL_GUARDED_BY(mu_) = false;   // Before the next attempt.
  bool watching_ ABSL_GUARDED_BY(mu_) = false;  // CheckAnswers() is due.
  // Since when the oldest unanswered frame waits on upstream_.
  MonotonicTime waiting_since_ ABSL_GUARDED_BY(mu_);
  std::optional<MonotonicTime> failing_since_ ABSL_GUARDED_BY(mu_);
  int hints_followed_ ABSL_GUARDED_BY(mu_) = 0;
  rpc::Backoff backoff_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_KEEP_SESSIONS_STREAM_H_
