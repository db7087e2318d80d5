#include "libs/rpc/channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <string>

#include "absl/strings/match.h"

#include "libs/rpc/callback_threads.h"
#include "libs/rpc/client_metrics.h"

namespace falaj::rpc {
namespace {

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(absl::ToInt64Milliseconds(duration));
}

}  // namespace

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address,
                                           const ChannelOptions& options) {
  StartCallbackThreads();
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(options.message_bytes_max);
  args.SetMaxSendMessageSize(options.message_bytes_max);
  args.SetInt(GRPC_ARG_MAX_METADATA_SIZE, kMetadataBytesMax);
  // A few kilobytes of zeros would otherwise be inflated to hundreds of megabytes before any limit
  // applies. Batches bring their own, bounded, compression.
  args.SetInt(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(kClientKeepalive));
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(kClientKeepaliveTimeout));
  args.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // gRPC's own retries keep a copy of what was sent and repeat what must not be repeated.
  args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, Milliseconds(options.reconnect_backoff_min));
  // In spite of its name: how long one attempt to connect may take. Short of it, a busy machine
  // would never be reached; a refused connection fails at once all the same.
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, Milliseconds(options.connect_timeout));
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, Milliseconds(options.reconnect_backoff_max));
  args.SetInt(GRPC_ARG_TCP_TX_ZEROCOPY_ENABLED, 0);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetInt("falaj.lane", options.lane);
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      address, grpc::InsecureChannelCredentials(), args, ClientMetrics::For(options.metrics));
}

bool ReachedConnection(const grpc::ClientContext& context) {
  // The transport names its peer, by number, before it takes the first byte of a call. Until then
  // peer() is what the channel was made for: a host and port, with or without "dns:".
  const std::string peer = context.peer();
  return absl::StartsWith(peer, "ipv4:") || absl::StartsWith(peer, "ipv6:") ||
         absl::StartsWith(peer, "unix:");
}

}  // namespace falaj::rpc
