#include "services/metadata/keep_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/coordination/limits.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::metadata {

CoordinationServiceImpl::KeepStream* CoordinationServiceImpl::KeepStream::Open(
    RaftNode* node, OpenStreams<KeepStream>* streams) {
  const auto stream = std::shared_ptr<KeepStream>(new KeepStream(node, streams));
  {
    MutexLock lock(&stream->mu_);
    stream->self_ = stream;
  }
  streams->Add(stream.get());
  stream->StartRead(&stream->request_);
  return stream.get();
}

void CoordinationServiceImpl::KeepStream::Close(const absl::Status& status) {
  MutexLock lock(&mu_);
  if (!std::exchange(finished_, true)) Finish(rpc::ToGrpc(status));
}

void CoordinationServiceImpl::KeepStream::OnReadDone(bool ok) {
  if (!ok) return Close(absl::OkStatus());  // The client is done.
  if (request_.sessions_size() > coordination::kKeepSessionsMax) {
    return Close(MakeError(Reason::kInvalidRequest,
                           absl::StrCat("sessions has ", request_.sessions_size(),
                                        " entries, allowed are ", coordination::kKeepSessionsMax),
                           {{"field", "sessions"},
                            {"value", absl::StrCat(request_.sessions_size())},
                            {"limit", absl::StrCat(coordination::kKeepSessionsMax)}}));
  }
  std::shared_ptr<KeepStream> self;
  {
    MutexLock lock(&mu_);
    self = self_;
  }
  node_->Post([self = std::move(self)](MetadataNode* node, const absl::Status& refused) {
    if (node == nullptr) return self->Close(refused);
    self->Answer(node);
  });
}

void CoordinationServiceImpl::KeepStream::Answer(MetadataNode* node) {
  response_.Clear();
  for (const v1::SessionHandle& session : request_.sessions()) {
    const absl::Status kept = node->KeepSession(session).status();
    switch (ReasonOf(kept)) {
      case Reason::kNone:
        break;
      case Reason::kSessionExpired:
        response_.add_expired_session_ids(session.session_id());
        break;
      case Reason::kSessionMismatch:
        response_.add_mismatched_session_ids(session.session_id());
        break;
      default:  // This node does not lead: none of the others can be kept alive here, either.
        return Close(kept);
    }
  }
  MutexLock lock(&mu_);
  if (!finished_) StartWrite(&response_);
}

void CoordinationServiceImpl::KeepStream::OnWriteDone(bool ok) {
  MutexLock lock(&mu_);
  if (finished_) return;
  if (ok) {
    StartRead(&request_);
  } else {
    finished_ = true;
    Finish(grpc::Status::CANCELLED);
  }
}

void CoordinationServiceImpl::KeepStream::OnCancel() {
  Close(MakeError(Reason::kCancelled, "the client has gone"));
}

void CoordinationServiceImpl::KeepStream::OnDone() {
  streams_->Remove(this);
  std::shared_ptr<KeepStream> last;  // Destroyed after the lock is released.
  MutexLock lock(&mu_);
  last = std::move(self_);
}

}  // namespace falaj::metadata
