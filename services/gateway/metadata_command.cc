#include "services/gateway/metadata_command.h"

#include <algorithm>

#include "libs/base/status.h"

namespace falaj::gateway {
namespace {

constexpr absl::Duration kTimeoutMax = absl::Seconds(30);

}  // namespace

absl::Duration TimeLeft(const GatewayParts* parts, const grpc::ServerContext* context) {
  const absl::Duration left = absl::FromChrono(context->deadline()) - parts->clock->Now();
  return std::min(left - std::min(left / 10, absl::Milliseconds(200)), kTimeoutMax);
}

absl::StatusOr<internal::v1::ExecuteResponse> ExecuteCommand(
    const GatewayParts* parts, rpc::MetadataChannel* metadata, const grpc::ServerContext* context,
    const internal::v1::ClusterCommand& command) {
  FALAJ_ASSIGN_OR_RETURN(internal::v1::ExecuteResponse response,
                         metadata->Execute(command, TimeLeft(parts, context)));
  FALAJ_RETURN_IF_ERROR(
      parts->routes->WaitForIndex(LogIndex(response.index()), TimeLeft(parts, context)));
  return response;
}

}  // namespace falaj::gateway
