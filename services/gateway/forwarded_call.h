// A forwarded call is one unary call of CoordinationService on its way through the gateway: the
// request goes to a metadata node as it came, and the answer back to the client as it came.
//
//   attempt ── answer, or an error that is the node's last word ──▶ finished
//      ▲  └── no effect, or unknown and repeatable ──┐
//      └── at once after a hint, else a pause; until shortly before the client's deadline
//
// What had no effect for certain is always tried again. What may have had one is tried again only
// if that is harmless (MayRepeat); otherwise the client gets METADATA_UNAVAILABLE with "outcome" =
// "unknown" and decides. So it does if a write is repeated and the repetition is refused because
// the session, or the answer kept of the first attempt, is gone meanwhile. When the time is up,
// "outcome" tells whether any attempt may have worked.
//
// Ownership: it keeps itself alive until gRPC is done with it, and each attempt keeps it alive
// until its callback has returned. When the client gives up, the attempt under way is cancelled.
//
// Threads: gRPC's; mu_ guards what changes. Nothing blocks.
#ifndef SERVICES_GATEWAY_FORWARDED_CALL_H_
#define SERVICES_GATEWAY_FORWARDED_CALL_H_

#include <grpcpp/grpcpp.h>

#include "services/gateway/coordination_backend.h"
#include "services/gateway/coordination_requests.h"
#include "services/gateway/gateway_parts.h"

namespace falaj::gateway {

// Starts one. `request` and `response` are gRPC's and live as long as the call.
grpc::ServerUnaryReactor* ForwardCall(const GatewayParts* parts, CoordinationBackend* backend,
                                      const CoordinationMethod& method,
                                      grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* request, grpc::ByteBuffer* response);

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_FORWARDED_CALL_H_
