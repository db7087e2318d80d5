#include "services/metadata/hold_stream.h"

#include <utility>

#include "libs/base/status.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::metadata {

HoldStream* HoldStream::Open(RaftNode* node, SessionId session) {
  const auto stream = std::shared_ptr<HoldStream>(new HoldStream(node, session));
  {
    MutexLock lock(&stream->mu_);
    stream->self_ = stream;
  }
  node->Post([stream](MetadataNode* metadata, const absl::Status& refused) {
    if (metadata == nullptr) return stream->Close(refused);
    stream->Begin(metadata);
  });
  return stream.get();
}

void HoldStream::Begin(MetadataNode* node) {
  std::shared_ptr<HoldStream> self;
  {
    MutexLock lock(&mu_);
    if (closing_) return;  // Ended before it began: it proves nothing.
    self = self_;
  }
  const absl::Status held = node->Hold(session_, self);
  if (!held.ok()) return Close(held);
  MutexLock lock(&mu_);
  if (closing_) return;
  writing_ = true;
  StartWrite(&held_);
}

void HoldStream::Close(const absl::Status& status) {
  MutexLock lock(&mu_);
  if (std::exchange(closing_, true)) return;
  close_status_ = status;
  if (!writing_) Finish(rpc::ToGrpc(status));
}

void HoldStream::OnWriteDone(bool /*ok*/) {
  MutexLock lock(&mu_);
  writing_ = false;
  if (closing_) Finish(rpc::ToGrpc(close_status_));
}

void HoldStream::OnCancel() {
  Close(MakeError(Reason::kCancelled, "the process has gone"));
  std::shared_ptr<HoldStream> self;
  {
    MutexLock lock(&mu_);
    self = self_;
  }
  node_->Post([self = std::move(self)](MetadataNode* node, const absl::Status&) {
    if (node != nullptr) node->HoldBroke(self->session_, self.get());
  });
}

void HoldStream::OnDone() {
  std::shared_ptr<HoldStream> last;  // Destroyed after the lock is released.
  MutexLock lock(&mu_);
  last = std::move(self_);
}

}  // namespace falaj::metadata
