#include "services/gateway/coordination_service_impl.h"

#include "services/gateway/answered_stream.h"
#include "services/gateway/forwarded_call.h"
#include "services/gateway/watch_znodes_stream.h"

namespace falaj::gateway {

grpc::ServerUnaryReactor* CoordinationServiceImpl::Forward(const CoordinationMethod& method,
                                                           Context* context, const Message* request,
                                                           Message* response) {
  return ForwardCall(parts_, backend_, method, context, request, response);
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* CoordinationServiceImpl::KeepSessions(
    Context* context) {
  return AnsweredStream::Start(kKeepSessions, parts_, backend_, context->peer());
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* CoordinationServiceImpl::StreamWrites(
    Context* context) {
  return AnsweredStream::Start(kStreamWrites, parts_, backend_, context->peer());
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* CoordinationServiceImpl::WatchZnodes(
    Context* context, const Message* request) {
  return WatchZnodesStream::Start(parts_, backend_, context->peer(), *request);
}

}  // namespace falaj::gateway
