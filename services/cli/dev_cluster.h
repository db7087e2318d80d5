// DevCluster is a whole cluster in this process: what `falaj dev` runs, and what tests of the
// command talk to.
//
// Everything lives under one directory: metadata-1, storage-1, storage-2, ... Starting again on the
// same directory goes on with its data.
//
// Parts stop in the reverse order of their start: gateways first, so that clients leave before what
// serves them does. Threads: one.
#ifndef SERVICES_CLI_DEV_CLUSTER_H_
#define SERVICES_CLI_DEV_CLUSTER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "services/cli/commands.h"
#include "services/cli/output.h"
#include "services/gateway/gateway_server.h"
#include "services/metadata/metadata_server.h"
#include "services/storage/storage_server.h"

namespace falaj::cli {

class DevCluster {
 public:
  // Returns once every part is ready. After an error, Stop() what has been started.
  absl::Status Start(const DevOptions& options);
  void Stop();

  // Addresses of all parts.
  Table Describe() const;
  // Of the first gateway. Require Start().
  std::string address() const { return gateways_[0]->grpc_address(); }
  std::string http_address() const { return gateways_[0]->http_address(); }
  // One storage node, numbered from 1: for tests of what it says, and of life without it.
  std::string storage_http_address(int id) const {
    return storage_[static_cast<size_t>(id - 1)]->http_address();
  }
  void StopStorage(int id) { storage_[static_cast<size_t>(id - 1)]->Stop(); }

 private:
  absl::Status StartMetadata(const DevOptions& options);
  absl::Status StartStorage(const DevOptions& options, int id);
  absl::Status StartGateway(const DevOptions& options, int index);
  std::vector<std::string> MetadataAddresses() const;
  bool Ready() const;
  absl::Status WaitReady() const;

  std::vector<std::unique_ptr<metadata::MetadataServer>> metadata_;
  std::vector<std::unique_ptr<storage::StorageServer>> storage_;
  std::vector<std::unique_ptr<gateway::GatewayServer>> gateways_;
};

}  // namespace falaj::cli

#endif  // SERVICES_CLI_DEV_CLUSTER_H_
