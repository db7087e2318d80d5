#include "libs/client/coordination_session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::client {
namespace {

MonotonicTime Now() { return Clock::Real()->MonotonicNow(); }

// A quarter of the timeout: three may be lost.
constexpr int64_t kSignsPerTimeout = 4;
// After one that was not answered.
constexpr int64_t kRetriesPerTimeout = 20;

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

}  // namespace

absl::StatusOr<std::unique_ptr<CoordinationSession>> CoordinationSession::Open(
    Coordination* coordination, Options options) {
  const MonotonicTime sent = Now();
  FALAJ_ASSIGN_OR_RETURN(const v1::OpenSessionResponse opened,
                         coordination->OpenSession(options.timeout));
  return std::unique_ptr<CoordinationSession>(
      new CoordinationSession(coordination, std::move(options), opened, sent));
}

CoordinationSession::CoordinationSession(Coordination* coordination, Options options,
                                         const v1::OpenSessionResponse& opened, MonotonicTime sent)
    : coordination_(coordination),
      options_(std::move(options)),
      handle_(opened.session()),
      timeout_(opened.has_timeout() ? ToDuration(opened.timeout()) : options_.timeout),
      answered_(sent) {
  thread_ = std::thread([this] { KeepAlive(); });
}

CoordinationSession::~CoordinationSession() {
  IgnoreError(Close(), "the service's clock ends the session");
  thread_.join();
}

v1::WriteOptions CoordinationSession::NextWrite() {
  v1::WriteOptions options;
  *options.mutable_session() = handle_;
  MutexLock lock(&mu_);
  options.set_request_id(next_request_id_++);
  return options;
}

absl::Status CoordinationSession::status() const {
  MutexLock lock(&mu_);
  return lost_;
}

bool CoordinationSession::WaitUntilEnded(absl::Duration limit) {
  const MonotonicTime end = Now() + std::min(limit, absl::Hours(24 * 365));
  MutexLock lock(&mu_);
  while (!closed_ && lost_.ok() && Now() < end) changed_.WaitFor(&mu_, end - Now());
  return closed_ || !lost_.ok();
}

absl::Status CoordinationSession::Close() {
  {
    MutexLock lock(&mu_);
    if (std::exchange(closed_, true)) return absl::OkStatus();
    changed_.NotifyAll();
  }
  return coordination_->CloseSession(handle_);
}

void CoordinationSession::KeepAlive() {
  absl::Duration pause = timeout_ / kSignsPerTimeout;
  while (!WaitUntilEnded(pause)) pause = SendSign();
}

absl::Duration CoordinationSession::SendSign() {
  const MonotonicTime sent = Now();
  MonotonicTime answered;
  {
    MutexLock lock(&mu_);
    answered = answered_;
  }
  const absl::Duration left = answered + timeout_ - sent;
  absl::Status status = MakeError(Reason::kTimedOut, "no time left");
  if (left > absl::ZeroDuration())
    status =
        coordination_->KeepSession(handle_, std::min(left, timeout_ / kSignsPerTimeout)).status();
  if (status.ok()) {
    MutexLock lock(&mu_);
    answered_ = sent;
    return timeout_ / kSignsPerTimeout;
  }
  const Reason reason = ReasonOf(status);
  if (reason == Reason::kSessionExpired || reason == Reason::kSessionMismatch) {
    Lose(status);
  } else if (Now() >= answered + timeout_) {
    Lose(MakeError(Reason::kSessionExpired,
                   absl::StrCat("no sign of life was answered for ", absl::FormatDuration(timeout_),
                                ": ", status.message())));
  }
  // No later than the moment it would be lost.
  const absl::Duration remaining = answered + timeout_ - Now();
  return std::max(absl::ZeroDuration(), std::min(timeout_ / kRetriesPerTimeout, remaining));
}

void CoordinationSession::Lose(const absl::Status& why) {
  {
    MutexLock lock(&mu_);
    if (closed_ || !lost_.ok()) return;
    lost_ = why;
    changed_.NotifyAll();
  }
  if (options_.on_lost) options_.on_lost(why);
}

}  // namespace falaj::client
