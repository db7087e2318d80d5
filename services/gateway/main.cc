// falaj-gateway: one gateway as a process. Flags mirror FALAJ_* environment variables.
#include <csignal>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"

#include "libs/base/log.h"
#include "libs/rpc/process.h"
#include "services/gateway/gateway_server.h"

ABSL_FLAG(std::string, listen, "127.0.0.1:7400", "Address of the gRPC port clients use.");
ABSL_FLAG(std::string, http_listen, "127.0.0.1:7401",
          "Address of the HTTP port for /metrics and /healthz; empty for none.");
ABSL_FLAG(std::string, metadata, "127.0.0.1:7400",
          "Addresses of the metadata nodes, separated by commas.");
ABSL_FLAG(int64_t, bytes_max, int64_t{512} << 20,
          "Bytes held for all clients together before reading stops.");
ABSL_FLAG(int64_t, connection_bytes_max, int64_t{64} << 20,
          "Bytes held for one client connection before reading from it stops.");
ABSL_FLAG(absl::Duration, stop_wait, absl::Seconds(5),
          "How long a gateway that is told to stop says that it is not ready, and serves all the "
          "same, before it ends its streams: load balancers need a while to notice.");
ABSL_FLAG(absl::Duration, stop_grace, absl::Seconds(5), "How long calls under way may take then.");
ABSL_FLAG(std::string, log_format, "json", "json or text.");

int main(int argc, char** argv) {
  falaj::rpc::ParseFlags("A Falaj gateway: the address that clients of a cluster use.", argc, argv);
  using falaj::log::Format;
  falaj::log::Configure(
      {.format = absl::GetFlag(FLAGS_log_format) == "text" ? Format::kText : Format::kJson,
       .component = "gateway"});
  falaj::rpc::TuneProcess();
  falaj::rpc::RaiseFileDescriptorLimit();
  falaj::gateway::GatewayServer::Options options;
  options.listen_address = absl::GetFlag(FLAGS_listen);
  options.http_address = absl::GetFlag(FLAGS_http_listen);
  options.metadata_addresses =
      absl::StrSplit(absl::GetFlag(FLAGS_metadata), ',', absl::SkipEmpty());
  options.total_bytes_max = absl::GetFlag(FLAGS_bytes_max);
  options.connection_bytes_max = absl::GetFlag(FLAGS_connection_bytes_max);
  options.stop_wait = absl::GetFlag(FLAGS_stop_wait);
  options.stop_grace = absl::GetFlag(FLAGS_stop_grace);
  auto server = falaj::gateway::GatewayServer::Start(options);
  if (!server.ok()) {
    falaj::log::Error("gateway cannot start", {{"error", server.status()}});
    return 1;
  }
  const int signal_number = falaj::rpc::WaitForTermination();
  falaj::log::Info("termination asked for", {{"signal", signal_number}});
  (*server)->Stop();
  return 0;
}
