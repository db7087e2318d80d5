#ifndef SERVICES_METADATA_WRITE_STREAM_H_
#define SERVICES_METADATA_WRITE_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "falaj/internal/v1/metadata_service.pb.h"
#include "falaj/v1/coordination_service.pb.h"

#include "libs/base/mutex.h"
#include "services/metadata/coordination_service_impl.h"
#include "services/metadata/open_streams.h"
#include "services/metadata/raft_node.h"

namespace falaj::metadata {

// WriteStream is one StreamWrites call. A frame is executed by one task of the node: its
// writes, and those of the next frames, follow each other into the log without waiting for answers.
// A frame is answered when the last of its writes and all frames before it are.
//
//   client ──▶ frames_ (bounded) ──▶ MetadataNode::Execute
//   client ◀── the front, once complete ◀── results ◀──┘
//
// Invariants:
//   a write is handed to the node after all before it, and none after one that was refused because
//   this node does not lead; so of the unanswered ones a first part takes effect, or none
//   after such a refusal those before it are waited for; the stream then ends with the node's own
//   error only if no unanswered write can have taken effect
//
// Bounds: the client is not read while 64 frames, 4,000 writes without a result or 4 MiB of frames
// and answers are held.
//
// gRPC, the tasks and the writes under way share it. Threads: gRPC's, the node's, and the server's
// that stops; mu_ guards everything that changes.
class CoordinationServiceImpl::WriteStream final
    : public grpc::ServerBidiReactor<v1::StreamWritesRequest, v1::StreamWritesResponse>,
      public std::enable_shared_from_this<WriteStream> {
 public:
  static WriteStream* Open(RaftNode* node, OpenStreams<WriteStream>* streams);

  // Answers what is complete, then ends the stream; nothing more is executed.
  void Close(const absl::Status& status);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  struct Frame {
    v1::StreamWritesResponse response;
    int open = 0;      // Writes without a result.
    int effects = 0;   // Writes that succeeded.
    size_t bytes = 0;  // Of the request; of the response once that is complete.
  };

  WriteStream(RaftNode* node, OpenStreams<WriteStream>* streams) : node_(node), streams_(streams) {}

  // In a round of the node.
  void Execute(MetadataNode* node, v1::StreamWritesRequest request, uint64_t number);
  bool BeginWrite();
  void SetResult(uint64_t number, int write, absl::StatusOr<internal::v1::ExecuteResponse> result);

  // Each does what can be done now.
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Read() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void StopExecuting(const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Settle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  RaftNode* const node_;
  OpenStreams<WriteStream>* const streams_;
  v1::StreamWritesRequest request_;    // Of gRPC while it reads.
  v1::StreamWritesResponse response_;  // Of gRPC while it writes.

  Mutex mu_;
  std::shared_ptr<WriteStream> self_ ABSL_GUARDED_BY(mu_);  // gRPC's share.
  std::deque<Frame> frames_ ABSL_GUARDED_BY(mu_);           // Without an answer.
  uint64_t first_number_ ABSL_GUARDED_BY(mu_) = 0;          // Of the front frame.
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;                   // Of frames_.
  int open_ ABSL_GUARDED_BY(mu_) = 0;                       // Writes of frames_ without a result...
  int under_way_ ABSL_GUARDED_BY(mu_) = 0;                  // ...of which the node has these.
  bool reading_ ABSL_GUARDED_BY(mu_) = false;               // Until what was read is posted.
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool half_closed_ ABSL_GUARDED_BY(mu_) = false;             // Nothing more is read.
  std::optional<absl::Status> stopped_ ABSL_GUARDED_BY(mu_);  // Why nothing more is executed.
  bool outcome_unknown_ ABSL_GUARDED_BY(mu_) = false;         // Of a write that was executed.
  // Said once everything is answered: OK, or what was wrong with the last frame...
  absl::Status end_ ABSL_GUARDED_BY(mu_);
  // ...or instead of further answers, once none is ready.
  std::optional<absl::Status> last_word_ ABSL_GUARDED_BY(mu_);
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_WRITE_STREAM_H_
