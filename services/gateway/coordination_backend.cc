#include "services/gateway/coordination_backend.h"

#include "absl/strings/str_cat.h"

#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::gateway {
namespace {

constexpr absl::Duration kCrowdedDelay = absl::Milliseconds(500);

}  // namespace

CoordinationBackend::CoordinationBackend(Options options, telemetry::Gauge* calls)
    : options_(std::move(options)),
      calls_gauge_(calls),
      leader_(options_.addresses, 0, options_.metrics),
      any_(options_.addresses, Random::FromSystem().Below(options_.addresses.size()),
           options_.metrics) {}

absl::StatusOr<CoordinationBackend::Slot> CoordinationBackend::Admit() {
  Gate::Pass pass = gate_.Enter();
  if (!pass) return MakeError(Reason::kShuttingDown, "this gateway is stopping");
  if (calls_.fetch_add(1) >= options_.calls_max) {
    calls_.fetch_sub(1);
    return WithRetryAfter(MakeError(Reason::kQuotaExceeded,
                                    absl::StrCat("this gateway forwards ", options_.calls_max,
                                                 " coordination calls already"),
                                    {{"limit", absl::StrCat(options_.calls_max)}}),
                          kCrowdedDelay);
  }
  calls_gauge_->Add(1);
  return Slot(this, std::move(pass));
}

void CoordinationBackend::Leave() {
  calls_gauge_->Add(-1);
  calls_.fetch_sub(1);
}

rpc::Backoff CoordinationBackend::MakeBackoff() const {
  return rpc::Backoff({.base = options_.backoff_base, .max = options_.backoff_max},
                      Random::FromSystem());
}

CallEnd JudgeEnd(const grpc::Status& wire, const grpc::ClientContext& context,
                 const std::string& node) {
  CallEnd end;
  end.status = rpc::FromGrpc(wire);
  end.outcome = rpc::JudgeOutcome(wire, end.status);
  end.leader = rpc::LeaderHint(end.status);
  if (!wire.error_details().empty()) {
    end.answered = true;
    // Of a quota the client hears at once: it may be its own doing.
    if (ReasonOf(end.status) == Reason::kQuotaExceeded) end.outcome = rpc::Outcome::kFinal;
    return end;
  }
  if (end.outcome != rpc::Outcome::kUnknown) return end;
  if (!rpc::ReachedConnection(context)) end.outcome = rpc::Outcome::kNoEffect;
  const bool late = wire.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  end.status = MakeError(late ? Reason::kTimedOut : Reason::kMetadataUnavailable,
                         absl::StrCat("metadata node ", node, ": ", wire.error_message()));
  return end;
}

}  // namespace falaj::gateway
