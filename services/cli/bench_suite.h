// BenchSuite measures the bounds that Falaj sets itself on two cores, one after the other: with one
// replica, or, if options.replicas asks for more, with those.
//
// All replicas are on the disk of this machine, which is soon what limits them: so the suite says
// beside each figure of theirs what reached the disk, and at the end what it takes.
//
// Threads: one.
#ifndef SERVICES_CLI_BENCH_SUITE_H_
#define SERVICES_CLI_BENCH_SUITE_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "services/cli/bench_disk.h"
#include "services/cli/bench_report.h"
#include "services/cli/commands.h"
#include "services/cli/session.h"

namespace falaj::cli {

class BenchSuite {
 public:
  // `disk` is not owned; null if it is not known, or others use it, too.
  BenchSuite(const BenchOptions& options, const Session& session, const BenchDisk* disk)
      : options_(options), session_(session), disk_(disk) {}

  absl::Status Run();

  // Each figure with its verdict.
  std::string Render() const;
  // An array of the reports of all workloads.
  std::string Json() const;
  // Failed if anything was lost or double, or a bound is missed.
  ExitCode exit_code() const;

 private:
  // What is asked of several replicas, all of whose processes and disks are this machine's.
  struct ReplicatedBounds {
    std::string durability;
    std::string batch_bytes;
    double mb_per_second;
    double cpu_seconds_per_gb;  // 0: none.
    double written_per_byte;
  };

  absl::Status RunAlone();
  absl::Status RunReplicated();
  absl::Status Replicated(const ReplicatedBounds& bounds);
  // One replica at the same rate: what the others cost in latency.
  absl::Status CompareWithOne(const BenchOptions& options, const std::string& name,
                              const BenchPhase& half);
  absl::Status OneAtATime(const std::string& durability, double p50_ms);
  absl::StatusOr<BenchPhase> Produce(const std::string& durability, const std::string& batch_bytes);
  absl::Status Consume();
  absl::Status EndToEnd();
  // What the disk does alone: how fast it takes a large file, and how long a sync takes when as
  // much is written as in the phases noted. After all else: the memory that held the file is cold,
  // and the disk perhaps slower for a while.
  absl::Status MeasureDisk();
  // Processes that have just begun pay for every page of memory they touch for the first time, and
  // so does the machine below a virtual one: of the first figures that has been up to half.
  absl::Status WarmUp();
  // A figure that was measured in this phase.
  void Add(const BenchPhase& phase, BenchFigure figure);
  // A workload with the options of the suite, but for these.
  BenchOptions Workload(const std::string& workload, const std::string& durability,
                        const std::string& batch_bytes) const;
  absl::StatusOr<BenchReport> Measure(const BenchOptions& options);

  const BenchOptions options_;
  const Session session_;
  const BenchDisk* const disk_;
  // Of the phases whose syncs the disk is to do once more, alone.
  std::vector<std::pair<std::string, BenchDisk::SyncLoad>> syncs_;
  std::vector<BenchFigure> figures_;
  std::string notes_;  // Lines for people, below the figures.
  std::string json_;
  ExitCode exit_code_ = ExitCode::kOk;
};

}  // namespace falaj::cli

#endif  // SERVICES_CLI_BENCH_SUITE_H_
