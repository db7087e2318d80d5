#include <cstdio>

#include "libs/base/clock.h"
#include "libs/base/log.h"
#include "libs/base/status.h"
#include "libs/rpc/process.h"
#include "services/cli/commands.h"
#include "services/cli/dev_cluster.h"
#include "services/cli/session.h"

namespace falaj::cli {

ExitCode RunDev(const DevOptions& options) {
  const MonotonicTime start = Clock::Real()->MonotonicNow();
  log::Configure(
      {.format = log::Format::kText, .level_min = log::Level::kWarning, .component = "dev"});
  rpc::RaiseFileDescriptorLimit();
  DevCluster cluster;
  if (absl::Status status = cluster.Start(options); !status.ok()) {
    cluster.Stop();
    return Fail(status);
  }
  cluster.Describe().Print(OutputMode::kTable);
  const absl::Duration took = Clock::Real()->MonotonicNow() - start;
  std::fprintf(stdout, "ready in %.2f s, data in %s; try: falaj --address %s topic list\n",
               absl::ToDoubleSeconds(took), options.data.c_str(), cluster.address().c_str());
  std::fflush(stdout);
  rpc::WaitForTermination();
  std::fputs("stopping\n", stderr);
  cluster.Stop();
  return ExitCode::kOk;
}

}  // namespace falaj::cli
