// falaj-metadata: one metadata node.

#include <cstdint>
#include <memory>
#include <string>

#include "absl/flags/flag.h"

#include "libs/base/log.h"
#include "libs/rpc/process.h"
#include "services/metadata/metadata_server.h"

ABSL_FLAG(int32_t, node_id, 1, "Id of this metadata node, at least 1.");
ABSL_FLAG(std::string, data_dir, "", "Where the Raft log lives; made if it does not exist.");
ABSL_FLAG(std::string, listen, "127.0.0.1:7400", "host:port of the gRPC server.");
ABSL_FLAG(std::string, http_listen, "127.0.0.1:7401",
          "host:port of /metrics and /healthz; empty: none.");
ABSL_FLAG(std::string, cluster_name, "", "A name for people; appears in the log.");

int main(int argc, char** argv) {
  falaj::rpc::ParseFlags(
      "A Falaj metadata node. Every flag can be set as FALAJ_<NAME> in the environment.", argc,
      argv);
  falaj::log::Configure({.component = "metadata"});
  falaj::rpc::TuneProcess();
  falaj::rpc::RaiseFileDescriptorLimit();

  falaj::metadata::MetadataServer::Options options;
  options.node_id = absl::GetFlag(FLAGS_node_id);
  options.data_dir = absl::GetFlag(FLAGS_data_dir);
  options.listen_address = absl::GetFlag(FLAGS_listen);
  options.http_address = absl::GetFlag(FLAGS_http_listen);
  options.cluster_name = absl::GetFlag(FLAGS_cluster_name);
  const auto server = falaj::metadata::MetadataServer::Start(options);
  if (!server.ok()) {
    falaj::log::Error("the metadata node cannot start", {{"error", server.status()}});
    return 1;
  }
  falaj::rpc::WaitForTermination();
  (*server)->Stop();
  return 0;
}
