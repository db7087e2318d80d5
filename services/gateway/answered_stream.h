// AnsweredStream is one client's call of a method whose frames are answered one each, in order:
// KeepSessions and StreamWrites. Frames go to the leader of the metadata service, answers come
// back.
//
// Frames are kept until they are answered. When the stream to the leader breaks, or does not answer
// in time, it is opened again at the new leader and the unanswered frames are sent again, if that
// does no harm: signs of life always, writes only when certainly none of them took effect. The
// client notices nothing but a pause, or else is told that the outcome is unknown. When nobody has
// answered for `patience`, the stream ends with METADATA_UNAVAILABLE. A stream without unanswered
// frames has no need of a leader, and is opened again by the next frame.
//
//   client ──▶ unanswered (bounded by method) ──▶ leader
//   client ◀── answers (no more than there were frames) ◀──┘
//
// Bounds: the client is not read while there is no room for another frame, here or in a byte
// budget, and the node is not while the client leaves too many answers; both count as held. At most
// one write is outstanding in each direction.
//
// Ownership: it keeps itself alive until gRPC is done with it; the stream to the node keeps it too.
// Threads: gRPC's; mu_ guards everything that changes. Nothing blocks.
#ifndef SERVICES_GATEWAY_ANSWERED_STREAM_H_
#define SERVICES_GATEWAY_ANSWERED_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "falaj/v1/coordination_service.pb.h"

#include "libs/base/mutex.h"
#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/open_calls.h"
#include "libs/rpc/retry.h"
#include "services/gateway/coordination_backend.h"
#include "services/gateway/coordination_requests.h"
#include "services/gateway/gateway_parts.h"
#include "services/gateway/upstream_stream.h"

namespace falaj::gateway {

// What AnsweredStream has to know of a method.
struct AnsweredMethod {
  const char* path;        // "/package.Service/Method"
  bool repeatable;         // A frame may take effect twice.
  size_t frames_max;       // Held at a time...
  int64_t held_bytes_max;  // ...give or take a frame.
  // Whether a frame is a valid message of its type. Asked only when a node seems to have doubts.
  bool (*parses)(const grpc::ByteBuffer& frame);
};
template <typename Message>
bool Parses(const grpc::ByteBuffer& frame) {
  Message message;
  return rpc::ParseProto(frame, &message);
}
inline constexpr AnsweredMethod kKeepSessions{.path = kKeepSessionsPath,
                                              .repeatable = true,
                                              .frames_max = 16,
                                              .held_bytes_max = 1 << 20,
                                              .parses = &Parses<v1::KeepSessionsRequest>};
inline constexpr AnsweredMethod kStreamWrites{.path = kStreamWritesPath,
                                              .repeatable = false,
                                              .frames_max = 64,
                                              .held_bytes_max = 4 << 20,
                                              .parses = &Parses<v1::StreamWritesRequest>};

class AnsweredStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                             public UpstreamListener,
                             public rpc::StoppableCall,
                             public std::enable_shared_from_this<AnsweredStream> {
 public:
  // The reactor of the call; one that has ended already if the gateway is too busy.
  static grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Start(
      const AnsweredMethod& method, const GatewayParts* parts, CoordinationBackend* backend,
      const std::string& peer);
  ~AnsweredStream() override;

 private:
  AnsweredStream(const AnsweredMethod& method, const GatewayParts* parts,
                 CoordinationBackend* backend, CoordinationBackend::Slot slot, CallBudget budget);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  // Takes no more frames; ends when those it has taken are answered.
  void Stop() override;
  void OnUpstreamMessage(const grpc::ByteBuffer& message) override;
  void OnUpstreamWritten() override;
  void OnUpstreamDone(const CallEnd& end, const grpc::Status& wire) override;

  // Each does what can be done now.
  void Pump();
  void OnRoom();
  void ReadClient() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WriteClient() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ReadUpstream() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WriteUpstream() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Open() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WatchAnswers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CheckAnswers();
  void Retry();
  // How long to wait before the next attempt; sets last_word_ if there is none.
  absl::Duration PlanNext(const CallEnd& end, const grpc::Status& wire, const std::string& asked,
                          bool frames_sent) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Duration silence_max() const;
  void End(const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const AnsweredMethod method_;
  const CoordinationBackend::Slot slot_;  // First, so that it is given back last.
  const CallBudget budget_;
  const GatewayParts* const parts_;
  CoordinationBackend* const backend_;
  std::shared_ptr<AnsweredStream> self_;  // Released by OnDone.
  grpc::ByteBuffer incoming_;

  Mutex mu_;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  // How the stream ends once every answer has been written.
  std::optional<grpc::Status> last_word_ ABSL_GUARDED_BY(mu_);
  bool half_closed_ ABSL_GUARDED_BY(mu_) = false;  // The client sends no more.
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool reading_ ABSL_GUARDED_BY(mu_) = false;
  bool waiting_for_room_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;  // To the client; the front of answers_.
  std::deque<grpc::ByteBuffer> unanswered_ ABSL_GUARDED_BY(mu_);  // Frames, oldest first.
  int64_t unanswered_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<grpc::ByteBuffer> answers_ ABSL_GUARDED_BY(mu_);
  int64_t answers_bytes_ ABSL_GUARDED_BY(mu_) = 0;

  std::shared_ptr<UpstreamStream> upstream_ ABSL_GUARDED_BY(mu_);
  size_t sent_ ABSL_GUARDED_BY(mu_) = 0;  // Of unanswered_, on upstream_.
  bool sending_ ABSL_GUARDED_BY(mu_) = false;
  bool receiving_ ABSL_GUARDED_BY(mu_) = false;  // An answer is asked for.
  bool pausing_ ABSL_GUARDED_BY(mu_) = false;    // Before the next attempt.
  bool watching_ ABSL_GUARDED_BY(mu_) = false;   // CheckAnswers() is due.
  // Since when the oldest unanswered frame waits on upstream_.
  MonotonicTime waiting_since_ ABSL_GUARDED_BY(mu_);
  std::optional<MonotonicTime> failing_since_ ABSL_GUARDED_BY(mu_);
  int hints_followed_ ABSL_GUARDED_BY(mu_) = 0;
  rpc::Backoff backoff_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_ANSWERED_STREAM_H_
