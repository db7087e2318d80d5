// A metadata command that a client's call stands for: executed, and then seen by this gateway.
#ifndef SERVICES_GATEWAY_METADATA_COMMAND_H_
#define SERVICES_GATEWAY_METADATA_COMMAND_H_

#include <grpcpp/grpcpp.h>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "falaj/internal/v1/cluster.pb.h"
#include "falaj/internal/v1/metadata_service.pb.h"

#include "libs/rpc/metadata_channel.h"
#include "services/gateway/gateway_parts.h"

namespace falaj::gateway {

// How long a call may go on: until shortly before the caller's deadline, so that the caller still
// hears what went wrong.
absl::Duration TimeLeft(const GatewayParts* parts, const grpc::ServerContext* context);

// Executes the command and waits until the route table includes it, so that a client reads what it
// has written. Blocks, as long as the call may go on. Returns the state machine's error,
// METADATA_UNAVAILABLE or TIMED_OUT.
absl::StatusOr<internal::v1::ExecuteResponse> ExecuteCommand(
    const GatewayParts* parts, rpc::MetadataChannel* metadata, const grpc::ServerContext* context,
    const internal::v1::ClusterCommand& command);

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_METADATA_COMMAND_H_
