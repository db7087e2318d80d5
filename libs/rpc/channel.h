// Channels as Falaj uses them: one place for the arguments of every connection.
//
// The keepalive times stand here for both ends, because a server closes the connection of a client
// that pings more often than the server allows.
#ifndef LIBS_RPC_CHANNEL_H_
#define LIBS_RPC_CHANNEL_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <string>

#include "absl/time/time.h"

namespace falaj::rpc {

// A client pings an idle peer so often, and gives up on it after the timeout.
inline constexpr absl::Duration kClientKeepalive = absl::Seconds(10);
inline constexpr absl::Duration kClientKeepaliveTimeout = absl::Seconds(5);
// A server tolerates pings this close to each other, and pings its clients itself.
inline constexpr absl::Duration kServerPingIntervalMin = absl::Seconds(5);
inline constexpr absl::Duration kServerKeepalive = absl::Seconds(30);
inline constexpr absl::Duration kServerKeepaliveTimeout = absl::Seconds(10);

inline constexpr int kPublicMessageBytesMax = 16 << 20;    // What a gateway takes.
inline constexpr int kInternalMessageBytesMax = 32 << 20;  // Node to node.
inline constexpr int kMetadataBytesMax = 8 << 10;          // Headers, and trailers.

class ClientMetrics;

struct ChannelOptions {
  int message_bytes_max = kInternalMessageBytesMax;
  // Channels to one address with different lanes have connections of their own; gRPC merges those
  // whose arguments are equal.
  int lane = 0;
  absl::Duration connect_timeout = absl::Seconds(5);
  absl::Duration reconnect_backoff_min = absl::Milliseconds(100);
  absl::Duration reconnect_backoff_max = absl::Seconds(2);
  std::shared_ptr<ClientMetrics> metrics = nullptr;  // Counts the calls; may be null.
};

// Does not connect yet. The address is "host:port".
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address,
                                           const ChannelOptions& options = {});

// False if a call that has failed never got as far as a connection, so that no server can have seen
// it. True if it may have, or if that cannot be told.
bool ReachedConnection(const grpc::ClientContext& context);

}  // namespace falaj::rpc

#endif  // LIBS_RPC_CHANNEL_H_
