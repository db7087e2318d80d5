// What tests of the command line against a whole cluster in this process share: the cluster.
#ifndef SERVICES_CLI_DEV_CLUSTER_FIXTURE_H_
#define SERVICES_CLI_DEV_CLUSTER_FIXTURE_H_

#include "absl/status/status.h"
#include "gtest/gtest.h"

#include "libs/base/log.h"
#include "libs/base/testing/temp_directory.h"
#include "services/cli/dev_cluster.h"

namespace falaj::cli {

class DevClusterFixture : public testing::Test {
 protected:
  ~DevClusterFixture() override { cluster_.Stop(); }

  // One metadata node, one gateway and so many storage nodes.
  void StartCluster(int storage) {
    log::Configure(
        {.format = log::Format::kText, .level_min = log::Level::kError, .component = "test"});
    DevOptions options;
    options.data = directory_.PathOf("data");
    options.storage = storage;
    options.port = 0;
    options.http_port = 0;
    const absl::Status status = cluster_.Start(options);
    ASSERT_TRUE(status.ok()) << status;
  }

  TempDirectory directory_;
  DevCluster cluster_;
};

}  // namespace falaj::cli

#endif  // SERVICES_CLI_DEV_CLUSTER_FIXTURE_H_
