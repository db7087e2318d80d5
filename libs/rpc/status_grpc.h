// Errors on the wire: absl::Status <-> grpc::Status with google.rpc details, and the falaj.v1.Error
// that reports the failure of a part of a request.
//
// A reason, its metadata and its retry hint survive the round trip; reasons after which a client
// should wait and try again get a hint here if they have none. An error of a foreign server
// (no reason of ours in its details) keeps its code and message. Messages and metadata values are
// cut so that an error always fits the 8 KiB of trailers every client accepts.
#ifndef LIBS_RPC_STATUS_GRPC_H_
#define LIBS_RPC_STATUS_GRPC_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

#include "falaj/v1/record.pb.h"

#include "libs/base/status.h"

namespace falaj::rpc {

// Details: ErrorInfo always (domain "falaj.dev"), RetryInfo if there is a retry hint, BadRequest if
// the metadata names a "field".
grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

// Requires !status.ok().
void ToProto(const absl::Status& status, v1::Error* error);
// OK if the error has no code.
absl::Status FromProto(const v1::Error& error);

// True if the same request may be sent again: nothing was appended and the reason passes with time.
bool IsRetryable(Reason reason);

}  // namespace falaj::rpc

#endif  // LIBS_RPC_STATUS_GRPC_H_
