// What the gateway has to know of CoordinationService to forward its calls: a few field numbers,
// looked up in the encoded messages in passing. Nothing is parsed or copied. The numbers are those
// of proto/falaj/v1/coordination_service.proto; a test compares them with the generated classes.
#ifndef SERVICES_GATEWAY_COORDINATION_REQUESTS_H_
#define SERVICES_GATEWAY_COORDINATION_REQUESTS_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <optional>

namespace falaj::gateway {

// How a unary call may be treated when it fails.
struct CoordinationMethod {
  const char* path;  // "/package.Service/Method"
  // The field of WriteOptions: the call may be repeated if they have a request id. 0: it may be
  // repeated always.
  int write_options_field = 0;
  int read_options_field = 0;  // Of ReadOptions; 0: the call is none that reads.
  bool waits = false;          // For as long as the client does.
};

inline constexpr CoordinationMethod kOpenSession{.path =
                                                     "/falaj.v1.CoordinationService/OpenSession"};
inline constexpr CoordinationMethod kKeepSession{.path =
                                                     "/falaj.v1.CoordinationService/KeepSession"};
inline constexpr CoordinationMethod kCloseSession{.path =
                                                      "/falaj.v1.CoordinationService/CloseSession"};
inline constexpr CoordinationMethod kCreateZnode{
    .path = "/falaj.v1.CoordinationService/CreateZnode", .write_options_field = 6};
inline constexpr CoordinationMethod kGetZnode{.path = "/falaj.v1.CoordinationService/GetZnode",
                                              .read_options_field = 2};
inline constexpr CoordinationMethod kSetZnode{.path = "/falaj.v1.CoordinationService/SetZnode",
                                              .write_options_field = 4};
inline constexpr CoordinationMethod kDeleteZnode{
    .path = "/falaj.v1.CoordinationService/DeleteZnode", .write_options_field = 3};
inline constexpr CoordinationMethod kListChildren{
    .path = "/falaj.v1.CoordinationService/ListChildren", .read_options_field = 4};
inline constexpr CoordinationMethod kExecuteMulti{
    .path = "/falaj.v1.CoordinationService/ExecuteMulti", .write_options_field = 2};
inline constexpr CoordinationMethod kCampaign{.path = "/falaj.v1.CoordinationService/Campaign",
                                              .waits = true};
inline constexpr CoordinationMethod kResignCampaign{
    .path = "/falaj.v1.CoordinationService/ResignCampaign"};
inline constexpr CoordinationMethod kGetLeader{.path = "/falaj.v1.CoordinationService/GetLeader",
                                               .read_options_field = 2};
inline constexpr char kKeepSessionsPath[] = "/falaj.v1.CoordinationService/KeepSessions";
inline constexpr char kStreamWritesPath[] = "/falaj.v1.CoordinationService/StreamWrites";
inline constexpr char kWatchZnodesPath[] = "/falaj.v1.CoordinationService/WatchZnodes";

// True if the request takes effect once however often it is sent.
bool MayRepeat(const CoordinationMethod& method, const grpc::ByteBuffer& request);
// True for a read that any node may answer with what it has.
bool IsLocalRead(const CoordinationMethod& method, const grpc::ByteBuffer& request);

// The part of a WatchZnodesResponse that a watch resumes by.
struct WatchPosition {
  uint64_t index = 0;
  bool has_events = false;
};
// Nothing if the message is malformed.
std::optional<WatchPosition> PositionOf(const grpc::ByteBuffer& response);
// The WatchZnodesRequest with another after_index. Shares the memory of `request`.
grpc::ByteBuffer ResumeAfter(const grpc::ByteBuffer& request, uint64_t index);

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_COORDINATION_REQUESTS_H_
