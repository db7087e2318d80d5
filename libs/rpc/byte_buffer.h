// gRPC messages <-> Bytes, without copying payload.
//
// A Bytes made from a message holds the message's slices; a message made from Bytes holds the
// Bytes' owner until gRPC has sent it. So a batch crosses a process as the very memory it was
// received in.
#ifndef LIBS_RPC_BYTE_BUFFER_H_
#define LIBS_RPC_BYTE_BUFFER_H_

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "libs/base/bytes.h"

namespace falaj::rpc {

// Shares the message's memory. An invalid (moved-from) message gives empty Bytes.
Bytes ToBytes(const grpc::ByteBuffer& message);

// The message `prefix` + `payload`. Copies the prefix, shares the payload.
grpc::ByteBuffer ToByteBuffer(absl::string_view prefix, const Bytes& payload);
// The concatenation of `parts`, all shared: answers assembled of many runs.
grpc::ByteBuffer ToByteBuffer(absl::Span<const Bytes> parts);

// False if the bytes are not a valid message of this type.
bool ParseProto(const Bytes& bytes, google::protobuf::MessageLite* message);
bool ParseProto(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite* message);
grpc::ByteBuffer SerializeProto(const google::protobuf::MessageLite& message);

}  // namespace falaj::rpc

#endif  // LIBS_RPC_BYTE_BUFFER_H_
