#include "libs/rpc/metadata_nodes.h"

#include <utility>

#include "libs/base/status.h"
#include "libs/rpc/channel.h"

namespace falaj::rpc {

MetadataNodes::MetadataNodes(std::vector<std::string> addresses, size_t first,
                             std::shared_ptr<ClientMetrics> metrics)
    : addresses_(std::move(addresses)), metrics_(std::move(metrics)), index_(first) {}

const std::string& MetadataNodes::CurrentAddress() const {
  return hint_.empty() ? addresses_[index_ % addresses_.size()] : hint_;
}

MetadataNodes::Node MetadataNodes::Current() {
  MutexLock lock(&mu_);
  const std::string& address = CurrentAddress();
  Node& node = nodes_[address];
  if (node.channel == nullptr) node = {address, MakeChannel(address, {.metrics = metrics_})};
  return node;
}

void MetadataNodes::MoveOn(const std::string& failed, const std::string& leader) {
  MutexLock lock(&mu_);
  if (!leader.empty() && leader != failed) {
    // Forget earlier hints: a hostile or confused node must not make this table grow.
    if (nodes_.size() > 2 * addresses_.size() + 8) nodes_.clear();
    hint_ = leader;
    return;
  }
  if (CurrentAddress() != failed) return;  // Somebody else has moved on already.
  if (hint_.empty()) {
    ++index_;
  } else {
    hint_.clear();
  }
}

Outcome JudgeOutcome(const grpc::Status& wire, const absl::Status& status) {
  if (wire.error_details().empty()) {  // gRPC's own error: the connection, not the service.
    const bool connection = wire.error_code() == grpc::StatusCode::UNAVAILABLE ||
                            wire.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED ||
                            wire.error_code() == grpc::StatusCode::CANCELLED;
    return connection ? Outcome::kUnknown : Outcome::kFinal;
  }
  switch (ReasonOf(status)) {
    case Reason::kShuttingDown:
    case Reason::kQuotaExceeded:
      return Outcome::kNoEffect;
    case Reason::kMetadataUnavailable: {
      const ErrorMetadata metadata = MetadataOf(status);
      const auto outcome = metadata.find("outcome");
      const bool none = outcome != metadata.end() && outcome->second == "none";
      return none ? Outcome::kNoEffect : Outcome::kUnknown;
    }
    default:
      return Outcome::kFinal;
  }
}

std::string LeaderHint(const absl::Status& status) {
  const ErrorMetadata metadata = MetadataOf(status);
  const auto leader = metadata.find("leader");
  return leader == metadata.end() ? "" : leader->second;
}

}  // namespace falaj::rpc
