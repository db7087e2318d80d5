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
#include "services/cli/bench_processes.h"
#include "services/cli/bench_run.h"
#include "services/cli/commands.h"
#include "services/cli/interrupt.h"
#include "services/cli/session.h"

namespace falaj::cli {
namespace {

ExitCode ExitOf(const BenchReport& report) {
  bool failed = !report.check.ok();
  for (const BenchPhase& phase : report.phases) {
    for (const absl::Status& error :
         {phase.produce.has_value() ? phase.produce->first_error : absl::OkStatus(),
          phase.consume.has_value() ? phase.consume->first_error : absl::OkStatus()}) {
      if (error.ok()) continue;
      PrintError(error);
      failed = true;
    }
  }
  return failed ? ExitCode::kFailed : ExitCode::kOk;
}

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

absl::StatusOr<ExitCode> RunOne(const BenchOptions& options, const Session& session) {
  FALAJ_ASSIGN_OR_RETURN(const BenchReport report, RunWorkload(options, session));
  // The report is data; with the JSON on standard output it becomes talk.
  std::fputs(RenderReport(report).c_str(), options.json == "-" ? stderr : stdout);
  FALAJ_RETURN_IF_ERROR(WriteJson(options.json, ReportJson(report)));
  return ExitOf(report);
}

// The bounds that Falaj sets itself on two cores, measured one after the other.
class Suite {
 public:
  Suite(const BenchOptions& options, const Session& session)
      : options_(options), session_(session) {}

  absl::Status Run() { return options_.replicas == 1 ? RunAlone() : RunReplicated(); }

  std::string Render() const { return RenderFigures(figures_); }
  std::string Json() const { return absl::StrCat("[", json_, "]"); }
  // Failed if anything was lost or double, or a bound is missed.
  ExitCode exit_code() const { return AllMet(figures_) ? exit_code_ : ExitCode::kFailed; }

 private:
  // What is asked of several replicas, all of whose processes and disks are this machine's.
  struct ReplicatedBounds {
    std::string durability;
    std::string batch_bytes;
    double mb_per_second;
    double cpu_seconds_per_gb;  // 0: none.
    double written_per_byte;
  };

  absl::Status RunAlone() {
    FALAJ_ASSIGN_OR_RETURN(const double os16, Produce("os", "16KiB"));
    FALAJ_ASSIGN_OR_RETURN(const double os128, Produce("os", "128KiB"));
    figures_.push_back({"produce 16 KiB batches, os", os16, 100, true, "MB/s"});
    figures_.push_back({"produce 128 KiB batches, os", os128, 180, true, "MB/s"});
    FALAJ_RETURN_IF_ERROR(Consume());
    FALAJ_RETURN_IF_ERROR(EndToEnd());
    FALAJ_ASSIGN_OR_RETURN(const double fsync16, Produce("fsync", "16KiB"));
    FALAJ_ASSIGN_OR_RETURN(const double fsync128, Produce("fsync", "128KiB"));
    figures_.push_back({"produce 16 KiB batches, fsync", fsync16, 0.7 * os16, true, "MB/s"});
    figures_.push_back({"produce 128 KiB batches, fsync", fsync128, 0.7 * os128, true, "MB/s"});
    return absl::OkStatus();
  }

  absl::Status RunReplicated() {
    const double replicas = options_.replicas;
    const std::vector<ReplicatedBounds> all = {{"os", "16KiB", 60, 33, 1.1 * replicas},
                                               {"os", "128KiB", 110, 18, 1.1 * replicas},
                                               {"fsync", "16KiB", 30, 0, 2.1 * replicas},
                                               {"fsync", "128KiB", 60, 0, 2.1 * replicas}};
    for (const ReplicatedBounds& bounds : all) FALAJ_RETURN_IF_ERROR(Replicated(bounds));
    FALAJ_RETURN_IF_ERROR(OneAtATime("os", 0.8));
    return OneAtATime("fsync", 1.5);
  }

  absl::Status Replicated(const ReplicatedBounds& bounds) {
    BenchOptions options = options_;
    options.workload = "produce";
    options.durability = bounds.durability;
    options.batch_bytes = bounds.batch_bytes;
    FALAJ_ASSIGN_OR_RETURN(const BenchReport report, Measure(options));
    const BenchPhase& peak = report.phases[0];
    const std::string name = absl::StrCat(bounds.batch_bytes, " batches, ", bounds.durability);
    figures_.push_back({absl::StrCat("produce ", name), peak.produce_mb_per_second(),
                        bounds.mb_per_second, true, "MB/s"});
    if (bounds.cpu_seconds_per_gb > 0) {
      figures_.push_back({absl::StrCat("CPU of all, ", name), peak.cpu_seconds_per_gb(),
                          bounds.cpu_seconds_per_gb, false, "s/GB"});
    }
    figures_.push_back({absl::StrCat("written by all, ", name), peak.written_per_byte(),
                        bounds.written_per_byte, false, "B/B"});
    figures_.push_back({absl::StrCat("p99 at half of that, ", name),
                        Milliseconds(report.phases[1].produce->from_intended.Percentile(99)), 25,
                        false, "ms"});
    return absl::OkStatus();
  }

  absl::Status OneAtATime(const std::string& durability, double p50_ms) {
    BenchOptions options = options_;
    options.workload = "end-to-end";
    options.durability = durability;
    FALAJ_ASSIGN_OR_RETURN(const BenchReport report, Measure(options));
    figures_.push_back({absl::StrCat("one record at a time, p50, ", durability),
                        Milliseconds(report.phases[0].produce->from_intended.Percentile(50)),
                        p50_ms, false, "ms"});
    return absl::OkStatus();
  }

  static double Milliseconds(int64_t ns) { return static_cast<double>(ns) / 1e6; }

  absl::StatusOr<BenchReport> Measure(BenchOptions options) {
    std::fprintf(stderr, "%s, %s, batches of %s\n", options.workload.c_str(),
                 options.durability.c_str(), options.batch_bytes.c_str());
    FALAJ_ASSIGN_OR_RETURN(BenchReport report, RunWorkload(options, session_));
    std::fputs(absl::StrCat(RenderReport(report), "\n").c_str(),
               options_.json == "-" ? stderr : stdout);
    absl::StrAppend(&json_, json_.empty() ? "" : ",", ReportJson(report));
    if (ExitOf(report) != ExitCode::kOk) exit_code_ = ExitCode::kFailed;
    return report;
  }

  absl::StatusOr<double> Produce(const std::string& durability, const std::string& batch_bytes) {
    BenchOptions options = options_;
    options.workload = "produce";
    options.durability = durability;
    options.batch_bytes = batch_bytes;
    FALAJ_ASSIGN_OR_RETURN(const BenchReport report, Measure(options));
    return report.phases[0].produce_mb_per_second();
  }

  absl::Status Consume() {
    BenchOptions options = options_;
    options.workload = "consume";
    options.durability = "os";
    options.batch_bytes = "128KiB";
    FALAJ_ASSIGN_OR_RETURN(const BenchReport report, Measure(options));
    figures_.push_back(
        {"consume", report.phases.back().consume_mb_per_second(), 300, true, "MB/s"});
    return absl::OkStatus();
  }

  absl::Status EndToEnd() {
    BenchOptions options = options_;
    options.workload = "end-to-end";
    options.durability = "os";
    FALAJ_ASSIGN_OR_RETURN(const BenchReport report, Measure(options));
    const Histogram& latency = report.phases[0].consume->end_to_end;
    figures_.push_back({"end to end, p50", Milliseconds(latency.Percentile(50)), 1, false, "ms"});
    figures_.push_back({"end to end, p99", Milliseconds(latency.Percentile(99)), 4, false, "ms"});
    return absl::OkStatus();
  }

  const BenchOptions options_;
  const Session session_;
  std::vector<BenchFigure> figures_;
  std::string json_;
  ExitCode exit_code_ = ExitCode::kOk;
};

absl::StatusOr<ExitCode> RunSuite(const BenchOptions& options, const Session& session) {
  Suite suite(options, session);
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
  if (options.dev) {
    auto started =
        BenchProcesses::Start(options.data, std::max(options.storage_nodes, options.replicas));
    if (!started.ok()) return Fail(started.status());
    processes = *std::move(started);
    adjusted.common.address = processes->address();
    for (const std::string& entry : processes->entries()) adjusted.processes.push_back(entry);
  }
  const absl::StatusOr<Session> session = OpenSession(adjusted.common);
  if (!session.ok()) return FailUsage(session.status());
  const absl::StatusOr<ExitCode> code =
      options.workload == "suite" ? RunSuite(adjusted, *session) : RunOne(adjusted, *session);
  return code.ok() ? *code : Fail(code.status());
}

}  // namespace falaj::cli
