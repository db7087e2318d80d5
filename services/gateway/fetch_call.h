// StartFetch() serves one Fetch: a long poll over any partitions, merged over the storage nodes
// that lead them.
//
//   resolve positions ──▶ glance: read every node without waiting ──▶ enough? answer
//                                                     └──▶ wait: long poll at every node; the first
//                                                     node with enough
//                                                          ends the wait of the others
//
// The glance fills in high watermarks of all partitions, so that the answer is whole even if a
// node's wait was cut short. Errors belong to their partition; the call as a whole fails only for a
// malformed request.
//
// Time: the answer comes max_wait after the call began, however often the lead moves. A leader that
// is missing is looked for within that, 2 s at a time; so long, too, if there is no max_wait, and
// 0.1 s once there are records. Only a record in doubt (unreached_epoch.h) has its 2 s in any case,
// if the doubt came up in the first 2: else it would never be settled.
//
// Memory: each node is asked for its share of max_bytes. Parts that would take the answer past
// max_bytes are dropped and read again by the next call. Plain records fill at most 3 MiB, so that
// clients take the answer unasked: a batch that does not fit is cut between two records.
#ifndef SERVICES_GATEWAY_FETCH_CALL_H_
#define SERVICES_GATEWAY_FETCH_CALL_H_

#include <grpcpp/grpcpp.h>

#include "services/gateway/gateway_parts.h"

namespace falaj::gateway {

// A reactor for one raw Fetch call; owns itself.
grpc::ServerUnaryReactor* StartFetch(const GatewayParts* parts,
                                     grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request, grpc::ByteBuffer* response);

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_FETCH_CALL_H_
