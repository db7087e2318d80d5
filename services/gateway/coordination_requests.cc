#include "services/gateway/coordination_requests.h"

#include <array>
#include <string>

#include "falaj/v1/coordination_service.pb.h"

#include "libs/base/bytes.h"
#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/wire.h"

namespace falaj::gateway {
namespace {

constexpr int kSessionField = 1;      // Of WriteOptions.
constexpr int kRequestIdField = 2;    // The same.
constexpr int kConsistencyField = 1;  // Of ReadOptions.
constexpr int kIndexField = 1;        // Of WatchZnodesResponse.
constexpr int kEventsField = 2;       // The same.
constexpr int kAfterIndexField = 2;   // Of WatchZnodesRequest.

}  // namespace

bool MayRepeat(const CoordinationMethod& method, const grpc::ByteBuffer& request) {
  if (method.write_options_field == 0) return true;
  const Bytes bytes = rpc::ToBytes(request);
  bool session = false;
  uint64_t request_id = 0;
  rpc::WireReader fields(bytes);
  while (fields.Next()) {
    if (fields.field() != method.write_options_field || !fields.is_bytes()) continue;
    const Bytes options = fields.bytes();
    rpc::WireReader inner(options);
    while (inner.Next()) {
      if (inner.field() == kSessionField && inner.is_bytes()) session = true;
      if (inner.field() == kRequestIdField) request_id = inner.varint();
    }
    if (!inner.ok()) return false;
  }
  return fields.ok() && session && request_id != 0;
}

bool IsLocalRead(const CoordinationMethod& method, const grpc::ByteBuffer& request) {
  if (method.read_options_field == 0) return false;
  const Bytes bytes = rpc::ToBytes(request);
  uint64_t consistency = 0;
  rpc::WireReader fields(bytes);
  while (fields.Next()) {
    if (fields.field() != method.read_options_field || !fields.is_bytes()) continue;
    const Bytes options = fields.bytes();
    rpc::WireReader inner(options);
    while (inner.Next()) {
      if (inner.field() == kConsistencyField) consistency = inner.varint();
    }
  }
  return consistency == v1::READ_CONSISTENCY_LOCAL;
}

std::optional<WatchPosition> PositionOf(const grpc::ByteBuffer& response) {
  const Bytes bytes = rpc::ToBytes(response);
  WatchPosition position;
  rpc::WireReader fields(bytes);
  while (fields.Next()) {
    if (fields.field() == kIndexField) position.index = fields.varint();
    if (fields.field() == kEventsField) position.has_events = true;
  }
  if (!fields.ok()) return std::nullopt;
  return position;
}

grpc::ByteBuffer ResumeAfter(const grpc::ByteBuffer& request, uint64_t index) {
  std::string suffix;  // Of a field that comes twice the last one counts.
  rpc::WireWriter(&suffix).AppendVarint(kAfterIndexField, index);
  const std::array<Bytes, 2> parts = {rpc::ToBytes(request), Bytes::Own(std::move(suffix))};
  return rpc::ToByteBuffer(parts);
}

}  // namespace falaj::gateway
