#include "services/gateway/watch_znodes_stream.h"

#include <utility>

#include "libs/base/status.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::gateway {
namespace {

// For a call that is refused: a reactor must exist to say so.
class RefusedWatch final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit RefusedWatch(const absl::Status& status) { Finish(rpc::ToGrpc(status)); }

 private:
  void OnDone() override { delete this; }
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* WatchZnodesStream::Start(
    const GatewayParts* parts, CoordinationBackend* backend, const std::string& peer,
    const grpc::ByteBuffer& request) {
  absl::StatusOr<CoordinationBackend::Slot> slot = backend->Admit();
  if (!slot.ok()) return new RefusedWatch(slot.status());
  const std::shared_ptr<WatchZnodesStream> stream(
      new WatchZnodesStream(parts, backend, *std::move(slot), parts->budgets->Open(peer), request));
  stream->self_ = stream;
  parts->calls->Add(stream.get());
  stream->Open();
  stream->WatchSilence();
  return stream.get();
}

WatchZnodesStream::WatchZnodesStream(const GatewayParts* parts, CoordinationBackend* backend,
                                     CoordinationBackend::Slot slot, CallBudget budget,
                                     const grpc::ByteBuffer& request)
    : slot_(std::move(slot)),
      budget_(std::move(budget)),
      parts_(parts),
      backend_(backend),
      request_(request),
      backoff_(backend->MakeBackoff()) {
  budget_.Add(static_cast<int64_t>(request_.Length()));
}

WatchZnodesStream::~WatchZnodesStream() {
  budget_.Remove(static_cast<int64_t>(request_.Length()) + outgoing_bytes_);
}

void WatchZnodesStream::Open() {
  MutexLock lock(&mu_);
  if (finished_) return;
  heard_ = parts_->clock->MonotonicNow();
  upstream_ =
      UpstreamStream::Start(backend_->any()->Current(), kWatchZnodesPath, shared_from_this());
  upstream_->Write(passed_index_.has_value() ? ResumeAfter(request_, *passed_index_) : request_,
                   /*last=*/true);
  ReadUpstream();
}

void WatchZnodesStream::ReadUpstream() {
  if (upstream_ == nullptr || writing_ || waiting_for_room_) return;
  const std::optional<BudgetScope> full = budget_.AwaitRoom([weak = weak_from_this()] {
    if (const std::shared_ptr<WatchZnodesStream> self = weak.lock()) self->OnRoom();
  });
  waiting_for_room_ = full.has_value();
  if (waiting_for_room_) {
    parts_->metrics->CountThrottled(*full);
  } else {
    upstream_->Read();
  }
}

void WatchZnodesStream::OnRoom() {
  MutexLock lock(&mu_);
  waiting_for_room_ = false;
  heard_ = parts_->clock->MonotonicNow();  // It was us who did not listen.
  if (!finished_) ReadUpstream();
}

// A node that is paused, or cut off one way, keeps its connection and says nothing.
void WatchZnodesStream::WatchSilence() {
  const absl::Duration limit = backend_->options().watch_silence_max;
  {
    MutexLock lock(&mu_);
    if (finished_) return;
    const bool silent = parts_->clock->MonotonicNow() - heard_ > limit;
    const bool listening = upstream_ != nullptr && !writing_ && !waiting_for_room_;
    if (listening && silent) upstream_->Break();
  }
  parts_->timers->RunAfter(limit / 2, [weak = weak_from_this()] {
    if (const std::shared_ptr<WatchZnodesStream> self = weak.lock()) self->WatchSilence();
  });
}

bool WatchZnodesStream::IsNew(const WatchPosition& position) const {
  if (!passed_index_.has_value() || position.index > *passed_index_) return true;
  return position.index == *passed_index_ && !position.has_events;
}

void WatchZnodesStream::OnUpstreamMessage(const grpc::ByteBuffer& message) {
  const std::optional<WatchPosition> position = PositionOf(message);
  MutexLock lock(&mu_);
  if (finished_) return;
  if (!position.has_value()) {
    End(rpc::ToGrpc(MakeError(Reason::kInternal, "a metadata node sent a malformed message")));
    return;
  }
  heard_ = parts_->clock->MonotonicNow();
  failing_since_.reset();
  backoff_.Reset();
  if (!IsNew(*position)) {
    ReadUpstream();
    return;
  }
  passed_index_ = position->index;
  outgoing_ = message;
  outgoing_bytes_ = static_cast<int64_t>(message.Length());
  budget_.Add(outgoing_bytes_);
  writing_ = true;
  StartWrite(&outgoing_);
}

void WatchZnodesStream::OnWriteDone(bool ok) {
  int64_t written_bytes = 0;
  {
    MutexLock lock(&mu_);
    outgoing_.Clear();
    written_bytes = std::exchange(outgoing_bytes_, 0);
  }
  budget_.Remove(written_bytes);
  MutexLock lock(&mu_);
  writing_ = false;
  if (!ok || finished_) return;            // OnCancel() comes, or has been.
  heard_ = parts_->clock->MonotonicNow();  // It was the client who was slow.
  ReadUpstream();
}

void WatchZnodesStream::OnUpstreamDone(const CallEnd& end, const grpc::Status& wire) {
  absl::Duration pause;
  {
    MutexLock lock(&mu_);
    const std::string asked = upstream_ == nullptr ? "" : upstream_->address();
    upstream_.reset();
    if (finished_) return;
    if (end.outcome == rpc::Outcome::kFinal) {
      End(wire);
      return;
    }
    const MonotonicTime now = parts_->clock->MonotonicNow();
    if (!failing_since_.has_value()) failing_since_ = now;
    if (now - *failing_since_ > backend_->options().patience) {
      End(rpc::ToGrpc(MakeError(Reason::kMetadataUnavailable, end.status.message())));
      return;
    }
    backend_->any()->MoveOn(asked, "");
    parts_->metrics->coordination_retries->Add();
    pause = backoff_.Next();
  }
  if (parts_->timers->RunAfter(pause, [self = shared_from_this()] { self->Open(); })) return;
  MutexLock lock(&mu_);
  End(rpc::ToGrpc(MakeError(Reason::kShuttingDown, "this gateway is stopping")));
}

void WatchZnodesStream::End(const grpc::Status& status) {
  if (std::exchange(finished_, true)) return;
  if (upstream_ != nullptr) upstream_->Break();
  Finish(status);
}

void WatchZnodesStream::OnCancel() {
  MutexLock lock(&mu_);
  End(grpc::Status::CANCELLED);
}

void WatchZnodesStream::Stop() {
  MutexLock lock(&mu_);
  End(rpc::ToGrpc(MakeError(Reason::kShuttingDown, "this gateway is stopping")));
}

void WatchZnodesStream::OnDone() {
  parts_->calls->Remove(this);
  const std::shared_ptr<WatchZnodesStream> last = std::move(self_);
}

}  // namespace falaj::gateway
