#include "services/gateway/upstream_stream.h"

#include <grpcpp/generic/generic_stub.h>

#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::gateway {

std::shared_ptr<UpstreamStream> UpstreamStream::Start(const rpc::MetadataNodes::Node& node,
                                                      const char* path,
                                                      std::shared_ptr<UpstreamListener> listener) {
  std::shared_ptr<UpstreamStream> stream(new UpstreamStream(node, std::move(listener)));
  stream->self_ = stream;
  // No wait_for_ready: a refused connection must send us to the next node at once.
  grpc::GenericStub(node.channel)
      .PrepareBidiStreamingCall(&stream->context_, path, grpc::StubOptions(), stream.get());
  stream->AddHold();  // Reads and writes start from other threads; released at the end.
  stream->StartCall();
  return stream;
}

void UpstreamStream::Read() {
  MutexLock lock(&mu_);
  if (!ended_) StartRead(&incoming_);
}

void UpstreamStream::Write(const grpc::ByteBuffer& message, bool last) {
  MutexLock lock(&mu_);
  if (ended_) return;
  outgoing_ = message;
  grpc::WriteOptions options;
  if (last) options.set_last_message();
  StartWrite(&outgoing_, options);
}

void UpstreamStream::Break() {
  MutexLock lock(&mu_);
  context_.TryCancel();
  if (!std::exchange(ended_, true)) RemoveHold();
}

void UpstreamStream::OnReadDone(bool ok) {
  if (ok) {
    listener_->OnUpstreamMessage(incoming_);
    return;
  }
  MutexLock lock(&mu_);  // No Break(): it would hide why the node has ended the stream.
  if (!std::exchange(ended_, true)) RemoveHold();
}

void UpstreamStream::OnWriteDone(bool ok) {
  if (ok) listener_->OnUpstreamWritten();  // Otherwise the read side fails too.
}

void UpstreamStream::OnDone(const grpc::Status& status) {
  CallEnd end;
  if (status.ok()) {
    end.outcome = rpc::Outcome::kNoEffect;
    end.status = MakeError(Reason::kMetadataUnavailable,
                           absl::StrCat("metadata node ", node_.address, " has ended the stream"));
  } else {
    end = JudgeEnd(status, context_, node_.address);
  }
  listener_->OnUpstreamDone(end, status);
  const std::shared_ptr<UpstreamStream> last = std::move(self_);
}

}  // namespace falaj::gateway
