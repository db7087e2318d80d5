#include "services/gateway/producer_ids.h"

#include <utility>

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "libs/cluster/topic_rules.h"

namespace falaj::gateway {
namespace {

using cluster::kProducerIdBlock;

constexpr absl::Duration kRetryInterval = absl::Seconds(1);

}  // namespace

ProducerIds::ProducerIds(Allocate allocate, Clock* clock)
    : allocate_(std::move(allocate)), clock_(clock) {}

void ProducerIds::Start() {
  thread_ = std::thread([this] { Run(); });
}

void ProducerIds::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void ProducerIds::Run() {
  while (true) {
    {
      MutexLock lock(&mu_);
      while (!stopping_ && (spare_.has_value() || end_ - next_ > kProducerIdBlock / 2)) {
        changed_.Wait(&mu_);
      }
      if (stopping_) return;
    }
    const absl::StatusOr<ProducerId> first = allocate_(kProducerIdBlock);
    MutexLock lock(&mu_);
    if (first.ok()) {
      spare_ = *first;
    } else {
      if (last_error_.ok()) log::Warning("cannot get producer ids", {{"error", first.status()}});
      ++failures_;
    }
    last_error_ = first.status();
    changed_.NotifyAll();
    if (!first.ok() && !stopping_) changed_.WaitFor(&mu_, kRetryInterval);
  }
}

std::optional<ProducerId> ProducerIds::TakeOne() {
  if (next_ == end_ && spare_.has_value()) {
    next_ = *std::exchange(spare_, std::nullopt);
    end_ = next_ + kProducerIdBlock;
  }
  if (next_ == end_) return std::nullopt;
  const ProducerId id = next_;
  ++next_;
  if (!spare_.has_value() && end_ - next_ <= kProducerIdBlock / 2) changed_.NotifyAll();
  return id;
}

std::optional<ProducerId> ProducerIds::TryTake() {
  MutexLock lock(&mu_);
  return TakeOne();
}

absl::StatusOr<ProducerId> ProducerIds::Take(absl::Duration timeout) {
  const MonotonicTime deadline = clock_->MonotonicNow() + timeout;
  MutexLock lock(&mu_);
  const int64_t failures_before = failures_;
  while (true) {
    if (const std::optional<ProducerId> id = TakeOne()) return *id;
    if (stopping_) return MakeError(Reason::kShuttingDown, "this gateway is stopping");
    if (failures_ != failures_before) return last_error_;
    const absl::Duration left = deadline - clock_->MonotonicNow();
    if (left <= absl::ZeroDuration()) {
      return MakeError(Reason::kTimedOut, "no producer ids came in time");
    }
    changed_.WaitFor(&mu_, left);
  }
}

}  // namespace falaj::gateway
