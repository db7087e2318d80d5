#include "services/gateway/route_confirmer.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/base/turn.h"

namespace falaj::gateway {
namespace {

constexpr absl::Duration kAskTimeout = absl::Milliseconds(500);
// Longer than the second after which a watch hears that nothing has changed: the index may be later
// than the newest change.
constexpr absl::Duration kTableTimeout = absl::Milliseconds(1500);
// Between questions, so that a client that asks in a loop does not keep the quorum busy.
constexpr absl::Duration kQuestionPause = absl::Milliseconds(2);
constexpr absl::Duration kRetryDelay = absl::Milliseconds(100);

absl::Status Stopping() { return MakeError(Reason::kShuttingDown, "this gateway is stopping"); }

absl::Status Unconfirmed(absl::string_view why) {
  return WithRetryAfter(
      MakeError(Reason::kLeaderUnavailable,
                absl::StrCat("it may have been created a moment ago, but this gateway cannot ask "
                             "the metadata service: ",
                             why)),
      kRetryDelay);
}

}  // namespace

RouteConfirmer::RouteConfirmer(RouteTable* routes, Ask ask)
    : routes_(routes), ask_(std::move(ask)) {}

void RouteConfirmer::Start() {
  thread_ = std::thread([this] { Run(); });
}

void RouteConfirmer::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void RouteConfirmer::Confirm(Done done) {
  absl::Status refused;
  {
    MutexLock lock(&mu_);
    if (stopping_) {
      refused = Stopping();
    } else if (waiting_.size() >= kWaitingMax) {
      refused = MakeError(Reason::kQuotaExceeded,
                          absl::StrCat("more than ", kWaitingMax,
                                       " requests wait to hear whether their topic exists"),
                          {{"limit", absl::StrCat(kWaitingMax)}});
    } else {
      waiting_.push_back(std::move(done));
      changed_.NotifyAll();
      return;
    }
  }
  done(refused);
}

absl::Status RouteConfirmer::ConfirmNow() {
  Mutex mu;
  CondVar answered;
  std::optional<absl::Status> result;
  Confirm([&](const absl::Status& confirmed) {
    MutexLock lock(&mu);
    result = confirmed;
    answered.NotifyAll();
  });
  MutexLock lock(&mu);
  while (!result.has_value()) answered.Wait(&mu);
  return *result;
}

void RouteConfirmer::Run() {
  while (true) {
    std::vector<Done> asking;
    bool stopping = false;
    {
      MutexLock lock(&mu_);
      while (!stopping_ && waiting_.empty()) changed_.Wait(&mu_);
      asking.swap(waiting_);
      stopping = stopping_;
    }
    const absl::Status confirmed = stopping ? Stopping() : CatchUp();
    {
      const Turn turn;  // What they send to one node leaves in one message.
      for (Done& done : asking) std::exchange(done, nullptr)(confirmed);
    }
    if (stopping) return;
    const MonotonicTime next = Clock::Real()->MonotonicNow() + kQuestionPause;
    MutexLock lock(&mu_);
    while (!stopping_ && Clock::Real()->MonotonicNow() < next) {
      changed_.WaitFor(&mu_, next - Clock::Real()->MonotonicNow());
    }
  }
}

absl::Status RouteConfirmer::CatchUp() {
  const absl::StatusOr<LogIndex> newest = ask_(kAskTimeout);
  // A metadata node of before this question. The table's word has to do, as it had then.
  if (newest.status().code() == absl::StatusCode::kUnimplemented) return absl::OkStatus();
  if (!newest.ok()) return Unconfirmed(newest.status().message());
  const absl::Status caught_up = routes_->WaitForIndex(*newest, kTableTimeout);
  return caught_up.ok() ? caught_up : Unconfirmed("its changes come late");
}

bool IsMissing(const absl::Status& found) {
  const Reason reason = ReasonOf(found);
  return reason == Reason::kTopicNotFound || reason == Reason::kPartitionNotFound;
}

absl::Status AsConfirmed(const absl::Status& found, const absl::Status& confirmed) {
  if (confirmed.ok() || !IsMissing(found)) return found;
  absl::Status unsure =
      MakeError(ReasonOf(confirmed),
                absl::StrCat(found.message(), ", as far as is known here: ", confirmed.message()),
                MetadataOf(found));
  const std::optional<absl::Duration> retry_after = RetryAfterOf(confirmed);
  return retry_after.has_value() ? WithRetryAfter(std::move(unsure), *retry_after) : unsure;
}

}  // namespace falaj::gateway
