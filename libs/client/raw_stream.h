// RawStream is one bidirectional gRPC call whose messages stay bytes: the client half of the data
// path, shared by Producer and Consumer.
//
// It keeps one read and at most one write outstanding; further writes queue up in order. A producer
// bounds that queue itself by writing only after `written`.
//
// Ownership: the call keeps the object alive until `done` has returned; whoever started it may drop
// its reference any time (call Cancel() first, or wait for the server to end the call).
//
// Threads: methods from any thread. Events come one at a time per kind, on gRPC's callback threads:
// they must not block. `done` is the last one.
#ifndef LIBS_CLIENT_RAW_STREAM_H_
#define LIBS_CLIENT_RAW_STREAM_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "libs/base/mutex.h"

namespace falaj::client {

class RawStream final : private grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  struct Events {
    std::function<void(const grpc::ByteBuffer&)> frame;
    std::function<void()> written;  // A write has left; nothing is queued behind it.
    std::function<void(const absl::Status&)> done;
  };

  // Starts the call and writes the first frame.
  static std::shared_ptr<RawStream> Start(const std::shared_ptr<grpc::Channel>& channel,
                                          const std::string& method,
                                          const grpc::ByteBuffer& first_frame, Events events);

  // Dropped silently once the call has ended: `done` tells.
  void Write(const grpc::ByteBuffer& frame) ABSL_LOCKS_EXCLUDED(mu_);
  // Half-closes after what is queued.
  void FinishWrites() ABSL_LOCKS_EXCLUDED(mu_);
  void Cancel();

 private:
  RawStream(const std::shared_ptr<grpc::Channel>& channel, Events events);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  void StartNextWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  grpc::ClientContext context_;
  grpc::GenericStub stub_;
  const Events events_;
  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer outgoing_;
  std::shared_ptr<RawStream> self_;

  Mutex mu_;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;    // Nothing more may be written.
  bool writing_ ABSL_GUARDED_BY(mu_) = false;  // A StartWrite is outstanding.
  bool finish_ ABSL_GUARDED_BY(mu_) = false;   // Half-close once the queue is empty.
  std::deque<grpc::ByteBuffer> queue_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::client

#endif  // LIBS_CLIENT_RAW_STREAM_H_
