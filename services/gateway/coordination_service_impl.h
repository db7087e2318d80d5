// CoordinationServiceImpl puts CoordinationService on the gateway's port. The metadata nodes serve
// it; the gateway passes bytes on and knows whom to ask (coordination_backend.h), what may be asked
// twice (coordination_requests.h), and how a stream survives a change of leader.
//
// Threads: gRPC's; nothing here blocks. The backend and the parts outlive it.
#ifndef SERVICES_GATEWAY_COORDINATION_SERVICE_IMPL_H_
#define SERVICES_GATEWAY_COORDINATION_SERVICE_IMPL_H_

#include <grpcpp/grpcpp.h>

#include "falaj/v1/coordination_service.grpc.pb.h"

#include "services/gateway/coordination_backend.h"
#include "services/gateway/coordination_requests.h"
#include "services/gateway/gateway_parts.h"

namespace falaj::gateway {

// Every method raw: generated code nests one template for each.
template <typename S>
using RawSessionMethods = v1::CoordinationService::WithRawCallbackMethod_OpenSession<
    v1::CoordinationService::WithRawCallbackMethod_KeepSession<
        v1::CoordinationService::WithRawCallbackMethod_KeepSessions<
            v1::CoordinationService::WithRawCallbackMethod_CloseSession<S>>>>;
template <typename S>
using RawZnodeMethods = v1::CoordinationService::WithRawCallbackMethod_CreateZnode<
    v1::CoordinationService::WithRawCallbackMethod_GetZnode<
        v1::CoordinationService::WithRawCallbackMethod_SetZnode<
            v1::CoordinationService::WithRawCallbackMethod_DeleteZnode<
                v1::CoordinationService::WithRawCallbackMethod_ListChildren<
                    v1::CoordinationService::WithRawCallbackMethod_ExecuteMulti<
                        v1::CoordinationService::WithRawCallbackMethod_StreamWrites<
                            v1::CoordinationService::WithRawCallbackMethod_WatchZnodes<S>>>>>>>>;
template <typename S>
using RawElectionMethods = v1::CoordinationService::WithRawCallbackMethod_Campaign<
    v1::CoordinationService::WithRawCallbackMethod_ResignCampaign<
        v1::CoordinationService::WithRawCallbackMethod_GetLeader<S>>>;

class CoordinationServiceImpl final
    : public RawSessionMethods<
          RawZnodeMethods<RawElectionMethods<v1::CoordinationService::Service>>> {
 public:
  CoordinationServiceImpl(const GatewayParts* parts, CoordinationBackend* backend)
      : parts_(parts), backend_(backend) {}

  using Context = grpc::CallbackServerContext;
  using Message = grpc::ByteBuffer;
  using Unary = grpc::ServerUnaryReactor;

  Unary* OpenSession(Context* context, const Message* request, Message* response) override {
    return Forward(kOpenSession, context, request, response);
  }
  Unary* KeepSession(Context* context, const Message* request, Message* response) override {
    return Forward(kKeepSession, context, request, response);
  }
  Unary* CloseSession(Context* context, const Message* request, Message* response) override {
    return Forward(kCloseSession, context, request, response);
  }
  Unary* CreateZnode(Context* context, const Message* request, Message* response) override {
    return Forward(kCreateZnode, context, request, response);
  }
  Unary* GetZnode(Context* context, const Message* request, Message* response) override {
    return Forward(kGetZnode, context, request, response);
  }
  Unary* SetZnode(Context* context, const Message* request, Message* response) override {
    return Forward(kSetZnode, context, request, response);
  }
  Unary* DeleteZnode(Context* context, const Message* request, Message* response) override {
    return Forward(kDeleteZnode, context, request, response);
  }
  Unary* ListChildren(Context* context, const Message* request, Message* response) override {
    return Forward(kListChildren, context, request, response);
  }
  Unary* ExecuteMulti(Context* context, const Message* request, Message* response) override {
    return Forward(kExecuteMulti, context, request, response);
  }
  Unary* Campaign(Context* context, const Message* request, Message* response) override {
    return Forward(kCampaign, context, request, response);
  }
  Unary* ResignCampaign(Context* context, const Message* request, Message* response) override {
    return Forward(kResignCampaign, context, request, response);
  }
  Unary* GetLeader(Context* context, const Message* request, Message* response) override {
    return Forward(kGetLeader, context, request, response);
  }
  grpc::ServerBidiReactor<Message, Message>* KeepSessions(Context* context) override;
  grpc::ServerBidiReactor<Message, Message>* StreamWrites(Context* context) override;
  grpc::ServerWriteReactor<Message>* WatchZnodes(Context* context, const Message* request) override;

 private:
  Unary* Forward(const CoordinationMethod& method, Context* context, const Message* request,
                 Message* response);

  const GatewayParts* const parts_;
  CoordinationBackend* const backend_;
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_COORDINATION_SERVICE_IMPL_H_
