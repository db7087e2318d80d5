// UpstreamStream is the gateway's half of one stream to a metadata node; messages stay bytes.
//
// It moves what its listener asks for, one read and one write at a time, and decides nothing: a
// listener that does not ask for the next message is what holds a fast node back for a slow client.
//
// Ownership: the call keeps it, and it keeps its listener, until OnUpstreamDone has returned.
//
// Threads: methods from any thread, also with the listener's lock held; events come on gRPC's, with
// no lock held. OnUpstreamDone is the last one. After Break() or the end, methods do nothing.
#ifndef SERVICES_GATEWAY_UPSTREAM_STREAM_H_
#define SERVICES_GATEWAY_UPSTREAM_STREAM_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/client_callback.h>

#include <memory>

#include "libs/base/mutex.h"
#include "libs/rpc/metadata_nodes.h"
#include "services/gateway/coordination_backend.h"

namespace falaj::gateway {

class UpstreamListener {
 public:
  virtual ~UpstreamListener() = default;
  virtual void OnUpstreamMessage(const grpc::ByteBuffer& message) = 0;
  virtual void OnUpstreamWritten() = 0;
  // `end` says OK as METADATA_UNAVAILABLE: these streams do not end by themselves. `wire` is what
  // the node said.
  virtual void OnUpstreamDone(const CallEnd& end, const grpc::Status& wire) = 0;
};

class UpstreamStream final : private grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  static std::shared_ptr<UpstreamStream> Start(const rpc::MetadataNodes::Node& node,
                                               const char* path,
                                               std::shared_ptr<UpstreamListener> listener);

  const std::string& address() const { return node_.address; }

  void Read();  // Asks for one message.
  void Write(const grpc::ByteBuffer& message, bool last);
  void Break();

 private:
  UpstreamStream(rpc::MetadataNodes::Node node, std::shared_ptr<UpstreamListener> listener)
      : node_(std::move(node)), listener_(std::move(listener)) {}

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  const rpc::MetadataNodes::Node node_;
  const std::shared_ptr<UpstreamListener> listener_;
  grpc::ClientContext context_;
  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer outgoing_;
  std::shared_ptr<UpstreamStream> self_;  // Released by OnDone.

  Mutex mu_;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_UPSTREAM_STREAM_H_
