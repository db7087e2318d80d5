#include "services/gateway/forwarded_call.h"

#include <grpcpp/generic/generic_stub.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/rpc/open_calls.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::gateway {
namespace {

// Two nodes that each take the other for the leader must not make a busy loop.
constexpr int kHintsInARow = 3;
// A deadline further away than this is none.
constexpr absl::Duration kForever = absl::Hours(24 * 365);

// What becomes of a write whose last attempt was refused with `later`, after one that may have
// worked.
absl::Status Unknown(const absl::Status& later) {
  return MakeError(
      Reason::kMetadataUnavailable,
      absl::StrCat("an attempt may have had its effect, and the repetition was refused: ",
                   ReasonName(ReasonOf(later)), ": ", later.message()),
      {{"outcome", "unknown"}});
}

class ForwardedCall final : public grpc::ServerUnaryReactor,
                            public rpc::StoppableCall,
                            public std::enable_shared_from_this<ForwardedCall> {
 public:
  ForwardedCall(const GatewayParts* parts, CoordinationBackend* backend,
                CoordinationBackend::Slot slot, CallBudget budget, const CoordinationMethod& method,
                const grpc::ByteBuffer& request, grpc::ByteBuffer* response)
      : slot_(std::move(slot)),
        budget_(std::move(budget)),
        parts_(parts),
        backend_(backend),
        method_(method),
        request_(request),
        size_bytes_(static_cast<int64_t>(request.Length())),
        repeatable_(MayRepeat(method, request)),
        nodes_(IsLocalRead(method, request) ? backend->any() : backend->leader()),
        response_(response) {
    budget_.Add(size_bytes_);
  }
  ~ForwardedCall() override { budget_.Remove(size_bytes_); }

  void Begin(absl::Duration left) {
    self_ = shared_from_this();
    parts_->calls->Add(this);
    // Until shortly before the caller's deadline, so that the caller still hears what went wrong.
    left -= std::min(left / 10, absl::Milliseconds(200));
    if (left > kForever) left = method_.waits ? kForever : backend_->options().patience;
    deadline_ = parts_->clock->MonotonicNow() + left;
    Try();
  }

 private:
  struct Attempt {
    rpc::MetadataNodes::Node node;
    grpc::ClientContext context;
    grpc::ByteBuffer response;
  };

  void Try();
  absl::Duration AttemptLimit(absl::Duration left) const;
  void OnAnswer(Attempt* attempt, const grpc::Status& wire);
  void TryAgain(const CallEnd& end, const std::string& asked);
  bool LeavesEarlierAttemptsOpen(const absl::Status& last) const;
  // The error of a call that nobody knows more about.
  absl::Status GiveUp(const absl::Status& last) const;

  void OnCancel() override {
    MutexLock lock(&mu_);
    if (attempt_ != nullptr) attempt_->context.TryCancel();
    if (!std::exchange(finished_, true)) Finish(grpc::Status::CANCELLED);
  }
  // What is answered soon is left to itself. Whoever waits, for a place at the head of a queue,
  // asks again elsewhere and keeps its place.
  void Stop() override {
    if (!method_.waits) return;
    MutexLock lock(&mu_);
    if (attempt_ != nullptr) attempt_->context.TryCancel();
    if (std::exchange(finished_, true)) return;
    Finish(rpc::ToGrpc(MakeError(Reason::kShuttingDown, "this gateway is stopping")));
  }
  void OnDone() override {
    parts_->calls->Remove(this);
    const std::shared_ptr<ForwardedCall> last = std::move(self_);
  }
  void End(const grpc::Status& status) {
    MutexLock lock(&mu_);
    if (!std::exchange(finished_, true)) Finish(status);
  }

  const CoordinationBackend::Slot slot_;  // First, so that it is given back last.
  const CallBudget budget_;
  const GatewayParts* const parts_;
  CoordinationBackend* const backend_;
  const CoordinationMethod method_;
  const grpc::ByteBuffer request_;
  const int64_t size_bytes_;
  const bool repeatable_;
  rpc::MetadataNodes* const nodes_;
  MonotonicTime deadline_;

  // Of one attempt at a time.
  std::optional<rpc::Backoff> backoff_;
  int hints_followed_ = 0;
  bool maybe_done_ = false;  // The outcome of an attempt is unknown.
  absl::Status last_;

  Mutex mu_;
  grpc::ByteBuffer* const response_;  // Gone once finished.
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  std::shared_ptr<Attempt> attempt_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<ForwardedCall> self_;  // Released by OnDone.
};

absl::Duration ForwardedCall::AttemptLimit(absl::Duration left) const {
  // There is nothing to be gained by cutting short what cannot be repeated.
  if (!repeatable_) return left;
  const CoordinationBackend::Options& options = backend_->options();
  return std::min(left, method_.waits ? options.waiting_attempt_timeout : options.attempt_timeout);
}

void ForwardedCall::Try() {
  const absl::Duration left = deadline_ - parts_->clock->MonotonicNow();
  if (left <= absl::ZeroDuration()) {
    End(rpc::ToGrpc(GiveUp(last_)));
    return;
  }
  auto attempt = std::make_shared<Attempt>();
  attempt->node = nodes_->Current();
  attempt->context.set_deadline(absl::ToChronoTime(parts_->clock->Now() + AttemptLimit(left)));
  {
    MutexLock lock(&mu_);
    if (finished_) return;
    attempt_ = attempt;
  }
  // No wait_for_ready: a refused connection must send us to the next node at once.
  grpc::GenericStub(attempt->node.channel)
      .UnaryCall(&attempt->context, method_.path, grpc::StubOptions(), &request_,
                 &attempt->response,
                 [self = shared_from_this(), attempt](const grpc::Status& wire) {
                   self->OnAnswer(attempt.get(), wire);
                 });
}

void ForwardedCall::OnAnswer(Attempt* attempt, const grpc::Status& wire) {
  if (wire.ok()) {
    MutexLock lock(&mu_);
    if (std::exchange(finished_, true)) return;
    *response_ = std::move(attempt->response);
    Finish(wire);
    return;
  }
  {
    MutexLock lock(&mu_);
    if (finished_) return;  // Cancelled by the caller: that says nothing about the node.
  }
  CallEnd end = JudgeEnd(wire, attempt->context, attempt->node.address);
  // An earlier attempt may have had its effect: a refusal of this one must not deny it.
  const bool refused = ReasonOf(end.status) == Reason::kQuotaExceeded;
  if (maybe_done_ && refused) end.outcome = rpc::Outcome::kNoEffect;
  const bool late = ReasonOf(end.status) == Reason::kTimedOut;
  if (end.outcome == rpc::Outcome::kFinal && late) end.outcome = rpc::Outcome::kUnknown;
  if (end.outcome == rpc::Outcome::kFinal) {
    End(LeavesEarlierAttemptsOpen(end.status) ? rpc::ToGrpc(Unknown(end.status)) : wire);
    return;
  }
  if (end.outcome == rpc::Outcome::kUnknown) maybe_done_ = true;
  last_ = end.status;
  if (end.outcome == rpc::Outcome::kUnknown && !repeatable_) {
    End(rpc::ToGrpc(GiveUp(last_)));
    return;
  }
  TryAgain(end, attempt->node.address);
}

// True for an error that is not the answer to a write but keeps us from hearing it: an attempt of
// unknown outcome may have been carried out before the session ended, or before its answer was
// forgotten. Every other answer to a repetition is that of the first attempt.
bool ForwardedCall::LeavesEarlierAttemptsOpen(const absl::Status& last) const {
  if (!maybe_done_ || method_.write_options_field == 0) return false;
  const Reason reason = ReasonOf(last);
  return reason == Reason::kSessionExpired || reason == Reason::kSessionMismatch ||
         reason == Reason::kRequestTooOld;
}

void ForwardedCall::TryAgain(const CallEnd& end, const std::string& asked) {
  parts_->metrics->coordination_retries->Add();
  // A node that says in good order that the time was too short is no reason to leave it.
  const bool alive = end.answered && ReasonOf(end.status) == Reason::kTimedOut;
  if (!alive) nodes_->MoveOn(asked, end.leader);
  const bool hinted = !end.leader.empty() && end.leader != asked;
  if (hinted && ++hints_followed_ <= kHintsInARow) {
    Try();
    return;
  }
  hints_followed_ = 0;
  if (!backoff_.has_value()) backoff_.emplace(backend_->MakeBackoff());
  const absl::Duration left = deadline_ - parts_->clock->MonotonicNow();
  const bool scheduled = parts_->timers->RunAfter(std::min(backoff_->Next(), left),
                                                  [self = shared_from_this()] { self->Try(); });
  if (scheduled) return;
  End(rpc::ToGrpc(maybe_done_ && !method_.waits
                      ? GiveUp(last_)
                      : MakeError(Reason::kShuttingDown, "this gateway is stopping")));
}

absl::Status ForwardedCall::GiveUp(const absl::Status& last) const {
  const char* outcome = maybe_done_ ? "unknown" : "none";
  if (last.ok() || method_.waits || ReasonOf(last) == Reason::kTimedOut) {
    return MakeError(Reason::kTimedOut, absl::StrCat("the deadline passed: ", last.message()),
                     {{"outcome", outcome}});
  }
  return MakeError(Reason::kMetadataUnavailable, last.message(), {{"outcome", outcome}});
}

}  // namespace

grpc::ServerUnaryReactor* ForwardCall(const GatewayParts* parts, CoordinationBackend* backend,
                                      const CoordinationMethod& method,
                                      grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* request, grpc::ByteBuffer* response) {
  absl::StatusOr<CoordinationBackend::Slot> slot = backend->Admit();
  absl::Status status = slot.status();
  CallBudget budget = parts->budgets->Open(context->peer());
  if (const std::optional<BudgetScope> full = budget.Full(); status.ok() && full.has_value()) {
    parts->metrics->CountThrottled(*full);
    status = BudgetExceeded(*full);
  }
  if (!status.ok()) {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(rpc::ToGrpc(status));
    return reactor;
  }
  const auto call = std::make_shared<ForwardedCall>(parts, backend, *std::move(slot),
                                                    std::move(budget), method, *request, response);
  call->Begin(absl::FromChrono(context->deadline()) - parts->clock->Now());
  return call.get();
}

}  // namespace falaj::gateway
