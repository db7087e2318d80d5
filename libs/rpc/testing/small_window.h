// A channel for tests of clients that do not read: HTTP/2 takes little for them, always as much.
// Others' window grows with the speed of the connection, up to all that a test sends.
#ifndef LIBS_RPC_TESTING_SMALL_WINDOW_H_
#define LIBS_RPC_TESTING_SMALL_WINDOW_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

namespace falaj::rpc {

inline std::shared_ptr<grpc::Channel> SmallWindowChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 16'384);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace falaj::rpc

#endif  // LIBS_RPC_TESTING_SMALL_WINDOW_H_
