#include "services/gateway/answered_stream.h"

#include <utility>

#include "libs/base/status.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::gateway {
namespace {

// Two nodes that each take the other for the leader must not make a busy loop.
constexpr int kHintsInARow = 3;

// For a call that is refused: a reactor must exist to say so.
class RefusedStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit RefusedStream(const absl::Status& status) { Finish(rpc::ToGrpc(status)); }

 private:
  void OnDone() override { delete this; }
};

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* AnsweredStream::Start(
    const AnsweredMethod& method, const GatewayParts* parts, CoordinationBackend* backend,
    const std::string& peer) {
  absl::StatusOr<CoordinationBackend::Slot> slot = backend->Admit();
  if (!slot.ok()) return new RefusedStream(slot.status());
  const std::shared_ptr<AnsweredStream> stream(
      new AnsweredStream(method, parts, backend, *std::move(slot), parts->budgets->Open(peer)));
  stream->self_ = stream;
  parts->calls->Add(stream.get());
  stream->Pump();
  return stream.get();
}

AnsweredStream::AnsweredStream(const AnsweredMethod& method, const GatewayParts* parts,
                               CoordinationBackend* backend, CoordinationBackend::Slot slot,
                               CallBudget budget)
    : method_(method),
      slot_(std::move(slot)),
      budget_(std::move(budget)),
      parts_(parts),
      backend_(backend),
      backoff_(backend->MakeBackoff()) {}

AnsweredStream::~AnsweredStream() { budget_.Remove(unanswered_bytes_ + answers_bytes_); }

void AnsweredStream::Pump() {
  MutexLock lock(&mu_);
  if (finished_) return;
  WriteClient();
  if (last_word_.has_value()) {
    if (answers_.empty()) End(*last_word_);
    return;
  }
  ReadClient();
  ReadUpstream();
  if (!unanswered_.empty() && upstream_ == nullptr && !pausing_) Open();
  WriteUpstream();
  WatchAnswers();
  if (!unanswered_.empty() || !answers_.empty()) return;
  if (half_closed_) End(grpc::Status::OK);
  if (stopping_) End(rpc::ToGrpc(MakeError(Reason::kShuttingDown, "this gateway is stopping")));
}

void AnsweredStream::ReadClient() {
  if (reading_ || half_closed_ || stopping_ || waiting_for_room_) return;
  if (unanswered_.size() + answers_.size() >= method_.frames_max) return;
  if (unanswered_bytes_ + answers_bytes_ >= method_.held_bytes_max) return;
  const std::optional<BudgetScope> full = budget_.AwaitRoom([weak = weak_from_this()] {
    if (const std::shared_ptr<AnsweredStream> self = weak.lock()) self->OnRoom();
  });
  waiting_for_room_ = full.has_value();
  if (waiting_for_room_) {
    parts_->metrics->CountThrottled(*full);
    return;
  }
  reading_ = true;
  StartRead(&incoming_);
}

void AnsweredStream::OnRoom() {
  {
    MutexLock lock(&mu_);
    waiting_for_room_ = false;
  }
  Pump();
}

void AnsweredStream::OnReadDone(bool ok) {
  const auto size_bytes = ok ? static_cast<int64_t>(incoming_.Length()) : 0;
  {
    MutexLock lock(&mu_);
    reading_ = false;
    if (!ok) half_closed_ = true;
    if (ok && stopping_) return;  // The end, without an answer before it, says it was not taken.
    budget_.Add(size_bytes);
    if (ok) {
      if (unanswered_.empty()) waiting_since_ = parts_->clock->MonotonicNow();
      unanswered_.push_back(std::exchange(incoming_, grpc::ByteBuffer()));
      unanswered_bytes_ += size_bytes;
    }
  }
  Pump();
}

void AnsweredStream::WriteClient() {
  if (writing_ || answers_.empty()) return;
  writing_ = true;
  StartWrite(&answers_.front());
}

void AnsweredStream::OnWriteDone(bool ok) {
  int64_t size_bytes = 0;
  {
    MutexLock lock(&mu_);
    writing_ = false;
    size_bytes = static_cast<int64_t>(answers_.front().Length());
    answers_.pop_front();
    answers_bytes_ -= size_bytes;
  }
  budget_.Remove(size_bytes);
  if (ok) Pump();  // Else OnCancel() comes, or has been.
}

void AnsweredStream::Open() {
  upstream_ =
      UpstreamStream::Start(backend_->leader()->Current(), method_.path, shared_from_this());
  sent_ = 0;
  sending_ = false;
  receiving_ = false;
  ReadUpstream();
}

// A client that does not take its answers holds the node back, too.
void AnsweredStream::ReadUpstream() {
  if (upstream_ == nullptr || receiving_ || answers_bytes_ >= method_.held_bytes_max) return;
  receiving_ = true;
  waiting_since_ = parts_->clock->MonotonicNow();
  upstream_->Read();
}

void AnsweredStream::WriteUpstream() {
  if (upstream_ == nullptr || sending_ || sent_ >= unanswered_.size()) return;
  sending_ = true;
  upstream_->Write(unanswered_[sent_++], /*last=*/false);
}

void AnsweredStream::OnUpstreamWritten() {
  {
    MutexLock lock(&mu_);
    sending_ = false;
  }
  Pump();
}

void AnsweredStream::OnUpstreamMessage(const grpc::ByteBuffer& message) {
  const auto answer_bytes = static_cast<int64_t>(message.Length());
  int64_t frame_bytes = 0;
  {
    MutexLock lock(&mu_);
    if (finished_ || upstream_ == nullptr) return;
    if (sent_ == 0) {  // It answers what nobody has asked.
      upstream_->Break();
      return;
    }
    receiving_ = false;
    frame_bytes = static_cast<int64_t>(unanswered_.front().Length());
    unanswered_.pop_front();
    unanswered_bytes_ -= frame_bytes;
    --sent_;
    answers_.push_back(message);
    answers_bytes_ += answer_bytes;
    failing_since_.reset();
    hints_followed_ = 0;
    backoff_.Reset();
  }
  budget_.Add(answer_bytes);
  budget_.Remove(frame_bytes);
  Pump();
}

void AnsweredStream::OnUpstreamDone(const CallEnd& end, const grpc::Status& wire) {
  absl::Duration pause;
  {
    MutexLock lock(&mu_);
    const std::string asked = upstream_->address();
    const bool frames_sent = sent_ > 0;
    upstream_.reset();
    sent_ = 0;
    sending_ = false;
    receiving_ = false;
    if (finished_) return;
    pause = PlanNext(end, wire, asked, frames_sent);
    pausing_ = pause > absl::ZeroDuration();
  }
  if (pause == absl::ZeroDuration()) {
    Pump();
    return;
  }
  if (parts_->timers->RunAfter(pause, [self = shared_from_this()] { self->Retry(); })) return;
  MutexLock lock(&mu_);
  End(rpc::ToGrpc(MakeError(Reason::kShuttingDown, "this gateway is stopping")));
}

absl::Duration AnsweredStream::PlanNext(const CallEnd& end, const grpc::Status& wire,
                                        const std::string& asked, bool frames_sent) {
  // A node ends a stream its gateway has not closed only at a frame it cannot parse: gRPC shows it
  // that as the end. It has answered all frames before. Nobody else would take this one, either.
  if (wire.ok() && frames_sent && !method_.parses(unanswered_.front())) {
    last_word_ = rpc::ToGrpc(MakeError(Reason::kInvalidRequest, "a frame is malformed"));
    return absl::ZeroDuration();
  }
  // What gRPC itself says of a broken stream, whatever its code, says nothing of what was sent.
  const bool unknown = end.outcome == rpc::Outcome::kUnknown ||
                       (end.outcome == rpc::Outcome::kFinal && !end.answered);
  const bool in_doubt = !method_.repeatable && frames_sent && unknown;
  if (end.outcome == rpc::Outcome::kFinal && !in_doubt) {
    last_word_ = wire;
    return absl::ZeroDuration();
  }
  backend_->leader()->MoveOn(asked, end.leader);
  if (in_doubt) {
    last_word_ = rpc::ToGrpc(
        MakeError(Reason::kMetadataUnavailable, end.status.message(), {{"outcome", "unknown"}}));
    return absl::ZeroDuration();
  }
  parts_->metrics->coordination_retries->Add();
  const MonotonicTime now = parts_->clock->MonotonicNow();
  if (!failing_since_.has_value()) failing_since_ = now;
  if (!unanswered_.empty() && now - *failing_since_ > backend_->options().patience) {
    last_word_ = rpc::ToGrpc(MakeError(Reason::kMetadataUnavailable, end.status.message()));
    return absl::ZeroDuration();
  }
  const bool hinted = !end.leader.empty() && end.leader != asked;
  if (hinted && ++hints_followed_ <= kHintsInARow) return absl::ZeroDuration();
  hints_followed_ = 0;
  return backoff_.Next();
}

void AnsweredStream::Retry() {
  {
    MutexLock lock(&mu_);
    pausing_ = false;
    if (unanswered_.empty()) failing_since_.reset();  // Nobody waits.
  }
  Pump();
}

void AnsweredStream::WatchAnswers() {
  if (watching_ || upstream_ == nullptr || unanswered_.empty()) return;
  watching_ = parts_->timers->RunAfter(silence_max(), [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->CheckAnswers();
  });
}

// How long a frame may go without an answer. What cannot be asked again is better waited for.
absl::Duration AnsweredStream::silence_max() const {
  const CoordinationBackend::Options& options = backend_->options();
  return method_.repeatable ? options.attempt_timeout : options.waiting_attempt_timeout;
}

// A leader that is paused, or cut off one way, keeps its connection and says nothing.
void AnsweredStream::CheckAnswers() {
  {
    MutexLock lock(&mu_);
    watching_ = false;
    if (finished_) return;
    const absl::Duration waited = parts_->clock->MonotonicNow() - waiting_since_;
    if (receiving_ && !unanswered_.empty() && waited >= silence_max()) {
      upstream_->Break();
      return;  // OnUpstreamDone() goes on.
    }
  }
  Pump();
}

void AnsweredStream::End(const grpc::Status& status) {
  if (std::exchange(finished_, true)) return;
  if (upstream_ != nullptr) upstream_->Break();
  Finish(status);
}

void AnsweredStream::OnCancel() {
  MutexLock lock(&mu_);
  End(grpc::Status::CANCELLED);
}

void AnsweredStream::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
  }
  Pump();
}

void AnsweredStream::OnDone() {
  parts_->calls->Remove(this);
  const std::shared_ptr<AnsweredStream> last = std::move(self_);
}

}  // namespace falaj::gateway
