#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "libs/base/status.h"
#include "services/cli/bench_disk.h"
#include "services/cli/bench_processes.h"
#include "services/cli/bench_run.h"
#include "services/cli/bench_suite.h"
#include "services/cli/commands.h"
#include "services/cli/interrupt.h"
#include "services/cli/session.h"

namespace falaj::cli {
namespace {

absl::Status WriteJson(const std::string& path, const std::string& json) {
  if (path.empty()) return absl::OkStatus();
  if (path == "-") {
    std::puts(json.c_str());
    return absl::OkStatus();
  }
  std::ofstream file(path);
  file << json << "\n";
  if (file.flush()) return absl::OkStatus();
  return MakeError(Reason::kInvalidRequest, absl::StrCat("cannot write ", path));
}

absl::StatusOr<ExitCode> RunOne(const BenchOptions& options, const Session& session,
                                const BenchDisk* disk) {
  FALAJ_ASSIGN_OR_RETURN(const BenchReport report, RunWorkload(options, session, disk));
  // The report is data; with the JSON on standard output it becomes talk.
  std::fputs(RenderReport(report).c_str(), options.json == "-" ? stderr : stdout);
  FALAJ_RETURN_IF_ERROR(WriteJson(options.json, ReportJson(report)));
  return ExitOf(report);
}

absl::StatusOr<ExitCode> RunSuite(const BenchOptions& options, const Session& session,
                                  const BenchDisk* disk) {
  BenchSuite suite(options, session, disk);
  FALAJ_RETURN_IF_ERROR(suite.Run());
  std::fputs(suite.Render().c_str(), options.json == "-" ? stderr : stdout);
  FALAJ_RETURN_IF_ERROR(WriteJson(options.json, suite.Json()));
  return suite.exit_code();
}

}  // namespace

ExitCode RunBench(const BenchOptions& options) {
  CatchInterrupts();
  BenchOptions adjusted = options;
  std::unique_ptr<BenchProcesses> processes;
  std::unique_ptr<BenchDisk> disk;  // Of a cluster of its own: on others somebody else writes, too.
  if (options.dev) {
    auto started =
        BenchProcesses::Start(options.data, std::max(options.storage_nodes, options.replicas));
    if (!started.ok()) return Fail(started.status());
    processes = *std::move(started);
    disk = std::make_unique<BenchDisk>(processes->data());
    adjusted.common.address = processes->address();
    for (const std::string& entry : processes->entries()) adjusted.processes.push_back(entry);
  }
  const absl::StatusOr<Session> session = OpenSession(adjusted.common);
  if (!session.ok()) return FailUsage(session.status());
  const absl::StatusOr<ExitCode> code = options.workload == "suite"
                                            ? RunSuite(adjusted, *session, disk.get())
                                            : RunOne(adjusted, *session, disk.get());
  return code.ok() ? *code : Fail(code.status());
}

}  // namespace falaj::cli
