#include "services/cli/bench_suite.h"

#include <cstdint>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "libs/base/status.h"
#include "services/cli/bench_run.h"

namespace falaj::cli {
namespace {

constexpr int64_t kRateBytes = int64_t{2} << 30;  // Enough that no cache of the disk takes it.

double Milliseconds(int64_t ns) { return static_cast<double>(ns) / 1e6; }

double P99(const BenchPhase& phase) {
  return Milliseconds(phase.produce->from_intended.Percentile(99));
}

}  // namespace

absl::Status BenchSuite::Run() {
  if (disk_ != nullptr) FALAJ_RETURN_IF_ERROR(disk_->Settle());
  FALAJ_RETURN_IF_ERROR(WarmUp());
  FALAJ_RETURN_IF_ERROR(options_.replicas == 1 ? RunAlone() : RunReplicated());
  // The figures stand without it.
  const absl::Status probed = MeasureDisk();
  if (!probed.ok()) {
    absl::StrAppend(&notes_, "\nThe disk alone was not measured: ", probed.message(), "\n");
  }
  return absl::OkStatus();
}

absl::Status BenchSuite::WarmUp() {
  absl::FPrintF(stderr, "warm-up, not measured\n");
  FALAJ_ASSIGN_OR_RETURN(const BenchReport report,
                         RunWorkload(Workload("consume", "os", "128KiB"), session_, disk_));
  // What is lost in it is lost all the same.
  if (ExitOf(report) != ExitCode::kOk) exit_code_ = ExitCode::kFailed;
  return absl::OkStatus();
}

absl::Status BenchSuite::MeasureDisk() {
  if (disk_ == nullptr) return absl::OkStatus();
  FALAJ_RETURN_IF_ERROR(disk_->Settle());
  FALAJ_ASSIGN_OR_RETURN(const double bytes_per_second, disk_->MeasureRate(kRateBytes));
  notes_ = absl::StrFormat("\nA file of %d GiB was written and synced at %.0f MB/s afterwards.\n",
                           kRateBytes >> 30, bytes_per_second / 1e6);
  for (const auto& [name, load] : syncs_) {
    FALAJ_RETURN_IF_ERROR(disk_->Settle());
    FALAJ_ASSIGN_OR_RETURN(const Histogram syncs, disk_->MeasureSyncs(load));
    absl::StrAppendFormat(&notes_,
                          "The disk alone, written to as at half of %s: p99 of a sync %.1f ms.\n",
                          name, Milliseconds(syncs.Percentile(99)));
  }
  return absl::OkStatus();
}

std::string BenchSuite::Render() const { return absl::StrCat(RenderFigures(figures_), notes_); }

std::string BenchSuite::Json() const { return absl::StrCat("[", json_, "]"); }

ExitCode BenchSuite::exit_code() const { return AllMet(figures_) ? exit_code_ : ExitCode::kFailed; }

absl::Status BenchSuite::RunAlone() {
  FALAJ_ASSIGN_OR_RETURN(const BenchPhase os16, Produce("os", "16KiB"));
  FALAJ_ASSIGN_OR_RETURN(const BenchPhase os128, Produce("os", "128KiB"));
  const double rate16 = os16.produce_mb_per_second();
  const double rate128 = os128.produce_mb_per_second();
  Add(os16, {"produce 16 KiB batches, os", rate16, 100, true, "MB/s"});
  Add(os128, {"produce 128 KiB batches, os", rate128, 180, true, "MB/s"});
  FALAJ_RETURN_IF_ERROR(Consume());
  FALAJ_RETURN_IF_ERROR(EndToEnd());
  FALAJ_ASSIGN_OR_RETURN(const BenchPhase fsync16, Produce("fsync", "16KiB"));
  FALAJ_ASSIGN_OR_RETURN(const BenchPhase fsync128, Produce("fsync", "128KiB"));
  Add(fsync16, {"produce 16 KiB batches, fsync", fsync16.produce_mb_per_second(), 0.7 * rate16,
                true, "MB/s"});
  Add(fsync128, {"produce 128 KiB batches, fsync", fsync128.produce_mb_per_second(), 0.7 * rate128,
                 true, "MB/s"});
  return absl::OkStatus();
}

void BenchSuite::Add(const BenchPhase& phase, BenchFigure figure) {
  figure.stolen_share = phase.machine.stolen_share;
  figures_.push_back(std::move(figure));
}

absl::Status BenchSuite::RunReplicated() {
  const double replicas = options_.replicas;
  const std::vector<ReplicatedBounds> all = {{"os", "16KiB", 60, 33, 1.1 * replicas},
                                             {"os", "128KiB", 110, 18, 1.1 * replicas},
                                             {"fsync", "16KiB", 30, 0, 2.1 * replicas},
                                             {"fsync", "128KiB", 60, 0, 2.1 * replicas}};
  for (const ReplicatedBounds& bounds : all) FALAJ_RETURN_IF_ERROR(Replicated(bounds));
  FALAJ_RETURN_IF_ERROR(OneAtATime("os", 0.8));
  return OneAtATime("fsync", 1.5);
}

absl::Status BenchSuite::Replicated(const ReplicatedBounds& bounds) {
  const BenchOptions options = Workload("produce", bounds.durability, bounds.batch_bytes);
  FALAJ_ASSIGN_OR_RETURN(const BenchReport report, Measure(options));
  const BenchPhase& peak = report.phases[0];
  const BenchPhase& half = report.phases[1];
  const std::string name = absl::StrCat(bounds.batch_bytes, " batches, ", bounds.durability);
  Add(peak, {absl::StrCat("produce ", name), peak.produce_mb_per_second(), bounds.mb_per_second,
             true, "MB/s"});
  if (bounds.cpu_seconds_per_gb > 0) {
    Add(peak, {absl::StrCat("CPU of all, ", name), peak.cpu_seconds_per_gb(),
               bounds.cpu_seconds_per_gb, false, "s/GB"});
  }
  Add(peak, {absl::StrCat("written by all, ", name), peak.written_per_byte(),
             bounds.written_per_byte, false, "B/B"});
  Add(half, {absl::StrCat("p99 at half of that, ", name), P99(half), 25, false, "ms"});
  if (bounds.durability == "fsync" && half.produce_mb_per_second() > 0) {
    syncs_.emplace_back(name,
                        BenchDisk::SyncLoad{.writers = options_.replicas,
                                            .bytes_per_second = 1e6 * half.produce_mb_per_second(),
                                            .duration = half.elapsed()});
  }
  return CompareWithOne(options, name, half);
}

absl::Status BenchSuite::CompareWithOne(const BenchOptions& options, const std::string& name,
                                        const BenchPhase& half) {
  BenchOptions alone = options;
  alone.replicas = 1;
  alone.rate = half.rate;
  FALAJ_ASSIGN_OR_RETURN(const BenchReport report, Measure(alone));
  const BenchPhase& single = report.phases[0];
  Add(half.machine.stolen_share > single.machine.stolen_share ? half : single,
      {absl::StrCat("p99 over that of one replica, ", name), P99(half) / P99(single), 3, false,
       "times"});
  return absl::OkStatus();
}

absl::Status BenchSuite::OneAtATime(const std::string& durability, double p50_ms) {
  BenchOptions options = Workload("produce", durability, options_.batch_bytes);
  options.closed = true;  // The next one is sent when this one is acknowledged.
  FALAJ_ASSIGN_OR_RETURN(const BenchReport report, Measure(options));
  const BenchPhase& phase = report.phases[0];
  Add(phase, {absl::StrCat("one record at a time, p50, ", durability),
              Milliseconds(phase.produce->from_sent.Percentile(50)), p50_ms, false, "ms"});
  return absl::OkStatus();
}

absl::StatusOr<BenchPhase> BenchSuite::Produce(const std::string& durability,
                                               const std::string& batch_bytes) {
  FALAJ_ASSIGN_OR_RETURN(const BenchReport report,
                         Measure(Workload("produce", durability, batch_bytes)));
  return report.phases[0];
}

absl::Status BenchSuite::Consume() {
  FALAJ_ASSIGN_OR_RETURN(const BenchReport report, Measure(Workload("consume", "os", "128KiB")));
  const BenchPhase& phase = report.phases.back();
  Add(phase, {"consume", phase.consume_mb_per_second(), 300, true, "MB/s"});
  return absl::OkStatus();
}

absl::Status BenchSuite::EndToEnd() {
  FALAJ_ASSIGN_OR_RETURN(const BenchReport report,
                         Measure(Workload("end-to-end", "os", options_.batch_bytes)));
  const BenchPhase& phase = report.phases[0];
  const Histogram& latency = phase.consume->end_to_end;
  Add(phase, {"end to end, p50", Milliseconds(latency.Percentile(50)), 1, false, "ms"});
  Add(phase, {"end to end, p99", Milliseconds(latency.Percentile(99)), 4, false, "ms"});
  return absl::OkStatus();
}

BenchOptions BenchSuite::Workload(const std::string& workload, const std::string& durability,
                                  const std::string& batch_bytes) const {
  BenchOptions options = options_;
  options.workload = workload;
  options.durability = durability;
  options.batch_bytes = batch_bytes;
  return options;
}

absl::StatusOr<BenchReport> BenchSuite::Measure(const BenchOptions& options) {
  absl::FPrintF(stderr, "%s, %s, batches of %s, replicas %d\n", options.workload,
                options.durability, options.batch_bytes, options.replicas);
  FALAJ_ASSIGN_OR_RETURN(BenchReport report, RunWorkload(options, session_, disk_));
  std::fputs(absl::StrCat(RenderReport(report), "\n").c_str(),
             options_.json == "-" ? stderr : stdout);
  absl::StrAppend(&json_, json_.empty() ? "" : ",", ReportJson(report));
  if (ExitOf(report) != ExitCode::kOk) exit_code_ = ExitCode::kFailed;
  return report;
}

}  // namespace falaj::cli
