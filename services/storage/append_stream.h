// AppendStream is one gateway's stream of batches: it turns messages into append tasks and answers
// them in the order they are done.
//
// A message holds one or more batches and is taken apart by hand: headers of a few dozen bytes are
// parsed, a batch stays the slices it arrived in. Each batch is checked (checksum, record count,
// codec) here, on gRPC's thread, before it is queued, so the shard sees only batches worth
// writing.
//
// Back-pressure: no read is started while the stream's or the node's budget of unanswered bytes is
// used up; HTTP/2 flow control then stops the gateway. At most one write is outstanding; answers
// that gather meanwhile leave together.
//
// A message that cannot be taken apart ends the stream with INVALID_REQUEST, after everything
// before it has been answered. Every other fault is the batch's own and is answered as such.
//
// Ownership: shared by gRPC (until OnDone) and the tasks it has queued. Threads: gRPC's and
// whoever works the shard off; mu_ is held for bookkeeping and for starting an operation.
#ifndef SERVICES_STORAGE_APPEND_STREAM_H_
#define SERVICES_STORAGE_APPEND_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "falaj/internal/v1/storage_service.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/mutex.h"
#include "services/storage/service_parts.h"
#include "services/storage/store_shard.h"

namespace falaj::storage {

class AppendStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                           public AppendSink,
                           public std::enable_shared_from_this<AppendStream> {
 public:
  // Lives until gRPC is done with it and its last task is answered.
  static AppendStream* Open(const ServiceParts* parts);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  bool Abandoned() const override { return cancelled_.load(); }
  void Answer(AppendAnswer answer) override;
  void Flush() override;

 private:
  explicit AppendStream(const ServiceParts* parts) : parts_(parts) {}

  // An error ends the stream; what came before it is answered.
  absl::Status TakeMessage(const Bytes& message);
  absl::Status TakeBatch(const Bytes& entry);
  // An error is the answer to the batch.
  absl::Status Queue(const internal::v1::AppendHeader& header, Bytes batch);

  void MaybeRead() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MaybeWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MaybeFinish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ResumeReading();

  const ServiceParts* const parts_;
  std::atomic<bool> cancelled_ = false;
  grpc::ByteBuffer inbox_;  // Of the read under way.

  Mutex mu_;
  std::shared_ptr<AppendStream> self_ ABSL_GUARDED_BY(mu_);  // Until OnDone.
  bool reading_ ABSL_GUARDED_BY(mu_) = false;
  bool no_more_reads_ ABSL_GUARDED_BY(mu_) = false;
  bool waiting_for_room_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  int64_t unanswered_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t unanswered_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<internal::v1::AppendOutcome> outbox_ ABSL_GUARDED_BY(mu_);
  grpc::ByteBuffer outgoing_ ABSL_GUARDED_BY(mu_);  // Of the write under way.
  absl::Status end_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_APPEND_STREAM_H_
