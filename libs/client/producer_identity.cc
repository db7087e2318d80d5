#include "libs/client/producer_identity.h"

#include <algorithm>
#include <utility>

#include "libs/client/partition_queue.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::client {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(5);
constexpr absl::Duration kRetryBase = absl::Milliseconds(50);
constexpr absl::Duration kRetryMax = absl::Seconds(2);

}  // namespace

ProducerIdentity::ProducerIdentity(const std::shared_ptr<grpc::Channel>& channel,
                                   std::string client_id, Clock* clock, Events events)
    : stub_(v1::ProducerService::NewStub(channel)), clock_(clock), events_(std::move(events)) {
  request_.set_client_id(std::move(client_id));
}

void ProducerIdentity::Want() {
  MutexLock lock(&mu_);
  if (std::exchange(wanted_, true)) return;
  events_.wake_at(ask_at_);
}

void ProducerIdentity::OnTimer(MonotonicTime now) {
  ProducerId known;
  {
    MutexLock lock(&mu_);
    if (!wanted_ || shut_down_ || context_ != nullptr) return;
    if (!producer_.has_value()) return Ask(now);
    // By somebody who was not there yet when it came.
    wanted_ = false;
    known = *producer_;
  }
  events_.got(known);
}

void ProducerIdentity::Ask(MonotonicTime now) {
  if (now < ask_at_) return events_.wake_at(ask_at_);
  context_ = std::make_unique<grpc::ClientContext>();
  context_->set_deadline(absl::ToChronoTime(clock_->Now() + kCallTimeout));
  // gRPC never calls back inside the call.
  stub_->async()->InitProducer(context_.get(), &request_, &response_,
                               [this](const grpc::Status& status) { OnAnswer(status); });
}

void ProducerIdentity::OnAnswer(const grpc::Status& status) {
  const absl::Status error = rpc::FromGrpc(status);
  const bool again = !error.ok() && IsRetryable(error);
  const ProducerId producer(response_.producer_id());
  bool report = false;
  {
    MutexLock lock(&mu_);
    report = !shut_down_ && !again;
    wanted_ = again;
    if (error.ok()) producer_ = producer;
    failures_ = error.ok() ? 0 : failures_ + 1;
    const absl::Duration backoff = kRetryBase * (1 << std::min(failures_, 6));
    ask_at_ = error.ok() ? MonotonicTime() : clock_->MonotonicNow() + std::min(backoff, kRetryMax);
    if (again && !shut_down_) events_.wake_at(ask_at_);
  }
  if (report && error.ok()) events_.got(producer);
  if (report && !error.ok()) events_.failed(error);
  MutexLock lock(&mu_);
  context_.reset();
  // Wanted again meanwhile, or still: the timer that came while this call was under way did
  // nothing.
  if (wanted_ && !shut_down_) events_.wake_at(ask_at_);
  idle_.NotifyAll();
}

void ProducerIdentity::Shutdown() {
  MutexLock lock(&mu_);
  shut_down_ = true;
  if (context_ != nullptr) context_->TryCancel();
  while (context_ != nullptr) idle_.Wait(&mu_);
}

}  // namespace falaj::client
