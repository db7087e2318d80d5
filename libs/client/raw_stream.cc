#include "libs/client/raw_stream.h"

#include "libs/rpc/status_grpc.h"

namespace falaj::client {

std::shared_ptr<RawStream> RawStream::Start(const std::shared_ptr<grpc::Channel>& channel,
                                            const std::string& method,
                                            const grpc::ByteBuffer& first_frame, Events events) {
  std::shared_ptr<RawStream> stream(new RawStream(channel, std::move(events)));
  stream->self_ = stream;
  stream->stub_.PrepareBidiStreamingCall(&stream->context_, method, grpc::StubOptions(),
                                         stream.get());
  // The hold lets Write() start operations from outside the reactions; it goes when reading ends.
  stream->AddHold();
  stream->Write(first_frame);
  stream->StartRead(&stream->incoming_);
  stream->StartCall();
  return stream;
}

RawStream::RawStream(const std::shared_ptr<grpc::Channel>& channel, Events events)
    : stub_(channel), events_(std::move(events)) {}

void RawStream::Write(const grpc::ByteBuffer& frame) {
  MutexLock lock(&mu_);
  if (ended_ || finish_) return;
  queue_.push_back(frame);
  if (!writing_) StartNextWrite();
}

void RawStream::FinishWrites() {
  MutexLock lock(&mu_);
  if (ended_ || finish_) return;
  finish_ = true;
  if (!writing_) StartWritesDone();
}

void RawStream::Cancel() { context_.TryCancel(); }

void RawStream::StartNextWrite() {
  outgoing_ = std::move(queue_.front());
  queue_.pop_front();
  writing_ = true;
  StartWrite(&outgoing_);
}

void RawStream::OnWriteDone(bool ok) {
  {
    MutexLock lock(&mu_);
    writing_ = false;
    outgoing_.Clear();
    // A failed write means the call is ending: reading will end too, and OnDone tells why.
    if (!ok || ended_) return;
    if (!queue_.empty()) {
      StartNextWrite();
      return;
    }
    if (finish_) StartWritesDone();
  }
  if (events_.written) events_.written();
}

void RawStream::OnReadDone(bool ok) {
  if (!ok) {
    {
      MutexLock lock(&mu_);
      ended_ = true;
      queue_.clear();
    }
    RemoveHold();
    return;
  }
  events_.frame(incoming_);
  incoming_.Clear();
  StartRead(&incoming_);
}

void RawStream::OnDone(const grpc::Status& status) {
  events_.done(rpc::FromGrpc(status));
  self_.reset();
}

}  // namespace falaj::client
